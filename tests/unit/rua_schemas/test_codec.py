"""One message to bytes and back: the same bytes everywhere, and PoisonEvent for whatever is not one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from datetime import datetime
from typing import Any

import fastavro
import msgspec
import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form
from hypothesis import given, settings, strategies as st
from rua_common.errors import PoisonEvent
from rua_schemas.codec import Encoder, LocalWriters, clean, decode, encode, piece
from rua_schemas.events import Alert, Evidence, Number, Record, TelemetryEvent
from rua_schemas.released import FILES, current, released
from rua_schemas.writing import REMEMBERED, Pieces, compiled, long

from tests.records import comparable, event, some_record, some_value


def reason(payload: bytes, kind: type[Record] = TelemetryEvent) -> str:
    """Why a payload is refused."""
    with pytest.raises(PoisonEvent) as caught:
        decode(payload, kind)  # type: ignore[type-var]  # any one of the kinds
    return caught.value.reason


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(list(FILES)), schema_id=st.none() | st.integers(0, 2**31 - 1))
def test_any_record_comes_back(seed: int, kind: type[Record], schema_id: int | None) -> None:
    """In both framings."""
    record = some_record(seed, kind)
    payload = Encoder(kind, schema_id).encode(record)
    writers = LocalWriters({schema_id: current(kind)} if schema_id is not None else None)
    assert comparable(decode(payload, kind, writers)) == comparable(record)  # type: ignore[type-var]  # as above


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(list(FILES)))
def test_the_bytes_are_those_that_fastavro_writes(seed: int, kind: type[Record]) -> None:
    """Our own writer is only quicker."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, current(kind).parsed, some_value(seed, current(kind)))
    assert encode(some_record(seed, kind))[10:] == out.getvalue()


@settings(max_examples=40, deadline=None)
@given(seeds=st.lists(st.integers(0, 20), max_size=12), kind=st.sampled_from(list(FILES)))
def test_what_was_written_before_changes_no_byte(seeds: list[int], kind: type[Record]) -> None:
    """Pieces that repeat are remembered: two records that share some of them, in any order, are written as ever."""
    encoder = Encoder(kind)
    for seed in seeds:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, current(kind).parsed, some_value(seed, current(kind)))
        assert encoder.encode(some_record(seed, kind)) == encoder.prefix + out.getvalue()


def test_a_remembered_piece_takes_no_value_of_another_type() -> None:
    """True, 1 and 1.0 are equal to Python; only what the schema takes is written, however often it was seen."""
    encoder = Encoder(TelemetryEvent)
    for _ in range(2):
        assert encoder.encode(event(rows=1, truncated=True)) == encode(event(rows=1, truncated=True))
        with pytest.raises(PoisonEvent, match="rows"):
            encoder.encode(msgspec.structs.replace(event(truncated=True), rows=1.0))
    zeros = [Number(name="n", value=value) for value in (0.0, -0.0)]
    alerts = [msgspec.structs.replace(some_record(5, Alert), numbers=(zero,)) for zero in zeros]
    assert encode(alerts[0]) != encode(alerts[1])


def test_pieces_of_an_event_side_by_side_are_the_event() -> None:
    """However its fields are cut."""
    names = TelemetryEvent.__struct_fields__
    for cut in range(1, len(names)):
        parts = piece(TelemetryEvent, None, names[cut - 1]), piece(TelemetryEvent, names[cut], None)
        one = some_record(cut)
        assert encode(one)[10:] == b"".join(part(one) for part in parts)


def test_many_different_pieces_fill_no_memory() -> None:
    """Whoever writes names into a log must not fill the memory of its reader."""
    pieces = Pieces([compiled("string"), compiled("string")])
    for n in range(3 * REMEMBERED):
        assert pieces[(f"host{n}", "a")] == long(len(f"host{n}")) + f"host{n}".encode() + b"\x02a"
        assert len(pieces) <= REMEMBERED
    pieces.clear()
    assert pieces[("h" * 2_000, "a")].endswith(b"h\x02a")
    assert not pieces


def test_the_fingerprint_is_little_endian_crc_64_avro() -> None:
    """The specification's algorithm, written out: readers in other languages must find our schemas."""
    empty, table = 0xC15D213AA4D7A795, []
    for number in range(256):
        value = number
        for _ in range(8):
            value = value >> 1 ^ (empty & -(value & 1))
        table.append(value)
    mark = empty
    for byte in to_parsing_canonical_form(current(TelemetryEvent).parsed).encode():
        mark = mark >> 8 ^ table[(mark ^ byte) & 0xFF]
    assert encode(event())[:10] == b"\xc3\x01" + mark.to_bytes(8, "little")


@pytest.mark.parametrize("kind", list(FILES))
def test_every_released_schema_has_the_name_that_fastavro_gives_it(kind: type[Record]) -> None:
    """Ours is only lighter."""
    for schema in (*released(kind), current(kind)):
        form = to_parsing_canonical_form(schema.parsed)
        assert schema.fingerprint == bytes.fromhex(fingerprint(form, "CRC-64-AVRO"))


def test_who_only_writes_does_not_load_fastavro() -> None:
    """It is a sixth of an agent's memory."""
    program = "import sys; from rua_schemas.codec import encode; from tests.records import event; encode(event())"
    program += "; sys.exit('fastavro' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_confluent_framing_is_a_zero_and_a_big_endian_id() -> None:
    """As every client of a schema registry reads it."""
    assert Encoder(TelemetryEvent, 258).encode(event())[:5] == b"\0\0\0\x01\x02"


def test_numbers_are_written_as_fastavro_writes_them() -> None:
    """Above all where a number needs one byte, or the writer one step, more."""
    edges = [sign * (1 << bits) + step for bits in range(63) for step in (-1, 0, 1) for sign in (1, -1)]
    for value in (*edges, 2**63 - 1, -(2**63)):
        expected = io.BytesIO()
        fastavro.schemaless_writer(expected, fastavro.parse_schema({"type": "long"}), value)
        assert long(value) == expected.getvalue()


PRINT = (
    "import sys; from tests.records import event; from rua_schemas.codec import encode; print(encode(event()).hex())"
)


def test_the_bytes_are_the_same_in_every_time_zone() -> None:
    """Times are integers: a zone of the machine changes nothing."""
    zones = ("Asia/Bangkok", "UTC", "America/New_York")
    made = {
        subprocess.run(
            [sys.executable, "-c", PRINT], env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for zone in zones
    }
    assert made == {encode(event()).hex()}


@pytest.mark.parametrize(
    "facts",
    [
        {"occurred_at": datetime(2026, 3, 2)},  # noqa: DTZ001 - a naive time is the point
        {"occurred_at": "2026-03-02T00:00:00Z"},
        {"occurred_at": 2**63},
        {"occurred_at": -(2**63) - 1},
        {"occurred_at": 1.5},
        {"truncated": None},
        {"truncated": 2},
        {"labels": None},
        {"labels": ("a",)},
        {"pii_categories": (1,)},
        {"event_id": b"e"},
        {"key_epoch": 2**31},
        {"rows": "7"},
        {"event_id": None},
        {"kind": "no_such_kind"},
        {"host": "\ud800"},
        {"host": 5},
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(facts: dict[str, Any]) -> None:
    """A naive datetime above all: it would be stored hours off."""
    encoder = Encoder(TelemetryEvent)
    with pytest.raises(PoisonEvent, match=f"unencodable: TelemetryEvent: {next(iter(facts))}") as caught:
        encoder.encode(msgspec.structs.replace(event(), **facts))
    assert caught.value.reason == "unencodable"
    assert encoder.encode(event()) == encode(event()), "a refusal leaves nothing behind"


def test_a_refusal_does_not_show_the_value() -> None:
    """It goes to a log."""
    with pytest.raises(PoisonEvent) as caught:
        encode(event(host="somchai@example.com\udfff"))
    assert str(caught.value) == "unencodable: TelemetryEvent: host is not well-formed Unicode"


def test_an_int_beyond_32_bits_inside_an_array_is_refused() -> None:
    """Fastavro itself would write it, and no reader could take it."""
    alert = some_record(5, Alert)
    far = Evidence(event_id="e", topic="t", partition=2**31, offset=0)
    with pytest.raises(PoisonEvent, match="evidence: partition does not fit into 32 bits"):
        encode(msgspec.structs.replace(alert, evidence=(far,)))


def test_clean_text_stays_as_it_is() -> None:
    """Thai, emoji and control characters are well-formed."""
    assert clean("ลูกค้า \U0001f6d2\t\n") == ("ลูกค้า \U0001f6d2\t\n", 0)


@given(st.text(st.characters() | st.sampled_from(["\ud800", "\udfff", "\0"])))
def test_cleaning_replaces_and_counts_what_cannot_be_stored(text: str) -> None:
    """Lone surrogates and NUL: the record is kept, and the count says what was lost."""
    cleaned, replaced = clean(text)
    bad = [c for c in text if c == "\0" or "\ud800" <= c <= "\udfff"]
    assert replaced == len(bad)
    assert len(cleaned) == len(text)
    assert decode(encode(event(host=cleaned)), TelemetryEvent).host == cleaned
    assert clean(cleaned) == (cleaned, 0)


def test_what_is_no_message_is_named() -> None:
    """A small fixed set of reasons, for metrics and for the dead-letter queue."""
    good = encode(event())
    assert reason(b"") == "empty"
    assert reason(b"\0") == "undecodable"
    assert reason(b"\xc3\x01\x02") == "undecodable"
    assert reason(b'{"event_id": "x"}') == "undecodable"
    assert reason(b"\0\0\0\0\x07" + good[10:]) == "unknown_schema"
    assert reason(b"\xc3\x01deadbeef" + good[10:]) == "unknown_schema"
    assert reason(good, Alert) == "wrong_record"
    assert reason(good[:-1]) == "undecodable"
    assert reason(good + b"\0") == "undecodable"
    assert reason(good[:-1] + b"\x80\0") == "not_canonical"
