"""The agent's loop: read, number, send; move the checkpoint when the broker has acknowledged; say so."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import msgspec
from rua_common.clock import Clock, SystemClock
from rua_common.errors import BadConfiguration
from rua_schemas.events import Heartbeat

from rua_agents.checkpoint import Checkpoint, CheckpointFile, FileState
from rua_agents.collectors import Draft
from rua_agents.emitter import Emitter, Stopping
from rua_agents.heartbeat import ClockOffset, Offset
from rua_agents.pseudonyms import KeyRing, Observer, read_key
from rua_agents.reader import Reader
from rua_agents.replay import END_MS, Replay
from rua_agents.settings import AgentSettings, collector_of, load, options_of, zone_of
from rua_agents.status import Status, StatusFile
from rua_agents.stream import Origin
from rua_agents.tail import Tail, Watched
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


class ReplayClock:
    """The world's clock: the watermark."""

    def __init__(self, start_ms: int) -> None:
        self.reader: Reader | None = None
        self._start_ms = start_ms

    def now_ms(self) -> int:
        """The watermark, or the last one before the world's end."""
        at = self.reader.watermark_ms if self.reader else 0
        self._start_ms = max(self._start_ms, at if at < END_MS else 0)
        return self._start_ms


class Observations:
    """Clear → pseudonym of what was seen: for worlds of simulated data, whose key is thrown away."""

    def __init__(self, file: TextIO, platform: str) -> None:
        self._file, self._platform = file, platform

    def __call__(self, field: str, clear: str, pseudonym: str) -> None:
        """Notes one."""
        if field != "statement":
            line = {"platform": self._platform, "clear": clear, "pseudonym": pseudonym}
            self._file.write(msgspec.json.encode(line).decode() + "\n")

    def flush(self) -> None:
        """Before the checkpoint moves past what was noted."""
        self._file.flush()


def watched(settings: AgentSettings, keys: KeyRing, tally: Tally) -> list[Watched]:
    """The configured sources, ready to read."""
    found = []
    for source in settings.sources:
        collector = collector_of(source.source)
        host = source.host or settings.agent_id
        zone, options = zone_of(source.zone), options_of(collector, source.options)
        origin = Origin(collector, settings.platform, settings.agent_id, host, zone, options, keys, tally)
        found.append(Watched(origin, source.paths))
    return found


def build(settings: AgentSettings, key: bytes, observations: Observations | None = None) -> Agent:
    """An agent for these settings."""
    observer: Observer | None = observations
    tally = Tally()
    sources = watched(settings, KeyRing(key, settings.platform, observer), tally)
    clock: Clock = SystemClock()
    reader: Reader = Tail(sources, settings.limits)
    if settings.replay:
        reader = Replay(sources, settings.replay, settings.limits)
        world = ReplayClock(settings.replay.start_ms)
        world.reader, clock = reader, world
    made: list[Agent] = []
    emitter = Emitter(
        settings.kafka,
        settings.platform,
        settings.agent_id,
        settings.limits,
        clock=clock,
        stopping=lambda: bool(made) and made[0].stopping,
    )
    flush = observations.flush if observations else lambda: None
    made.append(Agent(settings, reader, emitter, tally, clock=clock, before_checkpoint=flush))
    return made[0]


def run(config: Path) -> int:
    """`rua agent run -c FILE`: until SIGTERM or SIGINT.

    Raises:
        RuaError: bad configuration, or the broker will never take a message.
    """
    settings = load(config)
    key = read_key(Path(settings.key_file))
    os.umask(0o077)
    replay = settings.replay
    if replay is None or replay.pseudonyms_file is None:
        return _until_signal(build(settings, key))
    try:
        with open(replay.pseudonyms_file, "a", encoding="utf-8") as file:
            return _until_signal(build(settings, key, Observations(file, settings.platform)))
    except OSError as why:
        raise BadConfiguration(f"{why.filename}: {why.strerror}", key="replay.pseudonyms_file") from why


def _until_signal(agent: Agent) -> int:
    def stop(_: int, __: FrameType | None) -> None:
        agent.stopping = True

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, stop)
    agent.run()
    return 0
