"""Stored events, read back in the order of the log: for back-tests, and for files that others can judge."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import polars as pl
from clickhouse_connect.driver.client import Client
from rua_schemas.columns import ColumnCodec

from rua_sinks.client import meaning
from rua_sinks.rows import EVENT_TIMES

SCHEMA = ColumnCodec().schema
SETTINGS = {
    "max_block_size": 65_536,
    "output_format_arrow_string_as_string": 1,
    "output_format_arrow_low_cardinality_as_dictionary": 0,
    "output_format_arrow_compression_method": "none",
    "max_bytes_before_external_sort": 1 << 30,
}
_CHOSEN = (
    "topic = {topic:String} AND partition = {partition:Int32} "
    "AND observed_at >= fromUnixTimestamp64Milli({begin:Int64}) AND observed_at < fromUnixTimestamp64Milli({end:Int64})"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A partition whose events are stored, and how many there are, copies included."""

    topic: str
    partition: int
    rows: int


def places(client: Client, *, begin_ms: int, end_ms: int, database: str = "rua") -> list[Place]:
    """The partitions with events observed from `begin_ms` until before `end_ms`, in milliseconds since the epoch.

    Raises:
        RetryLater: the store is away, not migrated or not open to this user.
    """
    sql = (
        "SELECT topic, partition, count() FROM {database:Identifier}.events "
        "WHERE observed_at >= fromUnixTimestamp64Milli({begin:Int64}) "
        "AND observed_at < fromUnixTimestamp64Milli({end:Int64}) GROUP BY topic, partition ORDER BY topic, partition"
    )
    with meaning():
        found = client.query(sql, parameters={"database": database, "begin": begin_ms, "end": end_ms})
        return [Place(str(topic), int(partition), int(rows)) for topic, partition, rows in found.result_rows]


def events(
    client: Client, place: Place, columns: Collection[str], *, begin_ms: int, end_ms: int, database: str = "rua"
) -> Iterator[pl.DataFrame]:
    """A partition's events in the order of the log, with these columns of an event and `offset`; copies included.

    Where an agent has sent something again, the store may have kept the later copy alone. A source's positions only
    grow, so an event stood before whatever of its source lies above it: it is put there, the earliest copy first.

    Raises:
        RetryLater: as `places`.
    """
    wanted = [name for name in SCHEMA.names() if name in columns]
    read = ", ".join(f"{_expression(name)} AS {name}" for name in wanted)
    sql = (
        f"SELECT {read}, events.offset AS offset FROM (SELECT *, min(offset) OVER (PARTITION BY source_id "  # noqa: S608 - our own column names
        "ORDER BY source_position RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS place "
        f"FROM {{database:Identifier}}.events WHERE {_CHOSEN}) AS events "
        "ORDER BY events.place, events.source_position, events.offset"
    )
    parameters = {"database": database, "topic": place.topic, "partition": place.partition}
    parameters |= {"begin": begin_ms, "end": end_ms}
    with meaning(), client.query_arrow_stream(sql, parameters=parameters, settings=SETTINGS) as batches:
        for batch in batches:
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)  # noqa: S101 - of a table it is one
            yield frame.select(*(_column(name) for name in wanted), pl.col("offset").cast(pl.Int64))


def _expression(name: str) -> str:
    if name in EVENT_TIMES:
        return f"coalesce(events.{name}_original, toUnixTimestamp64Milli(events.{name}))"
    return f"events.{name}"


def _column(name: str) -> pl.Expr:
    """As the codec gives it. A symbol that this release does not know becomes its `unknown`."""
    dtype = SCHEMA[name]
    if isinstance(dtype, pl.Enum):
        return pl.col(name).cast(dtype, strict=False).fill_null("unknown")
    return pl.col(name).cast(dtype)
