"""Attacks of the five patterns, with random actors and parameters, from crude to patient, and their labels.

Shaped after the published descriptions of the patterns, never after the thresholds of this product's detectors.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rua_demo.people import Person
from rua_demo.scene import CSV, HOUR_MS, Day, Platform
from rua_demo.statements import grant

DIFFICULTIES = ("crude", "moderate", "patient")
GIGABYTE = 1_000_000_000
DROP_NETWORKS = ("203.0.113.", "198.51.100.", "192.0.2.")  # set aside for documentation: nobody's
NIGHT_HOURS = (1, 2, 3, 4)
NOTIFIABLE = 500
"""Every attack takes more records than this: from 500 people on, Singapore's law has a breach notified."""


@dataclass(frozen=True, slots=True)
class Attack:
    """What is going to be planted: by whom, where, and how hidden."""

    id: str
    pattern: str
    difficulty: str
    platform: str
    who: Person
    variant: int

    @property
    def entities(self) -> list[str]:
        """Every clear name under which an alert may speak of it."""
        return [self.who.login]


@dataclass(slots=True)
class Stage:
    """What an attack needs while it is played."""

    at: Platform
    day: Day
    attack: Attack

    @property
    def rng(self) -> random.Random:
        """The platform's randomness."""
        return self.at.rng

    def working_time(self, earliest: float = 0.5, latest: float = 7.5) -> int:
        """Some time in the actor's shift, in hours after its start."""
        first = self.day.midnight_ms + self.attack.who.first_hour * HOUR_MS
        return first + int(self.rng.uniform(earliest, latest) * HOUR_MS)

    def by(self, *steps: int) -> int:
        """One of three numbers, by difficulty."""
        return steps[DIFFICULTIES.index(self.attack.difficulty)]

    def copies(self, start: int, rows: Sequence[int], gap_ms: int, address: str, *, program: bool = False) -> None:
        """Exports in one session, one after the other."""
        who, at = self.attack.who, self.at
        session = at.db.session(who.login, who.tool, address, start, self.attack.id)
        sql, now = at.sql.export_to_program if program else at.sql.export, start
        for count in rows:
            now += int(gap_ms * self.rng.uniform(0.7, 1.1))
            session.run(now, sql, count, at.literal())
        session.close(now + 3_000)

    def downloads(self, start: int, sizes: Sequence[int], gap_ms: int, address: str) -> None:
        """Files taken out of the back office, one after the other."""
        who, now = self.attack.who, start
        for size in sizes:
            now += int(gap_ms * self.rng.uniform(0.7, 1.1))
            self.at.web.request(
                now,
                address,
                "/admin/export/customers.csv",
                user=who.login,
                args=f"part={self.at.literal()}",
                size=size,
                content=CSV,
                attachment="customers.csv",
                seconds=size / 4e7,
                attack=self.attack.id,
            )


def cut(total: int, parts: int, rng: random.Random) -> list[int]:
    """`total` in `parts` of about the same size, none of them 0."""
    weights = [rng.uniform(0.7, 1.3) for _ in range(parts)]
    return [max(round(total * w / sum(weights)), 1) for w in weights]


def bulk(stage: Stage) -> None:
    """10,000 rows, or 1 GB, and more, within an hour: in one piece, in some, or in slices that look small."""
    rng, who = stage.rng, stage.attack.who
    parts = stage.by(1, rng.randrange(4, 9), rng.randrange(14, 22))
    start, gap_ms = stage.working_time(), 48 * 60_000 // parts
    if stage.attack.variant == 0:
        total = int(stage.by(120_000, 30_000, 14_000) * rng.uniform(0.9, 1.8))
        stage.copies(start, cut(total, parts, rng), min(gap_ms, 600_000), who.office)
    elif stage.attack.variant == 1:
        total = int(stage.by(4, 2, 1) * GIGABYTE * rng.uniform(1.15, 1.5))
        stage.downloads(start, cut(total, parts, rng), gap_ms, who.office)
    else:
        total = int(stage.by(90_000, 40_000, 15_000) * rng.uniform(0.9, 1.6))
        _reads(stage, start, cut(total, parts, rng), gap_ms)


def _reads(stage: Stage, start: int, rows: Sequence[int], gap_ms: int) -> None:
    who, at, now = stage.attack.who, stage.at, start
    session = at.db.session(who.login, who.tool, who.office, start, stage.attack.id)
    for count in rows:
        now += int(gap_ms * stage.rng.uniform(0.7, 1.1))
        session.run(now, at.sql.bulk_read, count, at.literal())
    session.close(now + 3_000)


def baseline(stage: Stage) -> None:
    """A day far above every day that this person has had, ten-fold ones being innocent, and yet never a bulk export."""
    rng, who = stage.rng, stage.attack.who
    hours = stage.by(2, 5, 7)
    total = int(min(max(who.most_rows_a_day * rng.uniform(13, 30), 2_500), hours * 6_000))
    start, parts = stage.working_time(0.2, 0.8), stage.by(6, 20, 40)
    _reads(stage, start, cut(total, parts, rng), hours * HOUR_MS // parts)


def off_hours(stage: Stage) -> None:
    """Hundreds of rows or more, at an hour at which this person has never worked."""
    rng, who = stage.rng, stage.attack.who
    start = stage.day.midnight_ms + int((rng.choice(NIGHT_HOURS) + rng.uniform(0.1, 0.5)) * HOUR_MS)
    total, parts = int(stage.by(12, 4, 1) * NOTIFIABLE * rng.uniform(1.1, 1.5)), stage.by(1, 3, 4)
    stage.copies(start, cut(total, parts, rng), 120_000, who.office if stage.attack.variant == 0 else who.vpn)


def privilege(stage: Stage) -> None:
    """Rights are granted, and within a day they are used to take data out."""
    rng, who, at = stage.rng, stage.attack.who, stage.at
    export = stage.working_time(3, 7.5)
    granted = export - int(stage.by(1, 5, 22) * HOUR_MS * rng.uniform(0.3, 1.0))
    dba = rng.choice(at.staff.dbas[1:])
    session = at.db.session(dba.login, dba.tool, dba.office, granted - 3_000, stage.attack.id)
    session.run(granted, grant(rng.choice(("pii_reader", "app_owner", "pg_read_all_data")), who.login), 0)
    session.close(granted + 20_000)
    total, parts = int(stage.by(10, 3, 1) * NOTIFIABLE * rng.uniform(1.1, 1.6)), stage.by(1, 2, 4)
    stage.copies(export, cut(total, parts, rng), 300_000, who.office)


def new_destination(stage: Stage) -> None:
    """Somebody who exports regularly sends data to where this person has never sent any."""
    rng = stage.rng
    address = rng.choice(DROP_NETWORKS) + str(rng.randrange(2, 250))
    total, parts = int(stage.by(8, 2, 1) * NOTIFIABLE * rng.uniform(1.1, 1.6)), stage.by(1, 1, 3)
    if stage.attack.variant == 1:
        address = stage.attack.who.office
    stage.copies(stage.working_time(), cut(total, parts, rng), 900_000, address, program=stage.attack.variant == 1)


PATTERNS: dict[str, tuple[Callable[[Stage], None], int]] = {
    "bulk-export-volume": (bulk, 3),
    "baseline-deviation": (baseline, 1),
    "off-hours": (off_hours, 2),
    "privilege-then-export": (privilege, 1),
    "first-seen-destination": (new_destination, 2),
}
"""How each pattern is played, and how many variants it has."""


def plan(platforms: Sequence[Platform], rng: random.Random, extra: int) -> list[Attack]:
    """At least one attack of every pattern, and `extra` more: random platforms, difficulties, actors and variants."""
    names = [*PATTERNS, *(rng.choice(list(PATTERNS)) for _ in range(extra))]
    found: list[Attack] = []
    for k, pattern in enumerate(names):
        at = rng.choice(platforms)
        among = _candidates(at, pattern)
        found.append(
            Attack(
                id=f"attack-{k + 1}",
                pattern=pattern,
                difficulty=rng.choice(DIFFICULTIES),
                platform=at.profile.name,
                who=at.staff.pick(rng, among),
                variant=rng.randrange(PATTERNS[pattern][1]),
            )
        )
    return found


def _candidates(at: Platform, pattern: str) -> list[Person]:
    """Whom a pattern fits. Nobody of the night shift, and nobody who is off on workdays."""
    day_shift = [p for p in (*at.staff.analysts, *at.staff.support) if p.last_hour <= 20]
    if pattern == "first-seen-destination":  # a known exporter
        return at.staff.analysts
    if pattern == "baseline-deviation":  # ten times a support agent's day is still no bulk
        return [p for p in day_shift if p.rows * p.queries < 400]
    return day_shift


def play(attack: Attack, at: Platform, day: Day) -> None:
    """Writes the attack's lines."""
    PATTERNS[attack.pattern][0](Stage(at, day, attack))
