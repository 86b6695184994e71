"""A platform and a day, while they are simulated."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from rua_demo.people import Staff
from rua_demo.profiles import Profile
from rua_demo.statements import Shapes, shapes
from rua_demo.world import Ticket
from rua_demo.writers import PgLog, WebLog

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
CSV = "text/csv"


@dataclass(slots=True)
class Platform:
    """A platform and its two logs, while it is simulated."""

    profile: Profile
    staff: Staff
    rng: random.Random
    scale: float
    db: PgLog = field(init=False)
    web: WebLog = field(init=False)
    sql: Shapes = field(init=False)
    tickets: list[Ticket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.db, self.web = PgLog(self.profile.database, self.rng), WebLog(self.rng)
        self.sql = shapes(self.profile)

    def times(self, count: float) -> int:
        """A whole number around `count`, in proportion to the scale; seldom 0."""
        mean = count * self.scale * self.profile.pace
        return max(int(mean + self.rng.random()), 1 if count >= 1 else 0)

    def literal(self) -> str:
        """A literal of a statement: must not reach any event."""
        return str(self.rng.randrange(20_000, 900_000))

    def ticket(self, kind: str, who: str, from_ms: int, hours: float) -> str:
        """Opens a ticket."""
        name = f"{'INC' if kind == 'on-call' else 'CHG'}-{self.rng.randrange(1_000, 9_999)}"
        seconds = from_ms // 1_000
        self.tickets.append(
            Ticket(
                ticket=name,
                platform=self.profile.name,
                kind=kind,
                valid_from=seconds,
                valid_to=seconds + round(hours * 3_600),
                who=who,
            )
        )
        return name


@dataclass(frozen=True, slots=True)
class Day:
    """One local day of the world."""

    number: int
    midnight_ms: int
    weekday: int
    attack_day: bool
    eve: bool

    @property
    def weekend(self) -> bool:
        """Saturday or Sunday."""
        return self.weekday >= 5
