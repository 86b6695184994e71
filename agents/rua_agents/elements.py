"""The objects of JSON arrays that grow and may never be closed: `[`, `{…},` …, as audit logs write them.

A record is one whole object. Brackets in strings count for nothing, objects may span lines or share one, a file may
hold several arrays. No state is needed to start at any object's offset or end.

What breaks JSON's grammar ends its record there, so that one torn object does not swallow the file: JSON has no raw
line's end in a string, and inside of an object every opening brace follows a colon. Text that stands between objects
is a record too, to be counted as what cannot be read.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from rua_agents.records import DEFAULT_LIMIT_BYTES, RawRecord

MAX_DEPTH = 512
QUOTE, BACKSLASH, COLON, OPEN, CLOSE = b'"\\:{}'
# what may stand between two objects of an array; NULs and a BOM do no harm there
_BETWEEN = re.compile(rb"[\s,\[\]\0\xef\xbb\xbf]*+")
# inside of an object: all but brackets, and strings that this chunk does not close
_PLAIN = re.compile(rb"(?:[\s,0-9eE+\-.truefalsn]++|\"(?:[^\"\\\n]++|\\[^\n])*+\"|:(?!\s*+\{))*+")
_MEMBER = re.compile(rb":\s*+\{")
_BLANK = re.compile(rb"\s*+")
_IN_STRING = re.compile(rb"(?:[^\"\\\n]++|\\[^\n])*+")
_STRAY = re.compile(rb"[^{\n]*+")
_ENCLOSING = re.compile(rb"[^{}\"]*+")
_OPENED_BY = {ord("}"): ord("{"), ord("]"): ord("[")}


class _Where(Enum):
    BETWEEN = auto()
    OBJECT = auto()
    STRING = auto()
    STRAY = auto()
    OUTER_STRING = auto()


class ElementSplitter:
    """Cuts bytes at the objects of arrays.

    Args:
        offset: where reading starts: 0, or the offset or the end of a record.
        limit_bytes: so many of a record are kept; the rest is passed over.
        levels: how many objects enclose the arrays: 1 for `{"Records": [ … ]}`. Other values of these are not read.
        rewritten: whether the writer puts the next object over the brackets that closed the enclosing ones.
    """

    def __init__(
        self,
        offset: int = 0,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        levels: int = 0,
        *,
        rewritten: bool = False,
    ) -> None:
        self.offset = offset
        self._limit, self._levels, self._rewritten = limit_bytes, levels, rewritten
        self._outside = 0 if offset else levels
        """How many braces open before one is an element's."""
        self._chunk_at = offset
        self._escaped = False
        """Whether the last chunk ended between a backslash and what it escapes."""
        self._begin(offset, _Where.BETWEEN)

    def feed(self, chunk: bytes) -> list[RawRecord]:
        """The records that these bytes complete."""
        made, at = [], 0
        while at < len(chunk):
            if self._where in (_Where.BETWEEN, _Where.OUTER_STRING):
                at = self._between(chunk, at)
                continue
            end, complete = (self._stray if self._where is _Where.STRAY else self._object)(chunk, at)
            self._kept += chunk[at : min(end, at + self._limit - len(self._kept))]
            self._length += end - at
            at = end
            if complete:
                made.append(self._record())
        self._chunk_at += len(chunk)
        return made

    def settle(self) -> list[RawRecord]:
        """Nothing: an object proves itself whole."""
        return []

    def finish(self) -> list[RawRecord]:
        """An object that nobody closed."""
        return [self._record()] if self._length else []

    def _begin(self, start: int, where: _Where) -> None:
        self._start, self._where, self._length = start, where, 0
        self._kept, self._open, self._after_colon = bytearray(), bytearray(), False

    def _record(self) -> RawRecord:
        data, length, start = bytes(self._kept), self._length, self._start
        self.offset = start + length
        self._begin(self.offset, _Where.BETWEEN)
        return RawRecord(start, data, self.offset, data.count(b"\n") + 1, length > len(data))

    def _between(self, chunk: bytes, at: int) -> int:
        """Passes over what belongs to no record; how far it came."""
        if self._where is _Where.OUTER_STRING:
            at, closed = self._string(chunk, at)
            self._where = self._where if at == len(chunk) and not closed else _Where.BETWEEN
            return at
        enclosed = self._outside < self._levels
        at = _end(_ENCLOSING if enclosed else _BETWEEN, chunk, at)
        if self._outside == 0 and not self._rewritten:
            self.offset = self._chunk_at + at
        if at == len(chunk):
            return at
        byte = chunk[at]
        if byte == OPEN and self._outside:
            self._outside -= 1
            return at + 1
        if byte == CLOSE and enclosed:
            self._outside += not self._rewritten
            return at + 1
        if byte == QUOTE and enclosed:
            self._where = _Where.OUTER_STRING
            return at + 1
        self._begin(self._chunk_at + at, _Where.OBJECT if byte == OPEN else _Where.STRAY)
        return at

    def _stray(self, chunk: bytes, at: int) -> tuple[int, bool]:
        """To the line's end or the next object."""
        end = _end(_STRAY, chunk, at)
        return end, end < len(chunk)

    def _object(self, chunk: bytes, at: int) -> tuple[int, bool]:
        """How far these bytes belong to the object, and whether it ends there."""
        if self._where is _Where.STRING:
            at, closed = self._string(chunk, at)
            if not closed:
                return at, at < len(chunk)
            self._where = _Where.OBJECT
        if self._after_colon:
            at = _end(_BLANK, chunk, at)
            self._after_colon = at == len(chunk)
            if chunk[at : at + 1] == b"{":
                self._open.append(OPEN)
                at += 1
        while at < len(chunk):
            start, at = at, _end(_PLAIN, chunk, at)
            if at == len(chunk):
                self._after_colon = chunk[start:].rstrip().endswith(b":")
            elif chunk[at] == QUOTE:
                self._where = _Where.STRING
                at, _ = self._string(chunk, at + 1)
                return at, at < len(chunk)
            else:
                at, complete = self._bracket(chunk, at)
                if complete:
                    return at, True
        return at, False

    def _bracket(self, chunk: bytes, at: int) -> tuple[int, bool]:
        """Behind this bracket and whether it ends the object; what is none, or stands where none may, ends it too."""
        byte = chunk[at]
        if byte in b"}]":
            matches = self._open.pop() == _OPENED_BY[byte]
            return at + 1, not matches or not self._open
        if byte == COLON:
            byte, behind = OPEN, _end(_MEMBER, chunk, at)
        else:
            behind = at + 1
            if byte not in b"{[" or (byte == OPEN and self._open[-1:] == b"{"):
                return at, True
        if len(self._open) == MAX_DEPTH:
            return at, True
        self._open.append(byte)
        return behind, False

    def _string(self, chunk: bytes, at: int) -> tuple[int, bool]:
        """Behind the string's closing quote, or where it breaks or the chunk ends."""
        if self._escaped and chunk[at : at + 1] != b"\n":
            at += 1
        self._escaped = False
        at = _end(_IN_STRING, chunk, at)
        if at == len(chunk):
            return at, False
        if chunk[at] == BACKSLASH and at + 1 == len(chunk):
            self._escaped = True
            return len(chunk), False
        closed = chunk[at] == QUOTE
        return at + closed, closed


def _end(pattern: re.Pattern[bytes], chunk: bytes, at: int) -> int:
    """Where the match of a pattern that may be empty ends."""
    found = pattern.match(chunk, at)
    return found.end() if found else at
