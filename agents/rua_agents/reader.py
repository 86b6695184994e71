"""What the agent's loop knows of its files, live or replayed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from rua_agents.checkpoint import FileState
from rua_agents.collectors import Draft
from rua_agents.sealing import Written

if TYPE_CHECKING:
    from rua_agents.settings import Limits
    from rua_agents.watch import Watched


class FileStatus(msgspec.Struct):
    """One line of `status.json`."""

    path: str
    source: str
    source_id: str | None
    offset: int
    size: int
    acked_offset: int = 0
    lag_ms: int = 0
    """How long ago the first byte was written that is not acknowledged yet."""
    records: int = 0
    """How many events wait: of the spool only, a log does not know."""


class Reader(Protocol):
    """Where drafts come from."""

    @property
    def finished(self) -> bool:
        """Whether nothing will ever come again (a replay's end)."""
        ...

    @property
    def watermark_ms(self) -> int:
        """Up to which time of the world everything is taken; 0 when live."""
        ...

    @property
    def problems(self) -> dict[str, str]:
        """Path → why it cannot be read."""
        ...

    def restore(self, files: Sequence[FileState]) -> None:
        """Goes on where `dump` was taken."""
        ...

    def reconfigure(self, watched: Sequence[Watched], limits: Limits) -> None:
        """Goes on with other logs, where it stands. Between two turns only."""
        ...

    def turn(self, now_ms: int) -> Iterator[Sequence[Draft | Written]]:
        """What is new, in slices of bounded size. Between two slices `dump` is exact."""
        ...

    def dump(self) -> list[FileState]:
        """For the checkpoint."""
        ...

    def acked(self, files: Sequence[FileState]) -> None:
        """The checkpoint stands there, on disk: what lies before it may be let go."""
        ...

    def files(self) -> list[FileStatus]:
        """For the status."""
        ...

    def close(self) -> None:
        """Closes what is open."""
        ...
