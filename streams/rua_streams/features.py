"""What a detector may remember. These few kinds hold all state, so cut-independence is proved here and nowhere else.

Each `advance` gives the value at every event, that event included, and stores what the next event will need. Time is
the key's clock, the latest event time seen from the key so far in log order: it never goes back. Short spans go by
lane, so that a source a day behind is judged by its own clock; long ones by subject, so that all of its history counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rua_streams.runs import DAY, HOUR, SPAN, Run
from rua_streams.state import Columns, Ints

T_co = TypeVar("T_co", covariant=True)
Floats = NDArray[np.float64]
Shape = tuple[str, tuple[int, ...]]
NEVER = SPAN  # seconds since what has not happened
WEEKS = 12  # closed weeks that habits are taken from, as the published 90 days
HELD = (1 << (WEEKS + 1)) - 1  # a bit per week, the current one included


class Feature(Protocol[T_co]):
    """A frozen dataclass. Equal features are computed once, whoever asks; `on` names the events that advance it.

    `by` names the key whose state it is. A `daily` feature is given runs in which no key's local clock passes midnight.
    """

    by: ClassVar[str]
    daily: ClassVar[bool]

    @property
    def on(self) -> str:
        """The fact that holds for the events which advance this feature."""
        ...

    def columns(self) -> Mapping[str, Shape]:
        """What it stores per key."""
        ...

    def facts(self) -> tuple[str, ...]:
        """The facts it reads, besides `on` and the times."""
        ...

    def advance(self, run: Run, state: Columns) -> T_co:
        """Values in the run's order: an array or a named tuple of arrays."""
        ...


AnyFeature = Feature[Any]


@dataclass(frozen=True)
class Sum:
    """Sum of a measure over the last `span` seconds, in `buckets` steps. A late event amends its own bucket."""

    by: ClassVar = "lane"
    daily: ClassVar = False
    measure: str
    on: str
    span: int
    buckets: int = 12

    def columns(self) -> Mapping[str, Shape]:
        """Bucket of the latest event; the buckets, by number modulo their count."""
        return {"head": ("<i8", ()), "ring": ("<i8", (self.buckets,))}

    def facts(self) -> tuple[str, ...]:
        """The measure."""
        return (self.measure,)

    def advance(self, run: Run, state: Columns) -> Ints:
        """An amount enters at its event and leaves at the key's first event whose window no longer holds its bucket."""
        size, width = self.buckets, self.span // self.buckets
        now, own, rows = run.clock // width, run["at"] // width, run.rows
        value = np.where(own > now - size, run[self.measure], 0)
        ring, head = state["ring"][rows], state["head"][rows]
        key, slot = np.nonzero(ring)
        carried = head[key] - (head[key] - slot) % size
        who, bucket = np.concatenate((key, run.key)), np.concatenate((carried, own))
        amount = np.concatenate((ring[key, slot], value))
        leaves = np.searchsorted(run.key * SPAN + now, who * SPAN + bucket + size)
        stays = leaves >= run.end[who]
        left = np.zeros(len(run) + 1, np.int64)
        np.add.at(left, leaves[~stays], amount[~stays])
        ring[:] = 0
        np.add.at(ring, (who[stays], bucket[stays] % size), amount[stays])
        before = np.zeros(len(rows), np.int64)
        np.add.at(before, key, amount[: len(key)])
        state["ring"][rows], state["head"][rows] = ring, now[run.end - 1]
        return run.running(value - left[:-1], before)


class Days(NamedTuple):
    """A subject's daily totals: that of the event's own day so far, the rest over closed days with any."""

    own: Ints
    active: Ints
    mean: Floats
    spread: Floats
    median: Ints
    peak: Ints


@dataclass(frozen=True)
class Daily:
    """Daily totals of a measure over `days` local days. A late event amends its day; norms change when a day closes."""

    by: ClassVar = "actor"
    daily: ClassVar = True
    measure: str
    on: str
    days: int = 30

    def columns(self) -> Mapping[str, Shape]:
        """Current day; totals by day modulo `days`; mean and spread; active days, median and peak."""
        ring: Shape = ("<i8", (self.days,))
        return {"day": ("<i4", ()), "ring": ring, "norm": ("<f8", (2,)), "rank": ("<i8", (3,))}

    def facts(self) -> tuple[str, ...]:
        """The measure."""
        return (self.measure,)

    def advance(self, run: Run, state: Columns) -> Days:
        """First closes the days that have passed, then adds each event to its own day."""
        rows, size, ring = run.rows, self.days, state["ring"]
        day, old = run.wall[run.first] // DAY, state["day"][rows]
        if (turned := day > old).any():
            row, today = rows[turned], day[turned]
            gone = (today[:, None] - np.arange(size)) % size < (today - old[turned])[:, None]
            kept = np.where(gone, 0, ring[row])
            state["day"][row], ring[row] = today, kept
            state["norm"][row], state["rank"][row] = norms(kept)
        own_day = run["wall"] // DAY
        held = day[run.key] - own_day < size
        value = np.where(held, run[self.measure], 0)
        by_day, order = run.by_day(size)
        flat, total = ring.reshape(-1), np.empty(len(run), np.int64)
        sums = by_day.running(value[order], flat[by_day.rows])
        flat[by_day.rows] = sums[by_day.end - 1]
        total[order] = sums
        (mean, spread), (active, median, peak) = state["norm"][run.row].T, state["rank"][run.row].T
        return Days(np.where(held, total, 0), active, mean, spread, median, peak)


def norms(ring: Ints) -> tuple[Floats, Ints]:
    """Mean and deviation, then count, median and peak of the non-zero days. Sums run strictly in order: same bits."""
    ranked = np.sort(ring, axis=1)
    active = (ring > 0).sum(1)
    mean = ranked.sum(1) / np.maximum(active, 1)
    squares = np.cumsum(np.where(ranked > 0, (ranked - mean[:, None]) ** 2, 0.0), axis=1)[:, -1]
    median = np.where(active > 0, ranked[np.arange(len(ring)), ring.shape[1] - 1 - active // 2], 0)
    return np.stack((mean, np.sqrt(squares / np.maximum(active, 1))), 1), np.stack((active, median, ranked[:, -1]), 1)


@dataclass(frozen=True)
class Active:
    """Closed days, of the last 30 local ones, with an event for which the fact `where` holds. Late ones count."""

    by: ClassVar = "actor"
    daily: ClassVar = True
    where: str
    on: str
    days: int = 30

    def columns(self) -> Mapping[str, Shape]:
        """Current day; a bit per day, its own in bit 0; closed days whose bit is set."""
        return {"day": ("<i4", ()), "bits": ("<u8", ()), "count": ("<i4", ())}

    def facts(self) -> tuple[str, ...]:
        """The fact."""
        return (self.where,)

    def advance(self, run: Run, state: Columns) -> Ints:
        """First closes the days that have passed, then marks each event's own day."""
        rows, bits = run.rows, state["bits"]
        day, old = run.wall[run.first] // DAY, state["day"][rows]
        if (turned := day > old).any():
            row, steps = rows[turned], np.minimum(day - old, self.days)[turned].astype(np.uint64)
            bits[row] = (bits[row] << steps) & np.uint64((1 << self.days) - 1)
            state["day"][row], state["count"][row] = day[turned], np.bitwise_count(bits[row])
        age = day[run.key] - run["wall"] // DAY
        marks = run[self.where] & (age < self.days)
        np.bitwise_or.at(bits, run.row[marks], np.uint64(1) << age[marks].astype(np.uint64))
        return np.asarray(state["count"][run.row].astype(np.int64))


@dataclass(frozen=True)
class Since:
    """Seconds since the subject's last earlier event for which the fact `where` holds, else `NEVER`."""

    by: ClassVar = "actor"
    daily: ClassVar = False
    where: str
    on: str

    def columns(self) -> Mapping[str, Shape]:
        """When it last held."""
        return {"seen": ("<u4", ())}

    def facts(self) -> tuple[str, ...]:
        """The fact."""
        return (self.where,)

    def advance(self, run: Run, state: Columns) -> Ints:
        """By the key's clock, so that it is never negative."""
        mask = run[self.where]
        before = run.latest(mask)
        then = np.where(before >= 0, run.clock[before], state["seen"][run.row])
        state["seen"][run.row[mask]] = run.clock[mask]
        return np.where(then > 0, run.clock - then, NEVER)


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

    def columns(self) -> Mapping[str, Shape]:
        """Step of the latest such event; the event after the last gap in which nothing counted."""
        return {"step": ("<i8", ()), **ANCHOR}

    def facts(self) -> tuple[str, ...]:
        """The fact, and what names an event."""
        return (self.where, *Anchor._fields)

    def advance(self, run: Run, state: Columns) -> Anchor:
        """A step is what `Sum` calls a bucket, or the day of `Daily`. Nothing counts when all steps have passed."""
        whole_day, width = self.span == DAY, self.span // self.buckets
        step, size = (run.wall // DAY, 1) if whole_day else (run.clock // width, self.buckets)
        mask, latest = run[self.where], run.latest(run[self.where])
        before = np.where(latest >= 0, step[latest], state["step"][run.row])
        opens = mask & (step - before >= size)
        opened = np.maximum.accumulate(np.where(opens, np.arange(len(run)), -1))
        at, offset, *words = anchored(run, opened, state)
        midnight = (run["at_ms"] // 1_000 - run["wall"] % DAY) * 1_000
        bound = np.minimum(midnight if whole_day else (step - size + 1) * width * 1_000, run["at_ms"])
        counts = (mask | (step - before < size)) & (at >= bound)
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


class Habit(NamedTuple):
    """Closed days on which the subject was active: at all; within an hour of this time; and that on days of this kind.

    Working days (Monday to Friday) are one kind, weekends the other. `spread`: in how many of the 24 hours it ever was.
    """

    active: Ints
    near: Ints
    near_kind: Ints
    spread: Ints


@dataclass(frozen=True)
class Hours:
    """In which of the 168 hours of a local week the subject was active, over 12 weeks. Late events teach nothing."""

    by: ClassVar = "actor"
    daily: ClassVar = True
    on: str

    def columns(self) -> Mapping[str, Shape]:
        """Current day, its hours as bits; per hour of the week, and per weekday, a bit per week; days, hours used."""
        return {
            "day": ("<i4", ()),
            "today": ("<u4", ()),
            "weeks": ("<u2", (168,)),
            "days": ("<u2", (7,)),
            "active": ("<i4", ()),
            "spread": ("<i4", ()),
        }

    def facts(self) -> tuple[str, ...]:
        """None."""
        return ()

    def advance(self, run: Run, state: Columns) -> Habit:
        """First closes the day that has passed. Within a day the closed days stand still."""
        day = run.wall[run.first] // DAY
        if (turned := day > state["day"][run.rows]).any():
            close_day(state, run.rows[turned], day[turned])
        own = run["wall"]
        weekday, hour = (own // DAY + 3) % 7, own % DAY // HOUR
        live = own // DAY == run.wall // DAY
        np.bitwise_or.at(state["today"], run.row[live], np.uint32(1) << hour[live].astype(np.uint32))
        asked, inverse = np.unique(run.row * 24 + hour, return_inverse=True)
        around = state["weeks"][(asked // 24)[:, None, None], AROUND[asked % 24]]
        near = np.bitwise_count(np.bitwise_or.reduce(around, axis=2)).astype(np.int64)
        working, weekend = near[:, :5].sum(1)[inverse], near[:, 5:].sum(1)[inverse]
        active, spread = (state[name][run.row].astype(np.int64) for name in ("active", "spread"))
        return Habit(active, working + weekend, np.where(weekday < 5, working, weekend), spread)


# For each hour of the day and each weekday: the places of that hour and its two neighbours in the week.
AROUND = (np.arange(24)[:, None, None] + 24 * np.arange(7)[None, :, None] + np.array([-1, 0, 1])) % 168


def close_day(state: Columns, rows: Ints, day: Ints) -> None:
    """Books the hours of the rows' current day, ages the weeks, and makes `day` current."""
    old, bits = state["day"][rows].astype(np.int64), state["today"][rows]
    weekday = (old + 3) % 7
    hours = ((bits[:, None] >> np.arange(24, dtype=np.uint32)) & 1).astype(np.uint16)
    state["weeks"][rows[:, None], weekday[:, None] * 24 + np.arange(24)] |= hours
    state["days"][rows, weekday] |= (bits > 0).astype(np.uint16)
    steps = np.minimum((day + 3) // 7 - (old + 3) // 7, 16).astype(np.uint32)[:, None]
    for name in ("weeks", "days"):
        state[name][rows] = ((state[name][rows].astype(np.uint32) << steps) & HELD).astype(np.uint16)
    state["active"][rows] = np.bitwise_count(state["days"][rows]).sum(1)
    state["spread"][rows] = state["weeks"][rows].reshape(-1, 7, 24).any(1).sum(1)
    state["day"][rows], state["today"][rows] = day, 0
