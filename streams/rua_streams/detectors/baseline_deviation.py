"""baseline-deviation: a day far above the subject's own days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from rua_schemas.events import Number

from rua_streams.engine import Measured, Rule, Verdict, View
from rua_streams.facts import ROW_BYTES
from rua_streams.features import Active, Daily, Days, Since
from rua_streams.habits import Hours
from rua_streams.judging import SEASON, UNITS, by_calendar, counted, decided, ladder, reached, rows_known_or_guessed
from rua_streams.marks import Opening
from rua_streams.runs import DAY, HOUR
from rua_streams.state import Ints


@dataclass(frozen=True)
class BaselineDeviation:
    """Flags a day on which a subject with history takes far more than on any day before.

    The limit is the highest of: mean + score x (deviation + 1); peak + score x (peak - median + 1), the peak standing
    for the 99th percentile of 30 days; twice the peak; the floor. Volumes are rows, or bytes / 200 of exports that tell
    nothing else, and are said to be estimates then. A late event counts for its own day.

    Bytes of reads that tell no rows (web pages, APIs) are held against their own days in the same way.

    Attributes:
        score: Azure Sentinel, Detection-VolumeResponseRowsStatefulAnomalyOnDatabase: Z > 3 and Q > 3.
        floor: rows; same source: x > 500.
        floor_bytes: bytes; Panther's snowflake volume spike: 1,000,000. Also of exports that tell only their bytes, as
            far as it takes them to reach the limit: an estimate of a few hundred rows is none.
        twice_peak: a job of the same size every day has no deviation, so that a few rows more would look enormous.
        season: on closing days the limit is at least so many times the peak, for those who may
            (`judging.by_calendar`): ten-fold month-end reports are the published false positive. On sale days for
            everybody: an 11.11 multiplies the cases of a whole support team, and an alert for each of them is none.
            What such days hide must be found by other detectors. For those who may not, so much is high instead.
        min_days: two working weeks, the 14 days of training of the same source. New joiners stay quiet.
        unsized: exports of unknown size (COPY, pg_dump) in a day, at least; and four times as many as any day before.
        worse: so many times its limit makes it high instead of medium.
    """

    rule: ClassVar = Rule(
        id="baseline-deviation",
        title="Far more personal data taken than on any day before",
        on="egress",
        attack=("T1213.006",),
        severities=("medium", "high"),
        reads=("person", "sale", "scheduled", "season", "ticket"),
        quiet=12 * HOUR,
        by="actor",
    )
    score: float = 3.0
    floor: int = 500
    floor_bytes: int = 1_000_000
    twice_peak: float = 2.0
    season: float = SEASON
    min_days: int = 10
    unsized: int = 3
    worse: float = 5.0
    volume: Daily = Daily("volume", on="egress")
    pages: Daily = Daily("read_bytes", on="egress")
    copies: Daily = Daily("unsized", on="egress")
    guessed: Daily = Daily("guessed", on="egress")
    activity: Active = Active("egress", on="egress")
    people: Active = Active("person", on="egress")
    hours: Hours = Hours(on="any")
    tickets: Since = Since("ticket", on="egress")
    opening: Opening = Opening("egress", on="egress", span=DAY)

    def judge(self, view: View) -> Verdict:
        """Volume, bytes of pages and number of exports of unknown size, each against the days before."""
        days, pages, copies = view.of(self.volume), view.of(self.pages), view.of(self.copies)
        known, season = view.of(self.activity), np.where(view["season"], self.season, 0)
        busy = by_calendar(view, self.people, self.hours, self.tickets) | view["sale"]
        factor = np.where(busy, self.season, self.twice_peak)

        guessed = view.of(self.guessed).own

        def against(usual: Days, floor: int, of_bytes: Ints) -> tuple[Ints, Measured]:
            by_deviation = usual.mean + self.score * (usual.spread + 1)
            by_peak = usual.peak + self.score * (usual.peak - usual.median + 1)
            most = np.maximum(np.maximum(by_deviation, by_peak), np.maximum(factor * usual.peak, floor))
            limit = np.floor(most) + 1
            vague = (of_bytes > 0) & (usual.own - of_bytes // ROW_BYTES < limit)
            limit = np.where(vague, np.maximum(limit, self.floor_bytes // ROW_BYTES), limit)
            high = np.maximum(np.ceil(self.worse * limit), season * usual.peak + 1)
            return ladder(usual.own, [limit, high])

        rows, row_number = against(days, self.floor, guessed)
        size, size_number = against(pages, self.floor_bytes, np.zeros_like(guessed))
        many, unsized = ladder(copies.own, [np.maximum(4 * copies.peak + 1, self.unsized)])
        level = np.where(known >= self.min_days, np.maximum(np.maximum(rows, size), many), 0)
        numbers = {
            **rows_known_or_guessed(row_number, guessed),
            "page_bytes": size_number,
            "exports": unsized,
            "days": Measured(known, self.min_days),
        }
        before = {"rows": days, "page_bytes": pages, "exports": copies}
        means = {f"{name}_mean": Measured(usual.mean) for name, usual in before.items()}
        peaks = {f"{name}_peak": Measured(usual.peak) for name, usual in before.items()}
        return Verdict(level, {**numbers, **means, **peaks}, view.of(self.opening))

    def reason(self, numbers: Mapping[str, Number]) -> str:
        """`Took 9,000 rows (limit 2,400) in one day; on its 15 active days before: 220 rows on average, 440 at most."""
        before = []
        for name in decided(numbers):
            of = "rows" if name == "rows_estimated" else name
            mean, peak = (counted(numbers[f"{of}_{what}"].value) for what in ("mean", "peak"))
            before.append(f"{UNITS[name].format(mean)} on average, {peak} at most")
        days = f"on its {numbers['days'].value:.0f} active days before"
        return f"Took {reached(numbers)} in one day; {days}: {' and '.join(before)}."
