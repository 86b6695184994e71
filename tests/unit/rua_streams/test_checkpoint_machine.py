"""The checkpoint protocol as a state machine over a model of Kafka, with twins that break one rule each and must fail.

The code under test is the real one: `Restore`, `Partition`, `Cursor`, `Fence`. Only Kafka and the engine are modelled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import msgspec
import polars as pl
import pytest
from faust.types import TP
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from rua_common.errors import Refused
from rua_streams.checkpoint import Bounds, Lost, Restore, TopicFacts
from rua_streams.fence import Fence
from rua_streams.partition import Partition, Snapshot, table

SOURCE = TP("rua.events.shop", 0)
ALERT_EACH = 3


def state_topic(_: str) -> str:
    """The state topic of the one source."""
    return "rua.state.shop"


@dataclass
class Entry:
    """One record of the state topic. `open` while its transaction is, `gone` once compacted or aborted."""

    key: bytes
    value: bytes | None
    open: bool = True
    gone: bool = False


class Paused(Exception):
    """The worker stands still in the middle of a write."""


@dataclass
class ModelWriter:
    """A transactional producer of one epoch."""

    kafka: ModelKafka
    epoch: int
    stop_after: int | None = None  # rows of the next transaction, then it stands still
    abort_next: bool = False
    left: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    written: list[Entry] = field(default_factory=list)

    def write(self, rows: Mapping[bytes, bytes | None]) -> bool:
        """As the real one: whole or not at all, unless the machine stops or aborts it."""
        self.left, self.written = list(rows.items()), []
        if self.stop_after is not None:
            count, self.stop_after = self.stop_after, None
            self._append(count)
            raise Paused
        if self.abort_next:
            self.abort_next = False
            self._append(len(self.left) // 2)
            self.kafka.abort(self.written)
            return False
        self.finish()
        return True

    def finish(self) -> None:
        """Writes what is left and commits."""
        self._append(len(self.left))
        if any(entry.gone for entry in self.written):
            raise Lost("the coordinator aborted the transaction")
        self._check()
        for entry in self.written:
            entry.open = False

    def _append(self, count: int) -> None:
        for key, value in self.left[:count]:
            self._check()
            entry = Entry(key, value)
            self.kafka.state.append(entry)
            self.written.append(entry)
        self.left = self.left[count:]

    def _check(self) -> None:
        if self.kafka.fencing and self.epoch != self.kafka.epoch:
            raise Lost("fenced")

    def close(self) -> None:
        """Nothing is flushed."""


class ModelKafka:
    """One source partition, one state partition, one group."""

    def __init__(self, *, fencing: bool) -> None:
        self.fencing, self.epoch = fencing, 0
        self.source: list[tuple[str, int, str]] = []
        self.state: list[Entry] = []
        self.offset = -1
        self.alerts: dict[str, set[str]] = defaultdict(set)

    def fence(self, tp: TP) -> ModelWriter:
        """A new epoch; the open transaction of the former one is aborted."""
        self.epoch += 1
        if self.fencing:
            self.expire()
        return ModelWriter(self, self.epoch)

    def abort(self, entries: list[Entry]) -> None:
        """Nobody will ever read these."""
        for entry in entries:
            entry.open, entry.gone = False, True

    def expire(self, _: float = 0) -> None:
        """The transaction timeout of whatever is open."""
        self.abort([entry for entry in self.state if entry.open])

    def describe(self, topic: str) -> TopicFacts:
        """Never re-created here."""
        return TopicFacts("id", 1)

    def bounds(self, tp: TP) -> Bounds:
        """The stable offset is the first open record's."""
        if tp == SOURCE:
            return Bounds(0, len(self.source), len(self.source))
        stable = next((i for i, entry in enumerate(self.state) if entry.open), len(self.state))
        return Bounds(0, stable, len(self.state))

    def read(self, tp: TP, first: int, end: int) -> Iterator[tuple[int, bytes, bytes | None]]:
        """Committed records."""
        entries = enumerate(self.state[first:end], first)
        return ((place, e.key, e.value) for place, e in entries if not e.open and not e.gone)

    def committed(self, tp: TP) -> int:
        """The group's offset."""
        return self.offset

    def compact(self) -> None:
        """Keeps the last committed record of each key; offsets stay."""
        seen: set[bytes] = set()
        for entry in reversed(self.state):
            if entry.open or entry.gone:
                continue
            entry.gone = entry.key in seen
            seen.add(entry.key)


class Counts:
    """A tiny engine's state: per key how many events, and a hash of their order."""

    def __init__(self, rows: Mapping[bytes, bytes]) -> None:
        self.rows = {key.decode(): msgspec.json.decode(value, type=list[int]) for key, value in rows.items()}
        self.dirty: set[str] = set()

    def apply(self, key: str, position: int) -> str | None:
        """One event; gives an alert's body at every third of a key."""
        count, order = self.rows.get(key, [0, 0])
        self.rows[key] = [count + 1, (order * 31 + position) % (1 << 31)]
        self.dirty.add(key)
        return f"{key} {self.rows[key]}" if (count + 1) % ALERT_EACH == 0 else None

    def take_dirty(self) -> dict[bytes, bytes]:
        """As `State.take_dirty`."""
        taken = {key.encode(): msgspec.json.encode(self.rows[key]) for key in self.dirty}
        self.dirty = set()
        return taken


class Worker:
    """What `DetectShell` does, one step at a time."""

    state_first: ClassVar[bool] = True  # the order of state and committed offset
    acks_first: ClassVar[bool] = True  # alerts are acknowledged before the checkpoint

    def __init__(self, kafka: ModelKafka) -> None:
        self.kafka = kafka
        restored = Restore(kafka, "g", state_topic, wait_seconds=1, sleep=kafka.expire).acquire(SOURCE)
        assert isinstance(restored.writer, ModelWriter)
        self.writer = restored.writer
        self.counts, self.fence = Counts(table(restored.rows, b"a")), Fence()
        self.fence.load(table(restored.rows, b"s"))
        self.partition = Partition(SOURCE, "g", restored, {b"a": self.counts, b"s": self.fence})
        self.outbox: list[tuple[str, str]] = []
        self.paused: Snapshot | None = None
        self.member = True

    def deliver(self, size: int) -> None:
        """Applies the next batch."""
        at = self.partition.cursor.next
        batch = self.kafka.source[at : at + size]
        if not batch:
            return
        assert self.partition.cursor.accepts(at)
        frame = pl.DataFrame(batch, schema=["source_id", "source_position", "key"], orient="row")
        frame = frame.with_columns(occurred_at=pl.lit(1), observed_at=pl.lit(1))
        for (source, position, key), fresh in zip(batch, self.fence.admit(frame).tolist(), strict=True):
            if fresh and (body := self.counts.apply(key, position)):
                self.outbox.append((f"{source} {position}", body))
        self.partition.cursor.next = at + len(batch)

    def acks(self) -> None:
        """The broker has everything produced so far."""
        for name, body in self.outbox:
            self.kafka.alerts[name].add(body)
        self.outbox = []

    def checkpoint(self) -> None:
        """Acks, state, offset: in this order, unless this is a broken twin."""
        if self.acks_first:
            self.acks()
        snapshot = self.partition.snapshot()
        if not self.state_first:
            self.commit(snapshot.next)
        try:
            done = self.partition.write(snapshot)
        except Paused:
            self.paused = snapshot
            return
        if done:
            self.wrote(snapshot)

    def wrote(self, snapshot: Snapshot) -> None:
        """The transaction is committed."""
        self.partition.wrote(snapshot)
        self.commit(snapshot.next)

    def commit(self, at: int) -> None:
        """The group takes offsets of members only."""
        if self.member:
            self.kafka.offset = at

    def wake(self) -> None:
        """Goes on where it stood still."""
        snapshot, self.paused = self.paused, None
        assert snapshot is not None
        self.writer.finish()
        self.wrote(snapshot)


class OffsetFirst(Worker):
    """Broken: commits the offset before the state."""

    state_first = False


class NoAcks(Worker):
    """Broken: checkpoints past alerts that nobody has acknowledged."""

    acks_first = False


class Machine(RuleBasedStateMachine):
    """Deliver, cut, flush in part, crash, revoke, zombie, compact, re-send; at the end everything must be exact."""

    fencing: ClassVar[bool] = True
    worker: ClassVar[type[Worker]] = Worker

    @initialize()
    def begin(self) -> None:
        """One worker owns the partition."""
        self.kafka = ModelKafka(fencing=self.fencing)
        self.sent: dict[str, list[tuple[str, int, str]]] = defaultdict(list)
        self.owner = self.worker(self.kafka)
        self.zombies: list[Worker] = []

    @rule(source=st.sampled_from("xy"), keys=st.lists(st.sampled_from("ab"), min_size=1, max_size=6))
    def produce(self, source: str, keys: list[str]) -> None:
        """An agent sends new records."""
        for key in keys:
            record = (source, len(self.sent[source]), key)
            self.sent[source].append(record)
            self.kafka.source.append(record)

    @rule(source=st.sampled_from("xy"), back=st.integers(1, 8))
    def resend(self, source: str, back: int) -> None:
        """An agent lost its checkpoint and sends its last records again."""
        self.kafka.source += self.sent[source][-back:]

    @precondition(lambda self: self.owner.paused is None)
    @rule(size=st.integers(1, 7))
    def deliver(self, size: int) -> None:
        """The owner applies a batch of any size."""
        self.owner.deliver(size)

    @precondition(lambda self: self.owner.paused is None)
    @rule()
    def checkpoint(self) -> None:
        """All goes well."""
        self.owner.checkpoint()

    @precondition(lambda self: self.owner.paused is None)
    @rule()
    def aborted_checkpoint(self) -> None:
        """The broker aborts the transaction cleanly."""
        self.owner.writer.abort_next = True
        self.owner.checkpoint()
        self.owner.writer.abort_next = False

    @precondition(lambda self: self.owner.paused is None)
    @rule(rows=st.integers(0, 3))
    def stand_still_in_checkpoint(self, rows: int) -> None:
        """The owner stops after some rows, or before the first."""
        self.owner.writer.stop_after = rows
        self.owner.checkpoint()

    @rule()
    def crash(self) -> None:
        """What was in memory is gone; somebody takes over."""
        self.owner = self.worker(self.kafka)

    @precondition(lambda self: self.owner.paused is None)
    @rule()
    def revoke(self) -> None:
        """An orderly hand-over."""
        self.owner.checkpoint()
        self.owner = self.worker(self.kafka)

    @rule()
    def taken_over(self) -> None:
        """The group believes that the owner is dead; it is not."""
        self.owner.member = False
        self.zombies.append(self.owner)
        self.owner = self.worker(self.kafka)

    @precondition(lambda self: self.owner.paused is not None)
    @rule()
    def wake_in_time(self) -> None:
        """The owner goes on before anybody has noticed."""
        try:
            self.owner.wake()
        except Lost:  # the transaction outlived its timeout
            self.owner = self.worker(self.kafka)

    @precondition(lambda self: self.zombies)
    @rule(size=st.integers(1, 7))
    def zombie_wakes(self, size: int) -> None:
        """A former owner goes on as if nothing had happened."""
        zombie = self.zombies.pop(0)
        try:
            if zombie.paused is not None:
                zombie.wake()
            zombie.deliver(size)
            zombie.checkpoint()
        except Lost:
            return
        assert not self.fencing, "a worker that had lost its partition wrote state"

    @rule()
    def compact(self) -> None:
        """The log cleaner runs."""
        self.kafka.compact()

    @invariant()
    def position_never_passes_the_log(self) -> None:
        """No offset that does not exist."""
        if hasattr(self, "owner"):
            assert self.owner.partition.cursor.next <= len(self.kafka.source)

    def teardown(self) -> None:
        """A last owner finishes; then state and alerts must equal those of a naive recount."""
        if not hasattr(self, "owner"):
            return
        self.crash()
        self.owner.deliver(len(self.kafka.source) + 1)
        self.owner.checkpoint()
        self.crash()
        counts, alerts = Counts({}), defaultdict[str, set[str]](set)
        highest: dict[str, int] = defaultdict(lambda: -1)
        for source, position, key in self.kafka.source:
            if position > highest[source]:
                highest[source] = position
                if body := counts.apply(key, position):
                    alerts[f"{source} {position}"].add(body)
        self.owner.acks()
        assert self.owner.counts.rows == counts.rows
        assert {name: one.highest for name, one in self.owner.fence.sources.items()} == dict(highest)
        assert dict(self.kafka.alerts) == dict(alerts)


def run(machine: type[Machine], examples: int, *, shrink: bool = True) -> None:
    """Runs a machine with a fixed seed."""
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_state_and_alerts_are_exact_whatever_happens() -> None:
    """Every record is applied once, whoever crashes, stands still, is taken over or sends again."""
    run(Machine, 120)


def test_fails_without_the_fence() -> None:
    """The twin whose former owners may go on writing must be caught."""

    class Unfenced(Machine):
        fencing = False

    with pytest.raises((AssertionError, Refused)):
        run(Unfenced, 400, shrink=False)


def test_fails_when_the_offset_is_committed_before_the_state() -> None:
    """The twin that commits the offset first must be caught."""

    class Early(Machine):
        worker = OffsetFirst

    with pytest.raises((AssertionError, Refused)):
        run(Early, 400, shrink=False)


def test_fails_when_the_checkpoint_does_not_wait_for_the_alerts() -> None:
    """The twin that checkpoints past alerts still on their way must be caught."""

    class Hasty(Machine):
        worker = NoAcks

    with pytest.raises(AssertionError):
        run(Hasty, 400, shrink=False)
