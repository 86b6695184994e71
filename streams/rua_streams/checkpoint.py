"""The checkpoint of a source partition: where its state stands, and whether that state may go on.

The protocol, without Kafka: `kafka_log.py` is the real log, the tests bring a model of one. In this order:
fence (no former owner can write any more), wait until no foreign transaction hides anything, read the state, compare it
with the source, go on at the checkpoint's offset. The group's committed offset only serves the comparison.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec
from faust.types import TP
from rua_common.errors import Refused

from rua_streams.state import Layout

CHECKPOINT = b"!"  # the checkpoint row's key; every other row's key begins with a letter
VERSION = 1


class Lost(Exception):
    """The writer was fenced, by another owner or by the coordinator: this state is not ours any more."""


class TopicFacts(NamedTuple):
    """What tells a topic from one of the same name that was created later."""

    topic_id: str
    partitions: int


class Bounds(NamedTuple):
    """Offsets of a partition: the first, the last stable, and the end."""

    first: int
    stable: int
    end: int


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The checkpoint row. `next` is the source offset at which the state goes on; `layouts` name the rows' columns."""

    group: str
    topic_id: str
    partitions: int
    next: int
    version: int = VERSION
    layouts: tuple[Layout, ...] = ()


class Writer(Protocol):
    """Writes the state of one partition, until somebody else fences it."""

    def write(self, rows: Mapping[bytes, bytes | None]) -> bool:
        """One transaction. False: it was aborted cleanly, try again later.

        Raises:
            Lost: it did not happen, or it did and another owner follows.
        """
        ...

    def close(self) -> None:
        """Writes nothing more."""
        ...


class Nobody:
    """The writer of who only looks."""

    def write(self, rows: Mapping[bytes, bytes | None]) -> bool:
        """Never."""
        raise Lost("who only looks at a partition does not own it")

    def close(self) -> None:
        """Nothing was begun."""


class Log(Protocol):
    """What the protocol needs of Kafka. Every call blocks, so it belongs in a thread."""

    def fence(self, tp: TP) -> Writer:
        """A writer after whose making no former one can write, and none of their transactions is open."""
        ...

    def describe(self, topic: str) -> TopicFacts:
        """The topic's id and its number of partitions."""
        ...

    def bounds(self, tp: TP) -> Bounds:
        """The partition's offsets."""
        ...

    def read(self, tp: TP, first: int, end: int) -> Iterable[tuple[int, bytes, bytes | None]]:
        """Offset, key and value of the committed records of these offsets, in their order."""
        ...

    def committed(self, tp: TP) -> int:
        """The group's committed offset, -1 if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Restored:
    """A partition that may go on at `next`. `saved` is what its last checkpoint says, None if there is none."""

    writer: Writer
    facts: TopicFacts
    next: int
    saved: int | None
    rows: Mapping[bytes, bytes]
    layouts: tuple[Layout, ...]
    skipped: int  # records that the topic dropped before they were applied


class Progress(NamedTuple):
    """How far a restore is. `share` is that of the state topic's offsets, of which compaction took some."""

    tp: TP
    rows: int
    share: float
    seconds: float

    @property
    def left_seconds(self) -> float:
        """How long the rest takes if it goes on like this."""
        return self.seconds * (1 - self.share) / self.share if self.share else 0.0


def silent(_: Progress) -> None:
    """Nobody asked."""


@dataclass(frozen=True)
class Restore:
    """Takes over partitions of one consumer group."""

    log: Log
    group: str
    state_topic: Callable[[str], str]  # the events topic's name -> the state topic's
    wait_seconds: float = 75.0
    poll_seconds: float = 0.2
    tell_seconds: float = 1.0
    sleep: Callable[[float], None] = field(default=time.sleep)

    def acquire(self, tp: TP, tell: Callable[[Progress], None] = silent) -> Restored:
        """Fences former owners, reads the state and checks that it belongs to this source.

        Args:
            tp: the source partition.
            tell: is told how far it is, each `tell_seconds`.

        Raises:
            Refused: state and source contradict each other; the text names the cure.
        """
        writer = self.log.fence(tp)
        try:
            return self._restored(tp, writer, tell)
        except BaseException:
            writer.close()
            raise

    def refusal(self, tp: TP) -> str:
        """Why the partition could not be taken over now, "" if it could. Fences nobody, so it may change at once."""
        try:
            self._restored(tp, Nobody())
        except Refused as why:
            return str(why)
        return ""

    def _restored(self, tp: TP, writer: Writer, tell: Callable[[Progress], None] = silent) -> Restored:
        place = TP(self.state_topic(tp.topic), tp.partition)
        facts = self.log.describe(tp.topic)
        found = self.log.describe(place.topic)
        if found.partitions < facts.partitions:
            raise Refused(
                f"{place.topic} has {found.partitions} partitions, {tp.topic} has {facts.partitions}: "
                "give both the same number with `rua topics apply`"
            )
        source, state = self.log.bounds(tp), self._stable(place)
        rows = self._rows(place, state, lambda count, share, took: tell(Progress(tp, count, share, took)))
        packed = rows.pop(CHECKPOINT, None)
        checkpoint = None if packed is None else decoded(packed, f"{tp.topic}-{tp.partition}")
        self._check(tp, facts, checkpoint, source, self.log.committed(tp))
        if checkpoint is None:
            return Restored(writer, facts, source.first, None, {}, (), 0)
        at = max(checkpoint.next, source.first)
        return Restored(writer, facts, at, checkpoint.next, rows, checkpoint.layouts, at - checkpoint.next)

    def _rows(self, place: TP, state: Bounds, tell: Callable[[int, float, float], None]) -> dict[bytes, bytes]:
        """The last value of each key."""
        rows: dict[bytes, bytes] = {}
        begun = told = time.monotonic()
        for offset, key, value in self.log.read(place, state.first, state.end):
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
            if (now := time.monotonic()) - told >= self.tell_seconds:
                told = now
                tell(len(rows), (offset + 1 - state.first) / (state.end - state.first), now - begun)
        return rows

    def _stable(self, place: TP) -> Bounds:
        """The state topic's bounds once nothing is hidden.

        An open transaction of anybody hides what was committed after it began, our own checkpoint included.
        """
        waited = 0.0
        while (bounds := self.log.bounds(place)).stable != bounds.end:
            if waited >= self.wait_seconds:
                raise Refused(
                    f"{place.topic}-{place.partition}: a transaction of another writer has been open for more than "
                    f"{waited:.0f} s (stable offset {bounds.stable}, end {bounds.end}). Find it with "
                    "`kafka-transactions.sh find-hanging`, abort it or stop its writer, then start again"
                )
            self.sleep(self.poll_seconds)
            waited += self.poll_seconds
        return bounds

    def _check(self, tp: TP, facts: TopicFacts, found: Checkpoint | None, source: Bounds, committed: int) -> None:
        name, state = f"{tp.topic}-{tp.partition}", self.state_topic(tp.topic)
        anew = f"to begin anew, delete and re-create {state} and delete the offsets of group {self.group}"
        if found is None:
            if committed > 0:
                raise Refused(f"{name}: no checkpoint, yet offset {committed} is committed: the state was lost; {anew}")
            return
        if found.group != self.group:
            raise Refused(
                f"{name}: the state belongs to group {found.group}, not {self.group}: set RUA_WORKER_GROUP, or {anew}"
            )
        if found.topic_id != facts.topic_id:
            raise Refused(f"{name}: the topic was re-created since the checkpoint, its offsets begin again; {anew}")
        if found.partitions != facts.partitions:
            raise Refused(
                f"{name}: the topic had {found.partitions} partitions at the checkpoint and has {facts.partitions}: "
                f"actors are in other partitions now; {anew}"
            )
        if committed > found.next:
            raise Refused(
                f"{name}: the checkpoint {found.next} lies below the committed offset {committed}: "
                f"state was lost; {anew}"
            )
        if found.next > source.end:
            raise Refused(
                f"{name}: the checkpoint {found.next} lies above the topic's end {source.end}: "
                f"the topic lost records; {anew}"
            )


class Version(msgspec.Struct, frozen=True):
    """What every version of a checkpoint row has."""

    version: int


def decoded(packed: bytes, name: str) -> Checkpoint:
    """The checkpoint row of this partition.

    Raises:
        Refused: another version of Rua wrote it.
    """
    try:
        version = msgspec.json.decode(packed, type=Version).version
        if version == VERSION:
            return msgspec.json.decode(packed, type=Checkpoint)
        found = f"has version {version}, this worker reads {VERSION}"
    except msgspec.DecodeError as why:
        found = f"is of a version that this worker cannot read ({why})"
    raise Refused(f"{name}: the checkpoint {found}: run the version of Rua that wrote it, or a newer one")
