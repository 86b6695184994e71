"""The checkpoint protocol's log on Apache Kafka. Everything here blocks and belongs in a thread."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec
from faust.types import TP

from rua_streams.checkpoint import Bounds, Lost, TopicFacts

CALL_SECONDS = 30.0
ATTEMPTS_SECONDS = 300.0  # a broker that is away longer has let the transaction expire anyway
EARLIEST, LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]  # declared untyped


class TransactionalWriter:
    """One transactional producer, bound to one partition of a state topic."""

    def __init__(self, producer: Producer, place: TP) -> None:
        self.producer, self.place = producer, place

    def write(self, rows: Mapping[bytes, bytes | None]) -> bool:
        """One transaction. False: it was aborted cleanly.

        Raises:
            Lost: the producer was fenced, or nobody knows whether the transaction happened.
        """
        try:
            self.producer.begin_transaction()
            for key, value in rows.items():
                self._produce(key, value)
            retried(self.producer.commit_transaction)
        except KafkaException as why:
            if not _error(why).txn_requires_abort():
                raise Lost(f"{self.place.topic}-{self.place.partition}: {_error(why)}") from why
            self._abort()
            return False
        return True

    def _produce(self, key: bytes, value: bytes | None) -> None:
        while True:
            try:
                self.producer.produce(self.place.topic, value, key, self.place.partition)
            except BufferError:
                self.producer.poll(0.05)
            else:
                return

    def _abort(self) -> None:
        try:
            retried(self.producer.abort_transaction)
        except KafkaException as why:
            raise Lost(f"{self.place.topic}-{self.place.partition}: {_error(why)}") from why

    def close(self) -> None:
        """Drops whatever is not sent; an open transaction is aborted by the broker or by the next owner."""
        with contextlib.suppress(KafkaException):
            self.producer.purge()


class KafkaLog:
    """`Log` of one consumer group. `options` are those of every client: brokers and login."""

    def __init__(
        self,
        options: Mapping[str, Any],
        group: str,
        state_topic: Callable[[str], str],
        transaction_timeout_seconds: float = 10.0,
    ) -> None:
        # these clients are not polled, so their log lines, hundreds in an outage, could not go through `logging`
        self.options, self.group, self.state_topic = {**options, "log_level": 2}, group, state_topic
        self.transaction_ms = round(transaction_timeout_seconds * 1_000)
        self.admin = AdminClient(self.options)

    def fence(self, tp: TP) -> TransactionalWriter:
        """Initialises the partition's transactional id, which fences every former holder of it."""
        producer = Producer(
            {
                **self.options,
                "transactional.id": f"{self.group}/{tp.topic}/{tp.partition}",
                "transaction.timeout.ms": self.transaction_ms,
                "linger.ms": 5,
                "compression.type": "zstd",
                "queue.buffering.max.kbytes": 65_536,
            }
        )
        retried(producer.init_transactions)
        return TransactionalWriter(producer, TP(self.state_topic(tp.topic), tp.partition))

    def describe(self, topic: str) -> TopicFacts:
        """Asks the brokers, never a cache."""
        found = self.admin.describe_topics(TopicCollection([topic]))[topic].result(CALL_SECONDS)
        return TopicFacts(str(found.topic_id), len(found.partitions))

    def bounds(self, tp: TP) -> Bounds:
        """The stable offset is asked for before the end, so that equality means that nothing was hidden."""
        committed, everything = IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED
        return Bounds(
            self._offset(tp, EARLIEST, committed),
            self._offset(tp, LATEST, committed),
            self._offset(tp, LATEST, everything),
        )

    def _offset(self, tp: TP, spec: OffsetSpec, level: IsolationLevel) -> int:
        place = TopicPartition(tp.topic, tp.partition)
        (future,) = self.admin.list_offsets({place: spec}, isolation_level=level).values()
        return int(future.result(CALL_SECONDS).offset)

    def read(self, tp: TP, first: int, end: int) -> Iterator[tuple[int, bytes, bytes | None]]:
        """Reads `read_committed` from exactly `first`, never by seeking to the beginning, which races the assignment.

        A log may end in a control marker, which no consumer sees: only its end-of-partition report says that `end` was
        reached; a count of records would not, because compaction leaves holes.
        """
        if first >= end:
            return
        own = {"group.id": f"{self.group}-restore", "enable.auto.commit": False, "auto.offset.reset": "error"}
        consumer = Consumer({**self.options, **own, "isolation.level": "read_committed", "enable.partition.eof": True})
        try:
            consumer.assign([TopicPartition(tp.topic, tp.partition, first)])
            while True:
                for message in consumer.consume(10_000, 0.1):
                    error = message.error()
                    if error is None:
                        yield message.offset() or 0, message.key() or b"", message.value()
                    elif error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    elif (message.offset() or 0) >= end:
                        return
        finally:
            consumer.close()

    def committed(self, tp: TP) -> int:
        """The group's offset, -1 if there is none.

        Asked by a consumer that never joins: librdkafka 2.16.1 crashes the process when an admin client asks while the
        group's coordinator moves or loads.
        """
        consumer = Consumer({**self.options, "group.id": self.group, "isolation.level": "read_committed"})
        try:
            (found,) = consumer.committed([TopicPartition(tp.topic, tp.partition)], CALL_SECONDS)
        finally:
            consumer.close()
        return max(int(found.offset), -1)


def retried(call: Callable[[float], None]) -> None:
    """Repeats a call of the transaction API while the client says that this is safe."""
    end = time.monotonic() + ATTEMPTS_SECONDS
    while True:
        try:
            return call(CALL_SECONDS)
        except KafkaException as why:
            if not _error(why).retriable() or time.monotonic() > end:
                raise


def _error(why: KafkaException) -> KafkaError:
    error: KafkaError = why.args[0]
    return error
