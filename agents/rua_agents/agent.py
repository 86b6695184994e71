"""The agent's loop: read, number, send; move the checkpoint when the broker has acknowledged; say so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from rua_common.clock import Clock, SystemClock
from rua_schemas.events import Heartbeat

from rua_agents.checkpoint import Checkpoint, CheckpointFile, FileState
from rua_agents.collectors import Draft
from rua_agents.emitter import Emitter, Stopping
from rua_agents.heartbeat import ClockOffset, Offset
from rua_agents.reader import Reader
from rua_agents.replay import END_MS
from rua_agents.settings import AgentSettings
from rua_agents.status import Status, StatusFile
from rua_agents.tally import Tally

log = logging.getLogger(__name__)
REPLAY_SECONDS = 0.02
REPLAY_STATUS_SECONDS = 0.1
REPLAY_CHECKPOINT_SECONDS = 0.2  # a world's feeder waits for what is acknowledged
STATUS_SECONDS = 1.0
set_field: Callable[[Any, str, Any], None] = msgspec.structs.force_setattr


class Agent:
    """One process at one platform."""

    def __init__(
        self,
        settings: AgentSettings,
        reader: Reader,
        emitter: Emitter,
        tally: Tally,
        *,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        before_checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        self.stopping = False
        self._settings, self._reader, self._emitter, self._tally = settings, reader, emitter, tally
        self._clock, self._monotonic, self._before_checkpoint = clock, monotonic, before_checkpoint
        state_dir = Path(settings.state_dir)
        state_dir.mkdir(parents=True, exist_ok=True)
        self._checkpoints, self._status = CheckpointFile(state_dir), StatusFile(state_dir)
        self._offset = ClockOffset(SystemClock())
        found = self._checkpoints.read(settings.platform)
        began = settings.replay.start_ms if settings.replay else clock.now_ms()
        self._epoch = max(began, found.agent_epoch + 1 if found else 0)
        self._seq = self._acked_seq = 0
        self._acked: dict[str, int] = {}
        self._done_ms = 0
        if found:
            reader.restore(found.files)
            self._acked = _offsets(found.files)
            self._done_ms = min(found.watermark_ms, END_MS - 1)
        self._snapshot: tuple[Checkpoint, int] | None = None
        self._dirty = True
        self._checkpoint_at = self._status_at = self._beat_at = float("-inf")

    def run(self) -> None:
        """Until told to stop.

        Raises:
            SendingFailed: the broker will never take a message.
        """
        torn = False
        try:
            while not self.stopping:
                moved = self._turn()
                self._keep_house()
                self._emitter.poll(0 if moved else self._idle_seconds())
        except Stopping:
            torn = True
        self._drain(torn=torn)

    @property
    def _clock_offset(self) -> Offset | None:
        return self._offset.best if self._settings.replay is None else None

    def _turn(self) -> bool:
        moved = False
        for drafts in self._reader.turn(self._clock.now_ms()):
            moved = True
            self._send(drafts)
            self._emitter.poll()
            self._keep_house()
            if self.stopping:
                break
        return moved

    def _send(self, drafts: list[Draft]) -> None:
        self._dirty = True
        offset = self._clock_offset
        for draft in drafts:
            self._seq += 1
            set_field(draft, "agent_epoch", self._epoch)
            set_field(draft, "agent_seq", self._seq)
            if offset is not None:
                set_field(draft, "clock_offset_ms", offset.offset_ms)
                set_field(draft, "clock_error_ms", offset.error_ms)
            self._emitter.send(draft)

    def _keep_house(self) -> None:
        now = self._monotonic()
        if self._snapshot is not None and self._emitter.marked_is_acked:
            self._commit()
        every = REPLAY_CHECKPOINT_SECONDS if self._settings.replay else self._settings.limits.checkpoint_seconds
        if self._snapshot is None and self._dirty and now - self._checkpoint_at >= every:
            self._checkpoint_at = now
            self._take_snapshot()
        if now - self._beat_at >= self._settings.limits.heartbeat_seconds:
            self._beat_at = now
            self._beat()
        if now - self._status_at >= (REPLAY_STATUS_SECONDS if self._settings.replay else STATUS_SECONDS):
            self._status_at = now
            self._status.write(self.status())

    def _take_snapshot(self) -> None:
        done = self._reader.watermark_ms
        self._snapshot = (Checkpoint(self._settings.platform, self._epoch, self._reader.dump(), done), self._seq)
        self._emitter.mark()
        self._dirty = False

    def _commit(self) -> None:
        if self._snapshot is None:
            return
        checkpoint, seq = self._snapshot
        self._before_checkpoint()
        self._checkpoints.write(checkpoint)
        self._acked, self._done_ms, self._acked_seq = _offsets(checkpoint.files), checkpoint.watermark_ms, seq
        self._snapshot = None
        self._status_at = float("-inf")

    def _beat(self) -> None:
        files, best = self._reader.files(), self._clock_offset
        heartbeat = Heartbeat(
            agent_id=self._settings.agent_id,
            agent_epoch=self._epoch,
            agent_version=version("rua"),
            platform=self._settings.platform,
            sent_at=self._clock.now_ms(),
            last_seq=self._acked_seq,
            events_acked=self._emitter.acked,
            records_failed=self._tally.failed.total(),
            lag_bytes=sum(f.size - self._acked.get(f.path, 0) for f in files),
            files=len(files),
            clock_offset_ms=best.offset_ms if best else None,
            clock_error_ms=best.error_ms if best else None,
        )
        self._emitter.beat(heartbeat, self._offset.sent())

    def status(self) -> Status:
        """For `status.json`."""
        files = self._reader.files()
        for file in files:
            file.acked_offset = self._acked.get(file.path, 0)
        tally, best = self._tally, self._clock_offset
        settled = not self._dirty and self._snapshot is None and self._emitter.all_acked
        return Status(
            platform=self._settings.platform,
            agent_id=self._settings.agent_id,
            agent_epoch=self._epoch,
            files=files,
            problems=self._reader.problems,
            events_produced=self._emitter.produced,
            events_acked=self._emitter.acked,
            events_failed=self._emitter.dead,
            records=tally.records,
            merged=tally.merged,
            split=tally.split,
            ignored=tally.ignored,
            failed=tally.failed,
            lag_bytes=sum(file.size - file.acked_offset for file in files),
            watermark_done_ms=self._done_ms,
            drained=self._reader.finished and settled,
            clock_offset_ms=best.offset_ms if best else None,
            clock_error_ms=best.error_ms if best else None,
            at_ms=self._clock.now_ms(),
        )

    def _idle_seconds(self) -> float:
        return REPLAY_SECONDS if self._settings.replay else self._settings.limits.poll_seconds

    def _drain(self, *, torn: bool) -> None:
        """Waits for the broker within the deadline, and leaves the checkpoint where everything is acknowledged."""
        drained = self._emitter.drain(self._settings.limits.drain_seconds)
        if drained and self._snapshot is not None:
            self._commit()
        if drained and not torn:
            self._take_snapshot()
            self._commit()
        if not drained:
            log.warning("stopped before the broker acknowledged everything; the next start reads it again")
            self._emitter.close()
        self._status.write(self.status())
        self._reader.close()


def _offsets(files: list[FileState]) -> dict[str, int]:
    return {file.path: file.offset for file in files}
