"""Who works at a simulated platform: when, from where, with which tool, and how much each one usually reads."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from rua_demo.profiles import APPS, FIRST_NAMES, THAI_NAMES, Profile
from rua_demo.world import Account

SUPPORT_TOOL, ANALYST_TOOL, DBA_TOOL = "support-console", "DBeaver 25.1", "psql"


@dataclass(slots=True)
class Person:
    """One member of staff. Hours are of the local day; a night shift goes on past midnight.

    Attributes:
        rows: Usual rows of one query.
        queries: Usual queries of one working day.
        exports: Usual exports of one working day.
        most_rows_a_day: The most rows that this person has read on any day so far.
        joined: First day at work, counted from the world's start.
    """

    login: str
    role: str
    tool: str
    first_hour: int
    last_hour: int
    office: str
    vpn: str
    rows: float
    queries: float
    exports: float
    weekend: bool = False
    joined: int = 0
    rows_today: int = 0
    most_rows_a_day: int = 0
    days_at_work: int = 0
    days_with_export: int = 0

    def close_day(self) -> None:
        """Takes the day's rows into the record."""
        self.most_rows_a_day = max(self.most_rows_a_day, self.rows_today)
        self.rows_today = 0


@dataclass(slots=True)
class Staff:
    """Everybody of one platform, and its merchants."""

    analysts: list[Person]
    support: list[Person]
    dbas: list[Person]
    joiner: Person
    merchants: list[Merchant]
    taken: set[str] = field(default_factory=set)

    @property
    def people(self) -> list[Person]:
        """All staff."""
        return [*self.analysts, *self.support, *self.dbas, self.joiner]

    def pick(self, rng: random.Random, among: list[Person]) -> Person:
        """Somebody who has not been picked yet. A finance analyst, an on-call DBA and a joiner are never picked."""
        person = rng.choice([p for p in among if p.login not in self.taken])
        self.taken.add(person.login)
        return person


@dataclass(frozen=True, slots=True)
class Merchant:
    """A shop that sells on the platform."""

    id: str
    size: str
    address: str
    apps: tuple[str, ...]


SERVICES = ("svc_etl", "svc_backup", "svc_report", "svc_search", "svc_app")


def hire(profile: Profile, rng: random.Random, joined: int) -> Staff:
    """Staff and merchants of one platform; a new joiner starts on the day `joined`."""
    names = iter([rng.choice(THAI_NAMES), *(f"{n}.{rng.choice('bcdkmnpstw')}" for n in _shuffled(rng, FIRST_NAMES))])
    analysts = [_analyst(next(names), profile, rng) for _ in range(7)]
    support = [_supporter(next(names), profile, rng, k) for k in range(12)]
    dbas = [_dba(next(names), profile, rng) for _ in range(3)]
    joiner = _analyst(next(names), profile, rng)
    joiner.joined, joiner.rows, joiner.queries, joiner.exports = joined, joiner.rows / 3, joiner.queries / 2, 0.0
    merchants = [_merchant(k, profile, rng) for k in range(14)]
    staff = Staff(analysts, support, dbas, joiner, merchants)
    staff.taken = {analysts[0].login, dbas[0].login, joiner.login}
    return staff


def _shuffled(rng: random.Random, names: tuple[str, ...]) -> list[str]:
    return rng.sample(names, len(names))


def _address(profile: Profile, rng: random.Random, third: int) -> str:
    return f"{profile.network}.{third}.{rng.randrange(10, 250)}"


def _analyst(login: str, profile: Profile, rng: random.Random) -> Person:
    first = rng.choice((8, 9, 9, 10))
    office, vpn = _address(profile, rng, 3), _address(profile, rng, 90)
    rows, queries, exports = rng.uniform(8, 35), rng.uniform(9, 14), rng.uniform(0.7, 1.6)
    return Person(login, "analyst", ANALYST_TOOL, first, first + 9, office, vpn, rows, queries, exports)


def _supporter(login: str, profile: Profile, rng: random.Random, k: int) -> Person:
    first = (22 if k == 0 else 14 if k < 4 else 8) if k < 8 else rng.choice((8, 9))
    office, vpn = _address(profile, rng, 5), _address(profile, rng, 91)
    rows, queries = rng.uniform(1, 4), rng.uniform(8, 14)
    return Person(login, "support", SUPPORT_TOOL, first, first + 9, office, vpn, rows, queries, 0.0, weekend=k % 3 == 0)


def _dba(login: str, profile: Profile, rng: random.Random) -> Person:
    office, vpn = _address(profile, rng, 7), _address(profile, rng, 92)
    return Person(login, "dba", DBA_TOOL, 9, 18, office, vpn, rng.uniform(3, 12), rng.uniform(4, 8), 0.0)


def _merchant(k: int, profile: Profile, rng: random.Random) -> Merchant:
    size = ("large", "medium", "medium", "small", "small", "small", "small")[k % 7]
    address = f"100.{64 + rng.randrange(60)}.{rng.randrange(1, 250)}.{rng.randrange(2, 250)}"
    return Merchant(f"m-{profile.network[-2:]}{k:03d}", size, address, tuple(rng.sample(APPS, 1 + (size == "large"))))


def directory(profile: Profile, staff: Staff) -> list[Account]:
    """What the platform's own directory says: accounts, roles, shops and their apps."""
    platform = profile.name
    people = [
        Account(platform=platform, account=p.login, role=p.role, last_seen_before_world_days=None if p.joined else 1.0)
        for p in staff.people
    ]
    services = [
        Account(platform=platform, account=s, role="service", last_seen_before_world_days=0.5) for s in SERVICES
    ]
    apps = [Account(platform=platform, account=a, role="app", last_seen_before_world_days=0.1) for a in APPS]
    shops = [
        Account(platform=platform, account=m.id, role="merchant", size=m.size, apps=list(m.apps))
        for m in staff.merchants
    ]
    return [*people, *services, *apps, *shops]
