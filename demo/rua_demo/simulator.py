"""Writes a world: five simulated platforms, past days, then the day of the attacks. Same seed, same bytes."""

from __future__ import annotations

import random
import struct
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from operator import itemgetter
from pathlib import Path

from rua_demo import attacks, world
from rua_demo.people import directory, hire
from rua_demo.profiles import PROFILES, Profile
from rua_demo.scene import DAY_MS, Day, Platform
from rua_demo.traffic import ordinary
from rua_demo.world import ARRIVALS, CONTEXT, LABELS_FILE, Label, Network, Source, World
from rua_demo.writers import BANGKOK, Line

ZONE = "Asia/Bangkok"
ABOUT = "Simulated: made-up people, shops and traffic under the names of five platforms. Demo data only."
LOGS = {"db-1": ("pgaudit-jsonlog", "postgresql-*.json"), "web-1": ("nginx-json", "access-*.json")}
SUNDAY = 6
SHIPPING_DELAYS_MS = (2, 3, 5, 8, 13, 40)  # from a line's own time to its file


@dataclass(slots=True)
class LogFile:
    """A log that is being written: a new file each Sunday, as a weekly rotation makes them.

    Attributes:
        late: Lines that were made but not yet due.
        attacked: Path, line and time of every line of each attack.
    """

    folder: Path
    under: Path
    stem: str
    rng: random.Random
    start_ms: int
    path: Path | None = None
    line: int = 0
    arrived_ms: int = 0
    late: list[Line] = field(default_factory=list)
    attacked: dict[str, list[tuple[str, int, int]]] = field(default_factory=dict)
    lines: int = 0

    def append(self, lines: Iterable[Line], until_ms: int, day: Day) -> None:
        """Writes, in order of time, every line before `until_ms`; later ones wait for the next call."""
        everything = sorted((*self.late, *lines), key=itemgetter(0))
        ready = everything[: bisect_left(everything, until_ms, key=itemgetter(0))]
        self.late = everything[len(ready) :]
        if day.weekday == SUNDAY or self.path is None:
            local = datetime.fromtimestamp(day.midnight_ms / 1_000, BANGKOK)
            self.path, self.line = self.under / f"{self.stem}-{local:%Y-%m-%d}.json", 0
        text = "".join([f"{one.text}\n" for one in ready])
        _add(self.folder / self.path, text.encode("utf-8", "surrogateescape"))
        _add(self.folder / ARRIVALS / f"{self.path}.u32", self._arrivals(ready))
        self._remember(self.path, ready)

    def _arrivals(self, ready: Sequence[Line]) -> bytes:
        delay, found = self.rng.choices(SHIPPING_DELAYS_MS, k=len(ready)), []
        for one, ms in zip(ready, delay, strict=True):
            self.arrived_ms = max(self.arrived_ms, one.at_ms - self.start_ms + ms)
            found.append(self.arrived_ms)
        return struct.pack(f"<{len(found)}I", *found)

    def _remember(self, path: Path, ready: Sequence[Line]) -> None:
        for number, one in enumerate(ready, self.line + 1):
            if one.attack is not None:
                self.attacked.setdefault(one.attack, []).append((str(path), number, one.at_ms))
        self.line += len(ready)
        self.lines += len(ready)


def _add(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as out:
        out.write(content)


@dataclass(frozen=True, slots=True)
class Simulated:
    """What was written."""

    world: World
    lines: int
    attacks: int


def simulate(folder: Path, seed: int, *, days: int = 21, scale: float = 1.0, extra_attacks: int = 3) -> Simulated:
    """Writes a world into `folder`, which must not hold one.

    Args:
        folder: Where to.
        seed: The same seed and arguments give the same bytes.
        days: Past days before the day of the attacks.
        scale: Traffic in proportion to the usual.
        extra_attacks: How many more than one of each pattern.
    """
    rng = random.Random(f"{seed}/world")
    last_day = month_end(2026, rng.randrange(4, 11))
    midnight = datetime.combine(last_day - timedelta(days=days), time(), BANGKOK)
    start_ms = round(midnight.timestamp() * 1_000)
    joined = max(days - 2, 0)
    platforms = [_platform(profile, seed, joined, scale) for profile in PROFILES]
    planned = attacks.plan(platforms, rng, extra_attacks)
    logs = {at.profile.name: _logs(folder, at.profile, seed, start_ms) for at in platforms}
    end_ms = start_ms + (days + 1) * DAY_MS
    for number in range(days + 1):
        weekday = (midnight + timedelta(days=number)).weekday()
        day = Day(number, start_ms + number * DAY_MS, weekday, attack_day=number == days, eve=number == days - 1)
        for at in platforms:
            _one_day(at, day, planned, logs[at.profile.name])
    described = _world(start_ms, end_ms, seed)
    world.write(folder, described)
    _context(folder, platforms)
    world.write_lines(folder / LABELS_FILE, [_label(a, logs[a.platform]) for a in planned])
    return Simulated(described, sum(f.lines for two in logs.values() for f in two.values()), len(planned))


def month_end(year: int, month: int) -> date:
    """The month's last working day, on which reports are due."""
    day = date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)
    return day - timedelta(days=max(day.weekday() - 4, 0))


def _platform(profile: Profile, seed: int, joined: int, scale: float) -> Platform:
    rng = random.Random(f"{seed}/{profile.name}")
    return Platform(profile, hire(profile, rng, joined), rng, scale)


def _logs(folder: Path, profile: Profile, seed: int, start_ms: int) -> dict[str, LogFile]:
    rng = random.Random(f"{seed}/{profile.name}/arrivals")
    return {
        host: LogFile(folder, Path(profile.name) / host, glob.partition("-")[0], rng, start_ms)
        for host, (_, glob) in LOGS.items()
    }


def _one_day(at: Platform, day: Day, planned: Sequence[attacks.Attack], logs: dict[str, LogFile]) -> None:
    ordinary(at, day)
    for attack in planned:
        if day.attack_day and attack.platform == at.profile.name:
            attacks.play(attack, at, day)
    # An attack may begin the evening before, so the lines of that day wait for those of the last.
    until_ms = day.midnight_ms + (0 if day.eve else DAY_MS)
    for host, log in (("db-1", at.db), ("web-1", at.web)):
        logs[host].append(log.lines, until_ms, day)
        log.lines.clear()


def _world(start_ms: int, end_ms: int, seed: int) -> World:
    sources = [
        Source(platform=p.name, host=host, glob=f"{p.name}/{host}/{glob}", source=source, zone=ZONE)
        for p in PROFILES
        for host, (source, glob) in LOGS.items()
    ]
    return World(timezone=ZONE, start=start_ms // 1_000, end=end_ms // 1_000, sources=sources, about=ABOUT, seed=seed)


def _context(folder: Path, platforms: Sequence[Platform]) -> None:
    context = folder / CONTEXT
    accounts = [account for at in platforms for account in directory(at.profile, at.staff)]
    world.write_lines(context / "directory.jsonl", accounts)
    world.write_lines(context / "tickets.jsonl", [ticket for at in platforms for ticket in at.tickets])
    networks = [Network(prefix=f"{p.network}.0.0/16", what=f"{p.name} offices and VPN", country="TH") for p in PROFILES]
    world.write_lines(context / "networks.jsonl", networks)


def _label(attack: attacks.Attack, logs: Mapping[str, LogFile]) -> Label:
    marks = [mark for log in logs.values() for mark in log.attacked.get(attack.id, [])]
    lines: dict[str, list[int]] = {}
    for path, number, _ in marks:
        lines.setdefault(path, []).append(number)
    return Label(
        id=attack.id,
        pattern=attack.pattern,
        difficulty=attack.difficulty,
        platform=attack.platform,
        entities=attack.entities,
        first=min(at_ms for _, _, at_ms in marks) / 1_000,
        last=max(at_ms for _, _, at_ms in marks) / 1_000,
        files={path: world.ranges(numbers) for path, numbers in lines.items()},
    )
