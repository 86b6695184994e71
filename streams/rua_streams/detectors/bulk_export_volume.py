"""bulk-export-volume: much leaves within an hour, and more than is usual for whoever takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rua_schemas.events import Number

from rua_streams.engine import Measured, Rule, Verdict, View
from rua_streams.features import Active, Daily, Days, Since, Sum
from rua_streams.habits import Hours
from rua_streams.judging import SEASON, USUAL_PEAK, by_calendar, counted, decided, ladder, reached
from rua_streams.marks import Opening
from rua_streams.runs import DAY, HOUR
from rua_streams.state import Ints


@dataclass(frozen=True)
class BulkExportVolume:
    """Flags a subject who takes more rows, bytes or data subjects within an hour than the limits and than its own days.

    Attributes:
        rows: medium, high, critical; Panther's salesforce_bulk: 10,000, 50,000 and 100,000 records. The steps beyond
            only revise the alert while the incident grows.
        bytes: medium is Panther's aws_s3_large_download (52,428,800 B), high is foxsec's Pioneer (1,000,000,000 B).
        subjects: medium is what makes a platform notifiable under the Royal Decree of 2565 (5,000 users), high ten
            times that. Distinct counts do not add, so the sum is an upper bound of the people concerned.
        usual_peak: a subject's limit is at least this times the biggest of its own last 30 days, so that a nightly job
            of 200,000 rows alerts when it grows, not every night.
        season: that factor on closing and sale days, for those who may (`judging.by_calendar`).
        min_days: closed days with egress before a subject has days of its own (Panther: 3 baseline events). Until then
            the second step is the lowest: a new joiner is not judged by the first.
        learning: seconds from a partition's first event during which whatever is not known to be a person stays quiet
            while it has no history: at first every nightly job looks new. A week shows each of them at least once.
    """

    rule: ClassVar = Rule(
        id="bulk-export-volume",
        title="Large volume of personal data taken within one hour",
        on="egress",
        attack=("T1530", "T1567"),
        severities=("medium", "high", "critical"),
        reads=("perhaps_machine", "person", "scheduled", "season", "ticket", "watched"),
    )
    rows: tuple[int, ...] = (10_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 10_000_000)
    bytes: tuple[int, ...] = (52_428_800, 1_000_000_000)
    subjects: tuple[int, ...] = (5_000, 50_000)
    usual_peak: float = USUAL_PEAK
    season: float = SEASON
    min_days: int = 3
    learning: int = 7 * DAY
    hour_rows: Sum = Sum("rows", on="egress", span=HOUR)
    hour_bytes: Sum = Sum("bytes", on="egress", span=HOUR)
    hour_subjects: Sum = Sum("subjects", on="egress", span=HOUR)
    day_rows: Daily = Daily("rows", on="egress")
    day_bytes: Daily = Daily("bytes", on="egress")
    day_subjects: Daily = Daily("subjects", on="egress")
    activity: Active = Active("egress", on="egress")
    people: Active = Active("person", on="egress")
    hours: Hours = Hours(on="any")
    tickets: Since = Since("ticket", on="egress")
    opening: Opening = Opening("egress", on="egress", span=HOUR)

    def judge(self, view: View) -> Verdict:
        """The worst of the three measures."""
        cold = view.of(self.activity) < self.min_days
        factor = np.where(by_calendar(view, self.people, self.hours, self.tickets), self.season, self.usual_peak)

        def steps(limits: tuple[int, ...], usual: Days) -> list[Ints]:
            own = np.ceil(factor * usual.peak).astype(np.int64)
            return [np.maximum(np.where(cold, max(step, limits[1]), step), own) for step in limits]

        days = {
            "rows": view.of(self.day_rows),
            "bytes": view.of(self.day_bytes),
            "subjects": view.of(self.day_subjects),
        }
        rows, row_number = ladder(view.of(self.hour_rows), steps(self.rows, days["rows"]))
        size, size_number = ladder(view.of(self.hour_bytes), steps(self.bytes, days["bytes"]))
        people, people_number = ladder(view.of(self.hour_subjects), steps(self.subjects, days["subjects"]))
        quiet = cold & view["perhaps_machine"] & (view["watched"] < self.learning)
        level = np.where(quiet, 0, np.maximum(np.maximum(rows, size), people))
        peaks = {f"{name}_of_peak_day": Measured(usual.peak) for name, usual in days.items()}
        numbers = {"rows": row_number, "bytes": size_number, "subjects": people_number, **peaks}
        return Verdict(level, numbers, view.of(self.opening))

    def reason(self, numbers: Mapping[str, Number]) -> str:
        """`Exported 52,300 rows (limit 50,000) in one hour; the biggest of its last 30 days had 9,000 rows.`."""
        units = {"subjects": "data subjects"}
        peaks = (f"{counted(numbers[f'{n}_of_peak_day'].value)} {units.get(n, n)}" for n in decided(numbers))
        return f"Exported {reached(numbers)} in one hour; the biggest of its last 30 days had {' and '.join(peaks)}."
