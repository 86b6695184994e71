"""The embedded Kafka is the real thing, keeps its data, and leaves nothing behind."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from rua_local.kafka import EmbeddedKafka
from rua_local.process import ServiceFailed, listening

pytestmark = pytest.mark.kafka


def create(bootstrap: str, topic: str) -> None:
    """Makes a topic with one partition."""
    admin = AdminClient({"bootstrap.servers": bootstrap})  # named: without a reference its futures fail
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)


def send(bootstrap: str, topic: str, value: bytes) -> None:
    """Sends a message and waits until it is acknowledged."""
    failed: list[KafkaError] = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    producer.produce(topic, value, on_delivery=lambda error, _: failed.append(error) if error else None)
    assert producer.flush(20) == 0
    assert failed == []


def received(bootstrap: str, topic: str, wanted: int) -> list[bytes]:
    """The first committed messages of a topic."""
    group = {"group.id": f"reader-{time.monotonic_ns()}", "session.timeout.ms": 1_000, "heartbeat.interval.ms": 300}
    options = {"bootstrap.servers": bootstrap, "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
    consumer = Consumer(options | group)
    consumer.subscribe([topic])
    try:
        return [message.value() or b"" for message in consumer.consume(wanted, 20)]
    finally:
        consumer.close()


def test_messages_outlive_stop_and_kill(tmp_path: Path) -> None:
    """At the same address, so that clients find it again; and a second node on the same data is refused."""
    with EmbeddedKafka(tmp_path) as kafka:
        create(kafka.bootstrap, "kept")
        send(kafka.bootstrap, "kept", b"before the stop")
        kafka.stop()
        assert kafka.pid is None
        kafka.start()
        send(kafka.bootstrap, "kept", b"before the kill")
        with pytest.raises(ServiceFailed, match="choose another directory"):
            EmbeddedKafka(tmp_path).start()
        kafka.kill()
        kafka.start()
        assert received(kafka.bootstrap, "kept", 2) == [b"before the stop", b"before the kill"]


def test_a_second_producer_with_the_same_transactional_id_fences_the_first(kafka: EmbeddedKafka) -> None:
    """The mock of librdkafka does not do that: this proves the real thing."""
    create(kafka.bootstrap, "fenced")
    options = {"bootstrap.servers": kafka.bootstrap, "transactional.id": "fenced-0", "log_level": 0}
    old, new = Producer(options), Producer(options)
    old.init_transactions(30)
    old.begin_transaction()
    old.produce("fenced", b"from the old one")
    old.flush(10)
    new.init_transactions(30)
    new.begin_transaction()
    new.produce("fenced", b"from the new one")
    new.commit_transaction(20)
    with pytest.raises(KafkaException) as refused:
        old.commit_transaction(20)
    assert refused.value.args[0].code() in {KafkaError._FENCED, KafkaError.PRODUCER_FENCED}
    assert received(kafka.bootstrap, "fenced", 1) == [b"from the new one"]


def test_a_typing_error_makes_no_topic(kafka: EmbeddedKafka) -> None:
    """Topics come from topics.yaml alone."""
    known = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics("rua.evnets", timeout=10).topics
    error = known["rua.evnets"].error
    assert error is not None
    assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_by_hand_it_prints_its_address_and_dies_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed runs no handler: the node must not stay behind."""
    command = [sys.executable, "-m", "rua_local.kafka", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        bootstrap = parent.stdout.readline().strip()
        create(bootstrap, "by-hand")
        parent.kill()
    deadline = time.monotonic() + 10
    port = int(bootstrap.rpartition(":")[2])
    while listening(port) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not listening(port)


def test_a_taken_port_is_told_in_words(tmp_path: Path) -> None:
    """With what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ServiceFailed, match="choose another port"):
        EmbeddedKafka(tmp_path, port=taken.getsockname()[1]).start()
