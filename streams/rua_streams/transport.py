"""Faust transport: one Faust event per fetched record batch; positions and commits come from checkpoints, not acks.

Stock Faust hands over one message at a time (14 k/s a core) and loses events when a processor raises. Here its own
bookkeeping of acks, gaps and read offsets is switched off. What it is told instead comes from the `Shell` of the app:
where the state of each partition stands, what the last checkpoint says, and which partitions have room.

`ConsumerMessage.checksum` carries the epoch of the fetch: a seek makes every batch fetched before it stale.
Pinned to faust-streaming 0.15.3; `docs/transport.md` says what to look at when that changes.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

import faust
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition as Place
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import TRANSPORTS, aiokafka as driver
from faust.types import TP, ConsumerMessage

FETCH_WAIT_MS = 100  # Faust hard-codes 1,500: the long poll of a drained partition would hold back the node's busy ones
SHORT_WAIT_SECONDS, LONG_WAIT_SECONDS = 0.05, 0.5
COMMIT_SECONDS = 5.0  # aiokafka would try for ever, and a revoke waits for it
GC_THRESHOLD = (200_000, 50, 1_000)  # batches hold many records: the default sweeps them again and again


class Received(Protocol):
    """What a processor reads of one fetched record. `timestamp` is Kafka's, in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


Batch = Sequence[Received]
Revoked: type[Exception] = IllegalStateError  # what a seek raises when the partition is not ours any more


class Mark(NamedTuple):
    """What is committed for a partition: where to go on, and a note for the next owner."""

    offset: int
    note: str = ""


class Shell(Protocol):
    """What owns the assigned partitions, and so knows their positions. Called on the event loop."""

    def positions(self) -> Mapping[TP, int]:
        """The offset at which each owned partition goes on."""
        ...

    def marks(self) -> Mapping[TP, Mark]:
        """What may be committed: only what is safe with the next owner."""
        ...

    def room(self, tp: TP) -> bool:
        """Whether another batch of this partition may be handed over."""
        ...

    async def drain(self) -> None:
        """Makes everything taken so far safe: called before a revoke and before a stop, while still a member."""
        ...

    async def receive(self, tp: TP, batch: Batch, epoch: int) -> None:
        """Takes one batch. Lets no exception out."""
        ...


class BatchApp(faust.App):
    """A Faust app that runs a shell. `max_batch_records` bounds one batch."""

    shell: Shell
    max_batch_records: int = 5_000


class BatchSchema(faust.Schema[Any, Any]):
    """Hands the record batch over as it is: decoding is the processor's, whole columns at a time."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> None:
        """A batch has no key of its own."""

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        """The records themselves."""
        return message.value


class Nothing(dict[Any, None]):
    """Remembers nothing.

    Faust drops messages below its read offset, which a callback that was waiting may set after a seek.
    """

    def __getitem__(self, _: Any) -> None:
        return None

    def __setitem__(self, *_: Any) -> None:
        pass


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread of the aiokafka consumer, with our fetch wait and commits that carry a note."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def commit_marks(self, marks: Mapping[TP, Mark]) -> bool:
        """Commits offsets with notes. False when the group has moved on: the partition may be another's."""
        return cast(bool, await self.call_thread(self._commit_marks, marks))

    def exists(self, topic: str) -> bool:
        """Whether the cluster has the topic, as far as this worker knows."""
        return bool(self._ensure_consumer().partitions_for_topic(topic))

    async def read_marks(self, tps: Sequence[TP]) -> dict[TP, Mark]:
        """What the group has committed, as the coordinator says now; nothing for a partition without an offset."""
        return cast(dict[TP, Mark], await self.call_thread(self._read_marks, tps))

    async def _read_marks(self, tps: Sequence[TP]) -> dict[TP, Mark]:
        coordinator = self._ensure_consumer()._coordinator
        found = await coordinator.fetch_committed_offsets([Place(tp.topic, tp.partition) for tp in tps])
        return {ensure_TP(place): Mark(*mark) for place, mark in found.items()}

    async def _commit_marks(self, marks: Mapping[TP, Mark]) -> bool:
        offsets = {Place(tp.topic, tp.partition): OffsetAndMetadata(*mark) for tp, mark in marks.items()}
        try:
            await asyncio.wait_for(self._ensure_consumer().commit(offsets), COMMIT_SECONDS)
        except (CommitFailedError, IllegalStateError):
            return False
        except TimeoutError:
            self.log.warning("offsets not committed within %g s, again later", COMMIT_SECONDS)
            return False
        except KafkaError as why:
            self.log.warning("offsets not committed, again later: %r", why)
            return False
        return True


class Consumer(driver.Consumer):
    """Yields one message per (partition, at most `max_batch_records` records)."""

    app: BatchApp
    _thread: ConsumerThread

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._read_offset: Any = Nothing()
        self.epoch: Counter[TP] = Counter()
        self.queued: Counter[TP] = Counter()  # batches handed to Faust and not yet taken by the processor
        self._held: dict[TP, deque[Batch]] = {}  # fetched, waiting for room
        self.committed_marks: dict[TP, Mark] = {}
        self._commits = asyncio.Lock()
        gc.set_threshold(*GC_THRESHOLD)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def rewind(self, goal: Mapping[TP, int]) -> None:
        """Goes on at these offsets; whatever was fetched before is stale."""
        self.epoch.update(goal.keys())
        for tp in goal:
            self._held.pop(tp, None)
        await self._thread.seek_wait(goal)

    async def perform_seek(self) -> None:
        """Called by Faust before it resumes a flow that it stopped: go on where the shell's state stands."""
        own = self.assignment()
        self._held = {}
        self.queued.clear()
        await self.rewind({tp: at for tp, at in self.app.shell.positions().items() if tp in own})

    async def wait_empty(self) -> None:
        """Called by Faust on a revoke and on a stop, while this worker is still a member of the group."""
        await self.app.shell.drain()
        await self.commit(start_new_transaction=False)

    async def read_marks(self, tps: Sequence[TP]) -> dict[TP, Mark]:
        """What the group has committed, notes included.

        confluent-kafka 2.16.1 gives notes of the admin API with bytes of its memory behind them, so they are read here.
        """
        return await self._thread.read_marks(tps)

    async def resubscribe(self, names: Sequence[str]) -> None:
        """Reads these topics from now on: a revoke by our own hand, and then a rebalance.

        aiokafka forgets the assignment at once when the subscription changes, and Faust drains and commits only what is
        assigned. So that comes first; whatever slips in between is repeated, as after a crash. Faust's own patterns do
        nothing, and its conductor's way of adding a topic neither drains nor comes in less than 45 s.
        """
        await self.on_partitions_revoked(set(self.assignment()))
        for channel in self.app.topics:
            channel.topics = list(names)
        self.app.agents.update_topic_index()  # type: ignore[attr-defined]  # not in Faust's interface
        await self.subscribe(await self.app.topics._update_indices())  # type: ignore[attr-defined]  # likewise

    def exists(self, topic: str) -> bool:
        """Whether the cluster has the topic. One that was deleted takes no offsets: aiokafka would try for ever."""
        return self._thread.exists(topic)

    def taken(self, tp: TP) -> None:
        """The processor has taken a batch: there is room for another."""
        self.queued[tp] = max(0, self.queued[tp] - 1)

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """What Faust calls at its commit interval: commits what the shell says is safe, if that has changed.

        Returns:
            Whether everything that the shell says is committed.
        """
        async with self._commits:  # an older mark must never follow a newer one
            own = {tp for tp in self.assignment() if self.exists(tp.topic)}
            marks = {
                tp: m for tp, m in self.app.shell.marks().items() if tp in own and self.committed_marks.get(tp) != m
            }
            if marks and not await self._thread.commit_marks(marks):
                return False
            self.committed_marks.update(marks)
            return True

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Drains first (through `wait_empty`), forgets afterwards."""
        await super().on_partitions_revoked(revoked)
        self.committed_marks, self._held = {}, {}

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yields batches of every partition that has room; fetches only for those that hold nothing back."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # Faust passes its own event so, too
        epoch = self.epoch.copy()  # before the fetch
        active = self._get_active_partitions()
        ready = {tp for tp in active if tp not in self._held and self.app.shell.room(tp)}
        for key, records in (await self._fetched(ready, waiting=len(ready) < len(active))).items():
            tp = ensure_TP(key)
            if self.epoch[tp] == epoch[tp] or records[0].offset == self.app.shell.positions().get(tp):
                size = self.app.max_batch_records
                self._held[tp] = deque(records[i : i + size] for i in range(0, len(records), size))
        for tp in list(self._held):
            while (held := self._held.get(tp)) and self.app.shell.room(tp):
                if self.should_stop or not self.flow_active:
                    return  # whoever stopped the flow seeks before it starts again
                self.queued[tp] += 1
                yield tp, self._message(tp, held.popleft())
            if not self._held.get(tp):
                self._held.pop(tp, None)

    async def _fetched(self, ready: set[TP], *, waiting: bool) -> Mapping[Any, Batch]:
        if not ready:  # stock Faust sleeps a whole second when every partition is full
            await self.sleep(SHORT_WAIT_SECONDS / 5)
            return {}
        return await self._getmany(ready, SHORT_WAIT_SECONDS if waiting else LONG_WAIT_SECONDS)

    def _message(self, tp: TP, batch: Batch) -> ConsumerMessage:
        last, value, epoch = batch[-1], cast(Any, batch), cast(Any, self.epoch[tp])  # Faust expects bytes in both
        at, kind = last.timestamp / 1_000, last.timestamp_type
        generation = self.app.consumer_generation_id
        return ConsumerMessage(*tp, last.offset, at, kind, [], None, value, epoch, 0, 0, tp, generation_id=generation)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's own stall detector compares clocks of two kinds; `watchdog.py` is ours."""


class Transport(driver.Transport):
    """What `broker="batchkafka://…"` selects."""

    Consumer = Consumer


TRANSPORTS.aliases["batchkafka"] = f"{__name__}:Transport"
