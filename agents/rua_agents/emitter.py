"""Events to Kafka: idempotent, in order, bounded; the agent learns up to where the broker has acknowledged them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from rua_common.clock import Clock
from rua_common.errors import PoisonEvent, RuaError
from rua_common.kafka import PRODUCER, KafkaOptions
from rua_schemas.codec import Encoder
from rua_schemas.events import DeadLetter, Heartbeat, TelemetryEvent
from rua_schemas.topics import DLQ, HEARTBEATS, events_topic

from rua_agents.broker import BrokerHealth
from rua_agents.settings import Limits

log = logging.getLogger(__name__)
KEPT_CHARACTERS = 256
DEAD_BYTES = 65_536
WAIT_SECONDS = 0.1

CURES = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "grant this agent's user WRITE on the topic, LITERAL",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "the user may WRITE to no topic at all: grant it",
    KafkaError._UNKNOWN_TOPIC: "create it: rua topics apply",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create it: rua topics apply",
    KafkaError.MSG_SIZE_TOO_LARGE: "set limits.message_bytes below the topic's max.message.bytes",
    KafkaError._AUTHENTICATION: "user name, password or mechanism refused: see kafka.username and kafka.password_file",
    KafkaError._SSL: "TLS failed: see kafka.ca_file, the broker's certificate and its host name",
    KafkaError._RESOLVE: "the broker's name is unknown: see kafka.bootstrap and DNS",
}


class SendingFailed(RuaError):
    """The broker will never take a message. The agent stops, so that none overtakes it; then the checkpoint rules."""


class Stopping(Exception):
    """The agent was told to stop while the queue was full."""


class Batch:
    """Messages between two snapshots."""

    __slots__ = ("_emitter", "outstanding")

    def __init__(self, emitter: Emitter) -> None:
        self._emitter, self.outstanding = emitter, 0

    def delivered(self, error: KafkaError | None, _: Message) -> None:
        """Called by librdkafka for each message."""
        self._emitter.acked += error is None
        self.buried(error, _)

    def buried(self, error: KafkaError | None, _: Message) -> None:
        """Likewise, for a dead letter, which is no event."""
        self.outstanding -= 1
        if error is not None:
            self._emitter.fail(error)


class Emitter:
    """One producer for one platform."""

    def __init__(
        self,
        kafka: KafkaOptions,
        platform: str,
        agent_id: str,
        limits: Limits,
        *,
        clock: Clock,
        health: BrokerHealth,
        waits: Callable[[], bool] = lambda: False,
        producer: Any = Producer,
    ) -> None:
        self.topic = events_topic(platform)
        self.produced = self.acked = self.dead = 0
        self._beats = self._sent_bytes = self._sent = 0
        self._limits, self._clock, self._waits, self._health = limits, clock, waits, health
        self._batch = self._marked = Batch(self)
        self._failure: str | None = None
        self._encode = Encoder(TelemetryEvent).encode
        options = dict(PRODUCER) | kafka.librdkafka()
        options |= {
            "client.id": f"rua-agent-{agent_id}",
            "linger.ms": 50,
            "message.timeout.ms": 0,  # for ever: the log is the spool
            "enable.gapless.guarantee": True,
            "topic.metadata.propagation.max.ms": 5_000,  # how long a topic may be unknown before we stop and say so
            "message.max.bytes": limits.message_bytes + 100_000,
            "queue.buffering.max.messages": limits.queue_messages,
            "queue.buffering.max.kbytes": max(1, limits.queue_bytes >> 10),
            "error_cb": self._on_error,
            "logger": logging.getLogger("librdkafka"),
        }
        self._producer = producer(options)

    def send(self, event: TelemetryEvent) -> None:
        """Queues an event; waits while the queue is full.

        Raises:
            SendingFailed: an earlier message can never be delivered.
            Stopping: told to stop while waiting: `waits` says so, and is called again and again.
        """
        self.produced += 1
        try:
            value = self._encode(event)
            if len(value) > self._limits.message_bytes:
                value = self._encode(cut(event))
        except PoisonEvent as why:
            self.bury(self.topic, why.reason, f"{event.event_id}: {why.detail}", b"")
            return
        if len(value) > self._limits.message_bytes:
            self.bury(self.topic, "too_large", f"{len(value)} bytes", value)
            return
        key = (event.actor or event.source_id).encode()
        self._produce(self.topic, key, value, self._batch.delivered)
        self._batch.outstanding += 1

    def bury(self, topic: str, reason: str, detail: str, value: bytes) -> None:
        """Sends a message to the dead-letter queue instead."""
        letter = DeadLetter(
            topic=topic,
            partition=-1,
            offset=-1,
            reason=reason,
            detail=detail,
            stage="agent",
            failed_at=self._clock.now_ms(),
            value=value[:DEAD_BYTES],
        )
        self.dead += 1
        self._produce(DLQ, topic.encode(), Encoder(DeadLetter).encode(letter), self._batch.buried)
        self._batch.outstanding += 1

    def beat(self, heartbeat: Heartbeat, acked: Callable[[KafkaError | None, Message], None]) -> None:
        """Sends a heartbeat, if the queue has room; `acked` learns the broker's time stamp."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            self._beats += error is None
            acked(error, message)

        try:
            value = Encoder(Heartbeat).encode(heartbeat)
            self._producer.produce(HEARTBEATS, value, heartbeat.agent_id.encode(), on_delivery=delivered)
        except BufferError:
            log.debug("no room for a heartbeat")

    def poll(self, seconds: float = 0) -> None:
        """Serves acknowledgements.

        Raises:
            SendingFailed: see `send`.
        """
        self._producer.poll(seconds)
        if self._failure is not None:
            raise SendingFailed(self._failure)

    def mark(self) -> None:
        """Everything sent so far belongs to one snapshot."""
        self._marked, self._batch = self._batch, Batch(self)

    @property
    def marked_is_acked(self) -> bool:
        """Whether the broker has all that was sent before the mark. Take one mark at a time."""
        return self._marked.outstanding == 0

    @property
    def all_acked(self) -> bool:
        """Whether nothing is on its way."""
        return self._marked.outstanding == 0 and self._batch.outstanding == 0

    @property
    def answers(self) -> int:
        """How many messages the broker has acknowledged, heartbeats included: when it grows, the broker lives."""
        return self.acked + self._beats

    @property
    def waiting_messages(self) -> int:
        """Sent and not yet acknowledged."""
        return self._marked.outstanding + self._batch.outstanding

    @property
    def waiting_bytes(self) -> int:
        """Their size, estimated by the mean of all."""
        return self.waiting_messages * self._sent_bytes // max(1, self._sent)

    def drain(self, seconds: float) -> bool:
        """Waits for all acknowledgements, but no longer than this."""
        self._producer.flush(seconds)
        return self.all_acked and self._failure is None

    def close(self) -> None:
        """Forgets what is still queued; it will be read again."""
        self._producer.purge()

    def fail(self, error: KafkaError) -> None:
        """Remembers why sending is over."""
        cure = CURES.get(error.code(), "see the broker's log")
        self._failure = self._failure or f"{self.topic}: {error.str()}: {cure}"

    def _produce(self, topic: str, key: bytes, value: bytes, delivered: Any) -> None:
        self._sent += 1
        self._sent_bytes += len(value)
        while True:
            if self._failure is not None:
                raise SendingFailed(self._failure)
            try:
                self._producer.produce(topic, value, key, on_delivery=delivered)
                return
            except BufferError:
                self._producer.poll(WAIT_SECONDS)
                if self._waits():
                    raise Stopping from None
            except KafkaException as why:
                self.fail(why.args[0])

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.fail(error)
        else:
            cure = CURES.get(error.code(), "is the broker up, and its address right?")
            self._health.failed(error, cure, time.monotonic())


def cut(event: TelemetryEvent) -> TelemetryEvent:
    """The event with its long texts shortened, marked as truncated."""
    short = {
        name: value[:KEPT_CHARACTERS]
        for name, value in msgspec.structs.asdict(event).items()
        if isinstance(value, str) and len(value) > KEPT_CHARACTERS
    }
    return msgspec.structs.replace(event, truncated=True, labels=(), pii_categories=(), **short)
