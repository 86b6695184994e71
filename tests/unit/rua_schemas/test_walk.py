"""The walk over many records at once: beyond doubt is only what is canonical and ends where it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rua_schemas.walk import MOST_ITEMS, Data, compiled, doubtful

TEXTS = {"type": "array", "items": "string"}
PAIRS = {"type": "array", "items": {"type": "record", "name": "P", "fields": [{"name": "k", "type": "long"}]}}
THREE = {"type": "enum", "name": "E", "symbols": ["a", "b", "c"]}
MAYBE = ["null", "string"]
MAYBE_LAST = ["long", "null"]

SURE: list[tuple[Any, bytes]] = [
    ("boolean", b"\x01"),
    ("int", b"\xff\xff\xff\xff\x0f"),
    ("long", b"\x00"),
    ("long", b"\x80\x01"),
    ("long", b"\xff\xff\xff\xff\xff\xff\xff\x7f"),
    ("double", bytes(8)),
    ("string", b"\x00"),
    ("string", b"\x7e" + bytes(63)),
    ("string", b"\x80\x01" + bytes(64)),
    ("bytes", b"\x80\x80\x01" + bytes(8_192)),
    (THREE, b"\x04"),
    (MAYBE, b"\x00"),
    (MAYBE, b"\x02\x02x"),
    (MAYBE_LAST, b"\x02"),
    (MAYBE_LAST, b"\x00\x05"),
    (TEXTS, b"\x00"),
    (TEXTS, b"\x04\x02x\x00\x00"),
    (TEXTS, bytes([2 * MOST_ITEMS]) + bytes(MOST_ITEMS) + b"\x00"),
    (PAIRS, b"\x04\x01\x80\x01\x00"),
]
DOUBTFUL: list[tuple[Any, bytes]] = [
    ("boolean", b"\x02"),
    ("int", b"\xff\xff\xff\xff\x1f"),
    ("int", b"\xff\xff\xff\xff\xff\x01"),
    ("long", b"\x80\x00"),
    ("long", b"\x80"),
    ("long", b"\xff" * 8),
    ("long", b"\xff" * 9 + b"\x01"),
    ("long", b"\x00\x00"),
    ("double", bytes(7)),
    ("string", b"\x01"),
    ("string", b"\x02"),
    ("string", b"\x81\x01" + bytes(64)),
    ("string", b"\x80\x00"),
    ("string", b"\x80\x80\x80\x80\x10"),
    ("string", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    (THREE, b"\x06"),
    (THREE, b"\x01"),
    (MAYBE, b"\x01"),
    (MAYBE, b"\x04"),
    (MAYBE, b"\x80\x00"),
    (TEXTS, b"\x02\x00"),
    (TEXTS, b"\x02\x00\x02"),
    (TEXTS, b"\x01\x00"),
    (TEXTS, b"\x80\x00"),
    (TEXTS, bytes([2 * MOST_ITEMS + 2]) + bytes(MOST_ITEMS) + b"\x00"),
    (TEXTS, b"\x02\x03\x00"),
    (PAIRS, b"\x02\x80\x00\x00"),
]


def in_doubt(avro: Any, *rows: bytes) -> list[bool]:
    """What the walk says about these rows, one after the other."""
    record = compiled({"type": "record", "name": "R", "fields": [{"name": "f", "type": avro}]})
    ends = np.cumsum([len(row) for row in rows])
    starts = ends - [len(row) for row in rows]
    verdict: list[bool] = doubtful(record, Data(b"".join(rows) + bytes(16)), starts, ends).tolist()
    return verdict


@pytest.mark.parametrize(("avro", "row"), SURE)
def test_what_is_canonical_is_beyond_doubt(avro: Any, row: bytes) -> None:
    """Alone and among others."""
    assert in_doubt(avro, row) == [False]
    assert in_doubt(avro, row, row, row) == [False] * 3


@pytest.mark.parametrize(("avro", "row"), DOUBTFUL)
def test_what_is_not_canonical_is_in_doubt_and_its_neighbours_are_not(avro: Any, row: bytes) -> None:
    """Each row stands on its own feet."""
    good = next(good for kind, good in SURE if kind == avro)
    assert in_doubt(avro, row) == [True]
    assert in_doubt(avro, good, row, good) == [False, True, False]


@pytest.mark.parametrize(("avro", "row"), SURE)
def test_a_byte_more_or_less_is_in_doubt(avro: Any, row: bytes) -> None:
    """The end counts."""
    assert in_doubt(avro, row + b"\x00") == [True]
    assert in_doubt(avro, row[:-1], row) == [True, False]
