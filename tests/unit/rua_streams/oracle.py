"""The detectors as a naive reader: whole history in lists, one event at a time, no code shared with the engine.

Approximate sets are part of the definition, so the oracle keeps them, as plain lists of the latest two.
"""

from __future__ import annotations

import hashlib
import math
from calendar import monthrange
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Network, ip_network
from typing import Any
from zoneinfo import ZoneInfo

from rua_schemas.events import TelemetryEvent

H, D, NEVER, TOP = 3_600, 86_400, 1 << 40, 4_102_444_800_000
Numbers = dict[str, tuple[float, float | None]]
Result = tuple[int, Numbers]


def is_sale(day: int) -> bool:
    """Whether this day, counted from 1970, is a double-date sale or the day after."""
    date = datetime(1970, 1, 1) + timedelta(days=day)  # noqa: DTZ001 - a day of the calendar, in no zone
    return date.day - date.month in (0, 1)


@dataclass
class Past:
    """An event with what the oracle worked out for it."""

    e: TelemetryEvent
    offset: int
    name: str
    at_ms: int
    at: int
    wall: int
    late: bool
    watched: int
    clock: int = 0
    wall_clock: int = 0
    lane_clock: int = 0
    lane_gone: bool = False  # its lane was forgotten since, though its subject was not
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Days:
    """One subject's daily totals of a measure."""

    own: int
    active: int
    mean: float
    spread: float
    median: int
    peak: int


def destination_of(e: TelemetryEvent) -> str | None:
    """Where data went; what is read goes to the client."""
    if e.destination is None:
        return None if e.source_network is None else f"client:{e.source_network}"
    return "file:" if e.destination.startswith("file:") else e.destination


def place_of(item: str) -> int:
    """Which of 32 sets an item belongs to."""
    return int.from_bytes(hashlib.blake2b(item.encode(), digest_size=8).digest(), "little") % 32


def name_of(e: TelemetryEvent) -> str:
    """Whom the event is about."""
    if e.actor:
        return e.actor
    for kind, value in (
        ("merchant", e.merchant),
        ("app", e.app),
        ("address", e.source_ip),
        ("network", e.source_network),
    ):
        if value:
            return f"\0{kind}:{value}"
    return f"\0source:{e.source_id}"


def facts_of(e: TelemetryEvent, wall: int) -> dict[str, Any]:
    """The facts that the detectors ask for."""
    egress = e.action in ("read", "query", "export", "transfer") and e.outcome not in ("denied", "failed")
    export = egress and e.action in ("export", "transfer")

    def size(number: int | None) -> int:
        return min(max(number or 0, 0), NEVER) if egress else 0

    guessed = e.rows if e.rows is not None or not export or e.bytes is None else e.bytes // 200
    date = datetime(1970, 1, 1) + timedelta(seconds=wall)  # noqa: DTZ001 - local time, counted from the local epoch
    left = monthrange(date.year, date.month)[1] - date.day
    return {
        "egress": egress,
        "rows": size(e.rows),
        "bytes": size(e.bytes),
        "subjects": size(e.subjects),
        "volume": size(guessed),
        "mass": size(guessed) if export or (e.rows or 0) >= 100 else 0,
        "read_bytes": 0 if export or e.rows is not None else size(e.bytes),
        "guessed": size(e.bytes) if export and e.rows is None else 0,
        "massive": export or (egress and (e.rows or 0) >= 100),
        "scheduled": e.actor_type in ("service", "app", "merchant", "network"),
        "person": e.actor_type == "interactive",
        "ticket": e.ticket is not None,
        "outside": outside(destination_of(e) or ""),
        "unsized": int(export and e.rows is None and e.bytes is None),
        "grant": e.kind == "privilege_change" and e.outcome not in ("denied", "failed"),
        "sent": egress and destination_of(e) is not None,
        "season": date.day <= 3 or left < 3 or date.day - date.month in (0, 1),
        "sale": date.day - date.month in (0, 1),
        "client": (destination_of(e) or "").startswith("client:"),
    }


def outside(destination: str) -> bool:
    """Whether it is no client on a private network."""
    if not destination.startswith("client:"):
        return True
    network = ip_network(destination.removeprefix("client:"))
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
    return not any(isinstance(network, IPv4Network) and network.subnet_of(IPv4Network(p)) for p in private)


def egress(p: Past) -> bool:
    """Whether data left."""
    return bool(p.facts["egress"])


class Oracle:
    """Reads one partition."""

    def __init__(self, detectors: Sequence[Any], zone: str, keep_days: int = 10_000, votes: int = 1) -> None:
        self.by, self.zone = {d.rule.id: d for d in detectors}, ZoneInfo(zone)
        self.past: dict[str, list[Past]] = defaultdict(list)
        self.open: dict[tuple[str, str], list[Any]] = {}
        self.since: int | None = None
        self.keep_days, self.votes = keep_days, votes
        self.day, self.voted, self.first_day = 0, 0, 0
        self.last: dict[str, int] = {}  # the day of a subject's, or a lane's, last trace

    def pass_time(self, said: int) -> None:
        """An event says that it is this day; when enough more say so than do not, it is, and the silent are gone."""
        if said <= self.day:
            self.voted = max(self.voted - 1, 0)
            return
        self.voted += 1
        self.first_day = self.first_day if self.day else min(self.first_day or said, said)
        if self.voted < self.votes:
            return
        self.voted, self.day = 0, self.day + 1 if self.day else self.first_day
        for name in [name for name, day in self.last.items() if day < self.day - self.keep_days]:
            del self.last[name]
            for key in [key for key in self.open if key[1] == name]:
                del self.open[key]
            for q in self.past[name.removesuffix("\0behind")]:
                q.lane_gone |= q.late
            if not name.endswith("\0behind"):
                del self.past[name]

    def remember(self, p: Past) -> None:
        """Until when, at least."""
        self.past[p.name].append(p)
        said = p.e.observed_at // (D * 1_000)
        said = min(max(said, self.day), self.day + 366) if self.day else said
        for name in (p.name, f"{p.name}\0behind") if p.late else (p.name,):
            self.last[name] = max(self.last.get(name, 0), said)

    def read(self, events: Sequence[TelemetryEvent]) -> list[tuple[Any, ...]]:
        """What each event reveals: offset, detector, level, numbers, alert id, offsets of the evidence, window."""
        found = []
        for offset, e in enumerate(events):
            if not 0 < e.observed_at <= TOP:
                continue
            self.pass_time(e.observed_at // (D * 1_000))
            p = self.seen(e, offset)
            past = self.past[p.name]
            for rule_id in sorted(self.by):
                judge = getattr(self, rule_id.replace("-", "_"))
                level, numbers = judge(self.by[rule_id], p, past) if self.judged(rule_id, p) else (0, {})
                found += self.episode(rule_id, p, past, level, numbers)
            self.remember(p)
        return found

    @staticmethod
    def judged(rule_id: str, p: Past) -> bool:
        """Whether the detector looks at such events."""
        return bool(p.facts["sent" if rule_id == "first-seen-destination" else "egress"])

    def seen(self, e: TelemetryEvent, offset: int) -> Past:
        """The event with its times."""
        occurred = e.occurred_at if 0 < e.occurred_at <= TOP else e.observed_at
        at_ms = min(occurred, e.observed_at + 300_000)
        at = min(max(at_ms // 1_000, 1 << 20), 1 << 32)
        local = datetime.fromtimestamp(at, self.zone)
        wall = at + round((local.utcoffset() or timedelta()).total_seconds())
        self.since = self.since if self.since is not None else e.observed_at // 1_000 or 1
        watched = max(e.observed_at // 1_000 - self.since, 0)
        late = e.observed_at // 1_000 - at > 2 * H
        p = Past(e, offset, name_of(e), at_ms, at, wall, late, watched, facts=facts_of(e, wall))
        past = self.past[p.name]
        p.clock = max([at, *(q.clock for q in past)])
        p.wall_clock = max([wall, *(q.wall_clock for q in past)])
        p.lane_clock = max([at, *(q.lane_clock for q in past if q.late == late and not q.lane_gone)])
        return p

    def episode(self, rule_id: str, p: Past, past: list[Past], level: int, numbers: Numbers) -> list[tuple[Any, ...]]:
        """The finding, if the level is new in its episode."""
        if not level:
            return []
        rule = self.by[rule_id].rule
        name = p.name + ("\0behind" if rule.by == "lane" and p.late else "")
        clock = p.lane_clock if rule.by == "lane" else p.clock
        last = self.open.get((rule_id, name))
        if last is None or clock - last[0] > rule.quiet:
            last = self.open[rule_id, name] = [clock, 0, p, *self.begun(rule_id, p, past, numbers)]
        last[0], opener, begun, first = clock, *last[2:]
        if level <= last[1]:
            return []
        last[1] = level
        key = f"{rule_id}\0{p.e.platform}\0{name}\0{opener.e.event_id}"
        alert = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        cause = [q for q in past if q.facts["grant"]][-1:] if rule_id == "privilege-then-export" else []
        window = (min(begun, opener.at_ms, p.at_ms, *(q.at_ms for q in cause)), max(opener.at_ms, p.at_ms))
        evidence = (cause[0].offset if cause else None, first, opener.offset)
        return [(p.offset, rule_id, level, numbers, alert, evidence, window)]

    @staticmethod
    def begun(rule_id: str, p: Past, past: list[Past], numbers: Numbers) -> tuple[int, int | None]:
        """When the first event occurred that counts at a hit; and its offset, if that is known."""
        if rule_id == "first-seen-destination":
            return p.at_ms - 1_000 * int(numbers["seconds_since_first_use"][0]), None
        by_day = rule_id == "baseline-deviation"
        of = "egress" if by_day or rule_id == "bulk-export-volume" else "massive"
        lane, walls = [q for q in [*past, p] if q.late == p.late and not q.lane_gone], []
        first, before, steps = None, 0, 1 if by_day else 12
        for q in lane:
            walls.append(q.wall)
            step = max(walls) // D if by_day else q.lane_clock // 300
            if q.facts["egress"] and q.facts[of]:
                first = q if step - before >= steps else first
                before = step
        bound = (p.at_ms // 1_000 - p.wall % D) * 1_000 if by_day else (step - 11) * 300_000
        bound = min(bound, p.at_ms)
        counts = first is not None and step - before < steps and first.at_ms >= bound
        if counts and not (by_day and p.wall // D != step) and first is not None:
            return first.at_ms, first.offset
        return bound, None

    @staticmethod
    def hour(p: Past, past: list[Past], of: str) -> int:
        """Sum of the lane's last hour, in steps of five minutes."""
        same = [q for q in [*past, p] if q.late == p.late and not q.lane_gone and q.facts["egress"]]
        return sum(q.facts[of] for q in same if q.at // 300 > p.lane_clock // 300 - 12)

    @staticmethod
    def days(
        p: Past, past: list[Past], of: Callable[[Past], int], on: Callable[[Past], bool], *, ordinary: bool = False
    ) -> Days:
        """Daily totals; norms as they were when the day began, of all days or of those that were no sale."""
        totals: dict[int, int] = defaultdict(int)
        norm, today = Days(0, 0, 0.0, 0.0, 0, 0), 0
        for q in [*past, p]:
            if not on(q):
                continue
            now, own = q.wall_clock // D, q.wall // D
            if now > today:
                closed = sorted(
                    v for d, v in totals.items() if now - 30 < d < now and v > 0 and not (ordinary and is_sale(d))
                )
                n, square = len(closed), 0.0
                mean = sum(closed) / max(n, 1)
                for v in closed:
                    square += (v - mean) ** 2
                spread = math.sqrt(square / max(n, 1))
                norm, today = Days(0, n, mean, spread, closed[n - 1 - n // 2] if n else 0, max(closed, default=0)), now
            if own > now - 30:
                totals[own] += of(q)
        norm.own = totals[p.wall // D] if p.wall // D > today - 30 else 0
        return norm

    def daily(self, p: Past, past: list[Past], of: str, on: str = "egress") -> Days:
        """Daily totals of a fact."""
        return self.days(p, past, lambda q: int(q.facts[of]), lambda q: bool(q.facts[on]), ordinary=True)

    def active(self, p: Past, past: list[Past], on: str = "egress") -> int:
        """Closed days with such events."""
        return self.days(p, past, lambda q: 1, lambda q: bool(q.facts[on])).active

    def by_calendar(self, p: Past, past: list[Past]) -> bool:
        """Whether many times the usual is usual."""
        person = p.facts["person"] or self.days(p, past, lambda q: int(q.facts["person"]), egress).active > 0
        tickets = [q.clock for q in past if q.facts["egress"] and q.facts["ticket"]]
        asked = p.facts["ticket"] or (bool(tickets) and p.clock - tickets[-1] <= D)
        job = p.facts["scheduled"] or not 4 < self.habit(p, past)[3] < 20
        return bool(p.facts["season"] and (asked or (job and not person)))

    @staticmethod
    def guessed(rows: float, limit: float, of_bytes: int) -> Numbers:
        """Rows, or an estimate and what it rests on."""
        return (
            {"rows_estimated": (rows, limit), "told_as_bytes": (of_bytes, None)}
            if of_bytes
            else {"rows": (rows, limit)}
        )

    def bulk_export_volume(self, d: Any, p: Past, past: list[Past]) -> Result:
        """As documented there."""
        cold = self.active(p, past) < d.min_days
        factor, level, numbers = d.season if self.by_calendar(p, past) else d.usual_peak, 0, Numbers()
        for name in ("rows", "bytes", "subjects"):
            steps, peak = getattr(d, name), self.daily(p, past, name).peak
            limits = [max(s, steps[1] if cold else 0, math.ceil(factor * peak)) for s in steps]
            value = self.hour(p, past, name)
            reached = [x for x in limits if value >= x]
            numbers[name] = (value, reached[-1] if reached else limits[0])
            level = max(level, len(reached))
            numbers[f"{name}_of_peak_day"] = (peak, None)
        if cold and p.e.actor_type not in ("interactive", "merchant") and p.watched < d.learning:
            level = 0
        return level, numbers

    def baseline_deviation(self, d: Any, p: Past, past: list[Past]) -> Result:
        """As documented there."""
        c, known, level, numbers = self.daily(p, past, "unsized"), self.active(p, past), 0, Numbers()
        factor = d.season if self.by_calendar(p, past) or p.facts["sale"] else d.twice_peak
        for name, of, floor in (("page_bytes", "read_bytes", d.floor_bytes), ("rows", "volume", d.floor)):
            x = self.daily(p, past, of)
            z, q = x.mean + d.score * (x.spread + 1), x.peak + d.score * (x.peak - x.median + 1)
            limit = math.floor(max(z, q, factor * x.peak, floor)) + 1
            told = self.daily(p, past, "guessed").own if name == "rows" else 0
            if told > 0 and x.own - told // 200 < limit:
                limit = max(limit, d.floor_bytes // 200)
            worse = max(math.ceil(d.worse * limit), d.season * x.peak + 1 if p.facts["season"] else 0)
            level = max(level, (x.own >= limit) + (x.own >= worse))
            numbers[name] = (x.own, worse if x.own >= worse else limit)
            numbers |= {f"{name}_mean": (x.mean, None), f"{name}_peak": (x.peak, None)}
        own, limit_told = numbers.pop("rows")
        numbers |= self.guessed(own, limit_told or 0, self.daily(p, past, "guessed").own)
        copies = max(4 * c.peak + 1, d.unsized)
        level = max(level, int(c.own >= copies)) if known >= d.min_days else 0
        numbers |= {"exports": (c.own, copies), "days": (known, d.min_days)}
        return level, {**numbers, "exports_mean": (c.mean, None), "exports_peak": (c.peak, None)}

    @staticmethod
    def habit(p: Past, past: list[Past]) -> tuple[int, int, int, int]:
        """Active days; those near this hour; of these, those of the same kind of day; hours of the day ever used."""
        today = p.wall_clock // D

        def week(day: int) -> int:
            return (day + 3) // 7

        booked = {
            (q.wall // D, q.wall % D // H)
            for q in past
            if q.wall // D == q.wall_clock // D < today and week(q.wall // D) >= week(today) - 12
        }
        hour, near = p.wall % D // H, set()
        for day, h in booked:
            for weekday in range(7):
                if (day + 3) % 7 * 24 + h in {(weekday * 24 + hour + step) % 168 for step in (-1, 0, 1)}:
                    near.add((weekday, week(day)))
        weekend = (p.wall // D + 3) % 7 >= 5
        kind = sum((w >= 5) == weekend for w, _ in near)
        return len({day for day, _ in booked}), len(near), kind, len({h for _, h in booked})

    def off_hours(self, d: Any, p: Past, past: list[Past]) -> Result:
        """As documented there."""
        active, near, kind, _ = self.habit(p, past)
        usual, rows, copies = self.daily(p, past, "mass"), self.hour(p, past, "mass"), self.hour(p, past, "unsized")
        rare, rare_day = near < d.share * active, kind < d.share * active and active >= d.min_weeks_days
        limit = max(d.min_rows, math.ceil(d.part * usual.median) if rare else usual.peak + 1)
        level = 2 if rows >= 10 * limit else int(rows >= limit or (rare and copies > 0))
        known = active >= d.min_days and p.e.ticket is None and p.e.actor_type not in ("service", "app")
        numbers: Numbers = {"exports": (copies, 1), "days": (active, d.min_days)}
        numbers |= self.guessed(rows, limit, self.hour(p, past, "guessed"))
        numbers["days_at_this_hour"] = (near if rare else kind, None)
        return level if (rare or rare_day) and known else 0, numbers

    def privilege_then_export(self, d: Any, p: Past, past: list[Past]) -> Result:
        """As documented there."""
        grants = [q.clock for q in past if q.facts["grant"]]
        since = p.clock - grants[-1] if grants else NEVER
        usual, rows, copies = self.daily(p, past, "mass"), self.hour(p, past, "mass"), self.hour(p, past, "unsized")
        known = self.active(p, past) >= d.min_days
        limit = max(d.min_rows, usual.median) if known else d.cold_rows
        copied = known and self.daily(p, past, "unsized").peak == 0 and copies > 0
        level = 2 if rows >= 10 * limit else int(rows >= limit or copied)

        def either(q: Past) -> bool:
            return bool(q.facts["grant"] or q.facts["egress"])

        often = self.days(p, past, lambda q: int(q.facts["grant"]), either).active
        judged = since <= d.within and often < d.routine and p.e.ticket is None
        numbers: Numbers = {"exports": (copies, 1), "seconds_since_change": (since, d.within)}
        numbers |= self.guessed(rows, limit, self.hour(p, past, "guessed"))
        return level if judged else 0, numbers

    def first_seen_destination(self, d: Any, p: Past, past: list[Past]) -> Result:
        """As documented there."""
        place, kept = (
            place_of(destination_of(p.e) or ""),
            list[list[Any]](),
        )  # latest first: item, began, taken, last use
        for q in [*past, p]:
            item = destination_of(q.e) or ""
            if q.facts["sent"] and place_of(item) == place:
                mine = next((k for k in kept if k[0] == item), None)
                if mine is None or q.clock - mine[3] > 30 * D:
                    mine = [item, q.clock, 0, 0]
                mine[2], mine[3] = mine[2] + q.facts["mass"], q.clock
                kept = [mine, *(k for k in kept if k[0] != item)][:2]
        _, began, taken, _ = kept[0]
        client, copies, usual = p.facts["client"], p.facts["unsized"], self.daily(p, past, "mass")
        age, program = p.clock - began, (p.e.destination or "").startswith("program:")
        days = self.active(p, past, "sent") if client else self.days(p, past, lambda q: 1, lambda q: True).active
        share = d.client_days[0 if p.facts["outside"] else 1] if client else 0
        limit = max(d.min_rows, math.ceil(share * usual.median))
        if client and self.daily(p, past, "unsized").peak:
            copies = 0
        odd = age <= d.fresh and (program or (days >= d.min_days and (taken >= limit or copies > 0)))
        numbers: Numbers = {"exports": (copies, 1), "days": (days, d.min_days)}
        numbers |= self.guessed(taken, limit, self.hour(p, past, "guessed") if taken else 0)
        numbers["seconds_since_first_use"] = (age, d.fresh)
        return (1 + bool(program or p.e.destination_external) if odd else 0), numbers
