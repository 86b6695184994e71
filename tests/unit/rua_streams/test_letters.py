"""Dead letters: selecting, counting and showing them, whatever stands in them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, strategies as st
from rua_common.errors import BadConfiguration
from rua_schemas.events import DeadLetter
from rua_streams.letters import Heaps, Letter, Place, Wanted, columns, dump, iso, place_of, printable, since

NOW_MS = 1_790_000_000_000
ONE = Letter(
    Place("rua.dlq", 0, 7),
    DeadLetter(
        topic="rua.events.shop",
        partition=2,
        offset=40,
        reason="unknown_schema",
        detail="fingerprint 00",
        stage="detect",
        failed_at=NOW_MS,
    ),
)


def other(**changes: object) -> Letter:
    """A letter that differs."""
    return Letter(ONE.at, msgspec.structs.replace(ONE.letter, **changes))


@given(st.text())
def test_nothing_that_a_terminal_obeys_or_hides_is_shown(text: str) -> None:
    """Control characters, directions, joiners, surrogates: escaped. What is shown is one line and can be encoded."""
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode().decode() == shown


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("a\r\nb\0", r"a\r\nb\x00"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\u2066\u200b\u2028", r"\u2066\u200b\u2028"),
        ("\udc80", r"\udc80"),
        (r"\x1b", r"\\x1b"),
        ("ลูกค้า, ok", "ลูกค้า, ok"),
    ],
)
def test_what_is_neutralised_and_what_stays(hostile: str, shown: str) -> None:
    """An escape is told from text that only looks like one; letters of any script stay."""
    assert printable(hostile) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    """So that a detail of a megabyte fills no screen."""
    assert printable("x" * 600) == "x" * 500 + "… (600 characters)"


@given(st.binary(max_size=200), st.integers(0, 100))
def test_a_dump_shows_every_byte_up_to_the_limit_and_only_ascii(value: bytes, most: int) -> None:
    """Its hexadecimal half gives the bytes back."""
    lines = list(dump(value, most))
    assert bytes.fromhex("".join(line[10:57] for line in lines)) == value[:most]
    assert all(line.isascii() and line.isprintable() for line in lines)


def test_a_letter_is_named_by_its_own_place_or_by_its_messages() -> None:
    """Whichever a person has at hand."""
    for name in ("rua.dlq-0-7", "rua.events.shop-2-40"):
        assert Wanted([place_of(name)]).fits(ONE)
    assert not Wanted([place_of("rua.events.shop-2-41")]).fits(ONE)
    assert place_of("rua.events.my-shop-2-1") == Place("rua.events.my-shop", 2, 1)


@pytest.mark.parametrize("name", ["", "rua.dlq", "rua.dlq-0", "rua.dlq-0--1", "rua.dlq-0-1\n", "a/b-0-1", "x-٣-1"])
def test_what_is_no_name_is_refused(name: str) -> None:
    """Before any broker is asked."""
    with pytest.raises(BadConfiguration, match="topic-partition-offset"):
        place_of(name)


def test_filters_are_joined_by_and() -> None:
    """A letter must fit all that are given; without any, all fit."""
    assert Wanted().everything
    assert Wanted().fits(ONE)
    wanted = Wanted(topic="rua.events.shop", reason="unknown_schema", since_ms=NOW_MS)
    assert wanted.fits(ONE)
    assert not wanted.everything
    for wrong in (other(topic="rua.events.mall"), other(reason="empty"), other(failed_at=NOW_MS - 1)):
        assert not wanted.fits(wrong)


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("90m", NOW_MS - 90 * 60_000),
        ("7d", NOW_MS - 7 * 86_400_000),
        ("2026-03-02", 1_772_409_600_000),
        ("2026-03-02T07:00+07:00", 1_772_409_600_000),
    ],
)
def test_since_is_a_period_or_a_time(text: str, at_ms: int) -> None:
    """UTC unless told otherwise."""
    assert since(text, NOW_MS) == at_ms


@pytest.mark.parametrize("text", ["", "yesterday", "7w", "-1h", "9999999d", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """And the forms that are allowed are named."""
    with pytest.raises(BadConfiguration, match="24h"):
        since(text, NOW_MS)


def test_a_letter_that_a_worker_sent_twice_is_counted_once() -> None:
    """After a crash it repeats itself; an agent's letters have no place, so each of them is one; notes are none."""
    heaps = Heaps()
    for one in (ONE, Letter(Place("rua.dlq", 0, 8), ONE.letter), other(stage="replay", reason="replayed")):
        heaps.add(one, replayed=True)
    kept = msgspec.structs.replace(ONE.letter, stage="agent", partition=-1, offset=-1, failed_at=NOW_MS - 5)
    for offset in (9, 10):
        heaps.add(Letter(Place("rua.dlq", 0, offset), kept), replayed=False)
    by_stage = {name[2]: heap for name, heap in heaps.heaps.items()}
    assert (by_stage["detect"].letters, by_stage["detect"].replayed) == (1, 1)
    assert (by_stage["agent"].letters, by_stage["agent"].replayed) == (2, 0)
    assert set(by_stage) == {"detect", "agent"}


def test_a_hostile_time_is_shown_as_the_number_it_is() -> None:
    """A letter may hold any 64-bit number."""
    assert iso(NOW_MS) == "2026-09-21T14:13:20Z"
    assert iso(2**63 - 1) == f"{2**63 - 1} ms"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """And end without spaces."""
    assert list(columns([("a", "bb"), ("ccc", "")])) == ["a    bb", "ccc"]
