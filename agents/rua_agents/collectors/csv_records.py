"""PostgreSQL's csvlog cut into records: a record ends at a newline outside quotes.

Where a quote was never closed (a torn write, a full disk), reading goes on at the next line that only a record can
begin with. Inside a quoted field every quote is doubled, so no statement can contain such a line: the quote that opens
a message stands alone.
"""

from __future__ import annotations

import re

from rua_agents.records import UTF8_BOM, RawRecord

_QUOTED = rb'(?:"(?:[^"]|""){0,600}")?'
_STAMP = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^,\"\n]{0,20}"
# time, user, database, pid, host:port, session, line, tag, session's start, vxid, txid, severity, SQLSTATE, message
_HEAD = re.compile(
    _STAMP
    + b"," + _QUOTED + b"," + _QUOTED + rb",\d+," + _QUOTED + rb",[0-9a-f]+\.[0-9a-f]+,\d+," + _QUOTED
    + b"," + _STAMP + rb",[-\d/]*,\d+,[^,\"]{1,20},[0-9A-Z]{5},(?=(\"+))"
)  # fmt: skip


def begins_record(line: bytes) -> bool:
    """Whether this line can only be the first of a record, wherever it stands."""
    found = _HEAD.match(line)
    return found is not None and len(found[1]) % 2 == 1 and _well_quoted(line)


def _well_quoted(line: bytes) -> bool:
    """Whether every quoted field stands between commas; the last one may go on in the next line."""
    outside = line.split(b'"')[2::2]
    if not outside:
        return True
    last = outside.pop() if line.count(b'"') % 2 == 0 else b","
    between = all(part == b"" or (part[:1] == b"," and part[-1:] == b",") for part in outside)
    return between and last.rstrip(b"\r")[:1] in (b"", b",")


class CsvSplitter:
    """Records of a csvlog file. What was torn or longer than the limit is `truncated`."""

    def __init__(self, offset: int, limit_bytes: int) -> None:
        self.offset = offset
        self._limit = limit_bytes
        self._record, self._line = bytearray(), bytearray()
        """Whole lines of the record, and the line that has no end yet: as much of both as the limit lets through."""
        self._record_bytes = self._line_bytes = self._line_quotes = self._lines = 0
        self._cut = False
        """Whether some of the record was beyond the limit."""
        self._open = False
        """Whether a quote is open at the end of the record's last line."""

    def feed(self, chunk: bytes) -> list[RawRecord]:
        """The records that these bytes complete."""
        *complete, rest = chunk.split(b"\n")
        records: list[RawRecord] = []
        for part in complete:
            self._grow(part)
            self._end_line(1, records)
        self._grow(rest)
        return records

    def settle(self) -> list[RawRecord]:
        """Nothing: a record is whole at its last line's end."""
        return []

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
        self._keep(self._line, part)
        self._line_bytes += len(part)
        self._line_quotes += part.count(b'"')

    def _keep(self, kept: bytearray, part: bytes | bytearray) -> None:
        space = self._limit - len(kept)
        kept += part[:space]
        self._cut |= len(part) > space

    def _end_line(self, end_bytes: int, records: list[RawRecord]) -> None:
        if self._open and begins_record(bytes(self._line)):
            records.append(self._taken())
        if self._record_bytes:
            self._keep(self._record, b"\n")
        self._keep(self._record, self._line)
        self._record_bytes += self._line_bytes + end_bytes
        self._open ^= self._line_quotes % 2 == 1
        self._lines += 1
        self._line.clear()
        self._line_bytes = self._line_quotes = 0
        if not self._open:
            records.append(self._taken())

    def _taken(self) -> RawRecord:
        """The record as it is; a new one begins."""
        data, start, self.offset = bytes(self._record), self.offset, self.offset + self._record_bytes
        if start == 0:
            data = data.removeprefix(UTF8_BOM)
        record = RawRecord(start, data.removesuffix(b"\r"), self.offset, self._lines, self._cut or self._open)
        self._record.clear()
        self._record_bytes = self._lines = 0
        self._cut = self._open = False
        return record
