"""Sending: bounded, in order, and never past a message that failed. The broker is a stand-in."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError
from hypothesis import given, settings, strategies as st
from rua_agents.broker import BrokerHealth
from rua_agents.emitter import Emitter, SendingFailed, Stopping
from rua_agents.heartbeat import ClockOffset, Offset
from rua_agents.sealing import Sealer, cut, written
from rua_agents.settings import Limits
from rua_common.clock import ManualClock
from rua_common.kafka import KafkaOptions
from rua_schemas.codec import decode, encode
from rua_schemas.events import DeadLetter, Heartbeat, Label, TelemetryEvent

from tests.agent_rig import START_MS, parse, web_line
from tests.records import some_record


class Broker:
    """librdkafka's producer, as far as the emitter sees it."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options, self.sent = options, list[tuple[str, bytes, bytes]]()
        self.waiting: list[Callable[[Any, Any], None]] = []
        self.refuses: KafkaError | None = None
        self.answers_flush = True
        self.purged = False

    def __len__(self) -> int:
        return len(self.waiting)

    def produce(self, topic: str, value: bytes, key: bytes, on_delivery: Callable[[Any, Any], None]) -> None:
        """Queues."""
        self.sent.append((topic, key, value))
        self.waiting.append(on_delivery)

    def produce_batch(self, topic: str, messages: list[dict[str, Any]], on_delivery: Callable[[Any, Any], None]) -> int:
        """Queues; what is refused is marked in its dictionary."""
        for message in messages:
            if self.refuses:
                message["_error"] = self.refuses
            else:
                self.produce(topic, message["value"], message["key"], on_delivery)
        return 0 if self.refuses else len(messages)

    def poll(self, seconds: float = 0) -> int:
        """Says nothing by itself."""
        return 0

    def flush(self, seconds: float) -> int:
        """Acknowledges everything, unless it is away."""
        if self.answers_flush:
            self.acknowledge()
        return len(self.waiting)

    def purge(self) -> None:
        """Forgets."""
        self.purged = True

    def acknowledge(self, n: int = 1_000, error: Any = None) -> None:
        """The broker's answer to the first n messages."""
        for _ in range(min(n, len(self.waiting))):
            told = self.waiting.pop(0)
            if error is not None or not self.options["delivery.report.only.error"]:
                told(error, None)


def emitter(limits: Limits | None = None, stopping: Callable[[], bool] = lambda: False) -> tuple[Emitter, Broker]:
    """An emitter, and what stands behind it."""
    made: list[Broker] = []

    def producer(options: dict[str, Any]) -> Broker:
        made.append(Broker(options))
        return made[-1]

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
    assert options["delivery.report.only.error"] is True
    limits = Limits()
    assert options["queue.buffering.max.kbytes"] << 10 <= limits.queue_bytes + limits.message_bytes + (2 << 20)
    assert options["queue.buffering.max.messages"] <= limits.queue_messages + 1_000


def test_key_and_topic() -> None:
    """The actor, or else the source; the platform's own topic."""
    one, broker = emitter()
    event = an_event()
    one.send([event])
    one.send([msgspec.structs.replace(event, actor=None)])
    assert [(topic, key) for topic, key, _ in broker.sent] == [
        ("rua.events.lazada", (event.actor or "").encode()),
        ("rua.events.lazada", event.source_id.encode()),
    ]
    numbered = msgspec.structs.replace(event, agent_epoch=0, agent_seq=1)
    assert decode(broker.sent[0][2], TelemetryEvent) == numbered


def test_a_mark_is_acknowledged_when_nothing_is_on_its_way() -> None:
    """Not before; and what is acknowledged is counted meanwhile."""
    one, broker = emitter()
    broker.answers_flush = False
    one.mark()
    assert one.marked_is_acked, "nothing was sent"
    one.send([an_event()] * 3)
    one.mark()
    one.poll()
    assert not one.marked_is_acked
    broker.acknowledge(2)
    one.poll()
    assert (one.marked_is_acked, one.acked, one.waiting_messages) == (False, 2, 1)
    broker.acknowledge(1)
    one.poll()
    assert one.marked_is_acked
    one.send([an_event()])
    assert one.marked_is_acked
    assert not one.all_acked
    broker.acknowledge()
    one.poll()
    assert one.all_acked
    assert (one.produced, one.acked, one.answers) == (4, 4, 4)


def test_more_than_the_limits_is_never_on_its_way() -> None:
    """Messages or bytes: back-pressure, and nothing is dropped."""
    size = len(encode(an_event())) + 60
    for limits in (Limits(queue_messages=700), Limits(queue_bytes=700 * size)):
        one, broker = emitter(limits)
        most, flush = [0], broker.flush

        def flushed(seconds: float, broker: Broker = broker, most: list[int] = most, flush: Any = flush) -> int:
            most[0] = max(most[0], len(broker))
            return int(flush(seconds))

        broker.flush = flushed  # type: ignore[method-assign]  # to see how much waits
        one.send([an_event()] * 3_000)
        assert len(broker.sent) == 3_000
        assert 0 < most[0] <= 700


def test_a_message_above_the_limit_goes_alone() -> None:
    """A limit that is set too low stops nothing."""
    one, broker = emitter(Limits(queue_bytes=10))
    one.send([an_event()])
    one.send([an_event()])
    assert len(broker.sent) == 2


def test_a_stop_is_heard_while_the_queue_is_full() -> None:
    """The broker may be away for hours."""
    one, broker = emitter(Limits(queue_messages=500), stopping=lambda: True)
    broker.answers_flush = False
    one.send([an_event()] * 500)
    with pytest.raises(Stopping):
        one.send([an_event()])
    assert len(broker.sent) == 500


def test_few_heartbeats_wait_while_the_broker_is_away() -> None:
    """They must not fill the queue in a night."""
    one, broker = emitter()
    beat = Heartbeat(
        agent_id="a",
        agent_epoch=1,
        agent_version="1",
        platform="lazada",
        sent_at=START_MS,
        last_seq=0,
        events_acked=0,
        records_failed=0,
        lag_bytes=0,
        files=0,
    )
    told: list[Any] = []
    assert [one.beat(beat, lambda error, _: told.append(error)) for _ in range(12)] == [True] * 10 + [False] * 2
    assert broker.sent == [], "they have a client of their own"
    assert one.all_acked, "and no checkpoint waits for them"
    assert one.drain(0)
    assert (told, one.answers) == ([None] * 10, 10)
    assert one.beat(beat, lambda _, __: None)


def test_what_the_client_refuses_stops_the_agent_before_anything_overtakes_it() -> None:
    """A topic that does not exist, or a fatal error; the text names the cure."""
    one, broker = emitter()
    broker.refuses = KafkaError(KafkaError._UNKNOWN_TOPIC)
    with pytest.raises(SendingFailed, match="rua topics apply"):
        one.send([an_event()])
    assert broker.purged
    broker.refuses = None
    with pytest.raises(SendingFailed):
        one.send([an_event()])
    assert broker.sent == []


def test_events_are_numbered_and_chained_within_an_epoch() -> None:
    """Each tells the hash of the message before it; a new epoch begins anew."""
    one, broker = emitter()
    one.begin(5)
    one.send([an_event()] * 3, Offset(-7, 3))
    values = [value for _, _, value in broker.sent]
    events = [decode(value, TelemetryEvent) for value in values]
    assert [(event.agent_epoch, event.agent_seq) for event in events] == [(5, 1), (5, 2), (5, 3)]
    assert {(event.clock_offset_ms, event.clock_error_ms) for event in events} == {(-7, 3)}
    assert [event.chain for event in events] == [None, *map(hashed, values[:2])]
    assert (one.seq, one.chain_head) == (3, hashed(values[2]))
    one.begin(6)
    one.send([an_event()])
    assert decode(broker.sent[-1][2], TelemetryEvent).chain is None


@pytest.mark.parametrize("harm", ["erase", "edit", "swap"])
def test_whoever_erases_edits_or_swaps_events_breaks_the_chain(harm: str) -> None:
    """And the place is seen; untouched it holds."""
    one, broker = emitter()
    one.begin(5)
    one.send([an_event()] * 40)
    values = [value for _, _, value in broker.sent]
    assert broken_links(values) == []
    if harm == "erase":
        del values[20]
    elif harm == "edit":
        values[20] = encode(msgspec.structs.replace(decode(values[20], TelemetryEvent), bytes=0))
    else:
        values[20], values[21] = values[21], values[20]
    assert 21 in broken_links(values) or 20 in broken_links(values)


def hashed(value: bytes) -> str:
    """What the next message must tell."""
    return blake2b(value, digest_size=16).hexdigest()


def broken_links(values: list[bytes]) -> list[int]:
    """Indexes of the messages that do not tell the hash of the one before them."""
    return [
        index
        for index, (before, value) in enumerate(pairwise(values), 1)
        if decode(value, TelemetryEvent).chain != hashed(before)
    ]


def test_an_event_that_is_not_sent_leaves_a_gap_in_the_numbers_and_none_in_the_chain() -> None:
    """Its loss is seen, and what comes after it is still linked."""
    one, broker = emitter()
    one.send([an_event(), msgspec.structs.replace(an_event(), rows=1 << 70), an_event()])
    events = [decode(value, TelemetryEvent) for topic, _, value in broker.sent if topic != "rua.dlq"]
    assert [event.agent_seq for event in events] == [1, 3]
    assert broken_links([value for topic, _, value in broker.sent if topic != "rua.dlq"]) == []


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), seq=st.sampled_from([0, 1, 62, 63, 64, 8_190, 8_191, 8_192, 2**27, 2**40]))
def test_a_sealed_message_is_what_the_general_encoder_writes(seed: int, seq: int) -> None:
    """Whatever the event: only the agent's own fields are added."""
    event = some_record(seed)
    assert isinstance(event, TelemetryEvent)
    sealer = Sealer(1_790_000_000_000)
    sealer.seq, made = seq, []
    for offset in (None, Offset(5, 2)):
        sealer.clock(offset)
        before, message = sealer.head, sealer.sealed(written(event))
        own: dict[str, Any] = {
            "clock_offset_ms": offset and offset.offset_ms,
            "clock_error_ms": offset and offset.error_ms,
        }
        own |= {"agent_epoch": 1_790_000_000_000, "agent_seq": sealer.seq, "chain": before}
        assert message == encode(msgspec.structs.replace(event, **own))
        made.append(message)
    assert [len(message) <= written(event).message_bytes for message in made] == [True, True]


def test_nothing_is_sent_after_a_message_that_failed() -> None:
    """A later one must not overtake it. The text names the cure."""
    one, broker = emitter()
    one.send([an_event()])
    one.mark()
    broker.acknowledge(1, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(SendingFailed, match="grant"):
        one.send([an_event()])
    with pytest.raises(SendingFailed):
        one.poll()
    assert len(broker.sent) == 1
    assert not one.drain(1)


def test_an_event_too_large_is_cut_and_if_that_does_not_help_dead_lettered() -> None:
    """It never blocks what comes after it (case KF-01)."""
    event = msgspec.structs.replace(an_event(), labels=tuple(Label(key=f"k{n}", value="v" * 50) for n in range(100)))
    one, broker = emitter(Limits(message_bytes=2_000))
    one.send([event])
    (topic, _, value) = broker.sent[0]
    assert topic == "rua.events.lazada"
    assert decode(value, TelemetryEvent).truncated
    tiny, broker = emitter(Limits(message_bytes=20))
    tiny.send([event])
    tiny.mark()
    letter = decode(broker.sent[0][2], DeadLetter)
    assert (broker.sent[0][0], letter.reason, letter.topic) == ("rua.dlq", "too_large", "rua.events.lazada")
    tiny.poll()
    assert (tiny.produced, tiny.acked, tiny.dead, tiny.marked_is_acked) == (1, 0, 1, True)


def test_an_event_that_cannot_be_encoded_is_dead_lettered_without_its_value() -> None:
    """It never stops the agent."""
    one, broker = emitter()
    one.send([msgspec.structs.replace(an_event(), rows=1 << 70)])
    one.send([an_event()])
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
