"""What the command line and the demo ask the store. Reads use FINAL, except where raw rows are meant."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from clickhouse_connect.driver.client import Client
from rua_schemas.events import Alert

from rua_sinks.client import meaning
from rua_sinks.rows import ALERTS

IDS_PER_QUERY = 100  # they travel in the address of the request
_ALERT_COLUMNS = ", ".join(
    f"toUnixTimestamp64Milli({name}) AS {name}" if name in ALERTS.times else name for name in ALERTS.schema.names()
)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """Where an event came from, and where it stood in Kafka."""

    event_id: str
    platform: str
    source_id: str
    source_position: int
    topic: str
    partition: int
    offset: int


def events_by_platform(client: Client, *, database: str = "rua") -> dict[str, int]:
    """How many events are stored, each counted once."""
    return _counts(client, database, "FINAL")


def raw_rows_by_platform(client: Client, *, database: str = "rua") -> dict[str, int]:
    """How many rows `events` holds at this moment, copies that are not folded yet included."""
    return _counts(client, database, "")


def alerts(client: Client, *, database: str = "rua") -> list[Alert]:
    """The latest version of every alert, the earliest raised first."""
    sql = (
        f"SELECT {_ALERT_COLUMNS} FROM {{database:Identifier}}.alerts FINAL "  # noqa: S608 - our own column names
        "ORDER BY alerts.raised_at, alert_id"
    )
    with meaning():
        result = client.query(sql, parameters={"database": database})
        return [msgspec.convert(row, Alert) for row in result.named_results()]


def events_by_id(client: Client, event_ids: Iterable[str], *, database: str = "rua") -> list[StoredEvent]:
    """The stored ones among these events, sorted by event_id."""
    sql = (
        "SELECT event_id, platform, source_id, source_position, topic, partition, offset "
        "FROM {database:Identifier}.events FINAL WHERE event_id IN {ids:Array(String)}"
    )
    wanted = sorted(set(event_ids))
    found: list[StoredEvent] = []
    with meaning():
        for first in range(0, len(wanted), IDS_PER_QUERY):
            ids = wanted[first : first + IDS_PER_QUERY]
            result = client.query(sql, parameters={"database": database, "ids": ids})
            found += [StoredEvent(*row) for row in result.result_rows]
    return sorted(found, key=lambda event: event.event_id)


def event_ids_digest(client: Client, *, database: str = "rua") -> str:
    """`digest` over the ids of all stored events."""
    sql = "SELECT event_id FROM {database:Identifier}.events FINAL ORDER BY event_id"
    with meaning(), client.query_row_block_stream(sql, parameters={"database": database}) as blocks:
        return digest_of_sorted(row[0] for block in blocks for row in block)


def digest(event_ids: Sequence[str]) -> str:
    """One text for a collection of event ids, whatever their order. A doubled or a missing id changes it."""
    return digest_of_sorted(sorted(event_ids))


def digest_of_sorted(event_ids: Iterable[str]) -> str:
    """As `digest`, of ids that are sorted already."""
    state = hashlib.blake2b(digest_size=16)
    for event_id in event_ids:
        state.update(event_id.encode() + b"\n")
    return state.hexdigest()


def _counts(client: Client, database: str, final: str) -> dict[str, int]:
    sql = f"SELECT platform, count() FROM {{database:Identifier}}.events {final} GROUP BY platform ORDER BY platform"  # noqa: S608 - FINAL or nothing
    with meaning():
        return {str(p): int(n) for p, n in client.query(sql, parameters={"database": database}).result_rows}
