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
        self._lines: list[RawRecord] = []
        """Of the record that may go on: its first lines, as many as the limit lets through."""
        self._kept_bytes = self._count = self._end = 0
        self._cut = False

    @property
    def offset(self) -> int:
        """Where the first record starts that is not complete."""
        return self._lines[0].offset if self._lines else self._splitter.offset

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
            if not (self._lines and self._continues(line.data)):
                made += self._given()
            self._grow(line)
        return made

    def _grow(self, line: RawRecord) -> None:
        if self._kept_bytes < self._limit:
            self._lines.append(line)
        self._kept_bytes += len(line.data) + 1
        self._cut |= line.truncated or self._kept_bytes - 1 > self._limit
        self._count, self._end = self._count + 1, line.end

    def _given(self) -> list[RawRecord]:
        if not self._lines:
            return []
        data = b"\n".join([line.data for line in self._lines])[: self._limit]
        record = RawRecord(self._lines[0].offset, data, self._end, self._count, self._cut)
        self._lines, self._kept_bytes, self._count, self._cut = [], 0, 0, False
        return [record]
