"""Decoding and storing events: columns against one object an event. Same messages, same store, same run.

`python -m benchmarks.sink --url http://127.0.0.1:8123 [--rows 50000] [--runs 3]`; the store is any ClickHouse, for
example that of `rua up`. Databases of its own are made and dropped.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import fastavro
import polars as pl
from clickhouse_connect.driver.client import Client
from rua_schemas.codec import Encoder
from rua_schemas.columns import ColumnCodec
from rua_schemas.events import Label, TelemetryEvent
from rua_schemas.released import current
from rua_sinks.clickhouse import SETTINGS, ClickHouseSink
from rua_sinks.migrate import migrate
from rua_sinks.rows import EVENT_INPUT, EVENT_TIMES

START_MS = 1_790_000_000_000
TOPIC = "rua.events.shop"
PREFIX_BYTES = 10
SCHEMA = current(TelemetryEvent).parsed


def messages(count: int, seed: int = 1) -> list[bytes]:
    """Encoded events of many actors within a day."""
    rng = random.Random(seed)
    encoder = Encoder(TelemetryEvent)
    return [encoder.encode(one_event(rng, number)) for number in range(count)]


def one_event(rng: random.Random, number: int) -> TelemetryEvent:
    """An event as the agent makes them."""
    at = START_MS + number * 20 + rng.randrange(2_000)
    return TelemetryEvent(
        event_id=f"{rng.getrandbits(128):032x}",
        source_id=f"{number % 7:032x}",
        source_position=number * 1_024 * 300,
        source="pgaudit-jsonlog",
        agent_id="shop-db-1",
        agent_epoch=START_MS,
        agent_seq=number + 1,
        platform="shop",
        host="db-1",
        channel="db",
        kind="bulk_query",
        action="query",
        outcome="ok",
        actor=f"{rng.randrange(5_000):032x}",
        actor_type="interactive",
        session=f"{rng.randrange(50_000):032x}",
        dataset=f"shop.public.table_{rng.randrange(60)}",
        pii_categories=("name", "phone"),
        rows=rng.randrange(10_000),
        rows_quality="exact",
        statement_fingerprint=f"{rng.randrange(300):016x}",
        tool="psql",
        source_network=f"203.0.{rng.randrange(200)}.0/24",
        occurred_at=at,
        observed_at=at + 250,
        labels=(Label(key="database", value="shop"),),
    )


def as_columns(payloads: Sequence[bytes], sink: ClickHouseSink, token: str) -> None:
    """What the store processor does."""
    decoded = ColumnCodec().decode(payloads)
    place = pl.DataFrame(
        {"topic": [TOPIC] * len(payloads), "partition": [0] * len(payloads), "offset": range(len(payloads))},
        schema_overrides=EVENT_INPUT,
    )
    sink.write(pl.concat([decoded.frame, place], how="horizontal"), token)


def as_objects(payloads: Sequence[bytes], client: Client, database: str, token: str) -> None:
    """The usual way: fastavro, a dictionary each, row lists."""
    rows = [row_of(payload, offset) for offset, payload in enumerate(payloads)]
    settings = {**SETTINGS, "insert_deduplication_token": token}
    client.insert("events", rows, EVENT_INPUT.names(), database=database, settings=settings)


def row_of(payload: bytes, offset: int) -> list[object]:
    """The values of one row."""
    plain: Any = fastavro.schemaless_reader(io.BytesIO(payload[PREFIX_BYTES:]), SCHEMA, None)
    for name in EVENT_TIMES:
        plain[name] = datetime.fromtimestamp(plain[name] / 1_000, UTC)
    plain["labels"] = [(label["key"], label["value"]) for label in plain["labels"]]
    return [*plain.values(), TOPIC, 0, offset]


def measured(run: Callable[[], None], rows: int) -> tuple[float, float]:
    """Rows per second, and microseconds of this process's CPU a row, which other load on the machine hardly moves."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return rows / (time.perf_counter() - wall), (time.process_time() - cpu) * 1e6 / rows


def main() -> None:
    """Prints both ways, medians of the runs, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    database, payloads = f"rua_bench_{uuid4().hex}", messages(chosen.rows)
    sink = ClickHouseSink(chosen.url, database=database)
    migrate(sink.client, database=database)
    as_columns(payloads[:1_000], sink, "warm-up")
    found: dict[str, list[tuple[float, float]]] = {"columns": [], "objects": []}
    for number in range(chosen.runs):
        columns = partial(as_columns, payloads, sink, f"columns {number}")
        objects = partial(as_objects, payloads, sink.client, database, f"objects {number}")
        found["columns"].append(measured(columns, chosen.rows))
        found["objects"].append(measured(objects, chosen.rows))
    sink.client.command(f"DROP DATABASE {database}")
    middle = {name: [statistics.median(column) for column in zip(*runs, strict=True)] for name, runs in found.items()}
    for name, (rate, cpu) in middle.items():
        print(f"{name}  {rate:>9,.0f} rows/s  {cpu:>6.2f} us CPU/row on this side")
    (fast, cheap), (slow, dear) = middle["columns"], middle["objects"]
    print(f"ratio    {fast / slow:>9.1f}         {dear / cheap:>6.1f}")


if __name__ == "__main__":
    main()
