"""Walks many Avro records at once, without decoding them, and tells which are beyond doubt.

A record is beyond doubt if it is in the one canonical encoding of its value and ends exactly where it should. All rows
take each step together: a handful of numpy operations a field, whatever the number of rows. What a step cannot judge
cheaply (very large numbers, long arrays) it doubts; the caller looks at doubtful rows one by one. Text is not checked
here for being UTF-8.

Positions only grow, so a row that runs past its end cannot come back to it by chance. Behind the data is its last byte
again, however far a length leads. At least 8 bytes must follow the last row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Indexes = NDArray[np.intp]

MOST_ITEMS = 16  # an item costs a step of its own; longer arrays are read one by one
MOST_SYMBOLS = 64  # an enum's index is then a single byte
WORD_BYTES = 8
TOP_BITS = np.uint64(0x8080_8080_8080_8080)
TOP_OF_FIRST = np.uint64(0x80)
ONE, SEVEN = np.uint64(1), np.uint64(7)
MOST_LENGTH = np.uint64(0xFFFF_FFFF)  # a length of up to 4 bytes: no message is 128 MB long
BEYOND_INT = np.uint64(0x10 << 32)  # a varint's fifth byte holds bits 28 to 34; an int has 32


class Data:
    """The bytes of all rows, and the same bytes as a 64-bit word at every position. Beyond the end is the last one."""

    def __init__(self, file: bytes) -> None:
        self.bytes: Bytes = np.frombuffer(file, np.uint8)
        self.words: Words = np.ndarray((len(file) - WORD_BYTES + 1,), "<u8", file, strides=(1,))


class Rows:
    """Where each row stands, and whether it is in doubt (not 0)."""

    __slots__ = ("data", "doubt", "pos")

    def __init__(self, data: Data, pos: Positions, doubt: Bytes) -> None:
        self.data, self.pos, self.doubt = data, pos, doubt

    def byte(self) -> Bytes:
        """The byte at which each row stands, which it passes."""
        byte = self.data.bytes.take(self.pos, mode="clip")
        self.pos = self.pos + 1
        return byte

    def some(self, step: Step, which: Indexes) -> None:
        """Some of the rows take a step."""
        part = Rows(self.data, self.pos[which], self.doubt[which])
        step(part)
        self.pos[which], self.doubt[which] = part.pos, part.doubt


Step = Callable[[Rows], None]


def doubtful(step: Step, data: Data, starts: Positions, ends: Positions) -> NDArray[np.bool_]:
    """Which rows are not, for sure, exactly one canonical record from start to end."""
    rows = Rows(data, starts, np.zeros(len(starts), np.uint8))
    step(rows)
    doubts: NDArray[np.bool_] = (rows.doubt != 0) | (rows.pos != ends)
    return doubts


def compiled(avro: Any) -> Step:
    """The step over a value of this type; `avro` is plain (see `released.plain`)."""
    if isinstance(avro, list):
        (inner,) = [one for one in avro if one != "null"]
        return _nullable(compiled(inner), present=2 * avro.index(inner))
    kind = avro["type"] if isinstance(avro, Mapping) else avro
    if kind == "record":
        return _record([compiled(f["type"]) for f in avro["fields"]])
    if kind == "array":
        return _array(compiled(avro["items"]))
    if kind == "enum":
        return _enum(len(avro["symbols"]))
    return _PRIMITIVES[kind]


def _record(steps: Sequence[Step]) -> Step:
    def step(rows: Rows) -> None:
        for one in steps:
            one(rows)

    return step


def _nullable(inner: Step, *, present: int) -> Step:
    def step(rows: Rows) -> None:
        branch = rows.byte()
        rows.doubt |= branch & 0xFD  # neither 0 nor 2, as branches 0 and 1 are written
        which = np.flatnonzero(branch == present)
        if which.size == branch.size:
            inner(rows)
        elif which.size:
            rows.some(inner, which)

    return step


def _array(item: Step) -> Step:
    def end(rows: Rows) -> None:
        rows.doubt |= rows.byte()  # no second block

    def step(rows: Rows) -> None:
        count = rows.byte()
        rows.doubt |= (count & 1) | (count > 2 * MOST_ITEMS)
        left = np.minimum(count >> 1, MOST_ITEMS)
        for k in range(int(left.max(initial=0))):
            rows.some(item, np.flatnonzero(left > k))
        rows.some(end, np.flatnonzero(count))

    return step


def _enum(symbols: int) -> Step:
    wrong = np.ones(256, np.uint8)
    if symbols <= MOST_SYMBOLS:
        wrong[0 : 2 * symbols : 2] = 0

    def step(rows: Rows) -> None:
        rows.doubt |= wrong[rows.byte()]

    return step


def _boolean(rows: Rows) -> None:
    rows.doubt |= rows.byte() > 1


def _fixed(size: int) -> Step:
    def step(rows: Rows) -> None:
        rows.pos = rows.pos + size

    return step


def _varint(rows: Rows) -> Words:
    """The raw bytes of a varint of up to 8 bytes, low byte first. Rows pass it."""
    word = rows.data.words[np.minimum(rows.pos, len(rows.data.words) - 1)]
    stops = ~word & TOP_BITS  # a clear top bit ends it
    last = stops & (~stops + ONE)
    below = last - ONE
    raw: Words = word & below
    rows.doubt |= stops == 0  # longer than 8 bytes
    rows.doubt |= (raw < last >> SEVEN) & (last > TOP_OF_FIRST)  # its last byte adds nothing
    rows.pos = rows.pos + ((np.bitwise_count(below) + 1) >> 3)
    return raw


def _long(rows: Rows) -> None:
    _varint(rows)


def _int(rows: Rows) -> None:
    rows.doubt |= _varint(rows) >= BEYOND_INT


def _text(rows: Rows) -> None:
    """Strings and bytes: a length, then as many bytes."""
    start = rows.pos
    length = rows.byte()
    rows.doubt |= length & 1  # negative
    rows.pos += length >> 1
    which = np.flatnonzero(length & 0x80)
    if which.size:
        rows.pos[which] = start[which]
        rows.some(_long_text, which)


def _long_text(rows: Rows) -> None:
    raw = _varint(rows)
    rows.doubt |= raw > MOST_LENGTH
    length = np.zeros(len(raw), np.uint64)
    for k in range(4):
        length |= raw >> np.uint64(k) & np.uint64(0x7F << 7 * k)
    rows.pos = rows.pos + (length >> ONE).astype(np.int64)


_PRIMITIVES: Mapping[str, Step] = {
    "null": _fixed(0),
    "boolean": _boolean,
    "int": _int,
    "long": _long,
    "float": _fixed(4),
    "double": _fixed(8),
    "string": _text,
    "bytes": _text,
}
