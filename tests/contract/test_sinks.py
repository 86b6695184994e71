"""What every sink promises, held by the in-memory fake and by ClickHouse alike."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from uuid import uuid4

import msgspec
import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from nacl.signing import SigningKey
from rua_schemas.events import MAX_TIME_MS, DeadLetter, Evidence, Heartbeat, Label, Number, TelemetryEvent
from rua_schemas.released import HERE, current
from rua_schemas.signing import key_id, signed_bytes, verify
from rua_sinks.clickhouse import ClickHouseSink
from rua_sinks.client import connect
from rua_sinks.memory import MemorySink
from rua_sinks.migrate import migrate
from rua_sinks.rows import EVENT_INPUT

from tests.records import comparable, event, some_value
from tests.sink_rig import NOON, InClickHouse, InMemory, Store, frame_of, ids, incident, numbered

MONTH = 31 * 86_400_000


@pytest.fixture(scope="module")
def clickhouse(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of the embedded engine."""
    client = connect(request.getfixturevalue("chdb_url"))
    yield client
    client.close()


@pytest.fixture
def open_clickhouse(request: pytest.FixtureRequest) -> Iterator[Callable[[type[ClickHouseSink]], InClickHouse]]:
    """Opens a sink of the given class on an empty, migrated database."""
    opened: list[InClickHouse] = []

    def open_(kind: type[ClickHouseSink]) -> InClickHouse:
        client, database = request.getfixturevalue("clickhouse"), f"rua_{uuid4().hex}"
        migrate(client, database=database)
        sink = kind(request.getfixturevalue("chdb_url"), database=database)
        opened.append(InClickHouse(client, sink, database))
        return opened[-1]

    yield open_
    for store in opened:
        store.sink.close()
        store.client.command(f"DROP DATABASE {store.database}")


@pytest.fixture(params=["memory", pytest.param("clickhouse", marks=pytest.mark.chdb)])
def store(request: pytest.FixtureRequest) -> Store:
    """Each make in turn, empty."""
    if request.param == "memory":
        return InMemory(MemorySink())
    made: InClickHouse = request.getfixturevalue("open_clickhouse")(ClickHouseSink)
    return made


def test_the_same_token_again_adds_nothing(store: Store) -> None:
    """A repeated insert is dropped at once, not only when rows are folded."""
    for _ in range(3):
        store.sink.write(frame_of(*numbered(1, 2, 3)), "t1")
    assert (store.raw_events(), ids(store)) == (3, [1, 2, 3])


def test_equal_rows_under_another_token_are_another_insert(store: Store) -> None:
    """The token decides, not the content: rows without identity would otherwise vanish."""
    for token in ("t1", "t2"):
        store.sink.write(frame_of(*numbered(1, 2)), token)
    assert (store.raw_events(), ids(store)) == (4, [1, 2])


def test_an_overlapping_batch_with_other_boundaries_is_folded(store: Store) -> None:
    """A replay that cuts the log elsewhere has other tokens; each event is still one row."""
    store.sink.write(frame_of(*numbered(1, 2, 3)), "0-2")
    store.sink.write(frame_of(*numbered(2, 3, 4, 5), first_offset=1), "1-4")
    store.sink.write(frame_of(*numbered(5, 1), first_offset=4), "4-5")
    assert ids(store) == [1, 2, 3, 4, 5]


def test_a_redelivered_event_without_an_actor_is_one_row(store: Store) -> None:
    """The sort key holds a nullable column: nothing equals nothing there."""
    for token in ("t1", "t2"):
        store.sink.write(frame_of(event(actor=None), event(actor="", event_id="f" * 32)), token)
    assert [row["actor"] for row in store.events()] == [None, ""]


@pytest.mark.parametrize("at", [-1, -(2**63), MAX_TIME_MS, 2**63 - 1, 4_300_000_000_000])
def test_a_time_no_column_can_hold_is_kept_beside_the_sentinel(store: Store, at: int) -> None:
    """Also when it comes again: it keeps its place in the sort key."""
    for token in ("t1", "t2"):
        store.sink.write(frame_of(event(occurred_at=at, observed_at=at)), token)
    (row,) = store.events()
    assert (row["occurred_at"], row["occurred_at_original"]) == (0, at)
    assert (row["observed_at"], row["observed_at_original"]) == (0, at)


@pytest.mark.parametrize("at", [0, 1, NOON, MAX_TIME_MS - 1])
def test_any_other_time_is_kept_to_the_millisecond(store: Store, at: int) -> None:
    """And no original is stored beside it."""
    store.sink.write(frame_of(event(occurred_at=at)), "t1")
    (row,) = store.events()
    assert (row["occurred_at"], row["occurred_at_original"], row["observed_at_original"]) == (at, None, None)


def test_a_batch_over_more_months_than_a_block_may_span(store: Store) -> None:
    """One host with a broken clock must not keep a batch out; the repetition is still recognised."""
    many = [event(event_id=f"{n:032x}", occurred_at=n * MONTH) for n in range(120)]
    random.Random(1).shuffle(many)
    for _ in range(2):
        store.sink.write(frame_of(*many), "t1")
    assert (store.raw_events(), ids(store)) == (120, list(range(120)))


def test_an_empty_batch(store: Store) -> None:
    """Nothing happens."""
    store.sink.write(frame_of(), "t1")
    store.sink.write_alerts([], "t2")
    assert (store.raw_events(), store.events(), store.alerts()) == (0, [], [])


def test_whatever_a_schema_allows_comes_back_as_it_was(store: Store) -> None:
    """Nulls, Thai, NUL, empty and long texts, extreme numbers, arrays of records."""
    rows = [
        {**some_value(seed, current(TelemetryEvent)), "event_id": f"{seed:032x}", "occurred_at": NOON, "observed_at": 0}
        | {"topic": "rua.events.ร้าน", "partition": 2**31 - 1, "offset": seed}
        for seed in range(120)
    ]
    store.sink.write(pl.DataFrame(rows, schema=EVENT_INPUT), "t1")
    originals = {"occurred_at_original": None, "observed_at_original": None}
    assert [comparable(row) for row in store.events()] == [comparable(row | originals) for row in rows]


def test_a_frame_in_pieces_is_the_same_insert(store: Store) -> None:
    """How a frame was put together is no part of its content."""
    whole = frame_of(*numbered(1, 2, 3, labels=(Label(key="k", value="v"),), pii_categories=("phone",)))
    store.sink.write(pl.concat([whole[:1], whole[1:]], rechunk=False), "t1")
    store.sink.write(whole, "t1")
    assert store.raw_events() == 3


def test_a_higher_revision_replaces_an_alert(store: Store) -> None:
    """Readers see how bad it got; every version is kept."""
    worse = incident(revision=2, severity="critical")
    store.sink.write_alerts([incident()], "t1")
    store.sink.write_alerts([worse], "t2")
    assert (store.alerts(), store.alert_versions()) == ([worse], 2)


def test_a_lower_revision_never_replaces_an_alert(store: Store) -> None:
    """A replay sends the old versions again, in any order, together or alone."""
    worse = incident(revision=2, severity="critical")
    store.sink.write_alerts([worse, incident(alert_id="b" * 32)], "t1")
    store.sink.write_alerts([incident()], "t2")
    store.sink.write_alerts([worse, incident()], "t3")
    assert (store.alerts(), store.alert_versions()) == ([worse, incident(alert_id="b" * 32)], 3)


def test_an_alert_comes_back_whole(store: Store) -> None:
    """Numbers, evidence and Thai text included."""
    full = incident(
        actor="actor-1",
        app="app-7",
        merchant="ร้าน-3",
        title="ส่งออกข้อมูลจำนวนมาก",
        attack=("T1530", "T1567"),
        numbers=(Number(name="rows", value=1.5e9, limit=1e5), Number(name="z", value=-4.25)),
        evidence=(Evidence(event_id="e" * 32, topic="rua.events.shop", partition=3, offset=2**40),),
    )
    store.sink.write_alerts([full, incident(alert_id="b" * 32)], "t1")
    assert store.alerts() == [full, incident(alert_id="b" * 32)]


def test_a_heartbeat_sent_again_is_one_row(store: Store) -> None:
    """Another one of the same agent is another row."""
    beat = Heartbeat(
        agent_id="db-1",
        agent_epoch=NOON,
        agent_version="0.1.0",
        platform="shop",
        sent_at=NOON,
        last_seq=3,
        events_acked=3,
        records_failed=0,
        lag_bytes=10,
        files=1,
    )
    for token in ("t1", "t1", "t2"):
        store.sink.write_heartbeats([beat], token)
    store.sink.write_heartbeats([msgspec.structs.replace(beat, sent_at=NOON + 1, clock_offset_ms=-3)], "t3")
    assert store.heartbeats() == 2


@pytest.mark.parametrize("quiet_until", [None, NOON + 300_000])
def test_a_signed_heartbeat_is_kept_to_the_last_bit(store: Store, quiet_until: int | None) -> None:
    """What was lost, what is watched, and a signature that still verifies when it is read back."""
    key = SigningKey(bytes(32))
    public = bytes(key.verify_key)
    beat = msgspec.json.decode((HERE / "examples" / "heartbeat" / "signed.json").read_bytes(), type=Heartbeat)
    beat = msgspec.structs.replace(beat, quiet_until=quiet_until, signing_key_id=key_id(public))
    beat = msgspec.structs.replace(beat, signature=key.sign(signed_bytes(beat)).signature.hex())
    store.sink.write_heartbeats([beat], "t1")
    assert store.last_heartbeat() == beat
    assert verify(store.last_heartbeat(), public)


def test_a_dead_letter_keeps_its_bytes(store: Store) -> None:
    """Whatever they are; no bytes are not empty bytes."""
    letters = [
        DeadLetter(
            topic="rua.events.shop",
            partition=0,
            offset=offset,
            reason="undecodable",
            detail="เสีย",
            stage="store",
            failed_at=NOON,
            key=key,
            value=value,
        )
        for offset, (key, value) in enumerate([(None, b""), (b"", None), (b"\xff\0'\"\\", bytes(range(256)))])
    ]
    for token in ("t1", "t2"):
        store.sink.write_dead_letters(letters, token)
    assert sorted(store.dead_letters(), key=lambda one: one.offset) == letters


class ForgetfulMemorySink(MemorySink):
    """Broken on purpose: takes every token for a new one."""

    def _new(self, table: str, token: str) -> bool:
        return True


class ForgetfulClickHouseSink(ClickHouseSink):
    """Broken on purpose: makes up a token each time."""

    def _settings(self, token: str) -> dict[str, int | str]:
        return super()._settings(uuid4().hex)


class RestampingSink(MemorySink):
    """Broken on purpose: gives a time that is out of range the time of its arrival."""

    def __init__(self) -> None:
        super().__init__()
        self.arrivals = itertools.count(NOON)

    def write(self, frame: pl.DataFrame, token: str) -> None:
        """Stores them under another time at each delivery."""
        stamped = pl.when(pl.col("occurred_at") < 0).then(next(self.arrivals)).otherwise(pl.col("occurred_at"))
        super().write(frame.with_columns(stamped.alias("occurred_at")), token)


def test_the_suite_finds_a_fake_that_ignores_tokens() -> None:
    """The proof of the first test above."""
    with pytest.raises(AssertionError):
        test_the_same_token_again_adds_nothing(InMemory(ForgetfulMemorySink()))


@pytest.mark.chdb
def test_the_suite_finds_a_sink_that_ignores_tokens(
    open_clickhouse: Callable[[type[ClickHouseSink]], InClickHouse],
) -> None:
    """Likewise on ClickHouse."""
    with pytest.raises(AssertionError):
        test_the_same_token_again_adds_nothing(open_clickhouse(ForgetfulClickHouseSink))


def test_the_suite_finds_a_sink_that_stamps_times_anew() -> None:
    """The measured fault: a redelivery got another sort key, and both rows stayed."""
    with pytest.raises(ValueError, match="too many values"):
        test_a_time_no_column_can_hold_is_kept_beside_the_sentinel(InMemory(RestampingSink()), -1)
