"""Typed records to Avro, at half of fastavro's cost: the agent runs on the platform's machines.

Each field's type is compiled once to a function from value to bytes. A value of another type is refused by whatever it
cannot do (`None.encode`, `1.5 << 1`), not by a check of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Mapping, Sequence
from operator import attrgetter
from typing import Any

Write = Callable[[Any], bytes]

MOST_INT, MOST_LONG, LEAST_LONG = 2**31 - 1, 2**63 - 1, -(2**63)
BYTE = [bytes([value]) for value in range(256)]
END_OF_ITEMS = BYTE[0]
PAIR_BITS, PAIR_MASK = 14, (1 << 14) - 1
MORE = [bytes((pair & 0x7F | 0x80, pair >> 7 | 0x80)) for pair in range(PAIR_MASK + 1)]
LAST = [*BYTE[:0x80], *(bytes((pair & 0x7F | 0x80, pair >> 7)) for pair in range(0x80, PAIR_MASK + 1))]
SHORT = 64  # a length below this is one byte
REMEMBERED, REMEMBERED_BYTES = 1 << 11, 1 << 10
"""How many pieces of how many bytes are kept for each set of adjacent fields: a few megabytes at the very most."""


class _Tops(dict[int, bytes]):
    """What stands above the two lowest pairs of bytes: of times and positions it changes once in minutes."""

    def __missing__(self, unsigned: int) -> bytes:
        made = b""
        rest = unsigned
        while rest > 0x7F:
            made += BYTE[rest & 0x7F | 0x80]
            rest >>= 7
        made += BYTE[rest]
        if len(self) >= REMEMBERED:
            self.clear()
        self[unsigned] = made
        return made


_TOPS = _Tops()


def varint(unsigned: int) -> bytes:
    """Seven bits a byte, low ones first, the top bit says that more follow; two bytes at a time from tables."""
    if unsigned <= PAIR_MASK:
        return LAST[unsigned]
    above = unsigned >> PAIR_BITS
    if above <= PAIR_MASK:
        return MORE[unsigned & PAIR_MASK] + LAST[above]
    return MORE[unsigned & PAIR_MASK] + MORE[above & PAIR_MASK] + _TOPS[above >> PAIR_BITS]


def long(value: int) -> bytes:
    """Zigzag, so that small negative numbers are short too.

    Raises:
        OverflowError: beyond 64 bits.
    """
    if not LEAST_LONG <= value <= MOST_LONG:
        raise OverflowError("does not fit into 64 bits")
    unsigned = (value << 1) ^ (value >> 63)
    if unsigned <= PAIR_MASK:  # `varint` once more: a call less for every number
        return LAST[unsigned]
    above = unsigned >> PAIR_BITS
    if above <= PAIR_MASK:
        return MORE[unsigned & PAIR_MASK] + LAST[above]
    return MORE[unsigned & PAIR_MASK] + MORE[above & PAIR_MASK] + _TOPS[above >> PAIR_BITS]


def compiled(avro: Any) -> Write:
    """How a value of this plain Avro type is written; records are objects with attributes."""
    if isinstance(avro, list):
        return _nullable(avro)
    kind = avro["type"] if isinstance(avro, Mapping) else avro
    if kind == "record":
        return _record(avro)
    if kind == "array":
        return _array(compiled(avro["items"]))
    if kind == "enum":
        return {symbol: long(index) for index, symbol in enumerate(avro["symbols"])}.__getitem__
    return _PRIMITIVES[kind]


def _record(avro: Mapping[str, Any]) -> Write:
    names = [field["name"] for field in avro["fields"]]
    values = attrgetter(*names)
    writes = [compiled(field["type"]) for field in avro["fields"]]

    def write(record: Any) -> bytes:
        try:
            return b"".join([write(value) for write, value in zip(writes, values(record), strict=True)])
        except (TypeError, ValueError, OverflowError, KeyError, AttributeError) as why:
            raise ValueError(_first_wrong(names, writes, record)) from why

    return write


def adjacent(fields: Sequence[Mapping[str, Any]], apart: Container[str] = ()) -> Write:
    """How these fields of a record, which stand side by side, are written: what repeats is written once.

    Texts, flags, symbols and arrays that stand side by side and change together are remembered as one piece of bytes.

    Args:
        fields: name and plain Avro type of each, in order.
        apart: names of fields that seldom repeat: each is written by itself.
    """
    plainly = _record({"fields": fields})
    steps: list[tuple[Callable[[Any], Any], Write]] = []
    for together in _pieces(fields, apart):
        names = [field["name"] for field in together]
        writes = [compiled(field["type"]) for field in together]
        get = attrgetter(*names)
        steps.append((get, writes[0]) if len(together) == 1 else (get, Pieces(writes).__getitem__))

    def write(record: Any) -> bytes:
        try:
            return b"".join([write(get(record)) for get, write in steps])
        except (TypeError, ValueError, OverflowError, KeyError, AttributeError):
            return plainly(record)  # names the field, or takes what only cannot be remembered, such as a list

    return write


def _pieces(fields: Sequence[Mapping[str, Any]], apart: Container[str]) -> list[list[Mapping[str, Any]]]:
    made: list[list[Mapping[str, Any]]] = []
    joins = False
    for field in fields:
        repeats = field["name"] not in apart and _repeats(field["type"])
        if joins and repeats:
            made[-1].append(field)
        else:
            made.append([field])
        joins = repeats
    return made


def _repeats(avro: Any) -> bool:
    """Whether equal values of this type have equal bytes and tend to come again: numbers do not (0.0 equals -0.0)."""
    if isinstance(avro, list):
        return all(one == "null" or _repeats(one) for one in avro)
    if isinstance(avro, str):
        return avro in ("string", "boolean")
    parts = [field["type"] for field in avro.get("fields", ())] or [avro.get("items", "string")]
    return all(map(_repeats, parts))


class Pieces(dict[tuple[Any, ...], bytes]):
    """Values of adjacent fields → their bytes, made when they are asked for."""

    def __init__(self, writes: Sequence[Write]) -> None:
        self._writes = writes

    def __missing__(self, values: tuple[Any, ...]) -> bytes:
        made = b"".join([write(value) for write, value in zip(self._writes, values, strict=True)])
        if len(made) <= REMEMBERED_BYTES:
            if len(self) >= REMEMBERED:
                self.clear()
            self[values] = made
        return made


def _first_wrong(names: list[str], writes: list[Write], record: Any) -> str:
    """Which field it was, without the value: it may be personal data."""
    for name, write in zip(names, writes, strict=True):
        value = getattr(record, name, None)
        try:
            write(value)
        except OverflowError as why:
            return f"{name} {why}"
        except ValueError as why:
            return f"{name}: {why}" if not isinstance(why, UnicodeError) else f"{name} is not well-formed Unicode"
        except (TypeError, KeyError, AttributeError):
            return f"{name} cannot hold this {type(value).__name__}"
    return "the record lacks a field"


def _nullable(avro: list[Any]) -> Write:
    inner = compiled(next(one for one in avro if one != "null"))
    null, present = BYTE[2 * avro.index("null")], BYTE[2 - 2 * avro.index("null")]
    return lambda value: null if value is None else present + inner(value)


def _array(item: Write) -> Write:
    def write(values: Any) -> bytes:
        count = len(values)
        return varint(2 * count) + b"".join(map(item, values)) + END_OF_ITEMS if count else END_OF_ITEMS

    return write


def _text(value: str) -> bytes:
    octets = value.encode()
    size = len(octets)
    return (BYTE[2 * size] if size < SHORT else varint(2 * size)) + octets


def _octets(value: bytes) -> bytes:
    size = len(value)
    return (BYTE[2 * size] if size < SHORT else varint(2 * size)) + value


def _bytes(value: bytes) -> bytes:
    return _octets(bytes(memoryview(value)))


def _int(value: int) -> bytes:
    if not -MOST_INT - 1 <= value <= MOST_INT:
        raise OverflowError("does not fit into 32 bits")
    return varint((value << 1) ^ (value >> 31))


_PRIMITIVES: Mapping[str, Write] = {
    "boolean": {False: BYTE[0], True: BYTE[1]}.__getitem__,
    "int": _int,
    "long": long,
    "double": struct.Struct("<d").pack,
    "string": _text,
    "bytes": _bytes,
}
