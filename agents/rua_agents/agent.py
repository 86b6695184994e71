"""The agent's loop: read, number, send; move the checkpoint when the broker has acknowledged; say so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from math import inf
from pathlib import Path

from rua_common.clock import Clock, SystemClock

from rua_agents.broker import BrokerHealth
from rua_agents.checkpoint import Checkpoint, CheckpointFile
from rua_agents.disk import Disk
from rua_agents.emitter import Emitter, Stopping
from rua_agents.heartbeat import ClockOffset, Offset
from rua_agents.pace import Pace, paced
from rua_agents.pulse import Head, Pulse
from rua_agents.reader import Reader
from rua_agents.replay import END_MS
from rua_agents.report import Progress, Reporter, acked_places
from rua_agents.settings import AgentSettings
from rua_agents.signing import Signer
from rua_agents.status import Status, StatusFile
from rua_agents.tally import Tally
from rua_agents.watch import Watched

log = logging.getLogger(__name__)
REPLAY_SECONDS = 0.02
REPLAY_STATUS_SECONDS = 0.1
REPLAY_CHECKPOINT_SECONDS = 0.2  # a world's feeder waits for what is acknowledged
STATUS_SECONDS = 1.0
WAIT_SECONDS = 0.2
SUMMARY_SECONDS = 3_600.0
TROUBLE_SECONDS = 10.0


class Agent:
    """One process at one platform.

    Args:
        settings: what is configured.
        reader: where drafts come from.
        emitter: where events go.
        tallies: source → its account.
        disk: of the state directory.
        health: of the way to the broker.
        clock: the time of day.
        monotonic: seconds that never go back.
        before_checkpoint: called before the checkpoint moves past what was read.
        publish: takes each status.
        reload: called between two turns when `wants_reload` is set.
        signer: signs heartbeats.
        config_digest: of the configuration file, for them.
    """

    def __init__(
        self,
        settings: AgentSettings,
        reader: Reader,
        emitter: Emitter,
        tallies: Mapping[str, Tally],
        *,
        disk: Disk,
        health: BrokerHealth,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        before_checkpoint: Callable[[], None] = lambda: None,
        publish: Callable[[Status], None] = lambda _: None,
        reload: Callable[[], None] = lambda: None,
        signer: Signer | None = None,
        config_digest: str | None = None,
    ) -> None:
        self.stopping = self.hurried = self.wants_reload = False
        self._reader, self._emitter, self._tallies = reader, emitter, tallies
        self._disk, self._health, self._publish, self._reload = disk, health, publish, reload
        self._clock, self._monotonic, self._before_checkpoint = clock, monotonic, before_checkpoint
        self._reporter = Reporter(settings, emitter=emitter, tallies=tallies, disk=disk, health=health, clock=clock)
        self._configure(settings)
        state_dir = Path(settings.state_dir)
        state_dir.mkdir(parents=True, exist_ok=True)
        self._checkpoints, self._status = CheckpointFile(state_dir), StatusFile(state_dir)
        self._offset = ClockOffset(SystemClock())
        found = self._checkpoints.read(settings.platform)
        began = settings.replay.start_ms if settings.replay else clock.now_ms()
        self._epoch = max(began, found.agent_epoch + 1 if found else 0)
        emitter.begin(self._epoch)
        self._pulse = Pulse(settings, self._epoch, found, signer, config_digest)
        self._head = Head(0, None)
        self._acked: dict[str, int] = {}
        self._done_ms = 0
        if found:
            reader.restore(found.files)
            self._acked = acked_places(found.files)
            self._done_ms = min(found.watermark_ms, END_MS - 1)
        self._snapshot: Checkpoint | None = None
        self._dirty = True
        self._checkpoint_ms: int | None = None
        self._checkpoint_at = self._status_at = self._beat_at = self._retry_at = float("-inf")
        self._summary_at = monotonic()

    def run(self) -> None:
        """Until told to stop.

        Raises:
            SendingFailed: the broker will never take a message.
        """
        torn = False
        self._disk.look()
        try:
            while not self.stopping:
                if self.wants_reload:
                    self.wants_reload = False
                    self._reload()
                moved = self._reads and self._turn()
                self._keep_house()
                self._emitter.poll(0 if moved else self._idle_seconds())
        except Stopping:
            torn = True
        self._drain(torn=torn)

    def reconfigure(self, settings: AgentSettings, logs: Sequence[Watched], config_digest: str | None) -> None:
        """Goes on with other logs and limits of speed. Between two turns only."""
        self._reader.reconfigure(logs, paced(settings.limits))
        self._reporter.configure(settings)
        self._pulse.configure(settings, config_digest)
        self._configure(settings)
        self._dirty = True

    def waits(self) -> bool:
        """Called in the middle of a turn while there is no room for a message: shows that the loop lives.

        Returns:
            Whether to give up.
        """
        self._tell()
        return self.stopping

    def _configure(self, settings: AgentSettings) -> None:
        self._settings, self._pace = settings, Pace(settings.limits)

    @property
    def _clock_offset(self) -> Offset | None:
        return self._offset.best if self._settings.replay is None else None

    @property
    def _tally(self) -> Tally:
        return Tally.total(self._tallies.values())

    @property
    def _reads(self) -> bool:
        """Whether reading goes on: not while a snapshot waits for the broker, nor on a full disk."""
        return self._emitter.marked_is_acked and not self._disk.holds_reading

    def _turn(self) -> bool:
        moved = False
        for drafts in self._reader.turn(self._clock.now_ms()):
            moved = self._dirty = True
            self._emitter.send(drafts, self._clock_offset)
            self._emitter.poll()
            self._keep_house()
            self._rest()
            while self._settings.replay and not self.stopping and not self._reads:
                self._emitter.poll(WAIT_SECONDS)  # what a world's files have been merged to cannot be taken up again
                self._keep_house()
            if self.stopping or self.wants_reload or not self._reads:
                break
        return moved

    def _rest(self) -> None:
        """Waits, between two slices, as long as the limits of speed want it."""
        now = self._monotonic()
        read_bytes = sum(tally.read_bytes for tally in self._tallies.values())
        end = now + self._pace.pause(now, read_bytes=read_bytes, events=self._emitter.produced)
        while not self.stopping and not self.wants_reload and (left := end - self._monotonic()) > 0:
            self._emitter.poll(min(left, WAIT_SECONDS))
            self._keep_house()

    def _keep_house(self) -> None:
        """Between two slices: moves the checkpoint, and tells."""
        now = self._monotonic()
        if self._snapshot is not None and self._emitter.marked_is_acked and now >= self._retry_at:
            self._commit()
        every = REPLAY_CHECKPOINT_SECONDS if self._settings.replay else self._settings.limits.checkpoint_seconds
        if self._snapshot is None and self._dirty and now - self._checkpoint_at >= every:
            self._checkpoint_at = now
            self._take_snapshot()
        self._tell()

    def _tell(self) -> None:
        """Heartbeat, status and summary, when it is time for them."""
        now = self._monotonic()
        # in trouble sooner: its acknowledgement is what tells that the broker is back
        if now - self._beat_at >= min(self._pulse.seconds(), TROUBLE_SECONDS if self._health.problem else inf):
            self._beat_at = now
            self._beat()
        if now - self._status_at >= (REPLAY_STATUS_SECONDS if self._settings.replay else STATUS_SECONDS):
            self._status_at = now
            self._disk.look()
            self._health.watch(self._emitter.answers, self._emitter.waiting_messages, now)
            self._show()
        if now - self._summary_at >= SUMMARY_SECONDS:
            self._summary_at = now
            log.info("%s", self.status().line())

    def _show(self) -> None:
        status = self.status()
        self._publish(status)
        if not self._disk.full:
            try:
                self._status.write(status)
            except OSError as why:
                self._disk.failed(why)

    def _take_snapshot(self) -> None:
        done = self._reader.watermark_ms
        head = self._emitter.seq, self._emitter.chain_head
        self._snapshot = Checkpoint(self._settings.platform, self._epoch, self._reader.dump(), done, *head)
        self._emitter.mark()
        self._dirty = False

    def _commit(self) -> None:
        if self._snapshot is None:
            return
        checkpoint = self._snapshot

        def write() -> None:
            self._before_checkpoint()
            self._checkpoints.write(checkpoint)

        if not self._disk.write(write):
            self._retry_at = self._monotonic() + STATUS_SECONDS  # the old one holds; soon once more
            return
        self._acked, self._done_ms = acked_places(checkpoint.files), checkpoint.watermark_ms
        self._head = Head(checkpoint.agent_seq, checkpoint.chain_head)
        self._reader.acked(checkpoint.files)
        self._checkpoint_ms = self._clock.now_ms()
        self._snapshot = None
        self._status_at = float("-inf")

    def _beat(self, *, stops: bool = False) -> None:
        heartbeat = self._pulse.beat(self.status(), self._head, stops=stops)
        if self._emitter.beat(heartbeat, self._offset.sent()):
            self._pulse.sent()

    def status(self) -> Status:
        """What there is to tell."""
        settled = not self._dirty and self._snapshot is None and self._emitter.all_acked
        progress = Progress(
            agent_epoch=self._epoch,
            seq=self._emitter.seq,
            acked_seq=self._head.seq,
            acked=self._acked,
            done_ms=self._done_ms,
            checkpoint_ms=self._checkpoint_ms,
            settled=settled,
            offset=self._clock_offset,
        )
        return self._reporter.status(self._reader, progress)

    def _idle_seconds(self) -> float:
        return REPLAY_SECONDS if self._settings.replay else self._settings.limits.poll_seconds

    def _drain(self, *, torn: bool) -> None:
        """Waits for the broker within the deadline, and leaves the checkpoint where everything is acknowledged."""
        end = self._monotonic() + self._settings.limits.drain_seconds
        drained = self._emitter.drain(0)
        while not drained and not self.hurried and (left := end - self._monotonic()) > 0:
            drained = self._emitter.drain(min(left, WAIT_SECONDS))
        if drained and self._snapshot is not None:
            self._commit()
        if drained and not torn and self._snapshot is None:
            self._take_snapshot()
            self._commit()
        if drained and self.stopping and not self._settings.replay:
            self._beat(stops=True)
            self._emitter.drain(min(WAIT_SECONDS, max(0.0, end - self._monotonic())))
        if not drained:
            log.warning("stopped before the broker acknowledged everything; the next start reads it again")
            self._emitter.close()
        self._show()
        self._reader.close()
