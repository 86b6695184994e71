"""PostgreSQL's stderr log cut into reports: a line with a prefix, its further lines, and DETAIL, CONTEXT and the like.

A line that begins with TAB goes on with the text before it. A line of DETAIL, HINT, QUERY, CONTEXT, LOCATION or
STATEMENT belongs to the report before it if both have the same prefix, byte for byte. All else begins a report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rua_agents.blocks import BlockSplitter
from rua_agents.collectors.log_prefix import ADDITIONS, TIMES, Head, Prefix, Reading
from rua_agents.collectors.pgaudit import is_unmistakable

_END_OF_TEXT = re.compile(rb"\n(?!\t)")


class Report:
    """One report, read by its prefix."""

    def __init__(self, prefix: Prefix, data: bytes) -> None:
        self._prefix, self._data = prefix, data
        self._head = prefix.head(data)
        mains = [one for one in self._head.readings if one.severity not in ADDITIONS]
        self._readings = mains or self._head.readings
        told = mains if len(mains) == 1 else [one for one in mains if self._is_audit(one)]
        self._told = next(iter(told), None)
        self.reading = self._told or next(iter(self._readings), None)
        """The way to read it: the only one, or the first that is without doubt pgaudit's; None if there is none."""

    @property
    def message(self) -> bytes:
        """What it says; nothing if a name makes it say several things, or if it adds to a report that is not there."""
        return self._text(self._told) if self._told else b""

    def _is_audit(self, reading: Reading) -> bool:
        return is_unmistakable(self._text(reading).decode("utf-8", "replace"))

    def _text(self, reading: Reading) -> bytes:
        end = _END_OF_TEXT.search(self._data, reading.message)
        return self._data[reading.message : end.start() if end else len(self._data)].replace(b"\n\t", b"\n")

    def fields(self) -> dict[str, bytes]:
        """What the prefix tells, however the line is read.

        Of an AUDIT record that may be the text of a later severity's prefix only the time is believed: a name with a
        line feed in it can begin such a line.
        """
        first, *others = [self._head.fields(one).items() for one in self._readings]
        found = dict(first & set.intersection(*map(set, others))) if others else dict(first)
        if self._told is None or self._told is self._readings[-1]:
            return found
        return {escape: text for escape, text in found.items() if escape in TIMES}

    def people(self) -> list[tuple[bytes, bytes]]:
        """Every user with every database that the prefix may name."""
        return self._prefix.people(self._head, self._told) if self._told else []

    def fields_with(self, user: bytes, database: bytes) -> dict[str, bytes]:
        """What the prefix tells, if it is known whose session it is."""
        told = self._prefix.fields_with(self._head, self._told, user, database) if self._told else {}
        return self.fields() | told

    def may_say(self, beginnings: tuple[bytes, ...]) -> bool:
        """Whether it can be read so that its message begins so."""
        return any(self._data.startswith(beginnings, one.message) for one in self._readings)

    def continues(self, line: bytes) -> bytes | None:
        """Which addition to this report the line is, or None."""
        if self.reading is None or not self._prefix.may_add(line):
            return None
        key, other = self._head.key(self.reading), self._prefix.head(line)
        found = (one.severity for one in _additions(other) if other.key(one) == key)
        return next(found, None)

    def additions(self) -> set[bytes]:
        """The kinds of lines that this report has beside its message."""
        end = _END_OF_TEXT.search(self._data, self.reading.message) if self.reading else None
        if end is None:
            return set()
        lines = self._data[end.end() :].split(b"\n")
        return {found for line in lines if line[:1] != b"\t" and (found := self.continues(line))}


def _additions(head: Head) -> Iterator[Reading]:
    return (one for one in head.readings if one.severity in ADDITIONS)


class ReportSplitter(BlockSplitter):
    """Reports of a stderr log. A report is whole when the next one begins, or when the file falls silent."""

    def __init__(self, offset: int, limit_bytes: int, prefix: Prefix) -> None:
        super().__init__(offset, limit_bytes, self._belongs)
        self._prefix = prefix
        self._main: tuple[int, Report] | None = None
        """Where the report starts to which lines were added, and its main line."""

    def _belongs(self, line: bytes) -> bool:
        """Whether a line belongs to the report that is being read."""
        if line[:1] == b"\t":
            return True
        if len(self.begun) < self._prefix.longest and self._prefix.unfinished(bytes(self.begun)):
            return True
        if not self._prefix.may_add(line):
            return False
        if self._main is None or self._main[0] != self.offset:
            self._main = self.offset, Report(self._prefix, bytes(self.begun))
        return self._main[1].continues(line) is not None
