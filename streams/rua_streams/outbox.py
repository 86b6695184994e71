"""Sends what a processor produces, keeps sending until the broker acknowledges it, and knows what is still open."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaError, Message, Producer
from rua_common.kafka import PRODUCER

LOG = logging.getLogger(__name__)
AGAIN_SECONDS = 1.0


class Broken(Exception):
    """The producer cannot go on. What it had not sent is sent again after a restart from the last checkpoint."""


class Outbox:
    """An idempotent producer whose records are sent at once and repeated until they are acknowledged.

    No checkpoint may pass a record that is still open: `settle` waits for them.
    """

    def __init__(self, options: Mapping[str, Any], *, producer: Callable[[dict[str, Any]], Any] = Producer) -> None:
        # 0: a record waits for a broker that is away as long as it takes
        own = {"linger.ms": 0, "message.timeout.ms": 0, "logger": logging.getLogger("librdkafka")}
        self._producer = producer({**options, **PRODUCER, **own})
        self._open: set[int] = set()
        self._again: list[tuple[float, int, str, bytes, bytes]] = []
        self._tickets, self._lock = itertools.count(), threading.Lock()
        self._broken: str | None = None
        self.sent = 0

    def send(self, topic: str, key: str, value: bytes) -> None:
        """Hands a record over; it leaves at once."""
        ticket = next(self._tickets)
        with self._lock:
            self._open.add(ticket)
        self._produce(ticket, topic, key.encode(), value)

    def _produce(self, ticket: int, topic: str, key: bytes, value: bytes) -> None:
        def delivered(error: KafkaError | None, _: Message) -> None:
            self._delivered(error, ticket, topic, key, value)

        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=delivered)
            except BufferError:
                self._producer.poll(0.05)
            else:
                return

    def _delivered(self, error: KafkaError | None, ticket: int, topic: str, key: bytes, value: bytes) -> None:
        if error is None:
            with self._lock:
                self._open.discard(ticket)
                self.sent += 1
        elif error.fatal():
            self._broken = f"{topic}: {error}"
        else:
            LOG.warning("%s: not delivered, again in %g s: %s", topic, AGAIN_SECONDS, error)
            self._again.append((time.monotonic() + AGAIN_SECONDS, ticket, topic, key, value))

    def poll(self) -> None:
        """Serves acknowledgements and repeats what failed. Call often.

        Raises:
            Broken: the process must start again.
        """
        self._producer.poll(0)
        if self._broken:
            raise Broken(self._broken)
        now = time.monotonic()
        due = [item for item in self._again if item[0] <= now]
        for item in due:
            self._again.remove(item)
            self._produce(*item[1:])

    def settle(self, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Blocks until everything sent so far is acknowledged. False when `give_up` said so first.

        Raises:
            Broken: the process must start again.
        """
        with self._lock:
            waiting = set(self._open)
        while True:
            self.poll()
            with self._lock:
                waiting &= self._open
            if not waiting:
                return True
            if give_up():
                return False
            self._producer.poll(0.02)
