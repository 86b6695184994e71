"""A run: events sorted by key and, within a key, in log order, on which every scan per key is one numpy pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rua_streams.state import Ints

HOUR, DAY = 3_600, 86_400  # seconds
SPAN = 1 << 40  # above any epoch second: keeps keys apart in one ascending number
Bools = NDArray[np.bool_]


class Run:
    """Events with their place in the batch, the state row of their key, and the key's clocks.

    `clock` is the latest event time seen from the key so far, in epoch seconds; `wall` the latest local time, in
    seconds of the platform's zone. Neither ever goes back.
    """

    def __init__(self, facts: Mapping[str, NDArray[Any]], place: Ints, row: Ints, clock: Ints, wall: Ints) -> None:
        self._facts, self.place, self.row, self.clock, self.wall = facts, place, row, clock, wall
        self._cache: dict[str, NDArray[Any]] = {}
        self._subs: dict[str, Run] = {}
        self._days: dict[int, tuple[Run, Ints]] = {}

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, fact: str) -> NDArray[Any]:
        """A fact of every event, in this run's order."""
        if fact not in self._cache:
            self._cache[fact] = self._facts[fact][self.place]
        return self._cache[fact]

    def take(self, which: NDArray[Any]) -> Run:
        """Some of the events, in the same order."""
        return Run(self._facts, self.place[which], self.row[which], self.clock[which], self.wall[which])

    def on(self, fact: str) -> Run:
        """The events for which the fact holds."""
        if fact not in self._subs:
            holds = self[fact]
            self._subs[fact] = self if holds.all() else self.take(np.flatnonzero(holds))
        return self._subs[fact]

    @cached_property
    def rounds(self) -> list[Run]:
        """Runs in which no key's local clock passes midnight: each key's first day, then its second, and so on."""
        return list(self._rounds())

    def _rounds(self) -> Iterator[Run]:
        turns = np.diff(self.wall // DAY, prepend=0) != 0
        turns[self.first] = False
        if not turns.any():
            yield self
            return
        number = self.running(turns.astype(np.int64))
        for n in range(int(number.max()) + 1):
            yield self.take(np.flatnonzero(number == n))

    @cached_property
    def first(self) -> Ints:
        """Each key's first event."""
        return np.flatnonzero(np.concatenate(([True], self.row[1:] != self.row[:-1])))

    @cached_property
    def end(self) -> Ints:
        """One past each key's last event."""
        return np.append(self.first[1:], len(self))

    @cached_property
    def rows(self) -> Ints:
        """Each key's state row."""
        return self.row[self.first]

    @cached_property
    def key(self) -> Ints:
        """Each event's key, counted from 0 within the run."""
        return np.repeat(np.arange(len(self.first)), self.end - self.first)

    def running(self, values: Ints, carried: Ints | int = 0) -> Ints:
        """Sum over the key's events so far, this one included."""
        total = np.cumsum(values)
        return np.asarray(total + (carried - total[self.first] + values[self.first])[self.key])

    def highest(self, values: Ints, carried: Ints) -> Ints:
        """Largest of the key's values so far, this one included. Values lie in 0 … 2**40."""
        raised = values.copy()
        raised[self.first] = np.maximum(raised[self.first], carried)
        return np.asarray(np.maximum.accumulate(raised + self.key * SPAN) - self.key * SPAN)

    def latest(self, mask: Bools) -> Ints:
        """The key's last event before this one for which the mask holds, or -1."""
        here = np.where(mask, np.arange(len(self)), -1)
        before = np.concatenate(([-1], np.maximum.accumulate(here)[:-1]))
        return np.where(before >= self.first[self.key], before, -1)

    def by_day(self, size: int) -> tuple[Run, Ints]:
        """Split by the local day on which each event occurred, modulo `size`."""
        if size not in self._days:
            self._days[size] = self.split(self["wall"] // DAY % size, size)
        return self._days[size]

    def split(self, group: Ints, groups: int) -> tuple[Run, Ints]:
        """The same events with (row, group) as their key, whose row is `row * groups + group`; and where each stood."""
        code = self.row * groups + group
        order = np.argsort(code, kind="stable")
        return Run(self._facts, self.place[order], code[order], self.clock[order], self.wall[order]), order
