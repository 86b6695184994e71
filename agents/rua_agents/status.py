"""What the agent is doing: `status.json` in the state directory, and what the endpoint tells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from rua_agents.checkpoint import replace
from rua_agents.reader import FileStatus


class SourceStatus(msgspec.Struct, omit_defaults=True):
    """What became of a source's records."""

    read_bytes: int = 0
    records: int = 0
    events: int = 0
    merged: int = 0
    split: int = 0
    replaced: int = 0
    ignored: Mapping[str, int] = {}
    failed: Mapping[str, int] = {}


class Status(msgspec.Struct):
    """The whole of it. Counts are of this run of the agent."""

    platform: str
    agent_id: str
    agent_epoch: int
    files: list[FileStatus]
    problems: Mapping[str, str]
    events_produced: int
    events_acked: int
    events_failed: int
    records: int
    merged: int
    split: int
    ignored: Mapping[str, int]
    failed: Mapping[str, int]
    lag_bytes: int
    watermark_done_ms: int
    """Replays: everything that arrived up to here is acknowledged (but for what may still merge, two seconds)."""
    drained: bool
    clock_offset_ms: int | None
    clock_error_ms: int | None
    at_ms: int
    lag_ms: int = 0
    """The largest of all files."""
    sources: Mapping[str, SourceStatus] = {}
    dropped: Mapping[str, int] = {}
    chain_seq: int = 0
    """Number of the last event that was sent; its number and hash go out with each heartbeat."""
    acked_seq: int = 0
    checkpoint_ms: int | None = None
    """When the checkpoint was written last; None: not yet by this run."""
    queue_messages: int = 0
    queue_bytes: int = 0
    spool_records: int = 0
    spool_bytes: int = 0
    disk_free_bytes: int = 0
    rss_bytes: int = 0
    cpu_seconds: float = 0.0
    started_ms: int = 0
    version: str = ""
    wrong: list[str] = []
    """Why the agent is not ready, each with its cure; empty if all is well."""

    def line(self) -> str:
        """The account in one line, for the log."""
        return (
            f"{len(self.files)} files, {self.lag_bytes} bytes and {self.lag_ms / 1_000:g} s behind; records "
            f"{self.records}, events {self.events_acked} of {self.events_produced} acknowledged, "
            f"{sum(self.failed.values())} records failed, {self.events_failed} dead letters, "
            f"{sum(self.dropped.values())} dropped; {self.rss_bytes >> 20} MiB, {self.cpu_seconds:.1f} s of CPU"
        )


class StatusFile:
    """Where it stands."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "status.json"

    def write(self, status: Status) -> None:
        """Replaces it; readers see the old or the new one.

        Raises:
            OSError: no room, or no permission.
        """
        replace(self.path, msgspec.json.encode(status), sync=False)
