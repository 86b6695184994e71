"""Records of several lines, where each line tells whether it goes on with the one before."""

from __future__ import annotations

from collections.abc import Callable

from rua_agents.records import LineSplitter, RawRecord

Continues = Callable[[bytes], bool]


class BlockSplitter:
    """A line that does not go on with the record before it begins the next one.

    Args:
        offset: where reading starts: 0, or the offset or the end of a record.
        limit_bytes: so many of a record are kept; the rest is passed over.
        continues: whether a line goes on with the record before it.
    """

    def __init__(self, offset: int, limit_bytes: int, continues: Continues) -> None:
        self._splitter = LineSplitter(offset, limit_bytes)
        self._limit, self._continues = limit_bytes, continues
        self.begun = bytearray()
        """Of the record that may go on, as much as the limit lets through. Lines of one byte are costly to keep."""
        self._start = self._count = self._end = 0
        self._cut = False

    @property
    def offset(self) -> int:
        """Where the first record starts that is not complete."""
        return self._start if self._count else self._splitter.offset

    def feed(self, chunk: bytes) -> list[RawRecord]:
        """The records that these bytes complete."""
        return self._blocks(self._splitter.feed(chunk))

    def settle(self) -> list[RawRecord]:
        """The last record, unless a further line of it has begun."""
        return [] if self._splitter.pending else self._given()

    def finish(self) -> list[RawRecord]:
        """What is left when nothing more will come."""
        return self._blocks(self._splitter.finish()) + self._given()

    def _blocks(self, lines: list[RawRecord]) -> list[RawRecord]:
        made = []
        for line in lines:
            if not (self._count and self._continues(line.data)):
                made += self._given()
            self._grow(line)
        return made

    def _grow(self, line: RawRecord) -> None:
        data = line.data
        if self._count:
            data = b"\n" + data
        else:
            self._start = line.offset
        space = self._limit - len(self.begun)
        self.begun += data[:space]
        self._cut |= line.truncated or len(data) > space
        self._count, self._end = self._count + 1, line.end

    def _given(self) -> list[RawRecord]:
        if not self._count:
            return []
        record = RawRecord(self._start, bytes(self.begun), self._end, self._count, self._cut)
        self.begun.clear()
        self._count, self._cut = 0, False
        return [record]
