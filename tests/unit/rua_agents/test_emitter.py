"""Sending: bounded, in order, and never past a message that failed. The broker is a stand-in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError
from rua_agents.broker import BrokerHealth
from rua_agents.emitter import Emitter, SendingFailed, Stopping, cut
from rua_agents.heartbeat import ClockOffset
from rua_agents.settings import Limits
from rua_common.clock import ManualClock
from rua_common.kafka import KafkaOptions
from rua_schemas.codec import decode
from rua_schemas.events import DeadLetter, Label, TelemetryEvent

from tests.agent_rig import START_MS, parse, web_line


class Broker:
    """librdkafka's producer, as far as the emitter sees it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options, self.sent = options, list[tuple[str, bytes, bytes]]()
        self.waiting: list[Callable[[Any, Any], None]] = []
        self.room = 1_000
        self.purged = False

    def produce(self, topic: str, value: bytes, key: bytes, on_delivery: Callable[[Any, Any], None]) -> None:
        """Queues."""
        if len(self.waiting) >= self.room:
            raise BufferError
        self.sent.append((topic, key, value))
        self.waiting.append(on_delivery)

    def poll(self, seconds: float = 0) -> int:
        """Says nothing by itself."""
        return 0

    def flush(self, seconds: float) -> int:
        """Acknowledges everything."""
        self.acknowledge()
        return 0

    def purge(self) -> None:
        """Forgets."""
        self.purged = True

    def acknowledge(self, n: int = 1_000, error: Any = None) -> None:
        """The broker's answer to the first n messages."""
        for _ in range(min(n, len(self.waiting))):
            self.waiting.pop(0)(error, None)


def emitter(limits: Limits | None = None, stopping: Callable[[], bool] = lambda: False) -> tuple[Emitter, Broker]:
    """An emitter, and what stands behind it."""
    made: list[Broker] = []

    def producer(options: dict[str, Any]) -> Broker:
        made.append(Broker(options))
        return made[0]

    kafka, clock = KafkaOptions(bootstrap="x:1"), ManualClock(START_MS)
    one = Emitter(
        kafka,
        "lazada",
        "a",
        limits or Limits(),
        clock=clock,
        health=BrokerHealth(kafka),
        waits=stopping,
        producer=producer,
    )
    return one, made[0]


def an_event() -> TelemetryEvent:
    """One event."""
    return parse("nginx-json", web_line(START_MS))[0][0]


def test_the_producer_is_idempotent_gapless_patient_and_bounded() -> None:
    """The settings on which the promises stand."""
    options = emitter()[1].options
    assert options["enable.idempotence"] is True
    assert options["enable.gapless.guarantee"] is True
    assert options["message.timeout.ms"] == 0
    assert options["partitioner"] == "murmur2_random"
    assert options["queue.buffering.max.kbytes"] == 16_384


def test_key_and_topic() -> None:
    """The actor, or else the source; the platform's own topic."""
    one, broker = emitter()
    event = an_event()
    one.send(event)
    one.send(msgspec.structs.replace(event, actor=None))
    assert [(topic, key) for topic, key, _ in broker.sent] == [
        ("rua.events.lazada", (event.actor or "").encode()),
        ("rua.events.lazada", event.source_id.encode()),
    ]
    assert decode(broker.sent[0][2], TelemetryEvent) == event


def test_a_mark_is_acknowledged_when_all_before_it_are() -> None:
    """And what came after it does not count."""
    one, broker = emitter()
    for _ in range(3):
        one.send(an_event())
    one.mark()
    one.send(an_event())
    broker.acknowledge(2)
    assert not one.marked_is_acked
    broker.acknowledge(1)
    assert one.marked_is_acked
    assert not one.all_acked
    broker.acknowledge()
    assert one.all_acked
    assert (one.produced, one.acked) == (4, 4)


def test_a_full_queue_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-pressure: nothing is dropped."""
    one, broker = emitter()
    broker.room = 1
    monkeypatch.setattr(broker, "poll", lambda _=0: broker.acknowledge(1))
    for _ in range(5):
        one.send(an_event())
    assert len(broker.sent) == 5


def test_a_stop_is_heard_while_the_queue_is_full() -> None:
    """The broker may be away for hours."""
    one, broker = emitter(stopping=lambda: True)
    broker.room = 0
    with pytest.raises(Stopping):
        one.send(an_event())


def test_nothing_is_sent_after_a_message_that_failed() -> None:
    """A later one must not overtake it. The text names the cure."""
    one, broker = emitter()
    one.send(an_event())
    one.mark()
    broker.acknowledge(1, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(SendingFailed, match="grant"):
        one.send(an_event())
    with pytest.raises(SendingFailed):
        one.poll()
    assert len(broker.sent) == 1
    assert not one.drain(1)


def test_an_event_too_large_is_cut_and_if_that_does_not_help_dead_lettered() -> None:
    """It never blocks what comes after it (case KF-01)."""
    event = msgspec.structs.replace(an_event(), labels=tuple(Label(key=f"k{n}", value="v" * 50) for n in range(100)))
    one, broker = emitter(Limits(message_bytes=2_000))
    one.send(event)
    (topic, _, value) = broker.sent[0]
    assert topic == "rua.events.lazada"
    assert decode(value, TelemetryEvent).truncated
    tiny, broker = emitter(Limits(message_bytes=20))
    tiny.send(event)
    tiny.mark()
    letter = decode(broker.sent[0][2], DeadLetter)
    assert (broker.sent[0][0], letter.reason, letter.topic) == ("rua.dlq", "too_large", "rua.events.lazada")
    broker.acknowledge()
    assert (tiny.produced, tiny.acked, tiny.dead, tiny.marked_is_acked) == (1, 0, 1, True)


def test_an_event_that_cannot_be_encoded_is_dead_lettered_without_its_value() -> None:
    """It never stops the agent."""
    one, broker = emitter()
    one.send(msgspec.structs.replace(an_event(), rows=1 << 70))
    one.send(an_event())
    assert [topic for topic, _, _ in broker.sent] == ["rua.dlq", "rua.events.lazada"]
    letter = decode(broker.sent[0][2], DeadLetter)
    assert (letter.reason, letter.value) == ("unencodable", b"")


def test_cutting_keeps_who_what_and_when() -> None:
    """Only long texts go."""
    event = msgspec.structs.replace(an_event(), dataset="d" * 10_000)
    made = cut(event)
    assert (made.truncated, len(made.dataset or ""), made.actor, made.bytes) == (True, 256, event.actor, event.bytes)


def test_the_clocks_offset_has_an_error_bound_and_the_closest_measurement_wins() -> None:
    """The broker's stamp lies between sending and acknowledgement."""
    offset = ClockOffset(ManualClock())
    assert offset.best is None
    offset.measured(sent_at=10_000, broker_ms=4_000, acked_at=11_000)
    offset.measured(sent_at=20_000, broker_ms=14_950, acked_at=20_100)
    best = offset.best
    assert best is not None
    assert (best.offset_ms, best.error_ms) == (5_100, 51)
    assert 20_000 - 14_950 - 100 <= best.offset_ms <= 20_100 - 14_950 + 100
