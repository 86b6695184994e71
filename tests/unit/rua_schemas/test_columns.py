"""Whole batches to columns: a message gives the row that it gives alone, or is rejected, whatever stands beside it."""

from __future__ import annotations

import io
import random
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import fastavro
import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from polars.exceptions import PanicException
from rua_common.errors import PoisonEvent
from rua_schemas import plan
from rua_schemas.codec import REASONS, SINGLE_OBJECT_PREFIX_BYTES, Encoder, LocalWriters, decode, encode, read_exactly
from rua_schemas.columns import ColumnCodec
from rua_schemas.events import Alert, DeadLetter, Heartbeat, Label, Record, TelemetryEvent
from rua_schemas.released import FILES, Schema, current

from tests.records import comparable, event, some_record, some_value

ID = 7
WRITERS = LocalWriters({ID: current(TelemetryEvent)})
PREFIX = SINGLE_OBJECT_PREFIX_BYTES
Payloads = list[bytes | None]


def expected(payload: bytes, kind: type[Record]) -> str:
    """What one message alone gives, by the other reader: its row, or the reason of its rejection."""
    try:
        return comparable(decode(payload, kind, WRITERS))  # type: ignore[type-var]  # any one of the kinds
    except PoisonEvent as why:
        return why.reason


def agree(payloads: Sequence[bytes | None], kind: type[Record] = TelemetryEvent) -> None:
    """The columns hold for each message exactly what the message alone gives."""
    decoded = ColumnCodec(kind, WRITERS).decode(payloads)
    rows = zip(decoded.places.tolist(), decoded.frame.to_dicts(), strict=True)
    found = {place: comparable(row) for place, row in rows}
    found |= {one.index: one.reason for one in decoded.rejected}
    assert found == {i: expected(p, kind) for i, p in enumerate(payloads) if p is not None}
    assert decoded.places.tolist() == sorted(decoded.places.tolist())
    assert decoded.tombstones == sum(p is None for p in payloads)


# what a broken or hostile writer may do to messages i and i + 1


def flip(rng: random.Random, at: bytes) -> bytes:
    """One bit is wrong."""
    place = rng.randrange(len(at))
    return at[:place] + bytes([at[place] ^ 1 << rng.randrange(8)]) + at[place + 1 :]


def cut(rng: random.Random, at: bytes) -> bytes:
    """The end is missing."""
    return at[: rng.randrange(len(at))]


def longer(rng: random.Random, at: bytes) -> bytes:
    """Bytes too many at the end."""
    return at + rng.randbytes(rng.randrange(1, 20))


def twice(_rng: random.Random, at: bytes) -> bytes:
    """Two records in one message."""
    return at + at[PREFIX:]


def overlong(rng: random.Random, at: bytes) -> bytes:
    """Somewhere a number takes a byte more than it needs."""
    place = rng.randrange(PREFIX, len(at)) if len(at) > PREFIX else 0
    return at[:place] + bytes([at[place] | 0x80, 0]) + at[place + 1 :]


def other_byte(rng: random.Random, at: bytes) -> bytes:
    """A byte of the awkward ones: other booleans, branches, counts, symbols."""
    place = rng.randrange(len(at))
    return at[:place] + rng.choice((b"\x00", b"\x01", b"\x02", b"\x03", b"\x04", b"\x7f", b"\xff")) + at[place + 1 :]


MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (flip, cut, longer, twice, overlong, other_byte)


def mutated(seed: int, kind: type[Record]) -> Payloads:
    """A handful of messages, some of them spoilt, some exchanging bytes with the next."""
    rng = random.Random(seed)
    encoder = Encoder(kind, ID if kind is TelemetryEvent and seed % 3 == 0 else None)
    payloads: Payloads = [encoder.encode(some_record(rng.getrandbits(32), kind)) for _ in range(rng.randrange(1, 7))]
    for i in range(len(payloads)):
        here, fate = payloads[i], rng.randrange(6)
        if here is None:
            continue
        if fate == 0:
            payloads[i] = rng.choice(MUTATIONS)(rng, here)
        elif fate == 1 and i + 1 < len(payloads):
            there = payloads[i + 1] or here
            k = rng.randrange(1, 30)
            payloads[i], payloads[i + 1] = here + there[PREFIX : PREFIX + k], there[:PREFIX] + there[PREFIX + k :]
        elif fate == 2 and rng.random() < 0.2:
            payloads[i] = None
    return payloads


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(list(FILES)))
def test_a_message_gives_what_it_gives_alone_whatever_stands_beside_it(seed: int, kind: type[Record]) -> None:
    """No forged, truncated, glued or non-canonical message alters a neighbour's row, and both readers agree."""
    agree(mutated(seed, kind), kind)


@settings(max_examples=100, deadline=None)
@given(payloads=st.lists(st.binary(max_size=40) | st.binary(max_size=40).map(Encoder(Heartbeat).prefix.__add__)))
def test_arbitrary_bytes_never_raise(payloads: list[bytes]) -> None:
    """Not even behind a valid prefix."""
    agree(payloads, Heartbeat)


def never_in_doubt(_step: Any, _data: Any, starts: NDArray[np.int64], _ends: Any) -> NDArray[np.bool_]:
    """The broken twin of the boundary check: it trusts everybody."""
    return np.zeros(len(starts), np.bool_)


def with_field(position: int, old: bytes, new: bytes) -> bytes:
    """A plain event whose body has other bytes at a place that is asserted first."""
    at = encode(event())
    assert at[position : position + len(old)] == old
    return at[:position] + new + at[position + len(old) :]


def place_of(name: str) -> int:
    """Where a field of the plain event begins."""
    shown = encode(event(platform="marker"))
    fields = [f["name"] for f in current(TelemetryEvent).plain["fields"]]
    after_platform = shown.index(b"marker") + len(b"shop")
    # behind platform every field of the plain event up to occurred_at is a single byte
    return after_platform + fields.index(name) - fields.index("platform") - 1


NOT_CANONICAL = {
    "a boolean of 2": with_field(place_of("truncated"), b"\0", b"\x02"),
    "a branch of -1": with_field(place_of("host"), b"\0", b"\x01\x02x"),
    "a number with a byte too many": with_field(place_of("key_epoch"), b"\0", b"\x80\0"),
    "an empty array in two bytes": with_field(place_of("pii_categories"), b"\0", b"\x80\0"),
    "an array in two blocks": with_field(place_of("pii_categories"), b"\0", b"\x02\x02a\x02\x02b\0"),
    "an array with its size in bytes": with_field(place_of("pii_categories"), b"\0", b"\x01\x04\x02a\0"),
    "a symbol of -1": with_field(place_of("kind"), b"\0", b"\x01"),
}
UNDECODABLE = {
    "a branch of 2": with_field(place_of("host"), b"\0", b"\x04"),
    "a symbol out of range": with_field(place_of("kind"), b"\0", b"\x7e"),
    "an int of 33 bits": with_field(place_of("key_epoch"), b"\0", b"\x80\x80\x80\x80\x20"),
    "a string of 2^61 bytes": with_field(place_of("host"), b"\0", b"\x02" + b"\x80" * 8 + b"\x40"),
    "an array of 2^60 items": with_field(place_of("labels"), b"", b"")[:-1] + b"\x80" * 8 + b"\x20",
    "a number without end": encode(event())[:PREFIX] + b"\xff" * 50,
    "text that is not UTF-8": encode(event(host="shop")).replace(b"\x08shop\0", b"\x08sh\xed\xa0\0"),
    "a lone surrogate in UTF-8": encode(event(host="abc")).replace(b"\x06abc", b"\x06\xed\xa0\x80"),
    "text cut inside a letter": encode(event(host="กข")).replace("กข".encode(), "ก".encode() + b"\xe0\xb8a"),
}


@pytest.mark.parametrize("bad", [*NOT_CANONICAL.values(), *UNDECODABLE.values()], ids=[*NOT_CANONICAL, *UNDECODABLE])
def test_what_no_writer_of_ours_makes_is_rejected_between_good_neighbours(bad: bytes) -> None:
    """The neighbours keep their rows; alone or among others, the bad one is rejected for the same reason."""
    good = encode(event(host="db-1", rows=7))
    agree([good, bad, good])
    decoded = ColumnCodec().decode([good, bad, good])
    assert decoded.places.tolist() == [0, 2]
    assert decoded.rejected[0].reason == ("not_canonical" if bad in NOT_CANONICAL.values() else "undecodable")
    assert decoded.rejected[0].reason in REASONS


def trusted(payloads: Sequence[bytes | None]) -> bool:
    """Whether the property holds for these messages."""
    try:
        agree(payloads)
    except AssertionError:
        return False
    return True


def test_without_the_boundary_check_a_neighbour_could_be_forged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The property above, and each example, fails for a decoder that trusts its input."""
    good = encode(event())
    assert all(trusted(mutated(seed, TelemetryEvent)) for seed in range(60))
    monkeypatch.setattr(plan, "doubtful", never_in_doubt)
    assert not all(trusted(mutated(seed, TelemetryEvent)) for seed in range(60))
    believed = [name for name, bad in NOT_CANONICAL.items() if not trusted([good, bad, good])]
    assert len(believed) >= 5


def test_bytes_lent_to_a_neighbour_forge_no_event_of_his(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message with a second record inside would push the neighbour's out of place, if nobody checked."""
    forged, victim = encode(event(platform="shop", actor="victim", rows=10**6)), encode(event(actor="honest"))
    attack = [encode(event()) + forged, victim[:PREFIX]]
    assert ColumnCodec().decode(attack).places.tolist() == []
    assert trusted(attack)
    monkeypatch.setattr(plan, "doubtful", never_in_doubt)
    assert ColumnCodec().decode(attack).frame["actor"].to_list() == [None, "victim"]


def test_the_last_byte_of_a_64_bit_number_may_not_overflow() -> None:
    """Both readers would take 2^63 and more for some other number."""
    good = encode(event(occurred_at=-(2**63)))
    longest = b"\xff" * 9
    assert good.count(longest + b"\x01") == 1
    agree([good, good.replace(longest + b"\x01", longest + b"\x03"), good])


def test_long_arrays_and_texts_are_no_reason_for_doubt() -> None:
    """What the fast way leaves to the slow one comes back whole, in its place."""
    labels = tuple(Label(key=str(k), value="ค่า") for k in range(400))
    agree([encode(event()), encode(event(labels=labels, dataset="ตาราง" * 2_000)), encode(event(rows=2**62))])


def test_ordinary_events_are_beyond_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow way is for the exceptions: nobody is read one by one here."""
    monkeypatch.setattr(plan, "read_exactly", None)
    label = (Label(key="k", value="v"),)
    events = [event(agent_seq=n, rows=n * 1_000, dataset="ลูกค้า" * n, labels=label) for n in range(99)]
    assert ColumnCodec().decode([encode(one) for one in events]).frame["agent_seq"].to_list() == list(range(99))


def test_one_bad_text_among_thousands_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """And only a few are read one by one for it: nobody can slow a worker down with a single message."""
    looked_at: list[bytes] = []

    def counted(body: bytes, schema: Schema) -> Any:
        looked_at.append(body)
        return read_exactly(body, schema)

    monkeypatch.setattr(plan, "read_exactly", counted)
    payloads = [encode(event(agent_seq=n, host="abc")) for n in range(3_000)]
    payloads[1_234] = payloads[1_234].replace(b"abc", b"a\xffc")
    decoded = ColumnCodec().decode(payloads)
    assert [(one.index, one.reason) for one in decoded.rejected] == [(1_234, "undecodable")]
    assert decoded.frame["agent_seq"].to_list() == [n for n in range(3_000) if n != 1_234]
    assert len(looked_at) <= 2 * plan.FEW


class Native:
    """polars' reader, but for one word that it cannot bear, and how often it was asked."""

    def __init__(self, word: bytes, error: BaseException) -> None:
        self.word, self.error, self.calls, self.real = word, error, 0, pl.read_avro

    def __call__(self, source: io.BytesIO) -> pl.DataFrame:
        """Reads or raises."""
        self.calls += 1
        if self.word in source.getvalue():
            raise self.error
        return self.real(source)


@pytest.mark.parametrize("error", [PanicException("index out of range"), pl.exceptions.ComputeError("no")])
def test_if_readers_ever_disagree_the_smallest_part_is_rejected(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """A panic of the native reader costs one message, not a batch and not the worker."""
    native = Native(b"unbearable", error)
    monkeypatch.setattr(pl, "read_avro", native)
    payloads = [encode(event(agent_seq=n, host="unbearable" if n == 41 else "db")) for n in range(64)]
    decoded = ColumnCodec().decode(payloads)
    assert [(one.index, one.reason) for one in decoded.rejected] == [(41, "undecodable")]
    assert decoded.frame["agent_seq"].to_list() == [n for n in range(64) if n != 41]
    assert native.calls < 20


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_a_wish_to_stop_is_not_taken_for_a_panic(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Ctrl-C while polars reads stops the process."""
    monkeypatch.setattr(pl, "read_avro", Native(b"db", error))
    with pytest.raises(type(error)):
        ColumnCodec().decode([encode(event(host="db"))])


POISON = {  # what other consumers of Kafka are known to have choked on; the id of the schema in use where one is needed
    "empty": b"",
    "one byte": b"\0",
    "magic only": b"\0\0\0\0\x07",
    "unknown schema id": b"\0\x7f\xff\xff\xff\x02x\0\x02\x02",
    "unknown fingerprint": b"\xc3\x01\xde\xad\xbe\xef\xde\xad\xbe\xef\x02x\0\x02\x02",
    "cut in a string": b"\0\0\0\0\x07\x0cgo",
    "trailing bytes": b"\0\0\0\0\x07\x0cgood-1\x04\x02\n\0\0",
    "JSON instead": b'{"event_id":"x"}',
    "symbol out of range": b"\0\0\0\0\x07\x02x\xc6\x01\0",
    "huge length": b"\0\0\0\0\x07\x80\x80\x80\x80\x80@abc",
}


def test_ten_poison_records_and_a_tombstone_between_good_events() -> None:
    """All good events come out once, ten messages are rejected, the tombstone is skipped, and nothing else is told."""
    encoder = Encoder(TelemetryEvent, ID)
    payloads: Payloads = [encoder.encode(event(agent_seq=0))]
    for bad in (*POISON.values(), None):
        payloads += [bad, encoder.encode(event(agent_seq=len(payloads) + 1))]
    decoded = ColumnCodec(writers=WRITERS).decode(payloads)
    assert decoded.frame["agent_seq"].to_list() == decoded.places.tolist() == list(range(0, len(payloads), 2))
    assert len(decoded.rejected) == 10
    assert decoded.tombstones == 1
    agree(payloads)


def test_tombstones_are_counted_and_skipped() -> None:
    """A tombstone is no message and no mistake."""
    decoded = ColumnCodec().decode([None, encode(event()), None])
    assert (decoded.tombstones, decoded.places.tolist(), decoded.rejected) == (2, [1], [])


@pytest.mark.parametrize("kind", list(FILES))
def test_no_messages_give_an_empty_frame_with_all_columns(kind: type[Record]) -> None:
    """Callers need no special case."""
    codec = ColumnCodec(kind)
    empty = codec.decode([]).frame
    assert empty.schema == codec.schema
    assert codec.decode([Encoder(kind).encode(some_record(1, kind))]).frame.schema == codec.schema


def test_enums_become_polars_enums_and_times_stay_integers() -> None:
    """The column types that the detectors and the sinks rely on."""
    schema = ColumnCodec().schema
    assert schema["kind"] == pl.Enum(current(TelemetryEvent).plain["fields"][12]["type"]["symbols"])
    assert schema["occurred_at"] == pl.Int64
    assert schema["labels"] == pl.List(pl.Struct({"key": pl.String, "value": pl.String}))


def test_both_framings_in_one_batch_keep_the_order_of_the_messages() -> None:
    """Agents with and without a registry may write to one topic."""
    confluent = Encoder(TelemetryEvent, ID)
    payloads: Payloads = [encode(event(agent_seq=1)), confluent.encode(event(agent_seq=2)), encode(event(agent_seq=3))]
    decoded = ColumnCodec(writers=WRITERS).decode(payloads)
    assert decoded.frame["agent_seq"].to_list() == [1, 2, 3]


def test_another_record_in_the_topic_is_rejected() -> None:
    """An alert is no event, although its schema is known."""
    alert = Encoder(Alert).encode(some_record(3, Alert))
    agree([encode(event()), alert, encode(event())])
    assert ColumnCodec().decode([alert]).rejected[0].reason == "wrong_record"


def test_binary_fields_come_back_as_they_were() -> None:
    """A dead letter keeps any bytes."""
    letter = DeadLetter(
        topic="rua.events.shop",
        partition=3,
        offset=9,
        reason="undecodable",
        detail="",
        stage="detect",
        failed_at=1,
        key=None,
        value=bytes(range(256)),
    )
    assert ColumnCodec(DeadLetter).decode([encode(letter)]).frame["value"].to_list() == [bytes(range(256))]


def evolved(**changes: Any) -> Schema:
    """The schema of a later release: new symbols of an enum, a new field, one that is gone."""
    avro = dict(current(TelemetryEvent).avro)
    fields = [dict(f) for f in avro["fields"] if f["name"] != changes.get("without")]
    for field in fields:
        if field["name"] == changes.get("grown"):
            field["type"] = {**field["type"], "symbols": [*field["type"]["symbols"], "brand_new"]}
    return Schema.of({**avro, "fields": [*fields, *changes.get("more", ())]})


def relative(seed: int) -> Schema:
    """A schema that another release might have: other order, a field gone, some new, an enum with one more symbol."""
    rng = random.Random(seed)
    optional = [
        f["name"] for f in current(TelemetryEvent).avro["fields"] if "default" in f and f["name"] != "rows_quality"
    ]
    more = [
        {"name": "risk", "type": ["null", "double"], "default": None},
        {"name": "proof", "type": "bytes", "default": ""},
        {"name": "steps", "type": {"type": "array", "items": "int"}, "default": []},
    ]
    avro = evolved(
        without=rng.choice([None, *optional]),
        grown=rng.choice(["kind", "action", "rows_quality"]),
        more=more[: rng.randrange(4)],
    ).avro
    fields = list(avro["fields"])
    if rng.random() < 0.5:  # an enum's definition must stay before its second use
        fields.sort(key=lambda f: f["type"] != "string")
    return Schema.of({**avro, "fields": fields})


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_messages_of_other_releases_are_read_alike_by_both_readers(seed: int) -> None:
    """Defaults for what is missing, unknown fields dropped, unknown symbols replaced and counted."""
    schema = relative(seed)
    writers = LocalWriters({ID: schema})
    values = [some_value(seed + n, schema) for n in range(3)]
    payloads = [encode(event()), *(written_by(schema, value) for value in values)]
    decoded = ColumnCodec(writers=writers).decode(payloads)
    assert [comparable(row) for row in decoded.frame.to_dicts()] == [
        comparable(decode(payload, TelemetryEvent, writers)) for payload in payloads
    ]
    known = {f["name"] for f in current(TelemetryEvent).plain["fields"]}
    assert decoded.unknown_symbols == sum(v == "brand_new" for value in values for k, v in value.items() if k in known)


def test_what_only_claims_to_be_huge_takes_no_memory() -> None:
    """Lengths and counts are believed only as far as there are bytes."""
    bombs = [UNDECODABLE["a string of 2^61 bytes"], UNDECODABLE["an array of 2^60 items"]] * 50
    codec = ColumnCodec()
    codec.decode([encode(event())])
    tracemalloc.start()
    codec.decode([encode(event()), *bombs])
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 1_000_000


def test_a_schema_that_cannot_be_read_here_is_unknown_and_named() -> None:
    """Somebody registered a change that the guard would have refused."""
    bad = evolved(more=[{"name": "tags", "type": {"type": "map", "values": "string"}, "default": {}}])
    payload = written_by(bad, {**msgspec.to_builtins(event()), "tags": {}})
    (one,) = ColumnCodec(writers=LocalWriters({ID: bad})).decode([payload]).rejected
    assert one.reason == "unknown_schema"
    assert "tags: map here" in one.detail


LATER = evolved(
    without="ticket", grown="kind", more=[{"name": "risk", "type": ["null", "double"], "default": None, "doc": "New."}]
)


def written_by(schema: Schema, value: dict[str, Any]) -> bytes:
    """A message of a later release, with a schema id."""
    out = io.BytesIO(b"\0" + ID.to_bytes(4, "big"))
    out.seek(0, 2)
    fastavro.schemaless_writer(out, schema.parsed, value)
    return out.getvalue()


def test_a_later_release_is_read_and_its_unknown_symbols_are_counted() -> None:
    """Agents may be upgraded before workers: what is new is dropped, what is gone has its default."""
    value = {**msgspec.to_builtins(event(actor="p1")), "kind": "brand_new", "risk": 0.5}
    later = written_by(LATER, value)
    writers = LocalWriters({ID: LATER})
    decoded = ColumnCodec(writers=writers).decode([encode(event()), later, later])
    assert decoded.rejected == []
    assert decoded.unknown_symbols == 2
    assert decoded.frame["kind"].to_list() == ["unknown"] * 3
    assert decoded.frame["ticket"].to_list() == [None] * 3
    assert comparable(decode(later, TelemetryEvent, writers)) == comparable(decoded.frame.to_dicts()[1])
