"""What the store keeps over a kill, and what retention may take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from rua_common.errors import RetryLater
from rua_local.gateway import EmbeddedClickHouse
from rua_schemas.events import MAX_TIME_MS
from rua_sinks.clickhouse import ClickHouseSink
from rua_sinks.migrate import migrate

from tests.records import event
from tests.sink_rig import InClickHouse, frame_of, ids, incident, numbered

pytestmark = pytest.mark.chdb


@pytest.fixture
def store(chdb_url: str) -> Iterator[InClickHouse]:
    """Empty and migrated."""
    sink = ClickHouseSink(chdb_url, database=f"rua_{uuid4().hex}")
    migrate(sink.client, database=sink.database)
    yield InClickHouse(sink.client, sink, sink.database)
    sink.client.command(f"DROP DATABASE {sink.database}")
    sink.close()


def test_a_kill_loses_nothing_and_a_repetition_doubles_nothing(tmp_path: Path) -> None:
    """What was acknowledged is there, tokens are remembered, and the sink reconnects by itself."""
    engine = EmbeddedClickHouse(tmp_path)
    engine.start()
    try:
        sink = ClickHouseSink(engine.url)
        migrate(sink.client)
        sink.write(frame_of(*numbered(1, 2, 3)), "t1")
        sink.write_alerts([incident()], "t2")
        engine.kill()
        with pytest.raises(RetryLater):
            sink.write(frame_of(*numbered(4)), "t3")
        engine.start()
        for _ in range(2):
            sink.write(frame_of(*numbered(1, 2, 3)), "t1")
            sink.write(frame_of(*numbered(4)), "t3")
        found = InClickHouse(sink.client, sink, "rua")
        assert (found.raw_events(), ids(found), found.alerts()) == (4, [1, 2, 3, 4], [incident()])
        sink.close()
    finally:
        engine.stop()


def test_retention_spares_events_whose_clock_was_wrong(store: InClickHouse) -> None:
    """1970, the sentinel and the far end: all came today, so all stay when parts are merged."""
    times = [0, -5, MAX_TIME_MS - 1, 2**62]
    store.sink.write(frame_of(*(event(event_id=f"{n:032x}", occurred_at=at) for n, at in enumerate(times))), "t1")
    store.client.command(f"OPTIMIZE TABLE {store.database}.events FINAL")
    assert ids(store) == [0, 1, 2, 3]


def test_retention_by_the_event_s_own_clock_would_lose_them(store: InClickHouse) -> None:
    """The proof of the test above: the obvious rule takes what just came."""
    store.client.command(
        f"ALTER TABLE {store.database}.events MODIFY TTL toDateTime(occurred_at) + INTERVAL 25 MONTH DELETE"
    )
    with pytest.raises(AssertionError):
        test_retention_spares_events_whose_clock_was_wrong(store)


def test_retention_takes_what_came_long_ago(store: InClickHouse) -> None:
    """Though its time says otherwise."""
    for number, age in enumerate(("30 MONTH", "20 MONTH")):
        store.sink.write(frame_of(event(event_id=f"{number:032x}", occurred_at=number)), f"t{number}")
        store.client.command(
            f"ALTER TABLE {store.database}.events UPDATE ingested_at = now64() - INTERVAL {age} "
            f"WHERE event_id = '{number:032x}' SETTINGS mutations_sync = 1"
        )
    store.client.command(f"ALTER TABLE {store.database}.events MATERIALIZE TTL SETTINGS mutations_sync = 1")
    store.client.command(f"OPTIMIZE TABLE {store.database}.events FINAL")
    assert ids(store) == [1]
