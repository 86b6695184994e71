"""What is measured while a run goes on: time, memory, alerts as they appear."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

import psutil
from confluent_kafka import Consumer
from rua_common.errors import PoisonEvent
from rua_common.kafka import KafkaOptions
from rua_schemas import topics
from rua_schemas.codec import decode
from rua_schemas.events import Alert

STARTED, STORED = "workers and agents are ready", "everything is stored"
"""The two phases between which the product works."""


@dataclass(slots=True)
class Meter:
    """What a run takes: time by phase, the peak of all processes' memory."""

    began: float = field(default_factory=time.monotonic)
    phases: list[tuple[str, float]] = field(default_factory=list)
    peak_memory_bytes: int = 0
    process: psutil.Process = field(default_factory=psutil.Process)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began

    def memory_bytes(self) -> int:
        """Resident memory of this process and all below it, now."""
        total = 0
        for one in [self.process, *self.process.children(recursive=True)]:
            try:
                total += one.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        self.peak_memory_bytes = max(self.peak_memory_bytes, total)
        return total


class AlertTap:
    """Reads alerts from Kafka as they are raised, for the view only."""

    def __init__(self, bootstrap: str) -> None:
        options = KafkaOptions(bootstrap=bootstrap).librdkafka()
        group = {"group.id": f"rua-demo-{secrets.token_hex(4)}", "auto.offset.reset": "earliest"}
        self._consumer = Consumer({**options, **group, "enable.auto.commit": False})
        self._consumer.subscribe([topics.ALERTS])
        self._seen: set[str] = set()

    def new(self) -> list[Alert]:
        """Incidents that were not seen before."""
        found = []
        for message in self._consumer.consume(500, timeout=0):
            value = message.value()
            if message.error() is not None or value is None:
                continue
            try:
                alert = decode(value, Alert)
            except PoisonEvent:
                continue  # the store role dead-letters it; this is only the picture
            if alert.alert_id not in self._seen:
                self._seen.add(alert.alert_id)
                found.append(alert)
        return found

    def close(self) -> None:
        """Leaves the group."""
        self._consumer.close()
