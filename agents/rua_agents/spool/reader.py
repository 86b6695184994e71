"""The spool as the agent's loop reads it: its cursor is in the checkpoint, so it moves after the broker's ack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rua_common.errors import RuaError

from rua_agents.checkpoint import FileState
from rua_agents.collectors import Draft
from rua_agents.intake.files import SpooledFiles
from rua_agents.intake.thread import Intake
from rua_agents.reader import FileStatus
from rua_agents.spool.spool import Spool

SPOOL = "spool"
"""Path and source of its place in the checkpoint; the offset there is the sequence that is read next."""
GROUPS_A_TURN = 8


class SpoolReader:
    """Gives what the intake's thread has committed."""

    finished = False
    watermark_ms = 0

    def __init__(self, spool: Spool, intake: Intake, spooled: Sequence[SpooledFiles] = ()) -> None:
        self._spool, self._intake, self._spooled = spool, intake, spooled

    @property
    def problems(self) -> dict[str, str]:
        """Source → why nothing comes from there."""
        return self._intake.problems

    def restore(self, files: Sequence[FileState]) -> None:
        """Goes on where `dump` was taken; without a checkpoint everything is given again."""
        for state in files:
            if state.source == SPOOL:
                self._spool.go_to(state.offset)

    def turn(self, now_ms: int) -> Iterator[list[Draft]]:
        """A few groups of events.

        Raises:
            RuaError: the intake's thread has ended.
        """
        del now_ms
        self._intake.start()
        if self._intake.failure is not None:
            raise RuaError(f"what feeds the spool has failed: {self._intake.failure!r}") from self._intake.failure
        for _ in range(GROUPS_A_TURN):
            if not (events := self._spool.read()):
                return
            yield events

    def dump(self) -> list[FileState]:
        """For the checkpoint."""
        return [FileState(path=SPOOL, source=SPOOL, offset=self._spool.cursor, stream={})]

    def acked(self, files: Sequence[FileState]) -> None:
        """Unlinks what the broker has."""
        for state in files:
            if state.source == SPOOL:
                self._spool.release(state.offset)

    def files(self) -> list[FileStatus]:
        """What waits on the disk, as a file that is read; and what is left of files that are spooled."""
        spool = self._spool
        waiting = FileStatus(str(spool.directory), SPOOL, None, 0, spool.unread_bytes, records=spool.unread)
        return [waiting, *(file for one in self._spooled for file in one.statuses)]

    def close(self) -> None:
        """Stops the intake; what it took is on the disk."""
        self._intake.stop()
        self._spool.close()
