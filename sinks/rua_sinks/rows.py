"""Records and decoded columns as rows of the tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import polars as pl
from rua_schemas.columns import ColumnCodec
from rua_schemas.events import MAX_TIME_MS, MIN_TIME_MS, Alert, DeadLetter, Heartbeat, TelemetryEvent

SENTINEL_MS = 0
"""Stands for every time that no column may hold. Fixed, so that a redelivered event keeps its place in the sort key."""

PLACE = pl.Schema({"topic": pl.String(), "partition": pl.Int32(), "offset": pl.Int64()})
EVENT_INPUT = pl.Schema({**ColumnCodec(TelemetryEvent).schema, **PLACE})
MOMENT = pl.Datetime("ms", "UTC")
EVENT_TIMES = ("occurred_at", "observed_at")
MONTHS_PER_INSERT = 100  # ClickHouse refuses a block that spans more partitions


@dataclass(frozen=True, slots=True)
class Table:
    """How records of one kind become rows."""

    name: str
    schema: pl.Schema
    times: tuple[str, ...]


def _table(name: str, kind: type[Alert | Heartbeat | DeadLetter], *times: str) -> Table:
    return Table(name, ColumnCodec(kind).schema, times)


ALERTS = _table("alerts", Alert, "window_start", "window_end", "raised_at")
HEARTBEATS = _table("heartbeats", Heartbeat, "sent_at", "quiet_until")
DEAD_LETTERS = _table("dead_letters", DeadLetter, "failed_at")


def event_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Decoded events plus topic, partition and offset, as rows of `events`.

    A time outside 1970-2100 becomes the sentinel, the original stays beside it.
    """
    frame = frame.select(EVENT_INPUT.names())
    outside = {name: ~pl.col(name).is_between(MIN_TIME_MS, MAX_TIME_MS, closed="left") for name in EVENT_TIMES}
    kept = [pl.when(wrong).then(pl.col(name)).alias(f"{name}_original") for name, wrong in outside.items()]
    times = [
        pl.when(wrong).then(pl.lit(SENTINEL_MS, pl.Int64)).otherwise(pl.col(name)).cast(MOMENT).alias(name)
        for name, wrong in outside.items()
    ]
    return frame.with_columns(*kept, *times)


def record_rows(records: Sequence[msgspec.Struct], table: Table) -> pl.DataFrame:
    """Small records as rows. A time outside 1970-2100 is moved to the nearer end."""
    plain = [msgspec.to_builtins(record, builtin_types=(bytes,)) for record in records]
    frame = pl.DataFrame(plain, schema=table.schema)
    return frame.with_columns(pl.col(table.times).clip(MIN_TIME_MS, MAX_TIME_MS - 1).cast(MOMENT))


def inserts(rows: pl.DataFrame, token: str) -> Iterator[tuple[pl.DataFrame, str]]:
    """The rows of `events` as inserts that each span a bounded number of months: the same ones for the same rows."""
    months = rows.get_column("occurred_at").dt.truncate("1mo")
    distinct = months.unique().sort()
    if len(distinct) <= MONTHS_PER_INSERT:
        yield rows, token
        return
    for number, first in enumerate(range(0, len(distinct), MONTHS_PER_INSERT)):
        wanted = distinct[first : first + MONTHS_PER_INSERT]
        yield rows.filter(months.is_in(wanted.implode())), f"{token}#{number}"
