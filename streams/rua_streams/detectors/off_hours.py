"""off-hours: a person takes data in bulk at an hour at which that person is hardly ever active."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rua_schemas.events import Number

from rua_streams.engine import Measured, Rule, Verdict, View
from rua_streams.features import Daily, Sum
from rua_streams.habits import Hours
from rua_streams.judging import reached, rows_known_or_guessed
from rua_streams.marks import Opening
from rua_streams.runs import HOUR


@dataclass(frozen=True)
class OffHours:
    """Flags bulk taken at an unusual hour. Local time; machines, and events that name a ticket, are not judged.

    An hour is unusual if the person was active within an hour of it on less than `share` of the active days of the
    last 12 weeks. Where only the kind of day (working day, weekend) is unusual, more is asked for: late work and a
    Saturday in the office are the published false positives. Only exports and statements of 100 rows and more count as
    bulk: on-call work consists of look-ups.

    Attributes:
        min_days: active days before a person has hours at all (Panther's okta_swa_offhours: cold start >= 3; five show
            a working week).
        share: same source flags hours used on fewer than 3 of 90 days; 10 % says that of histories of any length.
        min_rows: floor of rows in the hour (Azure Sentinel's volume anomaly: 500).
        part: of the person's median day that must leave within the hour; a whole peak day where only the kind of day
            is unusual.
        min_weeks_days: active days before a free weekend means anything: two working weeks.
    """

    rule: ClassVar = Rule(
        id="off-hours",
        title="Personal data taken in bulk at an unusual hour",
        on="egress",
        attack=("T1078",),
        severities=("medium", "high"),
        reads=("ticket", "machine"),
        quiet=6 * HOUR,
        by="actor",
    )
    min_days: int = 5
    share: float = 0.1
    min_rows: int = 500
    part: float = 0.25
    min_weeks_days: int = 10
    hours: Hours = Hours(on="any")
    rows: Sum = Sum("mass", on="egress", span=HOUR)
    unsized: Sum = Sum("unsized", on="egress", span=HOUR)
    guessed: Sum = Sum("guessed", on="egress", span=HOUR)
    usual: Daily = Daily("mass", on="egress")
    opening: Opening = Opening("massive", on="egress", span=HOUR)

    def judge(self, view: View) -> Verdict:
        """High is ten times what was asked for."""
        habit, usual, rows = view.of(self.hours), view.of(self.usual), view.of(self.rows)
        rare = habit.near < self.share * habit.active
        rare_day = (habit.near_kind < self.share * habit.active) & (habit.active >= self.min_weeks_days)
        limit = np.maximum(self.min_rows, np.where(rare, np.ceil(self.part * usual.median), usual.peak + 1))
        copied = rare & (view.of(self.unsized) > 0)
        level = np.where(rows >= 10 * limit, 2, (rows >= limit) | copied)
        judged = (rare | rare_day) & (habit.active >= self.min_days) & ~view["ticket"] & ~view["machine"]
        numbers = {
            **rows_known_or_guessed(Measured(rows, limit), view.of(self.guessed)),
            "exports": Measured(view.of(self.unsized), 1),
            "days_at_this_hour": Measured(np.where(rare, habit.near, habit.near_kind)),
            "days": Measured(habit.active, self.min_days),
        }
        return Verdict(np.where(judged, level, 0), numbers, view.of(self.opening))

    def reason(self, numbers: Mapping[str, Number]) -> str:
        """`Took 1,200 rows (limit 500) within an hour; was active around this hour on 0 of 15 days.`."""
        here, days = numbers["days_at_this_hour"].value, numbers["days"].value
        habit = f"was active around this hour of such a day on {here:.0f} of {days:.0f} days"
        return f"Took {reached(numbers)} within an hour; {habit}."
