"""Features that remember single events and places: the latest, the first that counts, the first use of an item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rua_streams.features import LONGEST_BACK, Shape
from rua_streams.runs import DAY, Run
from rua_streams.state import Columns, Ints


class Anchor(NamedTuple):
    """An earlier event: when it occurred, in milliseconds, its offset, and its id as two words. No offset is -1."""

    at_ms: Ints
    offset: Ints
    id_high: NDArray[np.uint64]
    id_low: NDArray[np.uint64]


ANCHOR: Mapping[str, Shape] = {f: ("<u8" if f.startswith("id") else "<i8", ()) for f in Anchor._fields}


def anchored(run: Run, index: Ints, state: Columns) -> list[NDArray[Any]]:
    """The event at each index of the run, or the stored one where the index is none of the key's."""
    inside = index >= run.first[run.key]
    return [np.where(inside, run[f][index], state[f][run.row]) for f in Anchor._fields]


@dataclass(frozen=True)
class Latest:
    """The subject's last earlier event for which the fact `where` holds."""

    by: ClassVar = "actor"
    daily: ClassVar = False
    where: str
    on: str

    @property
    def keeps(self) -> int:
        """What lies longer back may be as good as never."""
        return LONGEST_BACK

    def columns(self) -> Mapping[str, Shape]:
        """That event."""
        return ANCHOR

    def facts(self) -> tuple[str, ...]:
        """The fact, and what names an event."""
        return (self.where, *Anchor._fields)

    def advance(self, run: Run, state: Columns) -> Anchor:
        """Means nothing where there was none."""
        mask = run[self.where]
        found = Anchor(*anchored(run, run.latest(mask), state))
        for name in Anchor._fields:
            state[name][run.row[mask]] = run[name][mask]
        return found


@dataclass(frozen=True)
class Opening:
    """The first event for which `where` holds of those that count now: within the hour, or on the local day.

    Where the first is not known any more (a long burst, a late event), the time from which on events count, and no id.
    """

    by: ClassVar = "lane"
    daily: ClassVar = False
    where: str
    on: str
    span: int
    buckets: int = 12

    @property
    def keeps(self) -> int:
        """The span, and the step that it ends in."""
        return 2 * self.span

    def columns(self) -> Mapping[str, Shape]:
        """Step of the latest such event; the event after the last gap in which nothing counted."""
        return {"step": ("<i8", ()), **ANCHOR}

    def facts(self) -> tuple[str, ...]:
        """The fact, and what names an event."""
        return (self.where, *Anchor._fields)

    def advance(self, run: Run, state: Columns) -> Anchor:
        """A step is what `Sum` calls a bucket, or the day of `Daily`. After so many without an event a burst opens."""
        whole_day, width = self.span == DAY, self.span // self.buckets
        step, size = (run.wall // DAY, 1) if whole_day else (run.clock // width, self.buckets)
        mask, latest = run[self.where], run.latest(run[self.where])
        before = np.where(latest >= 0, step[latest], state["step"][run.row])
        opens = mask & (step - before >= size)
        opened = np.maximum.accumulate(np.where(opens, np.arange(len(run)), -1))
        at, offset, *words = anchored(run, opened, state)
        midnight = (run["at_ms"] // 1_000 - run["wall"] % DAY) * 1_000
        bound = np.minimum(midnight if whole_day else (step - size + 1) * width * 1_000, run["at_ms"])
        counts = at >= bound
        if whole_day:
            counts &= run["wall"] // DAY == step
        last = run.end - 1
        for name, values in zip(Anchor._fields, (at, offset, *words), strict=True):
            state[name][run.rows] = values[last]
        state["step"][run.row[mask]] = step[mask]
        high, low = words
        return Anchor(np.where(counts, at, bound), np.where(counts, offset, -1), high, low)


class Novelty(NamedTuple):
    """Of an item: seconds since the subject began to use it, and how much of a measure went along since then."""

    age: Ints
    taken: Ints


@dataclass(frozen=True)
class Firsts:
    """Since when the subject uses an item. One unused for `forget` seconds begins anew.

    Items fall into sets by hash, and each set keeps its two latest. A tag stands beside each, so that a new item never
    passes for a known one; a known one is called new only if two others of its set were used since.
    """

    by: ClassVar = "actor"
    daily: ClassVar = False
    item: str
    measure: str
    on: str
    forget: int = 30 * DAY
    sets: int = 32

    @property
    def keeps(self) -> int:
        """As long as an item."""
        return self.forget

    def columns(self) -> Mapping[str, Shape]:
        """Per set which of its two slots was used last; per slot: tag of the item, latest use, beginning, amount."""
        slots = (2 * self.sets,)
        per_slot = {"tag": ("<u4", slots), "seen": ("<u4", slots), "began": ("<u4", slots), "taken": ("<i8", slots)}
        return {"way": ("<u1", (self.sets,)), **per_slot}

    def facts(self) -> tuple[str, ...]:
        """Item and measure."""
        return (self.item, self.measure)

    def advance(self, run: Run, state: Columns) -> Novelty:
        """Per slot, each event follows the one before it; a beginning restarts the amount."""
        tags = (run[self.item] >> np.uint64(32)).astype(np.uint32) | np.uint32(1)  # 0 is an empty slot
        uses, order = run.split(self._slots(run, tags, state), 2 * self.sets)
        tag, seen, began, taken = (state[name].reshape(-1) for name in ("tag", "seen", "began", "taken"))
        here, first, last, own = np.arange(len(uses)), uses.first, uses.end - 1, tags[order]
        before, held = np.concatenate(([0], uses.clock[:-1])), np.concatenate((own[:1], own[:-1]))
        before[first], held[first] = seen[uses.rows], tag[uses.rows]
        begins = (held != own) | (uses.clock - before > self.forget)
        start = np.maximum.accumulate(np.where(begins, here, -1))
        inside = start >= first[uses.key]
        since = np.where(inside, uses.clock[start], began[uses.row])
        amount = uses[self.measure]
        passed = np.concatenate(([0], np.cumsum(amount)))
        base = np.where(inside, passed[start], passed[first][uses.key] - taken[uses.row])
        total = passed[1:] - base
        seen[uses.rows], began[uses.rows], taken[uses.rows] = uses.clock[last], since[last], total[last]
        tag[uses.rows] = own[last]
        age, gone = np.empty(len(run), np.int64), np.empty(len(run), np.int64)
        age[order], gone[order] = uses.clock - since, total
        return Novelty(age, gone)

    def _slots(self, run: Run, tags: NDArray[np.uint32], state: Columns) -> Ints:
        """Each event's slot: whatever differs from the set's latest item lies, or belongs, in the other slot."""
        items, order = run.split((run[self.item] % np.uint64(self.sets)).astype(np.int64), self.sets)
        way, own = state["way"].reshape(-1), tags[order]
        before = np.concatenate((own[:1], own[:-1]))
        before[items.first] = state["tag"].reshape(-1)[2 * items.rows + way[items.rows]]
        ways = items.running((own != before).astype(np.int64), way[items.rows].astype(np.int64)) % 2
        way[items.rows] = ways[items.end - 1]
        slots = np.empty(len(run), np.int64)
        slots[order] = 2 * (items.row % self.sets) + ways
        return slots
