"""Avro decode: whole batches as columns against fastavro, message by message, same messages, same run.

`python -m benchmarks.codec [--batch 500 2000 10000] [--seconds 1]` prints events per CPU second of one process.
"""

from __future__ import annotations

import argparse
import io
import random
import time
from collections.abc import Callable, Sequence

import fastavro
from rua_schemas.codec import SINGLE_OBJECT_PREFIX_BYTES, Encoder, decode
from rua_schemas.columns import ColumnCodec
from rua_schemas.events import Label, TelemetryEvent
from rua_schemas.released import current

EVENTS = 20_000


def made_up(rng: random.Random, seq: int) -> TelemetryEvent:
    """An event as full as a database agent makes them: about 400 bytes."""
    return TelemetryEvent(
        event_id=f"{rng.getrandbits(128):032x}",
        source_id=f"{rng.getrandbits(128):032x}",
        source_position=rng.randrange(10**9) * 1_024,
        source="pgaudit-jsonlog",
        agent_id="shop-db-1",
        agent_epoch=1_790_000_000_000,
        agent_seq=seq,
        platform="shop",
        host="db-1",
        channel="db",
        kind=rng.choice(("data_export", "data_access", "bulk_query")),
        action="query",
        outcome="ok",
        actor=f"{rng.getrandbits(100):025x}",
        actor_type="interactive",
        privilege="standard",
        session=f"{rng.getrandbits(80):020x}",
        dataset="shop.public." + "customers" * rng.randrange(1, 9),
        pii_categories=("name", "phone")[: rng.randrange(3)],
        rows=rng.choice((None, 5, 1_000)),
        rows_quality="exact",
        statement_fingerprint=f"{rng.getrandbits(64):016x}",
        tool="psql",
        destination="client:203.0.113.0/24",
        destination_external=False,
        source_ip=f"{rng.getrandbits(100):025x}",
        source_network="203.0.113.0/24",
        occurred_at=1_790_000_000_000 + seq,
        observed_at=1_790_000_000_250 + seq,
        labels=(Label(key="statement", value="SELECT"),) * rng.randrange(2),
    )


def rate(work: Callable[[Sequence[bytes]], object], payloads: Sequence[bytes], batch: int, seconds: float) -> float:
    """Events per CPU second."""
    work(payloads[:batch])
    begun, events, at = time.process_time(), 0, 0
    while time.process_time() - begun < seconds:
        work(payloads[at : at + batch])
        events += len(payloads[at : at + batch])
        at = (at + batch) % len(payloads)
    return events / (time.process_time() - begun)


def by_fastavro(payloads: Sequence[bytes]) -> list[object]:
    """The usual way: a dictionary a message, nothing checked but what the reader checks."""
    schema = current(TelemetryEvent).parsed
    return [fastavro.schemaless_reader(io.BytesIO(p[SINGLE_OBJECT_PREFIX_BYTES:]), schema) for p in payloads]


def by_type(payloads: Sequence[bytes]) -> list[TelemetryEvent]:
    """One by one with every check: what an agent or a tool does."""
    return [decode(p, TelemetryEvent) for p in payloads]


def main() -> None:
    """Prints one line a way and batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[500, 2_000, 5_000, 10_000])
    parser.add_argument("--seconds", type=float, default=1.0)
    given = parser.parse_args()
    rng = random.Random(1)
    encoder = Encoder(TelemetryEvent)
    events = [made_up(rng, seq) for seq in range(EVENTS)]
    begun = time.process_time()
    payloads = [encoder.encode(event) for event in events]
    show("encode, one by one", EVENTS / (time.process_time() - begun))
    bytes_each, fields = sum(map(len, payloads)) / EVENTS, len(current(TelemetryEvent).plain["fields"])
    print(f"a message has {fields} fields in {bytes_each:.0f} bytes")
    plain = rate(by_fastavro, payloads, 2_000, given.seconds)
    show("fastavro, one by one", plain, plain)
    show("codec.decode, one by one, checked", rate(by_type, payloads, 2_000, given.seconds), plain)
    codec = ColumnCodec()
    for batch in given.batch:
        show(f"columns, checked, batches of {batch:,}", rate(codec.decode, payloads, batch, given.seconds), plain)
    spoilt = [p[:-1] if n % 100 == 0 else p for n, p in enumerate(payloads)]
    show("columns, checked, 5,000, 1 % of them cut", rate(codec.decode, spoilt, 5_000, given.seconds), plain)
    spoilt = [p.replace(b"psql", b"ps\xffl") if n % 5_000 == 0 else p for n, p in enumerate(payloads)]
    show("columns, checked, 5,000, one not UTF-8", rate(codec.decode, spoilt, 5_000, given.seconds), plain)


def show(way: str, events_per_second: float, plain: float | None = None) -> None:
    """One line of the result, with how many times fastavro's rate it is."""
    print(f"{way:<44} {events_per_second:>10,.0f} events/s" + (f" {events_per_second / plain:6.1f} x" if plain else ""))


if __name__ == "__main__":
    main()
