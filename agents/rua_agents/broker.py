"""Whether the broker answers, and if not, why, in words that name the cure.

librdkafka has one text for several faults (see `rua_schemas.diagnose`), so name, port and TLS are looked at once more
in a thread of its own: the agent's loop never waits for that.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from rua_common.kafka import KafkaOptions

from rua_agents.librdkafka import KafkaError

log = logging.getLogger(__name__)
SILENT_SECONDS = 30.0
ASK_AGAIN_SECONDS = 60.0
TOLD_AGAIN_SECONDS = 3_600.0
UNCLEAR = frozenset({KafkaError._SSL, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT})
NOT_YET = "no answer from the broker yet"


def ask(kafka: KafkaOptions) -> str | None:
    """What is wrong on the way to the brokers, None if they can be reached."""
    from rua_schemas.diagnose import unreachable  # noqa: PLC0415 - TLS in Python costs memory: only in trouble

    return "; ".join(unreachable(kafka)) or None


class BrokerHealth:
    """What is known of the way to the broker."""

    def __init__(self, kafka: KafkaOptions, ask: Callable[[KafkaOptions], str | None] = ask) -> None:
        self.problem: str | None = NOT_YET
        self._kafka, self._ask = kafka, ask
        self._answers = 0
        self._waits_since = float("inf")
        self._asked_at = self._told_at = float("-inf")
        self._told: str | None = None
        self._asking: threading.Thread | None = None
        self._found: str | None = None

    def failed(self, error: KafkaError, cure: str, now: float) -> None:
        """The client reports a fault from which it recovers by itself."""
        unclear = error.code() in UNCLEAR
        if unclear and self._found:
            self._say(self._found, self._found, now)
        else:
            self._say(f"{error.str()}: {cure}", "unclear" if unclear else error.name(), now)
        if unclear and now - self._asked_at >= ASK_AGAIN_SECONDS and (not self._asking or not self._asking.is_alive()):
            self._asked_at = now
            self._asking = threading.Thread(target=self._look, name="diagnose", daemon=True)
            self._asking.start()

    def watch(self, answers: int, waiting: int, now: float) -> None:
        """Once a second: how many answers came in all, and how many messages wait for one."""
        if answers > self._answers:
            if self._told is not None:
                log.warning("Kafka at %s answers again", self._kafka.bootstrap)
            self.problem = self._told = self._found = None
        if answers > self._answers or not waiting:
            self._answers, self._waits_since = answers, now
        if self.problem is not None and self._found is not None:
            self._say(self._found, self._found, now)
        elif self.problem is None and now - self._waits_since >= SILENT_SECONDS:
            self._say(f"Kafka at {self._kafka.bootstrap} has not answered for {SILENT_SECONDS:g} s", "silent", now)

    def _look(self) -> None:
        try:
            self._found = self._ask(self._kafka)
        except Exception:  # a thread of its own, whose end would be silent: what it was is logged, the agent goes on
            log.exception("cannot look at the way to %s", self._kafka.bootstrap)

    def _say(self, words: str, kind: str, now: float) -> None:
        """Tells what is of another kind than what was told last: librdkafka's words hold times and differ always."""
        self.problem = words
        if kind != self._told or now - self._told_at >= TOLD_AGAIN_SECONDS:
            self._told, self._told_at = kind, now
            log.warning("%s. The agent waits; nothing is lost, the logs keep it.", words)
