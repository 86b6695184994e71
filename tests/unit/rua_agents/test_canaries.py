"""Whatever a user writes into whatever field of whatever source: nothing personal stands in an event."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.collectors import COLLECTORS
from rua_agents.stream import SourceStream
from rua_agents.tally import shape
from rua_schemas.codec import encode

from tests.agent_rig import START_MS, origin, parse, sample_of, zone_name
from tests.canaries import ALL, FREE, SHAPED, THAI_NAME, Searcher, planted

SEARCHER = Searcher()
PER_EXAMPLE = 60
NAMES_OF_SCHEMAS_AND_PROGRAMS = {"dataset", "tool", "destination", "labels"}
"""There a word is a word: of a table, a collection, a program. What looks like a person leaves not even there."""


def records_of(source: str) -> list[bytes]:
    """The records of its sample that are not too long to play with."""
    splitter = origin(source, zone=zone_name(source)).splitter(0, 1 << 20)
    records = [*splitter.feed(sample_of(source)), *splitter.finish()]
    return [one.data if one.data.endswith(b"\n") else one.data + b"\n" for one in records if 0 < len(one.data) < 4_096]


@pytest.mark.parametrize("source", COLLECTORS)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nothing_personal_leaves_wherever_it_is_planted(source: str, seed: int) -> None:
    """E-mail addresses, telephone numbers, national ids nowhere; names and passwords where no schema has a name."""
    zone = zone_name(source)
    for where, canary, record in planted(records_of(source), random.Random(seed), PER_EXAMPLE):
        for event in parse(source, record, zone=zone)[0]:
            if not SEARCHER.found(encode(event)):
                continue
            plain = msgspec.to_builtins(event)
            told = {name for name, value in plain.items() if SEARCHER.found(msgspec.json.encode(value))}
            free = canary in FREE and told <= NAMES_OF_SCHEMAS_AND_PROGRAMS
            assert free, f"{canary} planted at {where} leaves in {told}: {record!r}"


@pytest.mark.parametrize("source", COLLECTORS)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nothing_personal_is_remembered(source: str, seed: int) -> None:
    """What a parser keeps until a record completes it stands in the checkpoint and in the spool."""
    place = origin(source, zone=zone_name(source))
    for where, canary, record in planted(records_of(source), random.Random(seed), PER_EXAMPLE, SHAPED):
        stream = SourceStream(place, "log", warns=False)
        for one in place.splitter(0, 1 << 20).feed(record + b"\n"):
            stream.feed(one, START_MS)
        state = msgspec.msgpack.encode(stream.dump())  # numbers in binary: times are no telephone numbers
        assert not SEARCHER.found(state), f"{canary} planted at {where} is remembered: {state!r}"


@pytest.mark.parametrize("canary", ALL)
def test_the_search_finds_every_canary_in_every_disguise(canary: str) -> None:
    """It can fail: in clear, percent-encoded, escaped, in hex, base64 and UTF-16, in any case, in the middle."""
    text = ALL[canary]
    for disguised in (
        text.encode(),
        text.upper().encode(),
        msgspec.json.encode({"a": f"x{text}y"}),
        text.encode().hex().upper().encode(),
        f"{text}z".encode("utf-16"),
        *(msgspec.json.encode(b"ab"[:n] + text.encode() + b"cd") for n in range(3)),
        "".join(f"%{b:02X}" for b in text.encode()).encode(),
        ascii(text).encode(),
    ):
        assert SEARCHER.found(b"before " + disguised + b" behind"), disguised
    assert not SEARCHER.found(b"nothing personal here")
    assert not SEARCHER.found(shape(f"user {text} logged in").encode())


def test_of_a_thai_name_not_even_the_vowels_are_logged() -> None:
    """They are marks, no letters, for a regular expression."""
    assert shape(f"user {THAI_NAME} logged in") == "user x x x"
