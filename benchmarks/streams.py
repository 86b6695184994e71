"""Record batches against plain Faust: same topic, same records, same run, one core for each consumer.

`make bench-streams` prints medians of three runs with their spread. The broker has a core of its own. Every record is a
`TelemetryEvent` of 41 fields.

plain     Faust's own agent, one message at a time, decoded by fastavro
batches   the record-batch transport, whole batches decoded into columns, every boundary checked
detect    the detect role as it runs: also fence, all detectors, state, and checkpoints in Kafka transactions
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import fastavro
import faust
import msgspec
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from faust.types import TP
from rua_common.kafka import PRODUCER, KafkaOptions
from rua_common.metrics import Metrics
from rua_local.kafka import EmbeddedKafka
from rua_schemas import topics
from rua_schemas.codec import SINGLE_OBJECT_PREFIX_BYTES, Encoder
from rua_schemas.columns import ColumnCodec
from rua_schemas.events import Label, TelemetryEvent
from rua_schemas.released import current
from rua_streams.app import faust_app, wire
from rua_streams.checkpoint import Restore
from rua_streams.detect import DetectShell
from rua_streams.detectors import DETECTORS
from rua_streams.engine import Engine
from rua_streams.kafka_log import KafkaLog
from rua_streams.outbox import Outbox
from rua_streams.partition import Cursor
from rua_streams.settings import WorkerSettings
from rua_streams.shell import BaseShell
from rua_streams.transport import Batch, Mark

PLATFORM, PARTITIONS, ACTORS = "bench", 8, 2_000
MODES = ("plain", "batches", "detect")
BROKER_CORE, CONSUMER_CORE = 1, 0


def event(position: int, chance: random.Random) -> TelemetryEvent:
    """A read of customer data, as a database's audit log tells it."""
    at = 1_790_000_000_000 + position * 20
    actor = chance.randrange(ACTORS)
    return TelemetryEvent(
        event_id=chance.randbytes(16).hex(),
        source_id="f3b1c2d4e5a697880f1e2d3c4b5a6978",
        source_position=position * 1_024,
        source="pgaudit-jsonlog",
        agent_id="bench-db-1",
        agent_epoch=1,
        agent_seq=position,
        platform=PLATFORM,
        host="db-1",
        merchant=f"m-{actor % 97}",
        channel="sql",
        kind="bulk_query",
        action="query",
        outcome="ok",
        actor=f"a:{actor:032x}",
        actor_type="interactive",
        privilege="standard",
        session=f"{actor % 500:08x}",
        dataset="shop.public.customers",
        pii_categories=("name", "phone"),
        rows=chance.randrange(1, 200),
        rows_quality="exact",
        statement_fingerprint="9b2f6a1c",
        tool="psql",
        destination="client:198.51.100.0/24",
        destination_external=False,
        source_ip=f"{actor % 250:032x}",
        source_network="198.51.100.0/24",
        occurred_at=at,
        observed_at=at + 400,
        labels=(Label(key="schema", value="public"),),
    )


def fill(bootstrap: str, count: int) -> float:
    """Writes the records; gives their mean size in bytes."""
    producer = Producer({"bootstrap.servers": bootstrap, **PRODUCER, "linger.ms": 20, "batch.size": 500_000})
    chance, encoder, size = random.Random(1), Encoder(TelemetryEvent), 0
    topic = topics.events_topic(PLATFORM)
    for position in range(count):
        one = event(position, chance)
        value = encoder.encode(one)
        size += len(value)
        producer.produce(topic, value, (one.actor or "").encode())
        if position % 5_000 == 0:
            producer.poll(0)
    producer.flush()
    return size / count


class Meter:
    """Counts from the first event on; says what it saw and ends the process at the last."""

    def __init__(self, count: int) -> None:
        self.count, self.seen, self.begun, self.cpu = count, 0, 0.0, 0.0

    def add(self, events: int) -> None:
        """So many more are done."""
        self.seen += events
        if self.seen >= self.count:
            seconds, cpu = time.perf_counter() - self.begun, time.process_time() - self.cpu
            os.write(1, json.dumps({"per_second": self.seen / seconds, "cpu_us": cpu / self.seen * 1e6}).encode())
            os._exit(0)

    def begin(self) -> None:
        """The first event is here."""
        if not self.begun:
            self.begun, self.cpu = time.perf_counter(), time.process_time()


class BatchShell(BaseShell):
    """Decodes, and nothing else."""

    role = "bench"

    def __init__(self, *arguments: Any, meter: Meter) -> None:
        super().__init__(*arguments)
        self.meter, self.codec, self.owned = meter, ColumnCodec(), dict[TP, Cursor]()

    def cursors(self) -> Mapping[TP, Cursor]:
        """See `BaseShell`."""
        return self.owned

    def marks(self) -> Mapping[TP, Mark]:
        """Commits nothing."""
        return {}

    async def acquire(self) -> None:
        """Everything from the beginning."""
        self.owned = {tp: Cursor(0) for tp in self.consumer.assignment()}

    async def drain(self) -> None:
        """Nothing to make safe."""

    def apply(self, tp: TP, batch: Batch) -> None:
        """The measured work."""
        self.meter.begin()
        height = self.codec.decode([record.value for record in batch]).frame.height
        self.owned[tp].next = batch[-1].offset + 1
        self.meter.add(height)


class MeteredDetect(DetectShell):
    """The detect role, counted."""

    meter: Meter

    def apply(self, tp: TP, batch: Batch) -> None:
        """The measured work."""
        self.meter.begin()
        super().apply(tp, batch)
        self.meter.add(len(batch))


def consume(mode: str, bootstrap: str, count: int, run: str) -> NoReturn:
    """One measured process."""
    os.sched_setaffinity(0, {CONSUMER_CORE})
    logging.basicConfig(level=logging.ERROR)
    meter, topic = Meter(count), topics.events_topic(PLATFORM)
    kafka = KafkaOptions(bootstrap=bootstrap, session_timeout_seconds=6)
    settings = WorkerSettings(kafka=kafka, group=f"bench-{mode}-{run}")
    if mode == "plain":
        app = plain_app(bootstrap, topic, run, meter)
    else:
        app, metrics = faust_app(settings, "detect"), Metrics()
        if mode == "batches":
            app.shell = shell = BatchShell(app, settings, metrics, meter=meter)
            wire(app, shell, [topic], [])
        else:
            app.shell = whole = detect(app, settings, metrics, run)
            whole.meter = meter
            wire(app, whole, [topic], [(0.1, whole.tick)])
    faust.Worker(
        app, override_logging=False, redirect_stdouts=False, quiet=True, stdout=io.StringIO()
    ).execute_from_commandline()


def detect(app: Any, settings: WorkerSettings, metrics: Metrics, run: str) -> MeteredDetect:
    """The detect role with a state topic of this run."""
    options, group = settings.kafka.librdkafka(), f"{settings.group}-detect"

    def state(_: str) -> str:
        return f"bench.state.{run}"

    restore = Restore(KafkaLog(options, group, state), group, state)
    return MeteredDetect(app, settings, metrics, engine=Engine(DETECTORS), restore=restore, outbox=Outbox(options))


def plain_app(bootstrap: str, topic: str, run: str, meter: Meter) -> faust.App:
    """Faust as its manual shows it, with fastavro in the agent."""
    app = faust.App(
        f"bench-plain-{run}",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    schema = current(TelemetryEvent).parsed

    @app.agent(app.topic(topic, value_type=bytes, value_serializer="raw"))
    async def processor(stream: Any) -> None:
        async for value in stream:
            meter.begin()
            fastavro.schemaless_reader(io.BytesIO(value[SINGLE_OBJECT_PREFIX_BYTES:]), schema)
            meter.add(1)

    return app


def measured(mode: str, bootstrap: str, count: int, run: str) -> dict[str, float]:
    """One run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.streams", "--consume", mode, bootstrap, str(count), run]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120)
    return msgspec.json.decode(done.stdout, type=dict[str, float])


def compare(records: int, plain: int, repeats: int) -> None:
    """Fills a topic once and reads it in every way, in turn."""
    os.sched_setaffinity(0, {BROKER_CORE})
    with tempfile.TemporaryDirectory() as folder, EmbeddedKafka(Path(folder)) as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        topics.apply(admin, [PLATFORM], partitions=PARTITIONS)
        size = fill(kafka.bootstrap, records)
        print(f"{records:,} events of 41 fields, {size:.0f} bytes, {PARTITIONS} partitions, {repeats} runs of each")
        found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
        for repeat in range(repeats):
            for mode in MODES:
                run = f"{mode}-{repeat}"
                if mode == "detect":
                    state_topic_for(admin, f"bench.state.{run}")
                found[mode].append(measured(mode, kafka.bootstrap, plain if mode == "plain" else records, run))
    report(found)


def state_topic_for(admin: AdminClient, name: str) -> None:
    """A compacted topic."""
    from confluent_kafka.admin import NewTopic  # noqa: PLC0415 - only here

    admin.create_topics([NewTopic(name, PARTITIONS, 1, config={"cleanup.policy": "compact"})])[name].result(20)


def report(found: Mapping[str, list[dict[str, float]]]) -> None:
    """Medians and spreads, and how many times faster."""
    base = {key: statistics.median(run[key] for run in found["plain"]) for key in ("per_second", "cpu_us")}
    print(f"{'':10}{'events/s, one core':>20}{'lowest to highest':>24}{'times':>8}{'µs CPU/event':>15}{'times':>8}")
    for mode, runs in found.items():
        rates = sorted(run["per_second"] for run in runs)
        cpu = statistics.median(run["cpu_us"] for run in runs)
        rate = statistics.median(rates)
        spread = f"{rates[0]:,.0f} to {rates[-1]:,.0f}"
        ratios = f"{rate / base['per_second']:>8.1f}", f"{base['cpu_us'] / cpu:>8.1f}"
        print(f"{mode:10}{rate:>20,.0f}{spread:>24}{ratios[0]}{cpu:>15.2f}{ratios[1]}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--plain", type=int, default=30_000, help="how many of them plain Faust reads")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--consume", nargs=4, metavar=("MODE", "BOOTSTRAP", "COUNT", "RUN"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.consume:
        mode, bootstrap, count, run = given.consume
        consume(mode, bootstrap, int(count), run)
    compare(given.records, given.plain, given.repeats)


if __name__ == "__main__":
    main()
