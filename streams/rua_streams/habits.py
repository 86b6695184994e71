"""The feature that knows at which hours of a week somebody works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from rua_streams.features import Shape
from rua_streams.runs import DAY, HOUR, Run
from rua_streams.state import Columns, Ints

WEEKS = 12  # closed weeks that habits are taken from, as the published 90 days
HELD = (1 << (WEEKS + 1)) - 1  # a bit per week, the current one included


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

    @property
    def keeps(self) -> int:
        """The closed weeks, and the current one."""
        return (WEEKS + 1) * 7 * DAY

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
