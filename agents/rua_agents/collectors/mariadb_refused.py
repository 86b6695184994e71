"""Records that somebody wrote into MariaDB's audit log by the name that he sent.

Whoever reaches the port may send a name of several lines, password or not, and the server writes it as it is. Cut by
its own lines it can look like whole records. It is written twice, though: when the login is refused, and when the
connection ends. So what stands before both, byte for byte, came with the name. Numbers of real statements and
connections never repeat.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rua_agents.collectors.mariadb_lines import MOST_SERVER_BYTES, MOST_USER_BYTES, STAMP_BYTES, Line
from rua_agents.records import RawRecord

REACH_BYTES = MOST_USER_BYTES + MOST_SERVER_BYTES + 32
"""So far back a name can reach."""
HELD_BYTES = 2 * REACH_BYTES
"""So much more must be written before a record is out of reach, since a name is written twice."""
MAX_REFUSED, MAX_RECORD_BYTES = 100, 2_048


class Recent(msgspec.Struct, array_like=True):
    """A record in reach."""

    offset: int
    key: str
    """Recognises its bytes but for their time."""


class Refused(msgspec.Struct, omit_defaults=True):
    """What is remembered of refused logins; fit for the checkpoint."""

    recent: list[Recent] = msgspec.field(default_factory=list)
    """The records in reach, the latest first."""
    logins: dict[str, list[Recent]] = msgspec.field(default_factory=dict)
    """Connection that was refused → the records in reach of its name."""

    def forged_by(self, line: Line) -> list[int]:
        """Offsets of the records that came with the name of this one, which ends a refused connection."""
        if line.operation == "FAILED_CONNECT":
            self.logins[line.connection] = list(self.recent)
            while len(self.logins) > MAX_REFUSED:
                self.logins.pop(next(iter(self.logins)))
        if line.operation != "DISCONNECT" or line.connection not in self.logins:
            return []
        found: list[int] = []
        for one, again in zip(self.logins.pop(line.connection), self.recent, strict=False):
            if one.key != again.key:
                break
            found += [one.offset, again.offset]
        return found

    def note(self, record: RawRecord, key_of: Callable[[bytes], str]) -> None:
        """Keeps what a record looks like, and forgets those out of reach."""
        key = key_of(record.data[STAMP_BYTES : STAMP_BYTES + MAX_RECORD_BYTES])
        reach = [one for one in self.recent if one.offset >= record.offset - REACH_BYTES]
        self.recent = [Recent(record.offset, key), *reach]
