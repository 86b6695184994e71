"""PostgreSQL's stderr log cut into reports: a line with a prefix, its further lines, and DETAIL, CONTEXT and the like.

A line that begins with TAB goes on with the text before it. A line of DETAIL, HINT, QUERY, CONTEXT, LOCATION or
STATEMENT belongs to the report before it if both have the same prefix, byte for byte. All else begins a report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rua_agents.collectors.log_prefix import ADDITIONS, Head, Prefix, Reading
from rua_agents.collectors.pgaudit import is_unmistakable
from rua_agents.records import UTF8_BOM, RawRecord

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
        """What the prefix tells, however the line is read."""
        first, *others = [self._head.fields(one).items() for one in self._readings]
        return dict(first & set.intersection(*map(set, others))) if others else dict(first)

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


class ReportSplitter:
    """Reports of a stderr log. A report is whole when the next one begins, or when the file falls silent."""

    def __init__(self, offset: int, limit_bytes: int, prefix: Prefix) -> None:
        self.offset = offset
        self._limit, self._prefix = limit_bytes, prefix
        self._record, self._line = bytearray(), bytearray()
        """Whole lines of the report, and the line that has no end yet: as much of both as the limit lets through."""
        self._record_bytes = self._line_bytes = self._lines = 0
        self._cut = self._line_cut = False

    def feed(self, chunk: bytes) -> list[RawRecord]:
        """The reports that these bytes complete."""
        *complete, rest = chunk.split(b"\n")
        records: list[RawRecord] = []
        for part in complete:
            self._grow(part)
            self._end_line(1, records)
        self._grow(rest)
        return records

    def settle(self) -> list[RawRecord]:
        """The last report: nothing that belongs to it is written later than at once."""
        return [self._taken()] if self._record_bytes and not self._line_bytes else []

    def finish(self) -> list[RawRecord]:
        """What is left when nothing more will come."""
        records: list[RawRecord] = []
        if self._line_bytes:
            self._end_line(0, records)
        if self._record_bytes:
            records.append(self._taken())
        return records

    def _grow(self, part: bytes) -> None:
        if not self._line_bytes and not self._record_bytes and part[:1] == b"\0":
            whole = len(part)  # a hole after copytruncate or a power cut
            part = part.lstrip(b"\0")
            self.offset += whole - len(part)
        space = self._limit - len(self._line)
        self._line += part[:space]
        self._line_bytes += len(part)
        self._line_cut |= len(part) > space

    def _end_line(self, end_bytes: int, records: list[RawRecord]) -> None:
        line = bytes(self._line)
        if self._record_bytes and not self._belongs(line):
            records.append(self._taken())
        if self._record_bytes:
            line = b"\n" + line
        space = self._limit - len(self._record)
        self._record += line[:space]
        self._cut |= self._line_cut or len(line) > space
        self._record_bytes += self._line_bytes + end_bytes
        self._lines += 1
        self._line.clear()
        self._line_bytes, self._line_cut = 0, False

    def _belongs(self, line: bytes) -> bool:
        if line[:1] == b"\t" or (len(self._record) < self._prefix.longest and self._unfinished()):
            return True
        if not self._prefix.may_add(line):
            return False
        return Report(self._prefix, bytes(self._record)).continues(line) is not None

    def _unfinished(self) -> bool:
        return self._prefix.unfinished(bytes(self._record))

    def _taken(self) -> RawRecord:
        """The report as it is; a new one begins."""
        data, start, self.offset = bytes(self._record), self.offset, self.offset + self._record_bytes
        if start == 0:
            data = data.removeprefix(UTF8_BOM)
        record = RawRecord(start, data.removesuffix(b"\r"), self.offset, self._lines, self._cut)
        self._record.clear()
        self._record_bytes = self._lines = 0
        self._cut = False
        return record
