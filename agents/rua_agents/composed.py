"""Several readers as one, in fair turns: the logs, and the spool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rua_agents.checkpoint import FileState
from rua_agents.collectors import Draft
from rua_agents.reader import FileStatus, Reader
from rua_agents.sealing import Written
from rua_agents.settings import Limits
from rua_agents.spool.reader import SPOOL, SpoolReader
from rua_agents.watch import Watched


class Composed:
    """The logs first, then the spool; each of them is bounded in a turn."""

    finished = False
    watermark_ms = 0

    def __init__(self, logs: Reader, spool: SpoolReader) -> None:
        self._logs, self._spool = logs, spool

    @property
    def problems(self) -> dict[str, str]:
        """Path or source → why it cannot be read."""
        return {**self._logs.problems, **self._spool.problems}

    def restore(self, files: Sequence[FileState]) -> None:
        """Goes on where `dump` was taken."""
        self._logs.restore([state for state in files if state.source != SPOOL])
        self._spool.restore(files)

    def reconfigure(self, watched: Sequence[Watched], limits: Limits) -> None:
        """Other logs; the spool and what feeds it stay as they are."""
        self._logs.reconfigure(watched, limits)

    def turn(self, now_ms: int) -> Iterator[Sequence[Draft | Written]]:
        """What is new in each."""
        yield from self._logs.turn(now_ms)
        yield from self._spool.turn(now_ms)

    def dump(self) -> list[FileState]:
        """For the checkpoint."""
        return self._logs.dump() + self._spool.dump()

    def acked(self, files: Sequence[FileState]) -> None:
        """The checkpoint stands there, on disk."""
        self._logs.acked(files)
        self._spool.acked(files)

    def files(self) -> list[FileStatus]:
        """For the status."""
        return self._logs.files() + self._spool.files()

    def close(self) -> None:
        """Closes both."""
        self._spool.close()
        self._logs.close()
