"""What the integration tests of the stream shell share: input that depends on a seed, workers to kill, an oracle."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from rua_common.kafka import PRODUCER
from rua_schemas import topics
from rua_schemas.codec import Encoder, decode
from rua_schemas.columns import ColumnCodec
from rua_schemas.events import Alert, DeadLetter, TelemetryEvent
from rua_streams.alerts import alert_of
from rua_streams.checkpoint import CHECKPOINT
from rua_streams.detectors import DETECTORS
from rua_streams.engine import Engine
from rua_streams.fence import Fence
from rua_streams.intake import take_in
from rua_streams.state import State

SESSION_SECONDS = 6.0
START_MS = 1_790_000_000_000
STEP_MS = 2_000
ACTORS, SOURCES = 60, 6


@dataclass
class Rig:
    """Topics of one platform of its own, and a consumer group of its own, on a shared broker."""

    bootstrap: str
    folder: Path
    partitions: int = 4
    platform: str = field(default_factory=lambda: f"p{uuid.uuid4().hex[:10]}")

    def __post_init__(self) -> None:
        self.group = f"test-{self.platform}"
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap})
        topics.apply(self.admin, [self.platform], partitions=self.partitions)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.workers: list[Worker] = []

    @property
    def events(self) -> str:
        """The events topic."""
        return topics.events_topic(self.platform)

    @property
    def state(self) -> str:
        """The state topic."""
        return topics.state_topic(self.platform)

    def environment(self, **more: str) -> dict[str, str]:
        """What a worker process is told."""
        own = {
            "RUA_KAFKA_BOOTSTRAP": self.bootstrap,
            "RUA_KAFKA_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
            "RUA_WORKER_GROUP": self.group,
            "RUA_WORKER_PLATFORMS": self.platform,
            "RUA_WORKER_CHECKPOINT_SECONDS": "1",
            "RUA_WORKER_STORE_LINGER_SECONDS": "0.3",
            "RUA_WORKER_DRAIN_SECONDS": "5",
            "RUA_TEST_SINK": str(self.folder),
        }
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RUA_")}
        return {**kept, **own, **more}

    def start(self, role: str, **more: str) -> Worker:
        """Starts a worker process."""
        worker = Worker(self, role, len(self.workers), more)
        self.workers.append(worker)
        return worker

    def ends(self, topic: str) -> dict[int, int]:
        """End offsets of a topic."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "watermarks"})
        try:
            numbers = consumer.list_topics(topic, timeout=20).topics[topic].partitions
            return {n: consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=20)[1] for n in numbers}
        finally:
            consumer.close()

    def committed(self, role: str) -> dict[int, int]:
        """Offsets that the group of a role has committed for the events topic.

        By a consumer that never joins: an admin client crashes while the coordinator loads (see `kafka_log.py`).
        """
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": f"{self.group}-{role}"})
        try:
            places = [TopicPartition(self.events, n) for n in range(self.partitions)]
            return {tp.partition: max(0, tp.offset) for tp in consumer.committed(places, 20)}
        finally:
            consumer.close()

    def wait_committed(self, role: str, seconds: float = 90) -> None:
        """Waits until a role has committed everything that the topic holds."""
        ends, end = self.ends(self.events), time.monotonic() + seconds
        while {n: at for n, at in self.committed(role).items() if at} != {n: at for n, at in ends.items() if at}:
            for worker in self.workers:
                assert worker.process.poll() in (None, 0, -signal.SIGKILL), worker.log()
            if time.monotonic() > end:
                logs = "\n".join(worker.log()[-3_000:] for worker in self.workers[-4:])
                raise AssertionError(f"{role} stands at {self.committed(role)}, the end is {ends}\n{logs}")
            time.sleep(0.1)

    def wait_offset(self, role: str, goal: int, seconds: float = 90) -> None:
        """Waits until the committed offsets of a role add up to the goal."""
        end = time.monotonic() + seconds
        while sum(self.committed(role).values()) < goal:
            assert time.monotonic() < end, "\n".join(worker.log()[-3_000:] for worker in self.workers[-2:])
            time.sleep(0.02)

    def kill_in_mid_stream(self, worker: Worker, seconds: float = 60) -> Worker:
        """SIGKILL while it holds records that nothing safe has, and a new worker in its place.

        It is stopped first, so that what it holds can be compared with what is safe, and let go on if that is the same.
        """
        end = time.monotonic() + seconds
        while True:
            seen = worker.fresh_status()
            worker.signal(signal.SIGSTOP)
            time.sleep(0.2)  # what it has sent arrives
            worker.held = {p["partition"]: p["next"] for p in seen["partitions"] if p["topic"] == self.events}
            safe = self.safe(worker.role)
            if any(at > safe[number] for number, at in worker.held.items()):
                worker.kill()
                return self.start(worker.role, **worker.more)
            worker.signal(signal.SIGCONT)
            assert time.monotonic() < end, worker.log()

    def safe(self, role: str) -> dict[int, int]:
        """Where a successor goes on: at the checkpoint, or at the committed offset."""
        if role == "store":
            return self.committed(role)
        checkpoints = {n: rows.get(CHECKPOINT, b'{"next": 0}') for n, rows in self.saved().items()}
        return {n: msgspec.json.decode(row)["next"] for n, row in checkpoints.items()}

    def replay(self, killed: Worker, successor: Worker) -> int:
        """How many records the successor read again that the killed one is known to have read."""
        places = re.findall(rf"{self.events}-(\d+)@(\d+)", successor.log())
        first = {int(number): int(at) for number, at in reversed(places)}
        return sum(max(0, at - first.get(number, at)) for number, at in killed.held.items())

    def stop(self) -> None:
        """Kills whatever is left."""
        for worker in self.workers:
            worker.kill()

    def read(self, topic: str) -> list[Any]:
        """Committed messages of a topic, from the beginning to the end, partition by partition."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        left = set(self.ends(topic))
        consumer.assign([TopicPartition(topic, n, 0) for n in left])
        found: list[Any] = []
        while left:
            for message in consumer.consume(5_000, 0.5):
                error = message.error()
                if error is None:
                    found.append(message)
                else:
                    assert error.code() == KafkaError._PARTITION_EOF
                    left.discard(message.partition() or 0)
        consumer.close()
        return sorted(found, key=lambda message: (message.partition(), message.offset()))

    def alerts(self) -> dict[tuple[str, int], set[bytes]]:
        """Alerts of this platform: (id, revision) to the bodies that were sent under it."""
        found: dict[tuple[str, int], set[bytes]] = defaultdict(set)
        for message in self.read(topics.ALERTS):
            one = decode(message.value(), Alert)
            if one.platform == self.platform:
                found[one.alert_id, one.revision].add(message.value())
        return dict(found)

    def sent(self) -> list[TelemetryEvent]:
        """Every event of the topic, copies included."""
        return [decode(message.value(), TelemetryEvent) for message in self.read(self.events)]

    def raised(self) -> list[Alert]:
        """Alerts of this platform, as they were sent."""
        found = [decode(message.value(), Alert) for message in self.read(topics.ALERTS)]
        return [one for one in found if one.platform == self.platform]

    def dead_letters(self) -> list[DeadLetter]:
        """Dead letters of this platform."""
        letters = [decode(message.value(), DeadLetter) for message in self.read(topics.DLQ)]
        return [letter for letter in letters if letter.topic == self.events]

    def saved(self) -> dict[int, dict[bytes, bytes]]:
        """The rows of the state topic, by partition; the checkpoint among them."""
        rows: dict[int, dict[bytes, bytes]] = {n: {} for n in range(self.partitions)}
        for message in self.read(self.state):
            if message.value() is None:
                rows[message.partition()].pop(message.key(), None)
            else:
                rows[message.partition()][message.key()] = message.value()
        return rows

    def stored(self) -> Counter[tuple[int, int]]:
        """(partition, offset) of each row in the file sink, with how many times it is there."""
        found: Counter[tuple[int, int]] = Counter()
        for file in self.folder.glob("events-*.json"):
            found.update((row[2], row[3]) for row in json.loads(file.read_bytes()) if row[1] == self.events)
        return found


class Worker:
    """One worker process."""

    def __init__(self, rig: Rig, role: str, number: int, more: Mapping[str, str]) -> None:
        self.role, self.more = role, dict(more)
        self.held: dict[int, int] = {}
        self.status_file = rig.folder / f"status-{number}.json"
        self.log_file = rig.folder / f"worker-{number}-{role}.log"
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.streams_worker", role],
                env=rig.environment(RUA_WORKER_STATUS_FILE=str(self.status_file), **more),
                stderr=log,
                stdout=subprocess.DEVNULL,
            )

    def status(self) -> dict[str, Any]:
        """Its status file."""
        try:
            found: dict[str, Any] = json.loads(self.status_file.read_text())
        except FileNotFoundError:
            return {"ready": False, "events": 0}
        return found

    def fresh_status(self) -> dict[str, Any]:
        """Its status file, just written."""
        before = self.status().get("at_ms")
        while not (now := self.status()).get("partitions") or now["at_ms"] == before:
            assert self.process.poll() is None, self.log()
            time.sleep(0.01)
        return now

    def wait_ready(self, seconds: float = 40) -> None:
        """Until its partitions are restored."""
        end = time.monotonic() + seconds
        while not self.status()["ready"]:
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.1)

    def log(self) -> str:
        """What it has written to stderr."""
        return self.log_file.read_text()

    def signal(self, number: int) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    def drain(self, seconds: float = 30) -> int:
        """SIGTERM, and its exit status."""
        self.process.terminate()
        return self.process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


class Feed:
    """Agents that never rest: events that depend on the seed alone; now and then one sends its last ones again."""

    def __init__(self, rig: Rig, seed: int, per_second: float) -> None:
        self.rig, self.random, self.per_second = rig, random.Random(seed), per_second
        self.producer = Producer({"bootstrap.servers": rig.bootstrap, **PRODUCER, "linger.ms": 5})
        self.encoder, self.sent, self.sent_again = Encoder(TelemetryEvent), 0, 0
        self.history: dict[int, list[tuple[str, bytes]]] = defaultdict(list)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self) -> Feed:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()
        assert self.producer.flush(30) == 0

    def send(self, count: int) -> None:
        """New events, and sometimes old ones."""
        for _ in range(count):
            self._send_one()
        self.producer.poll(0)

    def _run(self) -> None:
        begun = time.monotonic()
        while not self.stopped.is_set():
            self.send(50)
            self.stopped.wait(max(0.0, begun + self.sent / self.per_second - time.monotonic()))

    def _send_one(self) -> None:
        source = self.random.randrange(SOURCES)
        history = self.history[source]
        event = made(self.rig.platform, source, len(history), self.random)
        history.append((event.actor or "", self.encoder.encode(event)))
        self._produce(*history[-1])
        if self.random.random() < 0.002:
            for actor, value in history[-self.random.randrange(1, 80) :]:
                self._produce(actor, value)
                self.sent_again += 1

    def _produce(self, actor: str, value: bytes) -> None:
        self.producer.produce(self.rig.events, value, actor.encode())
        self.sent += 1


def made(platform: str, source: int, position: int, chance: random.Random) -> TelemetryEvent:
    """One event; a source's time runs with its positions. Now and then somebody takes very much."""
    at = START_MS + position * STEP_MS
    large = chance.random() < 0.01
    export = large or chance.random() < 0.1
    return TelemetryEvent(
        event_id=chance.randbytes(16).hex(),
        source_id=f"s{source}",
        source_position=position * 1_024,
        source="pgaudit-jsonlog",
        agent_id=f"a{source}",
        agent_epoch=1,
        agent_seq=position,
        platform=platform,
        kind="data_export" if export else "data_access",
        action="export" if export else "read",
        outcome="ok",
        actor=f"u{source}-{chance.randrange(ACTORS)}",
        actor_type="interactive",
        dataset="customers",
        rows=chance.randrange(50_000, 400_000) if large else chance.randrange(1, 50),
        rows_quality="exact",
        destination=f"client:198.51.100.{chance.randrange(4)}",
        occurred_at=at,
        observed_at=at + 500,
    )


@dataclass
class Truth:
    """What must come out: recomputed from the topic, single-threaded, each partition in one piece."""

    rows: dict[int, dict[bytes, bytes]]
    alerts: dict[tuple[str, int], set[bytes]]
    offsets: set[tuple[int, int]]
    duplicates: int
    rejected: list[tuple[int, int, str]]


@dataclass(slots=True)
class Record:
    """A message as the processors see it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def truth(rig: Rig) -> Truth:
    """The oracle."""
    found = Truth({}, defaultdict(set), set(), 0, [])
    by_partition: dict[int, list[Record]] = {n: [] for n in range(rig.partitions)}
    for m in rig.read(rig.events):
        record = Record(m.topic(), m.partition(), m.offset(), m.timestamp()[1], 0, m.key(), m.value())
        by_partition[m.partition()].append(record)
    engine, codec, encoder = Engine(DETECTORS), ColumnCodec(), Encoder(Alert)
    for number, records in by_partition.items():
        state, fence = State(engine.layout), Fence()
        if records:
            intake = take_in(codec, records)
            fresh = intake.frame.filter(fence.admit(intake.frame))
            for finding in engine.apply(fresh, state):
                one = alert_of(finding, rig.events, number)
                found.alerts[one.alert_id, one.revision].add(encoder.encode(one))
            found.offsets |= {(number, offset) for offset in intake.frame["offset"].to_list()}
            found.duplicates += intake.frame.height - fresh.height
            found.rejected += [(number, records[why.index].offset, why.reason) for why in intake.rejected]
        rows = {b"a" + key: value for key, value in state.dump().items()}
        found.rows[number] = rows | {b"s" + key: value for key, value in fence.dump().items()}
    found.alerts = dict(found.alerts)
    return found


def differences(rig: Rig, expected: Truth) -> dict[str, int]:
    """How many alerts and state rows are missing, extra or different. All must be 0."""
    alerts, saved = rig.alerts(), rig.saved()
    checkpoints = {n: rows.pop(CHECKPOINT, b"{}") for n, rows in saved.items()}
    ends = rig.ends(rig.events)
    wrong = [
        (n, key) for n in expected.rows for key in expected.rows[n].keys() | saved[n].keys()
        if expected.rows[n].get(key) != saved[n].get(key)
    ]  # fmt: skip
    return {
        "alerts missing": len(expected.alerts.keys() - alerts.keys()),
        "alerts extra": len(alerts.keys() - expected.alerts.keys()),
        "alerts different": sum(alerts[key] != expected.alerts[key] for key in alerts.keys() & expected.alerts.keys()),
        "state rows different": len(wrong),
        "checkpoints not at the end": sum(
            msgspec.json.decode(row).get("next", 0) != ends[n] for n, row in checkpoints.items()
        ),
    }
