"""Objects of JSON arrays that grow, however the bytes are cut and whatever breaks them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.elements import ElementSplitter
from rua_agents.records import RawRecord

LIVE = b'[\n{"q": "},{"},\n{"q": "]"},\n{"q": "\\"}\\\\"},\n'
OBJECTS = st.lists(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.one_of(
                st.none(),
                st.booleans(),
                st.integers(),
                st.floats(allow_nan=False, allow_infinity=False),
                st.text(max_size=8),
            ),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        max_size=3,
    ),
    max_size=5,
)


def cut(data: bytes, size: int = 1 << 16, limit: int = 1 << 20, levels: int = 0) -> list[RawRecord]:
    """The records of these bytes."""
    splitter, made = ElementSplitter(0, limit, levels), []
    for at in range(0, len(data), size):
        made += splitter.feed(data[at : at + size])
    return [*made, *splitter.finish()]


def texts(data: bytes, **given: Any) -> list[bytes]:
    """Their bytes."""
    return [record.data for record in cut(data, **given)]


def test_a_live_array_gives_whole_objects_and_its_bracket_none() -> None:
    """Brackets, commas and quotes in strings are text."""
    assert texts(LIVE) == [b'{"q": "},{"}', b'{"q": "]"}', b'{"q": "\\"}\\\\"}']


@settings(max_examples=50)
@given(
    st.lists(OBJECTS, min_size=1, max_size=3),
    st.sampled_from([None, 2]),
    st.booleans(),
    st.sampled_from([1, 3, 1 << 16]),
    st.integers(0, 2),
)
def test_every_spelling_of_arrays_gives_their_objects(
    arrays: list[list[Any]], indent: int | None, ascii_only: bool, size: int, levels: int
) -> None:
    """Pretty-printed or on one line, several a file, enclosed or not; from any object's offset or end on."""
    spelt = []
    for array in arrays:
        value: Any = array
        for level in range(levels):
            value = {"meta": 'a"}{[\\', "n": level, "Records": value}
        spelt.append(json.dumps(value, indent=indent, ensure_ascii=ascii_only))
    data = "\n".join(spelt).encode()
    made = cut(data, size, levels=levels)
    assert [json.loads(record.data) for record in made] == [one for array in arrays for one in array]
    for n, record in enumerate(made):
        assert data[record.offset : record.end] == record.data
        for start, rest in ((record.offset, made[n:]), (record.end, made[n + 1 :])):
            if start:
                splitter = ElementSplitter(start, levels=levels)
                assert [*splitter.feed(data[start:]), *splitter.finish()] == rest


@settings(max_examples=100)
@given(st.lists(st.sampled_from([*'{}[]",:\\\n x1t', '{"a":', '"b"', "\0", "é"]), max_size=30), st.integers(0, 1))
def test_any_bytes_are_cut_alike_in_any_chunks(parts: list[str], levels: int) -> None:
    """And nothing but separators and what encloses is in no record."""
    data = "".join(parts).encode()
    made = cut(data, levels=levels)
    assert cut(data, 1, levels=levels) == cut(data, 3, levels=levels) == made
    ends = [0, *(record.end for record in made)]
    starts = [*(record.offset for record in made), len(data)]
    assert all(end <= start for end, start in zip(ends, starts, strict=True))
    if not levels:
        between = b"".join(data[end:start] for end, start in zip(ends, starts, strict=True))
        assert not between.strip(b" \t\n,[]\0")


@pytest.mark.parametrize(
    ("torn", "data"),
    [
        (b'{"q": "SELECT', b'{"q": "SELECT\n'),
        (b'{"q": "SELECT\\', b'{"q": "SELECT\\\n'),
        (b'{"q": {"r": 1},', b'{"q": {"r": 1},\n'),
        (b'{"q": 1', b'{"q": 1\n'),
        (b'{"q": [1}', b'{"q": [1},\n'),
        (b'{"q": 1 oops', b'{"q": 1 oops\n'),
    ],
)
def test_a_torn_object_costs_itself_alone(torn: bytes, data: bytes) -> None:
    """The server died while it wrote; it goes on with the next object."""
    whole = b'{"q": "whole", "r": {"s": []}}'
    made = texts(b"[\n" + whole + b",\n" + data + whole + b",\n" + whole)
    assert made.count(whole) == 3
    assert made[0] == made[-1] == whole
    assert torn.startswith(made[1].rstrip())


def test_text_of_another_source_is_counted_and_not_passed_over() -> None:
    """A swapped file must be seen."""
    assert texts(b"20261124 vm,root\nGET /x\n") == [b"20261124 vm,root", b"GET /x"]
    assert texts(b"\xef\xbb\xbf[\0\0{}\n]\n") == [b"{}"]


def test_an_object_beyond_the_limit_is_cut_and_the_next_one_is_whole() -> None:
    """Its rest is passed over, and counted in its length."""
    data = b'[{"q": "' + b"x" * 5_000 + b'"},{"q": 1}'
    for size in (1, 100, 1 << 16):
        long, short = cut(data, size, limit=1_024)
        assert (len(long.data), long.truncated, long.end) == (1_024, True, data.index(b"},{") + 1)
        assert (short.data, short.truncated) == (b'{"q": 1}', False)


def test_reading_goes_on_where_an_object_is_not_complete() -> None:
    """The offset of the splitter needs no state beside it."""
    splitter = ElementSplitter()
    assert len(splitter.feed(LIVE[:-8])) == 2
    again = ElementSplitter(splitter.offset)
    assert [r.data for r in again.feed(LIVE[splitter.offset :])] == [b'{"q": "\\"}\\\\"}']
    assert again.offset == len(LIVE)


@pytest.mark.parametrize("part", [b"{", b"[", b'{"', b"\\", b'"', b'{"a":', b'{"a":[', b"},{", b"\n", b"x", b"{x"])
def test_what_never_closes_takes_linear_time(part: bytes) -> None:
    """Also in small chunks."""
    started = time.process_time()
    cut(b'[{"a": "' + part * (60_000 // len(part)), size=4_096)
    cut(b'[{"a": ' + part * (60_000 // len(part)), size=4_096)
    assert time.process_time() - started < 4
