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

from rua_streams.runs import DAY, SPAN, Run
from rua_streams.state import Columns, Ints

T_co = TypeVar("T_co", covariant=True)
Floats = NDArray[np.float64]
Shape = tuple[str, tuple[int, ...]]
NEVER = SPAN  # seconds since what has not happened
LONGEST_BACK = 30 * DAY  # no detector may ask for what lies longer back than this


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

    @property
    def keeps(self) -> int:
        """Seconds of silence of a key after which nothing that is stored can matter any more."""
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

    @property
    def keeps(self) -> int:
        """The span, and the bucket that it ends in."""
        return self.span + self.span // self.buckets

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
    """Daily totals of a measure over `days` local days. A late event amends its day; norms change when a day closes.

    A sale day is no ordinary day: what was forgiven then (`judging`) must not be the measure of the weeks that follow.
    """

    by: ClassVar = "actor"
    daily: ClassVar = True
    measure: str
    on: str
    days: int = 30

    @property
    def keeps(self) -> int:
        """The days, and the current one."""
        return (self.days + 1) * DAY

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
            number = today[:, None] - (today[:, None] - np.arange(size)) % size
            state["norm"][row], state["rank"][row] = norms(np.where(on_sale(number), 0, kept))
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


def on_sale(day: Ints) -> NDArray[np.bool_]:
    """Days, counted from 1970, of the double-date sales: the day that equals the month (11.11), and the day after.

    The cases of a sale come with it and after it.
    """
    date = day.astype("datetime64[D]")
    month = date.astype("datetime64[M]")
    over = (date - month).astype(np.int64) - month.astype(np.int64) % 12
    return np.asarray((over == 0) | (over == 1))


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

    @property
    def keeps(self) -> int:
        """The days, and the current one."""
        return (self.days + 1) * DAY

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

    @property
    def keeps(self) -> int:
        """What lies longer back may be as good as never."""
        return LONGEST_BACK

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
