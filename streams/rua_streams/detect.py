"""The detect processor: whole batches through the engine, alerts at once, state in checkpoints."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from faust.types import TP
from numpy.typing import NDArray
from rua_common.metrics import Metrics
from rua_schemas.codec import Encoder
from rua_schemas.columns import ColumnCodec
from rua_schemas.events import Alert, DeadLetter
from rua_schemas.topics import ALERTS, DLQ

from rua_streams.alerts import alert_of
from rua_streams.checkpoint import Lost, Progress, Restore, Restored
from rua_streams.dead_letters import Notices, Ratio, dead_letter, too_many, wrong_platform
from rua_streams.engine import Engine
from rua_streams.fence import Fence
from rua_streams.intake import WRONG_PLATFORM, Intake, take_in
from rua_streams.kafka_log import ATTEMPTS_SECONDS
from rua_streams.outbox import Broken, Outbox
from rua_streams.partition import Cursor, Partition, Rows, Snapshot, table
from rua_streams.settings import WorkerSettings
from rua_streams.shell import EX_START_AGAIN, BaseShell
from rua_streams.state import DAY, Layout, State, in_use
from rua_streams.transport import Batch, BatchApp, Mark

LOG = logging.getLogger(__name__)
importlib.import_module("pyarrow")  # polars would at the first batch: a second that no alert should wait for
ACTORS, SOURCES, NOTICES = b"a", b"s", b"n"
CHECKPOINT_SHARE = 0.05  # of the time at most is spent on checkpoints, within limits
SLOWEST = 6  # times `checkpoint_seconds`


@dataclass(slots=True)
class Working:
    """An owned partition with what its batches are applied to."""

    partition: Partition
    state: State
    fence: Fence
    notices: Notices
    ratio: Ratio
    seconds: float = field(default=0.0)  # of the last checkpoint


class DetectShell(BaseShell):
    """State of the partitions this worker owns."""

    role = "detect"

    def __init__(
        self,
        app: BatchApp,
        settings: WorkerSettings,
        metrics: Metrics,
        *,
        engine: Engine,
        restore: Restore,
        outbox: Outbox,
    ) -> None:
        super().__init__(app, settings, metrics)
        self.engine, self.restore, self.outbox = engine, restore, outbox
        self.codec, self.alerts, self.letters = ColumnCodec(), Encoder(Alert), Encoder(DeadLetter)
        self.owned: dict[TP, Working] = {}
        self.restoring: dict[TP, Progress] = {}
        self.lock = asyncio.Lock()
        self.generation, self.lost_at, self.checkpointed_at = -1, 0.0, time.monotonic()

    def cursors(self) -> Mapping[TP, Cursor]:
        """The cursor of each owned partition."""
        return {tp: work.partition.cursor for tp, work in self.owned.items()}

    def marks(self) -> Mapping[TP, Mark]:
        """The offsets of the last checkpoints."""
        saved = ((tp, work.partition.saved) for tp, work in self.owned.items())
        return {tp: Mark(at) for tp, at in saved if at is not None}

    async def acquire(self) -> None:
        """Restores what is new. Keeps a partition without a restore only if nobody can have owned it in between."""
        generation, assigned = self.app.consumer_generation_id, set(self.consumer.assignment())
        async with self.lock:
            kept = assigned if generation == self.generation + 1 else set()
            gone = [self.owned.pop(tp) for tp in list(self.owned) if tp not in kept]
            await self.release(gone)
            new = sorted(assigned - self.owned.keys())
            started = time.monotonic()
            restored = await asyncio.gather(*(self.thread(self.restore.acquire, tp, self.restores) for tp in new))
            for tp, one in zip(new, restored, strict=True):
                self.owned[tp] = self.working(tp, one)
                self.restoring.pop(tp, None)
                self.measure_restore(tp, len(one.rows), 0)
            self.generation, self.lost_at = generation, 0.0
        self.took_over(new, time.monotonic() - started)

    def restores(self, one: Progress) -> None:
        """Says how far a restore is. Called from its thread."""
        LOG.info(
            "%s-%d: restored %d rows, %.0f %% read, about %.0f s left",
            *one.tp, one.rows, 100 * one.share, one.left_seconds,
        )  # fmt: skip
        self.restoring[one.tp] = one
        self.measure_restore(one.tp, one.rows, one.left_seconds)

    def measure_restore(self, tp: TP, rows: int, left_seconds: float) -> None:
        """Metrics of a restore; nothing is left when it is over."""
        for name, value in (("rows", rows), ("left_seconds", left_seconds)):
            self.metrics.set(f"rua_worker_restore_{name}", value, topic=tp.topic, partition=str(tp.partition))

    def status(self) -> dict[str, Any]:
        """With the restores that are going on."""
        restoring = [
            {"topic": tp.topic, "partition": tp.partition, "rows": one.rows, "left_seconds": round(one.left_seconds)}
            for tp, one in sorted(self.restoring.items())
        ]
        return {**super().status(), "restoring": restoring}

    def working(self, tp: TP, restored: Restored) -> Working:
        """Builds the state of a partition from its restored rows."""
        if restored.skipped:
            LOG.error("%s-%d: %d records were deleted by retention before they were applied", *tp, restored.skipped)
        state, fence = State(self.engine.layout), Fence()
        subjects = table(restored.rows, ACTORS)
        layouts = known_layouts(in_use(subjects.values(), restored.layouts), self.engine)
        state.load(subjects, layouts)
        fence.load(table(restored.rows, SOURCES))
        notices = Notices(table(restored.rows, NOTICES))
        tables: dict[bytes, Rows] = {ACTORS: state, SOURCES: fence, NOTICES: notices}
        partition = Partition(tp, self.restore.group, restored, tables, layouts)
        ratio = Ratio(self.settings.dead_letter_ratio, self.settings.dead_letter_window_records)
        return Working(partition, state, fence, notices, ratio)

    def apply(self, tp: TP, batch: Batch) -> None:
        """Decodes, fences, detects. What it finds leaves at once; the state is saved by the next checkpoint."""
        work = self.owned[tp]
        intake = take_in(self.codec, batch)
        fresh = intake.frame.filter(admitted(work, intake))
        for finding in self.engine.apply(fresh, work.state):
            self.raise_alert(alert_of(finding, *tp))
        work.partition.cursor.next = batch[-1].offset + 1
        self.count(work, intake, fresh)
        self.bury(work, batch, intake)
        if work.fence.turned:
            work.notices.forget(work.fence.clock)

    def raise_alert(self, one: Alert) -> None:
        """Sends an alert; its id makes a repetition harmless."""
        self.outbox.send(ALERTS, one.alert_id, self.alerts.encode(one))
        self.metrics.add("rua_worker_alerts_total", detector=one.detector, severity=one.severity)

    def bury(self, work: Working, batch: Batch, intake: Intake) -> None:
        """Dead-letters what cannot be used; tells of a foreign platform and of too many, once each."""
        tp, offsets = work.partition.tp, intake.frame["offset"].to_numpy()
        for why in intake.rejected:
            record = batch[why.index]
            self.outbox.send(DLQ, tp.topic, self.letters.encode(dead_letter(record, why, self.role)))
            self.metrics.add("rua_worker_dead_letters_total", topic=tp.topic, reason=why.reason)
            if why.reason == WRONG_PLATFORM:
                clock = work.fence.clock_at(int(np.searchsorted(offsets, record.offset)))
                if work.notices.first(f"{WRONG_PLATFORM} {why.detail}", record.offset, clock):
                    self.raise_alert(wrong_platform(record, why.detail))
            if work.ratio.crossed(record.offset):
                self.raise_alert(too_many(record, work.ratio))
                self.pause(tp, f"{work.ratio.bad} of {work.ratio.window_records} messages cannot be used")

    def count(self, work: Working, intake: Intake, fresh: pl.DataFrame) -> None:
        """Metrics of one batch."""
        topic, untold = work.partition.tp.topic, work.fence.untold
        work.fence.untold = 0
        late_ms = self.settings.late_seconds * 1_000
        late = fresh.select((pl.col("observed_at") - pl.col("occurred_at") > late_ms).sum()).item()
        self.metrics.add("rua_worker_events_total", fresh.height, role=self.role, topic=topic)
        self.metrics.add("rua_worker_duplicates_total", intake.frame.height - fresh.height - untold, topic=topic)
        self.metrics.add("rua_worker_untold_total", untold, topic=topic)
        replayed = 0 if intake.replayed is None else int(intake.replayed.sum())
        self.metrics.add("rua_worker_replayed_total", replayed, topic=topic)
        self.metrics.add("rua_worker_late_total", late, topic=topic)
        self.metrics.add("rua_worker_unknown_symbols_total", intake.unknown_symbols, topic=topic)
        self.metrics.add("rua_worker_dead_letters_total", intake.tombstones, topic=topic, reason="tombstone")

    async def checkpoint(self, give_up: Callable[[], bool] = lambda: False) -> None:
        """Acks of everything produced, then one transaction for each changed partition."""
        async with self.lock:
            taken = [(w, w.partition.snapshot()) for w in self.owned.values() if w.partition.changed]
            if not taken:
                return
            self.watchdog.back_off("broker", time.monotonic() + ATTEMPTS_SECONDS)
            if not await self.thread(self.outbox.settle, give_up):
                return
            results = await asyncio.gather(
                *(self.thread(timed, w.partition.write, s) for w, s in taken), return_exceptions=True
            )
            self.watchdog.over("broker")
            for (work, snapshot), result in zip(taken, results, strict=True):
                await self.written(work, snapshot, result)

    async def written(self, work: Working, snapshot: Snapshot, result: Written | BaseException) -> None:
        """What follows from the outcome of one transaction."""
        tp = work.partition.tp
        if isinstance(result, Lost):
            LOG.warning("%s-%d is another worker's: %s", *tp, result)
            self.owned.pop(tp, None)
            self.lost_at = self.lost_at or time.monotonic()
            await self.release([work])
        elif isinstance(result, BaseException):
            raise result
        elif result.done:
            work.partition.wrote(snapshot)
            work.seconds = result.seconds
            self.watchdog.progress(time.monotonic())
            self.measure(work, result)
        else:
            LOG.warning("%s-%d: checkpoint aborted by the broker, again with the next", *tp)

    def measure(self, work: Working, written: Written) -> None:
        """Metrics of a partition's state and of its last checkpoint."""
        tp, state = work.partition.tp, work.state
        subjects, day = max(len(state) - 1, 0), work.fence.clock.day
        oldest = max(day - int(state.silent.min()), 0) if day and subjects else 0
        for name, value in (
            ("checkpoint_seconds", written.seconds),
            ("checkpoint_rows", written.rows),
            ("checkpoint_bytes", written.bytes),
            ("state_rows", len(state)),
            ("state_bytes", state.saved_bytes),
            ("state_memory_bytes", state.memory_bytes),
            ("state_bytes_per_actor", round(state.saved_bytes / max(subjects, 1))),
            ("state_oldest_seconds", oldest * DAY),
            ("state_sources", len(work.fence.sources)),
            ("state_notices", len(work.notices.given)),
        ):
            self.metrics.set(f"rua_worker_{name}", value, topic=tp.topic, partition=str(tp.partition))
        self.metrics.add("rua_worker_state_forgotten_total", state.forgotten, topic=tp.topic, kind="actor")
        self.metrics.add("rua_worker_state_forgotten_total", work.fence.forgotten, topic=tp.topic, kind="source")
        state.forgotten = work.fence.forgotten = 0

    async def release(self, gone: Iterable[Working]) -> None:
        """Closes writers; nothing is flushed."""
        await asyncio.gather(*(self.thread(work.partition.restored.writer.close) for work in gone))

    async def drain(self) -> None:
        """A last checkpoint, while still a member of the group; a broker that is away is not waited for too long."""
        end = time.monotonic() + self.settings.drain_seconds
        await self.checkpoint(lambda: time.monotonic() > end)
        self.write_status()  # after a stop nobody else would say how far this worker came

    def due_seconds(self) -> float:
        """The time between checkpoints: longer when they are slow, so that they cost a bounded share."""
        usual = self.settings.checkpoint_seconds
        slowest = max((work.seconds for work in self.owned.values()), default=0.0)
        return min(max(usual, slowest / CHECKPOINT_SHARE), SLOWEST * usual)

    async def tick(self) -> None:
        """Called a few times a second."""
        now = time.monotonic()
        try:
            self.outbox.poll()
            if now - self.checkpointed_at >= self.due_seconds():
                self.checkpointed_at = now
                await self.checkpoint()
        except Broken as why:
            self.leave(EX_START_AGAIN, f"the alert producer cannot go on: {why}")
        if self.lost_at and now - self.lost_at > 2 * self.settings.kafka.session_timeout_seconds:
            self.leave(EX_START_AGAIN, "fenced, yet no rebalance followed: a transaction may have outlived its timeout")


def admitted(work: Working, intake: Intake) -> NDArray[np.bool_]:
    """Which events are new: those past the fence, and of a replay of dead letters those not replayed before."""
    fresh = work.fence.admit(intake.frame, intake.replayed)
    if intake.replayed is not None:
        for row in np.flatnonzero(intake.replayed).tolist():
            event_id, offset = intake.frame["event_id"][row], intake.frame["offset"][row]
            name = hashlib.blake2b(event_id.encode(), digest_size=16).hexdigest()  # an id may have any length
            clock = work.fence.clock_at(row + 1)
            fresh[row] = fresh[row] and work.notices.first(f"replayed {name}", offset, clock)
    return fresh


class Written(NamedTuple):
    """What became of one transaction, how many seconds it took, and how much it wrote."""

    done: bool
    seconds: float
    rows: int
    bytes: int


def timed(write: Callable[[Snapshot], bool], snapshot: Snapshot) -> Written:
    """Writes and measures."""
    started = time.perf_counter()
    size = sum(len(key) + len(row or b"") for key, row in snapshot.rows.items())
    return Written(write(snapshot), time.perf_counter() - started, len(snapshot.rows), size)


def known_layouts(saved: tuple[Layout, ...], engine: Engine) -> tuple[Layout, ...]:
    """The layouts of the restored rows, and this worker's own."""
    return saved if engine.layout in saved else (*saved, engine.layout)
