"""What is measured and told while a run goes on: time, memory, speed, alerts as they appear, crashes, a standstill."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
from confluent_kafka import Consumer
from rua_common.errors import PoisonEvent, RuaError
from rua_schemas import topics
from rua_schemas.codec import decode
from rua_schemas.events import Alert

from rua_demo.stack import Stack, quiet_client
from rua_demo.view import Progress, View

TICK_SECONDS, LOOK_SECONDS = 0.02, 0.25
PATIENCE_SECONDS = 120.0  # so long nothing may move before the run gives up

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
        group = {"group.id": f"rua-demo-{secrets.token_hex(4)}", "auto.offset.reset": "earliest"}
        self._consumer = Consumer({**quiet_client(bootstrap), **group, "enable.auto.commit": False})
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


class Watch:
    """Looks at a run four times a second and tells the view."""

    def __init__(self, stack: Stack, view: View) -> None:
        self.meter, self.now = Meter(), Progress()
        self._stack, self._view = stack, view
        self._platforms: list[str] = []
        self._tap: AlertTap | None = None
        self._looked_at = self._moved_at = 0.0
        self._history: deque[tuple[float, int, int, int]] = deque(maxlen=round(5 / LOOK_SECONDS))

    def begin(self, platforms: list[str], total_lines: int) -> None:
        """The agents of these platforms are running."""
        self._platforms, self.now.total_lines = platforms, total_lines
        self._tap = AlertTap(self._stack.kafka)
        self._moved_at = self.meter.seconds

    def written(self, lines: int, world_ms: int) -> None:
        """So many lines are in their files, up to this time of the world."""
        self.now.lines, self.now.world_ms = lines, world_ms

    def phase(self, name: str) -> None:
        """Something is reached."""
        self.meter.phases.append((name, self.meter.seconds))
        self._view.phase(name, self.meter.seconds)

    def wait(self, done: Callable[[], bool], name: str) -> None:
        """Looks on until it is done, which is the phase `name`."""
        while not done():
            self.look()
            time.sleep(TICK_SECONDS)
        self._looked_at = 0.0
        self.look()
        self.phase(name)

    def look(self) -> None:
        """Crashes, progress, alerts, memory; and whether anything moves at all.

        Raises:
            RuaError: a part has crashed, or everything stands still.
        """
        seconds, now = self.meter.seconds, self.now
        if seconds - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = seconds
        self._stack.check()
        before = now.lines, now.produced, now.detected, now.stored
        self._count(seconds)
        for alert in self._tap.new() if self._tap else []:
            now.alerts += 1
            self._first("first alert", now.alerts)
            self._view.alert(alert)
        self._first("first event", now.produced)
        self._view.progress(now)
        if before != (now.lines, now.produced, now.detected, now.stored):
            self._moved_at = seconds
        if seconds - self._moved_at > PATIENCE_SECONDS:
            raise RuaError(f"nothing has moved for {PATIENCE_SECONDS:.0f} s: {now}; logs in {self._stack.logs}")

    def close(self) -> None:
        """Takes the last look at memory, and stops reading alerts."""
        self.meter.memory_bytes()
        if self._tap is not None:
            self._tap.close()
            self._tap = None

    def _count(self, seconds: float) -> None:
        now, stack = self.now, self._stack
        now.seconds, now.memory_bytes = seconds, self.meter.memory_bytes()
        now.produced = sum(stack.agent(p).events_produced for p in self._platforms)
        now.detected = stack.worker("detect").events or now.detected
        stored = [p for p in stack.worker("store").partitions if p.topic.startswith(topics.EVENTS)]
        now.stored = sum(p.committed or 0 for p in stored)
        self._history.append((seconds, now.produced, now.detected, now.stored))
        then, at = self._history[0], self._history[-1]
        span = max(at[0] - then[0], 1e-3)
        now.rates = ((at[1] - then[1]) / span, (at[2] - then[2]) / span, (at[3] - then[3]) / span)

    def _first(self, name: str, number: int) -> None:
        if number and all(name != known for known, _ in self.meter.phases):
            self.phase(name)
