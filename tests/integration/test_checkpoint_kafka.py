"""The checkpoint protocol on a real Apache Kafka: fencing, hidden checkpoints, refusals."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from faust.types import TP
from rua_common.errors import Refused
from rua_schemas import topics
from rua_streams.app import state_topic
from rua_streams.checkpoint import Lost, Restore
from rua_streams.kafka_log import KafkaLog, TransactionalWriter
from rua_streams.partition import Partition

pytestmark = pytest.mark.kafka


class Ledger:
    """Rows that a test sets by hand."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}

    def take_dirty(self) -> dict[bytes, bytes]:
        """As `State.take_dirty`."""
        taken, self.rows = self.rows, {}
        return taken


class Place:
    """A source partition with a few records, its state, and whoever takes it over."""

    def __init__(self, bootstrap: str, log: type[KafkaLog] = KafkaLog) -> None:
        platform = f"c{uuid.uuid4().hex[:10]}"
        self.options: dict[str, str | int | float | bool] = {"bootstrap.servers": bootstrap}
        self.tp, self.group = TP(topics.events_topic(platform), 0), f"group-{platform}"
        self.admin = AdminClient(self.options)
        topics.apply(self.admin, [platform], partitions=1)
        self.platform = platform
        self.log = log(self.options, self.group, state_topic, 3.0)
        self.produce(10)

    def produce(self, count: int) -> None:
        """Adds records to the source."""
        producer = Producer(self.options)
        for _ in range(count):
            producer.produce(self.tp.topic, b"x", partition=0)
        assert producer.flush(20) == 0

    def take_over(self, wait_seconds: float = 30) -> Partition:
        """A new owner."""
        restored = Restore(self.log, self.group, state_topic, wait_seconds).acquire(self.tp)
        return Partition(self.tp, self.group, restored, {b"a": Ledger()})

    def save(self, part: Partition, at: int, rows: dict[bytes, bytes]) -> bool:
        """A checkpoint with these rows."""
        ledger = part.tables[b"a"]
        assert isinstance(ledger, Ledger)
        ledger.rows, part.cursor.next = rows, at
        snapshot = part.snapshot()
        done = part.write(snapshot)
        if done:
            part.wrote(snapshot)
        return done


class Standstill:
    """A producer that stands still before one of its calls, while `meanwhile` happens."""

    def __init__(self, producer: Producer, call: str, meanwhile: Callable[[], None]) -> None:
        self.producer, self.call, self.meanwhile = producer, call, meanwhile

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.producer, name)
        if name != self.call:
            return method

        def late(*arguments: Any) -> Any:
            self.producer.flush(10)
            self.meanwhile()
            return method(*arguments)

        return late


def zombie_goes_on_late(place: Place, before: str) -> tuple[Exception | None, Partition]:
    """A former owner sleeps in its checkpoint; a new one restores, applies and saves; then the former one goes on.

    Returns:
        What the former owner was told, and what a third owner finds.
    """
    old = place.take_over()
    assert place.save(old, 4, {b"ann": b"4 events"})

    def taken_over() -> None:
        new = place.take_over()
        assert (new.cursor.next, new.restored.rows) == (4, {b"aann": b"4 events"})
        assert place.save(new, 9, {b"ann": b"9 events"})

    writer, told = old.restored.writer, None
    assert isinstance(writer, TransactionalWriter)
    writer.producer = Standstill(writer.producer, before, taken_over)  # type: ignore[assignment]  # stands in for it
    try:
        place.save(old, 6, {b"bob": b"2 events"})
    except Lost as why:
        told = why
    return told, place.take_over()


@pytest.mark.parametrize("before", ["begin_transaction", "commit_transaction"])
def test_a_late_checkpoint_of_a_former_owner_is_refused_by_the_broker(kafka_bootstrap: str, before: str) -> None:
    """The fence: wherever the zombie slept, nothing of its transaction is ever seen."""
    told, last = zombie_goes_on_late(Place(kafka_bootstrap), before)
    assert isinstance(told, Lost)
    assert (last.cursor.next, last.restored.rows) == (9, {b"aann": b"9 events"})


def test_without_a_fence_a_late_checkpoint_would_win(kafka_bootstrap: str) -> None:
    """The broken twin, whose owners do not share a transactional id: ann's nine events stand beside a checkpoint of 6.

    Three of them would be counted again. It sleeps before it begins: an open transaction would run into its timeout
    while the new owner waits for the stable offset, which guards a second time.
    """

    class Unfenced(KafkaLog):
        def fence(self, tp: TP) -> TransactionalWriter:
            """Every owner has an id of its own, so nobody is fenced."""
            group, self.group = self.group, uuid.uuid4().hex
            try:
                return super().fence(tp)
            finally:
                self.group = group

    told, last = zombie_goes_on_late(Place(kafka_bootstrap, Unfenced), "begin_transaction")
    assert told is None
    assert (last.cursor.next, last.restored.rows) == (6, {b"aann": b"9 events", b"abob": b"2 events"})


def test_a_foreign_open_transaction_does_not_hide_our_checkpoint(kafka_bootstrap: str) -> None:
    """A restore waits until the last stable offset is the end; somebody else's transaction ends by its timeout."""
    place = Place(kafka_bootstrap)
    owner = place.take_over()
    foreign = Producer({**place.options, "transactional.id": uuid.uuid4().hex, "transaction.timeout.ms": 2_000})
    foreign.init_transactions(20)
    foreign.begin_transaction()
    foreign.produce(state_topic(place.tp.topic), b"?", b"a?", 0)
    foreign.flush(10)
    assert place.save(owner, 7, {b"ann": b"7 events"})
    with pytest.raises(Refused, match="find-hanging"):
        place.take_over(wait_seconds=0.1)
    begun = time.monotonic()
    assert place.take_over().cursor.next == 7
    assert time.monotonic() - begun > 0.2


def test_a_re_created_topic_is_refused(kafka_bootstrap: str) -> None:
    """The same name, new offsets: the state is of another topic, and the text says what to do."""
    place = Place(kafka_bootstrap)
    assert place.save(place.take_over(), 5, {})
    place.admin.delete_topics([place.tp.topic])[place.tp.topic].result(20)
    while place.tp.topic in place.admin.list_topics(timeout=10).topics:
        time.sleep(0.1)
    topics.apply(place.admin, [place.platform], partitions=1)
    place.produce(10)
    with pytest.raises(Refused, match=r"re-created.*delete and re-create rua\.state\."):
        place.take_over()
