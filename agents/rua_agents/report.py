"""The agent's account of itself, put together about once a second."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rua_common.clock import Clock
from rua_common.release import release

from rua_agents.broker import BrokerHealth
from rua_agents.checkpoint import FileState
from rua_agents.disk import Disk
from rua_agents.emitter import Emitter
from rua_agents.heartbeat import Offset
from rua_agents.lag import Lags
from rua_agents.patterns import problem_of
from rua_agents.reader import FileStatus, Reader
from rua_agents.settings import AgentSettings
from rua_agents.spool.reader import SPOOL
from rua_agents.status import SourceStatus, Status
from rua_agents.tally import Tally
from rua_agents.usage import cpu_seconds, rss_bytes

PATTERNS_MS = 10_000


class Progress(NamedTuple):
    """How far the loop has come."""

    agent_epoch: int
    seq: int
    acked_seq: int
    acked: Mapping[str, int]
    """Place → offset of the checkpoint."""
    done_ms: int
    checkpoint_ms: int | None
    settled: bool
    """Whether everything that was read is in the checkpoint."""
    offset: Offset | None


class Reporter:
    """Makes a `Status` of what the parts say."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        emitter: Emitter,
        tallies: Mapping[str, Tally],
        disk: Disk,
        health: BrokerHealth,
        clock: Clock,
    ) -> None:
        self._emitter, self._tallies, self._disk, self._health, self._clock = emitter, tallies, disk, health, clock
        self._started_ms, self._version, self._lags = clock.now_ms(), release(), Lags()
        self.configure(settings)

    def configure(self, settings: AgentSettings) -> None:
        """New settings hold from now on."""
        self._settings = settings
        self._patterns_at: int | None = None
        self._patterns: list[str] = []

    def status(self, reader: Reader, at: Progress) -> Status:
        """Everything, as of now."""
        now_ms, tally, offset = self._clock.now_ms(), Tally.total(self._tallies.values()), at.offset
        files = self._files(reader.files(), at.acked, now_ms)
        return Status(
            platform=self._settings.platform,
            agent_id=self._settings.agent_id,
            agent_epoch=at.agent_epoch,
            files=files,
            problems=reader.problems,
            events_produced=self._emitter.produced,
            events_acked=self._emitter.acked,
            events_failed=self._emitter.dead,
            records=tally.records,
            merged=tally.merged,
            split=tally.split,
            ignored=tally.ignored,
            failed=tally.failed,
            lag_bytes=sum(file.size - file.acked_offset for file in files),
            watermark_done_ms=at.done_ms,
            drained=reader.finished and at.settled,
            clock_offset_ms=offset.offset_ms if offset else None,
            clock_error_ms=offset.error_ms if offset else None,
            at_ms=now_ms,
            lag_ms=max((file.lag_ms for file in files), default=0),
            sources={name: _source(one) for name, one in self._tallies.items()},
            dropped=tally.dropped,
            chain_seq=at.seq,
            acked_seq=at.acked_seq,
            checkpoint_ms=at.checkpoint_ms,
            queue_messages=self._emitter.waiting_messages,
            queue_bytes=self._emitter.waiting_bytes,
            spool_records=sum(file.records for file in files),
            spool_bytes=sum(file.size for file in files if file.source == SPOOL),
            disk_free_bytes=self._disk.free_bytes,
            rss_bytes=rss_bytes(),
            cpu_seconds=cpu_seconds(),
            started_ms=self._started_ms,
            version=self._version,
            wrong=list(self._wrong(reader, now_ms)),
        )

    def _files(self, files: Sequence[FileStatus], acked: Mapping[str, int], now_ms: int) -> list[FileStatus]:
        names = [place(file.source, file.path, file.source_id) for file in files]
        for name, file in zip(names, files, strict=True):
            file.acked_offset = acked.get(name, 0)
            file.lag_ms = self._lags.observe(name, now_ms, file.size, file.acked_offset)
        self._lags.forget_but(set(names))
        return list(files)

    def _wrong(self, reader: Reader, now_ms: int) -> Iterator[str]:
        """Why the agent is not ready. A replay's own clock does not tell how long the broker was silent."""
        if self._health.problem:
            yield self._health.problem
        if self._disk.problem:
            yield self._disk.problem
        if self._patterns_at is None or now_ms - self._patterns_at >= PATTERNS_MS:
            self._patterns_at = now_ms
            paths = [path for source in self._settings.sources for path in source.paths]
            self._patterns = [found for path in paths if (found := problem_of(path))]
        yield from self._patterns
        yield from (f"{path}: {why}" for path, why in reader.problems.items())


def place(source: str, path: str, source_id: str | None) -> str:
    """What tells files apart for which one path stands: rotated ones, and one that two sources read."""
    return source_id or f"{source} {path}"


def acked_places(files: Sequence[FileState]) -> dict[str, int]:
    """Place → offset, of a checkpoint that the broker's acknowledgements allow."""
    return {place(file.source, file.path, file.stream.get("source_id")): file.offset for file in files}


def _source(tally: Tally) -> SourceStatus:
    return SourceStatus(
        read_bytes=tally.read_bytes,
        records=tally.records,
        events=tally.events,
        merged=tally.merged,
        split=tally.split,
        replaced=tally.replaced,
        ignored=dict(tally.ignored),
        failed=dict(tally.failed),
    )
