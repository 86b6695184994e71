"""Sinks of every make, and a look at what they hold."""

# ruff: noqa: S608 - the names are our own
from __future__ import annotations

import itertools
from typing import Any, Protocol

import msgspec
import polars as pl
from clickhouse_connect.driver.client import Client
from rua_common.protocols import AlertSink, EventSink
from rua_schemas.events import Alert, DeadLetter, Heartbeat, TelemetryEvent
from rua_sinks import queries
from rua_sinks.clickhouse import ClickHouseSink
from rua_sinks.memory import MemorySink
from rua_sinks.rows import EVENT_INPUT, EVENT_TIMES

from tests.records import event

NOON = 1_772_442_000_000


class Sink(EventSink, AlertSink, Protocol):
    """What is under test."""


class Store(Protocol):
    """A sink, and a look at what it holds."""

    @property
    def sink(self) -> Sink:
        """Where to write."""
        ...

    def raw_events(self) -> int:
        """Rows that were added, copies included."""
        ...

    def events(self) -> list[dict[str, Any]]:
        """One row an event, sorted by event_id, times in milliseconds."""
        ...

    def alerts(self) -> list[Alert]:
        """Current alerts, sorted by alert_id."""
        ...

    def alert_versions(self) -> int:
        """How many versions of alerts are kept."""
        ...

    def heartbeats(self) -> int:
        """How many signs of life are kept."""
        ...

    def last_heartbeat(self) -> Heartbeat:
        """The youngest."""
        ...

    def dead_letters(self) -> list[DeadLetter]:
        """All of them."""
        ...


class InMemory:
    """Looks into the fake."""

    def __init__(self, sink: MemorySink) -> None:
        self.sink = sink

    def raw_events(self) -> int:
        """Rows that were added, copies included."""
        return self.sink.raw_events()

    def events(self) -> list[dict[str, Any]]:
        """One row an event, sorted by event_id, times in milliseconds."""
        frame = self.sink.events()
        return [] if frame.is_empty() else frame.with_columns(pl.col(EVENT_TIMES).cast(pl.Int64)).to_dicts()

    def alerts(self) -> list[Alert]:
        """Current alerts, sorted by alert_id."""
        return self.sink.alerts()

    def alert_versions(self) -> int:
        """How many versions of alerts are kept."""
        return len({(alert.alert_id, alert.revision) for alert in self.sink.alert_log})

    def heartbeats(self) -> int:
        """How many signs of life are kept."""
        return len(self.sink.heartbeats)

    def last_heartbeat(self) -> Heartbeat:
        """The youngest."""
        return max(self.sink.heartbeats.values(), key=lambda beat: beat.sent_at)

    def dead_letters(self) -> list[DeadLetter]:
        """All of them."""
        return list(self.sink.dead_letters.values())


class InClickHouse:
    """Looks into a database of its own."""

    def __init__(self, client: Client, sink: ClickHouseSink, database: str) -> None:
        self.client, self.sink, self.database = client, sink, database

    def raw_events(self) -> int:
        """Rows that were added, copies included."""
        return sum(queries.raw_rows_by_platform(self.client, database=self.database).values())

    def events(self) -> list[dict[str, Any]]:
        """One row an event, sorted by event_id, times in milliseconds."""
        names = [*EVENT_INPUT.names(), *(f"{name}_original" for name in EVENT_TIMES)]
        columns = [f"toUnixTimestamp64Milli({n}) AS {n}" if n in EVENT_TIMES else n for n in names]
        return self._rows(f"SELECT {', '.join(columns)} FROM {self.database}.events FINAL ORDER BY event_id")

    def alerts(self) -> list[Alert]:
        """Current alerts, sorted by alert_id."""
        return sorted(queries.alerts(self.client, database=self.database), key=lambda alert: alert.alert_id)

    def alert_versions(self) -> int:
        """How many versions of alerts are kept."""
        return len(self._rows(f"SELECT revision FROM {self.database}.alert_log FINAL"))

    def heartbeats(self) -> int:
        """How many signs of life are kept."""
        return len(self._rows(f"SELECT agent_id FROM {self.database}.heartbeats FINAL"))

    def last_heartbeat(self) -> Heartbeat:
        """The youngest."""
        times = ("sent_at", "quiet_until")
        columns = [f"toUnixTimestamp64Milli({n}) AS {n}" if n in times else n for n in Heartbeat.__struct_fields__]
        (row,) = self._rows(
            f"SELECT {', '.join(columns)} FROM {self.database}.heartbeats FINAL ORDER BY sent_at DESC LIMIT 1"
        )
        return msgspec.convert(row, Heartbeat)

    def dead_letters(self) -> list[DeadLetter]:
        """All of them."""
        rows = self._rows(
            "SELECT topic, partition, offset, reason, detail, stage, toUnixTimestamp64Milli(failed_at) AS failed_at, "
            f"hex(key) AS key, hex(value) AS value FROM {self.database}.dead_letters FINAL"
        )
        for row in rows:
            row |= {name: None if row[name] is None else bytes.fromhex(row[name]) for name in ("key", "value")}
        return [DeadLetter(**row) for row in rows]

    def _rows(self, sql: str) -> list[dict[str, Any]]:
        return list(self.client.query(sql).named_results())


def frame_of(*events: TelemetryEvent, first_offset: int = 0) -> pl.DataFrame:
    """The events as the store processor hands them over."""
    places = itertools.count(first_offset)
    rows = [
        msgspec.to_builtins(e) | {"topic": "rua.events.shop", "partition": 1, "offset": next(places)} for e in events
    ]
    return pl.DataFrame(rows, schema=EVENT_INPUT)


def numbered(*numbers: int, **facts: Any) -> list[TelemetryEvent]:
    """Events that differ in their id."""
    return [event(event_id=f"{n:032x}", occurred_at=NOON + n, **facts) for n in numbers]


def incident(**facts: Any) -> Alert:
    """A plain alert with these facts."""
    plain: dict[str, Any] = {
        "alert_id": "a" * 32,
        "revision": 1,
        "detector": "bulk-export-volume",
        "severity": "high",
        "platform": "shop",
        "subject": "actor-1",
        "subject_type": "actor",
        "title": "Bulk export",
        "reason": "120,000 rows, limit 100,000",
        "runbook": "docs/runbooks/bulk-export-volume.md",
        "window_start": NOON,
        "window_end": NOON + 1,
        "raised_at": NOON + 2,
    }
    return Alert(**plain | facts)


def ids(store: Store) -> list[int]:
    """Ids of the stored events, as numbers."""
    return [int(row["event_id"], 16) for row in store.events()]
