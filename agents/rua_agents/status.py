"""`status.json` in the state directory: what the agent is doing, for people and for the demo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from rua_agents.checkpoint import replace
from rua_agents.reader import FileStatus


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


class StatusFile:
    """Where it stands."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "status.json"

    def write(self, status: Status) -> None:
        """Replaces it; readers see the old or the new one."""
        replace(self.path, msgspec.json.encode(status), sync=False)
