"""Bytes into records, however the bytes are cut.

A splitter is pure: it is fed chunks in order and gives records. It holds no state that a checkpoint must keep: reading
starts again at the record that was not complete.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from rua_common.errors import RuaError

DEFAULT_LIMIT_BYTES = 1 << 20
LEAST_LIMIT_BYTES, MOST_LIMIT_BYTES = 1 << 10, 1 << 28
"""A shorter limit cuts ordinary records; a longer one lets a single line fill the memory."""
UTF8_BOM = b"\xef\xbb\xbf"
_UNREADABLE = {
    b"\xff\xfe": "UTF-16 little-endian",
    b"\xfe\xff": "UTF-16 big-endian",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5": "zstd",
}


class UnsupportedFile(RuaError):
    """This file can never be read: its encoding is not UTF-8. Nothing of it is taken; the person must change it."""


class RawRecord(NamedTuple):
    """One record as it stands in its file."""

    offset: int
    """Where it starts, in bytes."""
    data: bytes
    """Its bytes without the line's end; only the first `limit` of them if it is longer."""
    end: int
    """Where the next record starts."""
    lines: int = 1
    """How many physical lines it has."""
    truncated: bool = False
    """Whether it was longer than the limit."""


class Splitter(Protocol):
    """Cuts a stream of bytes by its format's own grammar."""

    @property
    def offset(self) -> int:
        """Where the first record starts that is not complete."""
        ...

    def feed(self, chunk: bytes) -> list[RawRecord]:
        """The records that these bytes complete."""
        ...

    def settle(self) -> list[RawRecord]:
        """What is whole as it stands, although only the next record would prove it: the file has been silent.

        Its last line has its end. Offset and bytes are those that it would have if the next record had come.
        """
        ...

    def finish(self) -> list[RawRecord]:
        """What is left when nothing more will come."""
        ...


class LineSplitter:
    """One record a line. A run of NUL bytes before a record (a hole after copytruncate or a power cut) is skipped."""

    def __init__(self, offset: int = 0, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.offset = offset
        self._limit = limit_bytes
        self._pending = bytearray()
        self._dropped = 0

    def feed(self, chunk: bytes) -> list[RawRecord]:
        """The records that these bytes complete."""
        *complete, rest = chunk.split(b"\n")
        records = [self._record(line, 1) for line in complete[:1]]
        if b"\0" in chunk or b"\r" in chunk or len(chunk) > self._limit:
            records += [self._record(line, 1) for line in complete[1:]]
        else:
            records += self._plain(complete[1:])
        self._keep(rest)
        return records

    @property
    def pending(self) -> bool:
        """Whether a line has begun that has no end yet."""
        return bool(self._pending or self._dropped)

    def _plain(self, lines: list[bytes]) -> list[RawRecord]:
        """Whole lines, none of them long or odd, after one that has begun before."""
        start, made, new = self.offset, [], tuple.__new__
        for line in lines:
            end = start + len(line) + 1
            made.append(new(RawRecord, (start, line, end, 1, False)))
            start = end
        self.offset = start
        return made

    def settle(self) -> list[RawRecord]:
        """Nothing: a line is whole at its end."""
        return []

    def finish(self) -> list[RawRecord]:
        """The last line, which has no end of its own."""
        return [self._record(b"", 0)] if self.pending else []

    def _record(self, line: bytes, end_bytes: int) -> RawRecord:
        if self._pending or line[:1] == b"\0" or len(line) > self._limit:
            self._keep(line)
            line = bytes(self._pending)
        start, self.offset = self.offset, self.offset + len(line) + self._dropped + end_bytes
        truncated = self._dropped > 0
        if self._pending:
            self._pending, self._dropped = bytearray(), 0
        if start == 0 and line.startswith(UTF8_BOM):
            line = line[len(UTF8_BOM) :]
        return RawRecord(start, line.removesuffix(b"\r"), self.offset, 1, truncated)

    def _keep(self, part: bytes) -> None:
        if not self._pending and part[:1] == b"\0":
            whole = len(part)
            part = part.lstrip(b"\0")
            self.offset += whole - len(part)
        space = self._limit - len(self._pending)
        self._pending += part[:space]
        self._dropped += max(0, len(part) - space)


def check_encoding(head: bytes) -> None:
    """Refuses a file by its first bytes.

    Raises:
        UnsupportedFile: UTF-16 or compressed, in another way than gzip or twice. Silence would be worse.
    """
    found = _UNREADABLE.get(head[:2])
    if found:
        raise UnsupportedFile(
            f"unsupported encoding: {found}; Rua reads UTF-8, also inside of gzip. Let the source write that"
        )
