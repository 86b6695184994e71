"""Events to Kafka: idempotent, in order, bounded; the agent learns up to where the broker has acknowledged them.

Asking for each message what became of it would cost the agent a tenth of its time: only what failed is reported. So the
broker has everything when the client's queue is empty: whoever must know calls `mark`, sends nothing more, and polls
until `marked_is_acked`. Heartbeats, whose acknowledgement tells the broker's time, have a small client of their own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rua_common.clock import Clock
from rua_common.errors import PoisonEvent, RuaError
from rua_common.kafka import PRODUCER, KafkaOptions
from rua_schemas.codec import Encoder
from rua_schemas.events import DeadLetter, Heartbeat
from rua_schemas.topics import DLQ, HEARTBEATS, events_topic

from rua_agents.broker import BrokerHealth
from rua_agents.collectors import Draft
from rua_agents.heartbeat import Offset
from rua_agents.librdkafka import KafkaError, KafkaException, Message, Producer
from rua_agents.sealing import Sealer, Written, cut, written
from rua_agents.settings import Limits

log = logging.getLogger(__name__)
DEAD_BYTES = 65_536
WAIT_SECONDS = 0.1
AT_ONCE = 500
"""So many messages are handed over in one call."""
MOST_BEATS = 10
"""So many heartbeats wait at most; the newer ones say the same and more."""
ROOM_BYTES, ROOM_MESSAGES = 2 << 20, 2 * AT_ONCE
"""What librdkafka may hold above our own limit, so that it never refuses a message in the middle of a batch."""

CURES = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "grant this agent's user WRITE on the topic, LITERAL",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "the user may WRITE to no topic at all: grant it",
    KafkaError._UNKNOWN_TOPIC: "create it: rua topics apply",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create it: rua topics apply",
    KafkaError.MSG_SIZE_TOO_LARGE: "set limits.message_bytes below the topic's max.message.bytes",
    KafkaError._AUTHENTICATION: "user name, password, token or mechanism refused: see kafka.username, "
    "kafka.password_file, kafka.mechanism, kafka.oauth_…",
    KafkaError._SSL: "TLS failed: see kafka.ca_file, the broker's certificate and its host name",
    KafkaError._RESOLVE: "the broker's name is unknown: see kafka.bootstrap and DNS",
}


class SendingFailed(RuaError):
    """The broker will never take a message. The agent stops, so that none overtakes it; then the checkpoint rules."""


class Stopping(Exception):
    """The agent was told to stop while the queue was full."""


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
        self.produced = self.acked = self.dead = self.answers = 0
        self._limits, self._clock, self._waits, self._health = limits, clock, waits, health
        self._sealer = Sealer(0)
        self._events = self._messages = self._bytes = 0
        self._window_messages = self._window_bytes = 0
        self._beats = self._beats_acked = 0
        self._barrier = False
        self._failure: str | None = None
        options = dict(PRODUCER) | kafka.librdkafka()
        options |= {
            "client.id": f"rua-agent-{agent_id}",
            "linger.ms": 50,
            "compression.level": 1,  # half of the CPU time of zstd's default for a tenth more bytes
            "batch.size": 200_000,  # a fifth of the default: it is kept some times over, and compresses as well
            "message.timeout.ms": 0,  # for ever: the log is the spool
            "enable.gapless.guarantee": True,
            "topic.metadata.propagation.max.ms": 5_000,  # how long a topic may be unknown before we stop and say so
            "message.max.bytes": limits.message_bytes + 100_000,
            "queue.buffering.max.messages": limits.queue_messages + ROOM_MESSAGES,
            "queue.buffering.max.kbytes": limits.queue_bytes + limits.message_bytes + ROOM_BYTES >> 10,
            "delivery.report.only.error": True,
            "error_cb": self._on_error,
            "log_level": 2,  # what error_cb tells would stand there once more, at each of many tries
            "logger": logging.getLogger("librdkafka"),
        }
        try:
            self._producer, self._beater = producer(options), producer(_for_beats(options))
        except KafkaException as why:  # no token could be had
            raise SendingFailed(f"{why.args[0].str()}: {CURES[KafkaError._AUTHENTICATION]}") from why

    def begin(self, epoch: int) -> None:
        """Numbers from 1 again, in this epoch (milliseconds)."""
        self._sealer = Sealer(epoch)

    @property
    def seq(self) -> int:
        """Number of the last event."""
        return self._sealer.seq

    @property
    def chain_head(self) -> str | None:
        """Hash of the last event's message; None before the first."""
        return self._sealer.head

    def send(self, drafts: Sequence[Draft | Written], offset: Offset | None = None) -> None:
        """Numbers, chains and queues events; waits while too much is on its way.

        Args:
            drafts: in order.
            offset: of this host's clock.

        Raises:
            SendingFailed: an earlier message can never be delivered.
            Stopping: told to stop while waiting: `waits` says so, and is called again and again.
        """
        self._sealer.clock(offset)
        for at in range(0, len(drafts), AT_ONCE):
            some = drafts[at : at + AT_ONCE]
            self.produced += len(some)
            self._send(some)

    def _send(self, drafts: Sequence[Draft | Written]) -> None:
        seal, messages, size = self._sealer.sealed, [], 0
        for draft in drafts:
            one = draft if isinstance(draft, Written) else self._written(draft)
            if one is not None:
                value, key = seal(one), one[1]
                size += len(value) + len(key)
                messages.append({"value": value, "key": key})
        self._hand_over(messages, size)

    def _written(self, draft: Draft) -> Written | None:
        """The event in Avro; None if it went to the dead-letter queue instead."""
        try:
            one = written(draft)
            if one.message_bytes > self._limits.message_bytes:
                one = written(cut(draft))
        except PoisonEvent as why:
            self._sealer.skip()
            self.bury(self.topic, why.reason, f"{draft.event_id}: {why.detail}", b"")
            return None
        if one.message_bytes > self._limits.message_bytes:
            self._sealer.skip()
            self.bury(self.topic, "too_large", f"{one.message_bytes} bytes", Encoder(type(draft)).encode(draft))
            return None
        return one

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
        message = {"value": Encoder(DeadLetter).encode(letter), "key": topic.encode()}
        self._hand_over([message], len(message["value"]) + len(message["key"]), DLQ)

    def beat(self, heartbeat: Heartbeat, acked: Callable[[KafkaError | None, Message], None]) -> bool:
        """Sends a heartbeat, unless many wait already; `acked` learns the broker's time stamp."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            self._beats -= 1
            self._beats_acked += error is None
            acked(error, message)

        if self._beats >= MOST_BEATS or self._failure is not None:
            return False
        value = Encoder(Heartbeat).encode(heartbeat)
        try:
            self._beater.produce(HEARTBEATS, value, heartbeat.agent_id.encode(), on_delivery=delivered)
        except (BufferError, KafkaException) as why:
            log.debug("no heartbeat: %s", why)
            return False
        self._beats += 1
        return True

    def poll(self, seconds: float = 0) -> None:
        """Serves acknowledgements; after `mark` without lingering for more messages.

        Raises:
            SendingFailed: see `send`.
        """
        (self._producer.flush if self._barrier else self._producer.poll)(seconds)
        self._look()
        if self._failure is not None:
            raise SendingFailed(self._failure)

    def mark(self) -> None:
        """Everything sent so far belongs to one snapshot. Send nothing more until `marked_is_acked`."""
        self._barrier = bool(len(self._producer))

    @property
    def marked_is_acked(self) -> bool:
        """Whether the broker has all that was sent before the mark."""
        return not self._barrier and self._failure is None

    @property
    def all_acked(self) -> bool:
        """Whether nothing is on its way."""
        return not len(self._producer) and self._failure is None

    @property
    def waiting_messages(self) -> int:
        """Sent and not yet acknowledged."""
        return len(self._producer)

    @property
    def waiting_bytes(self) -> int:
        """Their size, estimated by the mean of all."""
        return self.waiting_messages * self._bytes // max(1, self._messages)

    def drain(self, seconds: float) -> bool:
        """Waits for all acknowledgements, but no longer than this."""
        if not self._producer.flush(seconds):
            self._beater.flush(seconds)
        self._look()
        return self.all_acked

    def close(self) -> None:
        """Forgets what is still queued; it will be read again."""
        self._producer.purge()

    def fail(self, error: KafkaError) -> None:
        """Remembers why sending is over."""
        cure = CURES.get(error.code(), "see the broker's log")
        self._failure = self._failure or f"{self.topic}: {error.str()}: {cure}"

    def _hand_over(self, messages: list[dict[str, Any]], size: int, topic: str | None = None) -> None:
        """Queues messages in their order: the client takes all of them, because there is room, or the agent stops."""
        self._await_room(len(messages), size)
        if self._failure is not None:
            raise SendingFailed(self._failure)
        taken = self._producer.produce_batch(topic or self.topic, messages, on_delivery=self._delivered)
        if taken < len(messages):
            self._producer.purge()  # before a later message could overtake the one that was refused
            self.fail(next(message["_error"] for message in messages if "_error" in message))
            raise SendingFailed(self._failure)
        self._events += 0 if topic else len(messages)
        self._messages += len(messages)
        self._bytes += size
        self._window_messages += len(messages)
        self._window_bytes += size

    def _await_room(self, messages: int, size: int) -> None:
        """Between two moments at which all was acknowledged no more is sent than the limits say."""
        limits = self._limits
        while (
            self._failure is None
            and self._window_messages
            and (
                self._window_messages + messages > limits.queue_messages
                or self._window_bytes + size > limits.queue_bytes
            )
        ):
            self._producer.flush(WAIT_SECONDS)
            self._look()
            if self._window_messages and self._waits():
                raise Stopping

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        """Called for each message that failed."""
        if error is not None:
            self.fail(error)

    def _look(self) -> None:
        """What became of the messages."""
        self._beater.poll(0)
        if self._failure is not None:
            return
        waiting = len(self._producer)
        self.answers = self._messages - waiting + self._beats_acked
        self.acked = max(self.acked, self._events - waiting)
        if not waiting:
            self._barrier = False
            self._window_messages = self._window_bytes = 0

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.fail(error)
        else:
            cure = CURES.get(error.code(), "is the broker up, and its address right?")
            self._health.failed(error, cure, time.monotonic())


def _for_beats(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the heartbeats' client: at once, each reported, silent about faults that the other one reports."""
    own = {"linger.ms": 0, "delivery.report.only.error": False, "error_cb": lambda _: None}
    idempotent = "enable.idempotence", "enable.gapless.guarantee"
    return {name: value for name, value in options.items() if name not in idempotent} | own
