"""Logs that rotate away faster than they can leave: their events are spooled, and how far they are read with them."""

from __future__ import annotations

import msgspec

from rua_agents.checkpoint import FileState
from rua_agents.reader import FileStatus
from rua_agents.sealing import opened
from rua_agents.spool.spool import Spool
from rua_agents.tail import Tail

FILES = "files"


class SpooledFiles:
    """Follows files as the agent's loop would; a file's place moves in the same fsync as the events read up to it."""

    def __init__(self, tail: Tail, spool: Spool) -> None:
        self._tail, self._spool = tail, spool
        tail.restore(msgspec.convert(spool.marks.get(FILES, []), list[FileState]))
        self.statuses: list[FileStatus] = []
        """What is left of each file that is not in the spool yet, as of the last turn: any thread may read it."""

    @property
    def problems(self) -> dict[str, str]:
        """Path → why it cannot be read."""
        return dict(self._tail.problems)

    def take(self, now_ms: int) -> None:
        """One bounded read of every file."""
        for drafts in self._tail.turn(now_ms):
            self._spool.append([opened(draft) for draft in drafts], {FILES: msgspec.to_builtins(self._tail.dump())})
        self.statuses = [
            FileStatus(file.path, file.source, file.source_id, 0, file.size - file.offset)
            for file in self._tail.files()
        ]

    def committed(self) -> None:
        """The mark says it."""

    def close(self) -> None:
        """Closes the files."""
        self._tail.close()
