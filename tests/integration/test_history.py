"""Stored events as they stood in the log: for back-tests and for files."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import polars as pl
import pytest
from rua_common.errors import RetryLater
from rua_schemas.columns import ColumnCodec
from rua_schemas.events import TelemetryEvent
from rua_sinks.clickhouse import ClickHouseSink
from rua_sinks.history import Place, events, places
from rua_sinks.migrate import migrate

from tests.records import event, some_record
from tests.sink_rig import NOON, InClickHouse, frame_of

pytestmark = pytest.mark.chdb
END_MS = 1 << 42
HERE = ("rua.events.shop", 1)
COLUMNS = ColumnCodec().schema.names()


@pytest.fixture
def store(chdb_url: str) -> Iterator[InClickHouse]:
    """Empty and migrated."""
    sink = ClickHouseSink(chdb_url, database=f"rua_{uuid4().hex}")
    migrate(sink.client, database=sink.database)
    yield InClickHouse(sink.client, sink, sink.database)
    sink.client.command(f"DROP DATABASE {sink.database}")
    sink.close()


def at(position: int, source: str = "s", **facts: object) -> TelemetryEvent:
    """An event of a source, named by its position."""
    number = f"{source}{position}".encode().hex().zfill(32)
    return event(event_id=number, source_id=source, source_position=position, observed_at=NOON + position, **facts)


def log(store: InClickHouse, begin_ms: int = 0, end_ms: int = END_MS) -> pl.DataFrame:
    """The partition as it is read."""
    (place,) = places(store.client, begin_ms=begin_ms, end_ms=end_ms, database=store.database)
    assert (place.topic, place.partition) == HERE
    frames = events(store.client, place, COLUMNS, begin_ms=begin_ms, end_ms=end_ms, database=store.database)
    return pl.concat(list(frames))


def test_what_was_stored_is_read_as_it_was_decoded(store: InClickHouse) -> None:
    """Every column, whatever the values, in the order of the offsets; absurd times too."""
    made = [some_record(seed) for seed in range(40)]
    assert all(isinstance(e, TelemetryEvent) for e in made)
    frame = frame_of(*made).with_columns(  # type: ignore[arg-type]  # as just asserted
        event_id=pl.Series([f"{n:032x}" for n in range(40)]), source_id=pl.lit("s"), source_position=pl.lit(5)
    )
    frame = frame.with_columns(pl.int_range(40, dtype=pl.Int64).alias("source_position"))
    store.sink.write(frame[20:], "t2")
    store.sink.write(frame[:20], "t1")
    assert log(store).equals(frame.drop("topic", "partition"))


def test_a_copy_stands_where_the_event_stood_though_only_the_copy_is_kept(store: InClickHouse) -> None:
    """Positions 2 and 3 were sent again after 4; then parts are merged, and the later copies stay."""
    store.sink.write(frame_of(at(1), at(2), at(3), at(4), at(9, "other")), "t1")
    store.sink.write(frame_of(at(2), at(3), at(5), first_offset=5), "t2")
    raw = log(store)
    assert raw["source_position"].to_list() == [1, 2, 2, 3, 3, 4, 9, 5]
    assert raw["offset"].to_list() == [0, 1, 5, 2, 6, 3, 4, 7]
    store.client.command(f"OPTIMIZE TABLE {store.database}.events FINAL")
    assert log(store)["source_position"].to_list() == [1, 2, 3, 4, 9, 5]


def test_only_the_asked_for_time_is_read(store: InClickHouse) -> None:
    """From the first moment until before the last."""
    store.sink.write(frame_of(*(at(n) for n in range(6))), "t1")
    assert log(store, NOON + 2, NOON + 4)["source_position"].to_list() == [2, 3]
    assert places(store.client, begin_ms=NOON + 6, end_ms=END_MS, database=store.database) == []


def test_a_database_that_is_not_there_is_named(store: InClickHouse) -> None:
    """With the cure."""
    with pytest.raises(RetryLater, match="rua migrate"):
        list(events(store.client, Place(*HERE, 1), COLUMNS, begin_ms=0, end_ms=END_MS, database="nowhere"))
