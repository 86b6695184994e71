"""Bytes into records, however they are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st
from rua_agents.records import LineSplitter, RawRecord, UnsupportedFile, check_encoding


def split(chunks: list[bytes], limit_bytes: int = 16) -> list[RawRecord]:
    """The records of these chunks."""
    splitter = LineSplitter(0, limit_bytes)
    found = [record for chunk in chunks for record in splitter.feed(chunk)]
    return found + splitter.finish()


@given(
    st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\0", b"{", b"\xef\xbb\xbf", b"0123456789"]), max_size=40),
    st.lists(st.integers(0, 80)),
)
def test_any_cut_of_the_bytes_gives_the_same_records(parts: list[bytes], cuts: list[int]) -> None:
    """Offsets, bytes, ends and truncation do not depend on how the bytes came."""
    data = b"".join(parts)
    ends = sorted({c for c in cuts if c < len(data)} | {len(data)})
    chunks = [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    assert split(chunks) == split([data])


@given(st.lists(st.binary(max_size=30).filter(lambda b: b"\n" not in b and b[:1] != b"\0"), max_size=8))
def test_every_byte_belongs_to_one_record(lines: list[bytes]) -> None:
    """Each record ends where the next one starts."""
    found = split([b"\n".join(lines)])
    assert all(a.end == b.offset for a, b in pairwise(found))
    assert sum(r.end - r.offset for r in found) == len(b"\n".join(lines))


def test_a_record_above_the_limit_is_cut_and_marked_and_the_next_one_is_whole() -> None:
    """A huge line never blocks the file, and costs no more memory than the limit."""
    first, second = split([b"x" * 100, b"y\nnext\n"])
    assert (first.data, first.truncated, first.end) == (b"x" * 16, True, 102)
    assert (second.data, second.truncated, second.offset) == (b"next", False, 102)


def test_a_byte_order_mark_and_carriage_returns_are_no_part_of_a_record() -> None:
    """Windows editors add both."""
    assert [r.data for r in split([b"\xef\xbb\xbf{}\r\n{}\r\n"])] == [b"{}", b"{}"]


def test_a_run_of_nul_bytes_is_skipped() -> None:
    """A copytruncate leaves a hole as long as the old file; a power cut leaves a block of zeros."""
    splitter = LineSplitter(0, 16)
    found = [r for _ in range(100) for r in splitter.feed(b"\0" * 1_000)] + splitter.feed(b"{}\n")
    assert found == [RawRecord(100_000, b"{}", 100_003)]


@pytest.mark.parametrize("head", [b"\xff\xfe{\0", b"\xfe\xff\0{", b"\x1f\x8b\x08\0"])
def test_other_encodings_are_refused_by_name(head: bytes) -> None:
    """Silence would be worse."""
    with pytest.raises(UnsupportedFile, match="unsupported encoding"):
        check_encoding(head)


def test_utf8_is_not_refused() -> None:
    """With its byte order mark or without."""
    check_encoding(b'{"a"')
    check_encoding(b"\xef\xbb\xbf{")
