"""The store processor: exact ranges of each partition into the store, each once.

A range is announced before it is inserted: the *unchanged* offset is committed with the note `pending=first-last`.
Whoever owns the partition next repeats exactly that range, with the same token, before anything else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from faust.types import TP
from rua_common.errors import RetryLater
from rua_common.metrics import Metrics

from rua_streams.kafka_log import KafkaLog
from rua_streams.partition import Cursor
from rua_streams.ranges import Lane, Range, lane
from rua_streams.settings import WorkerSettings
from rua_streams.shell import BaseShell
from rua_streams.transport import Batch, BatchApp, Mark

LOG = logging.getLogger(__name__)
LONGEST_WAIT_SECONDS = 30.0
BUFFERED_RANGES = 3  # of a partition, before no more is fetched of it


class Table(Protocol):
    """Where the ranges of a topic go."""

    name: str

    def store(self, cut: Range) -> None:
        """Stores a range, once. Blocks.

        Raises:
            RetryLater: the store is slow or away.
        """
        ...


class Keeper:
    """Lanes that share a pace, and wait for each other: alerts have one of their own.

    `rest` is the table of every topic that no keeper names: platforms come while a worker runs.
    """

    def __init__(
        self,
        name: str,
        tables: Mapping[str, Table],
        max_rows: int,
        linger_seconds: float,
        rest: Table | None = None,
    ) -> None:
        self.name, self.tables, self.rest = name, tables, rest
        self.max_rows, self.linger_seconds = max_rows, linger_seconds
        self.lanes: dict[TP, Lane] = {}
        self.lock = asyncio.Lock()

    def keeps(self, topic: str) -> bool:
        """Whether the topic's records go through this keeper, if no other names it."""
        return topic in self.tables or self.rest is not None

    def table(self, topic: str) -> Table:
        """Where the topic's records go."""
        return self.tables[topic] if self.rest is None else self.tables.get(topic, self.rest)


class StoreShell(BaseShell):
    """Lanes of the partitions this worker owns. `keepers` are asked in turn which of them stores a topic."""

    role = "store"

    def __init__(
        self, app: BatchApp, settings: WorkerSettings, metrics: Metrics, *, log: KafkaLog, keepers: Sequence[Keeper]
    ) -> None:
        super().__init__(app, settings, metrics)
        self.log, self.keepers = log, keepers
        self.draining_until: float | None = None

    def keeper(self, topic: str) -> Keeper:
        """The keeper of a topic."""
        return next(k for k in self.keepers if k.keeps(topic))

    def lanes(self) -> Mapping[TP, Lane]:
        """All lanes."""
        return {tp: lane for keeper in self.keepers for tp, lane in keeper.lanes.items()}

    def cursors(self) -> Mapping[TP, Cursor]:
        """The cursor of each owned partition."""
        return {tp: lane.cursor for tp, lane in self.lanes().items()}

    def marks(self) -> Mapping[TP, Mark]:
        """What is stored, and what is announced."""
        return {tp: Mark(lane.stored, lane.note) for tp, lane in self.lanes().items() if lane.stored or lane.note}

    def room(self, tp: TP) -> bool:
        """As everywhere, and only so many rows are held."""
        keeper = self.keeper(tp.topic)
        found = keeper.lanes.get(tp)
        return found is not None and found.rows < BUFFERED_RANGES * keeper.max_rows and super().room(tp)

    async def acquire(self) -> None:
        """Begins every assigned partition anew where the group stands: a drain has left nothing behind."""
        assigned = sorted(self.consumer.assignment())
        started = time.monotonic()
        self.draining_until = started  # a flush that still waits for the store gives up now
        for keeper in self.keepers:
            async with keeper.lock:
                mine = [tp for tp in assigned if self.keeper(tp.topic) is keeper]
                keeper.lanes = {one.tp: one for one in await self.begin(mine)}
        self.draining_until = None
        self.took_over(assigned, time.monotonic() - started)

    async def begin(self, tps: Sequence[TP]) -> list[Lane]:
        """Reads where partitions stand."""
        marks = await self.consumer.read_marks(tps)
        facts = await asyncio.gather(*(self.thread(self.log.describe, tp.topic) for tp in tps))
        bounds = await asyncio.gather(*(self.thread(self.log.bounds, tp) for tp in tps))
        lanes = [lane(tp, f, marks.get(tp), b.first) for tp, f, b in zip(tps, facts, bounds, strict=True)]
        for one in lanes:
            if one.until is not None:
                LOG.info("%s-%d: repeats the range that was announced: %s", *one.tp, one.note)
        return lanes

    def apply(self, tp: TP, batch: Batch) -> None:
        """Keeps the batch for the next insert."""
        self.keeper(tp.topic).lanes[tp].add(batch, time.monotonic())

    async def flush(self, keeper: Keeper, *, everything: bool = False) -> None:
        """Stores what is due, partition after partition."""
        async with keeper.lock:
            for one in list(keeper.lanes.values()):
                linger = 0.0 if everything else keeper.linger_seconds
                while one.due(keeper.max_rows, linger, time.monotonic()) and self.consumer.exists(one.tp.topic):
                    if not await self.store(keeper, one):
                        return

    async def store(self, keeper: Keeper, one: Lane) -> bool:
        """Announces a range, stores it, remembers that it is stored. False: not now."""
        cut = one.cut(keeper.max_rows)
        if cut is None:  # the announced records are gone
            one.until, one.note = None, ""
            return True
        table = keeper.table(one.tp.topic)
        one.announce(cut)
        await self.consumer.force_commit()
        if self.consumer.committed_marks.get(one.tp) != Mark(one.stored, one.note):
            return False  # the group has moved on, or the broker is away: the next tick or the next owner goes on
        if not await self.insist(table, cut):
            return False
        one.done(cut.last, time.monotonic())
        self.metrics.add("rua_sink_rows_total", len(cut.records), table=table.name)
        self.watchdog.progress(time.monotonic())
        self.metrics.add("rua_worker_events_total", len(cut.records), role=self.role, topic=one.tp.topic)
        return True

    async def insist(self, table: Table, cut: Range) -> bool:
        """Repeats until the range is stored. False: told to stop waiting."""
        wait = 0.5
        while True:
            try:
                await self.thread(table.store, cut)
            except RetryLater as why:
                wait, reason = why.after_seconds, str(why)
            except Exception as why:
                LOG.exception("%s: storing %d-%d failed, again in %g s", cut.tp.topic, cut.first, cut.last, wait)
                reason = str(why)
            else:
                self.watchdog.over(table.name)
                return True
            LOG.warning("%s-%d: %s", *cut.tp, reason)
            self.metrics.add("rua_sink_retries_total", table=table.name)
            self.watchdog.back_off(table.name, time.monotonic() + wait)
            if not await self.pause_for(wait):
                return False
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)

    async def pause_for(self, seconds: float) -> bool:
        """Waits. False when it is time to give up."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.draining_until is not None and time.monotonic() >= self.draining_until:
                return False
            await asyncio.sleep(0.05)
        return True

    async def drain(self) -> None:
        """Stores everything that waits, as far as the store lets us in time; the rest is announced or untouched."""
        self.draining_until = time.monotonic() + self.settings.drain_seconds
        for keeper in self.keepers:
            await self.flush(keeper, everything=True)
        self.write_status()  # after a stop nobody else would say how far this worker came

    async def tick(self, keeper: Keeper) -> None:
        """Called a few times a second."""
        await self.flush(keeper)
