"""How far a message that is no event can be read."""

from __future__ import annotations

import random

from hypothesis import given, strategies as st
from rua_schemas.codec import encode
from rua_schemas.partial import read_partly

from tests.streams_rig import made

EVENT = made("shop", 3, 5, random.Random(1))
PAYLOAD = encode(EVENT)


def test_a_whole_event_has_no_problem_and_every_field() -> None:
    """And every byte is accounted for."""
    read = read_partly(PAYLOAD)
    assert (read.problem, read.next_field, read.read_bytes) == ("", None, len(PAYLOAD))
    assert read.fields["event_id"] == EVENT.event_id


@given(st.integers(10, len(PAYLOAD) - 1))
def test_what_is_left_of_a_cut_event_are_its_leading_fields(size: int) -> None:
    """Each as in the whole one; the first that is missing is named."""
    whole, read = read_partly(PAYLOAD), read_partly(PAYLOAD[:size])
    assert read.problem.startswith("undecodable")
    assert list(read.fields.items()) == list(whole.fields.items())[: len(read.fields)]
    assert read.next_field == list(whole.fields)[len(read.fields)]
    assert read.read_bytes <= size


def test_bytes_after_an_event_are_no_part_of_it() -> None:
    """All of its fields are read, and what follows is the problem."""
    read = read_partly(PAYLOAD + b"xyz")
    assert "3 bytes after the record" in read.problem
    assert (read.next_field, read.read_bytes) == (None, len(PAYLOAD))


def test_bytes_of_no_known_schema_have_no_fields() -> None:
    """Only the reason."""
    for payload, reason in ((b"", "empty"), (b"{}", "undecodable"), (b"\xc3\x01" + bytes(20), "unknown_schema")):
        read = read_partly(payload)
        assert (read.problem.split(":")[0], read.fields) == (reason, {})


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_nothing(body: bytes) -> None:
    """Behind a genuine prefix, too: huge lengths and counts end with the bytes that there are."""
    read_partly(body)
    read_partly(PAYLOAD[:10] + body)
