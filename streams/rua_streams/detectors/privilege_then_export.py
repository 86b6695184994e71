"""privilege-then-export: somebody gets more rights and takes data in bulk within 24 hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rua_schemas.events import Number

from rua_streams.engine import Measured, Rule, Verdict, View
from rua_streams.features import Active, Daily, Since, Sum
from rua_streams.judging import reached, rows_known_or_guessed, span
from rua_streams.marks import Latest, Opening
from rua_streams.runs import DAY, HOUR


@dataclass(frozen=True)
class PrivilegeThenExport:
    """Flags bulk taken within 24 hours of a privilege change of the same actor.

    Attributes:
        within: seconds (a proposal: published sequences use minutes, but a grant at noon serves a theft at night).
        min_rows: floor of rows in an hour (Azure Sentinel's volume anomaly: 500), and no less than a usual day's bulk:
            role changes and onboarding, the published false positives, begin with ordinary work.
        cold_rows: the floor for those without history: the number of people that makes a platform notifiable (5,000).
        min_days: active days that make a history.
        routine: an actor with privilege changes on so many of the last 30 days does that for a living.
    """

    rule: ClassVar = Rule(
        id="privilege-then-export",
        title="Personal data taken in bulk shortly after a change of privileges",
        on="egress",
        attack=("T1098", "T1078"),
        severities=("high", "critical"),
        reads=("ticket",),
        quiet=12 * HOUR,
        by="actor",
    )
    within: int = DAY
    min_rows: int = 500
    cold_rows: int = 5_000
    min_days: int = 5
    routine: int = 3
    granted: Since = Since("grant", on="grant_or_egress")
    grant: Latest = Latest("grant", on="grant_or_egress")
    grants: Active = Active("grant", on="grant_or_egress")
    rows: Sum = Sum("mass", on="egress", span=HOUR)
    unsized: Sum = Sum("unsized", on="egress", span=HOUR)
    guessed: Sum = Sum("guessed", on="egress", span=HOUR)
    usual: Daily = Daily("mass", on="egress")
    opening: Opening = Opening("massive", on="egress", span=HOUR)
    copies: Daily = Daily("unsized", on="egress")
    activity: Active = Active("egress", on="egress")

    def judge(self, view: View) -> Verdict:
        """Critical is ten times the limit. A first export of unknown size counts like the limit."""
        since, usual, rows = view.of(self.granted), view.of(self.usual), view.of(self.rows)
        known = view.of(self.activity) >= self.min_days
        limit = np.where(known, np.maximum(self.min_rows, usual.median), self.cold_rows)
        copied = known & (view.of(self.copies).peak == 0) & (view.of(self.unsized) > 0)
        level = np.where(rows >= 10 * limit, 2, (rows >= limit) | copied)
        judged = (since <= self.within) & (view.of(self.grants) < self.routine) & ~view["ticket"]
        numbers = {
            **rows_known_or_guessed(Measured(rows, limit), view.of(self.guessed)),
            "exports": Measured(view.of(self.unsized), 1),
            "seconds_since_change": Measured(since, self.within),
        }
        return Verdict(np.where(judged, level, 0), numbers, view.of(self.opening), view.of(self.grant))

    def reason(self, numbers: Mapping[str, Number]) -> str:
        """`Took 4,000 rows (limit 500) within an hour, 3 h 20 min after its privileges changed.`."""
        after = span(numbers["seconds_since_change"].value)
        return f"Took {reached(numbers)} within an hour, {after} after its privileges changed."
