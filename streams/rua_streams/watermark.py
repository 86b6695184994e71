"""The clock by which a partition forgets: the day that its events have reached, in the order of the log.

No single event moves it, and no agent whose clock runs wild does while most events come from others: a day has come
when `VOTES` more events say so than do not, and each such vote moves it by one day. It never goes back. So it may lag
behind where few events come, and then little is remembered anyway: at most `VOTES` subjects for each day.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rua_schemas.events import MAX_TIME_MS

Ints = NDArray[np.int64]
VOTES = 100
DAY_MS = 86_400_000
LATE_DAYS = 9  # a source may be a week behind: its subjects were silent in the log, not by their own clocks; days round
AHEAD_DAYS = 366  # nobody is remembered for the sake of a time further ahead of the partition than this


class Watermark(NamedTuple):
    """`day` counts from 1970, 0 before the first vote; `votes` for the next; `lowest`: see `turns`."""

    day: int = 0
    votes: int = 0
    lowest: int = 0


class Turn(NamedTuple):
    """A day begins: the event at this place comes after it."""

    place: int
    day: int


def days_of(observed_ms: Ints) -> Ints:
    """The day of each event; 0 for a time that cannot be one, which speaks for no day."""
    usable = (observed_ms > 0) & (observed_ms <= MAX_TIME_MS)
    return np.where(usable, observed_ms // DAY_MS, 0)


def turns(days: Ints, mark: Watermark, needed: int = VOTES) -> tuple[list[Turn], Watermark]:
    """Where in these events the partition's day changes, and the clock after them. The first day is the lowest said."""
    day, votes, lowest = mark
    if day and not (days > day).any():
        return [], Watermark(day, max(votes - len(days), 0), lowest)
    found: list[Turn] = []
    for place, said in enumerate(days.tolist()):
        if said <= day:
            votes = max(votes - 1, 0)
            continue
        votes += 1
        lowest = lowest if day else min(lowest or said, said)
        if votes >= needed:
            day, votes = (day + 1 if day else lowest), 0
            found.append(Turn(place, day))
    return found, Watermark(day, votes, lowest)


def stamped(days: Ints, day: int) -> Ints:
    """Up to which day a trace of each event is fresh: the partition's day, or its own if the partition lags."""
    return np.clip(days, day, day + AHEAD_DAYS) if day else days
