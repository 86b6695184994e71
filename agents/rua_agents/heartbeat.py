"""An agent says that it lives, and measures its clock against the broker's on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from rua_common.clock import Clock

from rua_agents.librdkafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, Message

KEPT = 6


class Offset(NamedTuple):
    """This host's clock minus the broker's, and how wrong that may be."""

    offset_ms: int
    error_ms: int


class ClockOffset:
    """The best of the last measurements: the one with the shortest way there and back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._measured: deque[Offset] = deque(maxlen=KEPT)

    @property
    def best(self) -> Offset | None:
        """None if nothing was measured: the topic does not append the broker's time, or no ack came yet."""
        return min(self._measured, key=lambda one: one.error_ms, default=None)

    def sent(self) -> Callable[[KafkaError | None, Message], None]:
        """Call when a heartbeat is sent; the result takes its acknowledgement."""
        sent_at = self._clock.now_ms()

        def acked(error: KafkaError | None, message: Message) -> None:
            if error is None:
                kind, broker_ms = message.timestamp()
                if kind == TIMESTAMP_LOG_APPEND_TIME:
                    self.measured(sent_at, broker_ms, self._clock.now_ms())

        return acked

    def measured(self, sent_at: int, broker_ms: int, acked_at: int) -> None:
        """The broker's stamp lies somewhere between sending and acknowledgement."""
        self._measured.append(Offset((sent_at + acked_at) // 2 - broker_ms, (acked_at - sent_at + 1) // 2 + 1))
