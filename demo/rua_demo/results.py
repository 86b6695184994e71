"""What a finished run left in the store, and how it is kept for others to judge."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from clickhouse_connect.driver.client import Client
from rua_schemas.events import POSITIONS_PER_RECORD, Alert
from rua_sinks import queries

from rua_demo import world
from rua_demo.count import Key
from rua_demo.judge import ALERTS_FILE, EVENTS_FILE, PSEUDONYMS_FILE, JudgedAlert, Pseudonym
from rua_demo.stack import DATABASE
from rua_demo.world import World

SECONDS_PER_DAY = 86_400


class KeptEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `events.jsonl`: where the evidence stands. Lines count from 1."""

    event_id: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Events in the store: distinct ones, and rows before doubles are merged; actors, and those with a name."""

    events: Counter[Key]
    rows: Counter[Key]
    actors: int
    accounts: int


@dataclass(frozen=True, slots=True)
class Hour:
    """Events of one platform in one hour. `at_ms` is the hour's start."""

    platform: str
    at_ms: int
    events: int


@dataclass(frozen=True, slots=True)
class TopActor:
    """Somebody who took out much. Rows or bytes are None where no event tells them."""

    platform: str
    actor: str
    rows: int | None
    bytes: int | None
    exports: int


def stored(client: Client, paths: Mapping[str, Key], run: World, *, fresh: bool) -> Stored:
    """Counts this run's events by platform and file.

    Args:
        client: of the store.
        paths: which file a source id is.
        run: the world; events of other times are none of this run's.
        fresh: whether the store holds this run alone. Then a source that nobody knows is a mistake to show; else it is
            somebody else's.
    """
    counts = []
    for final in ("FINAL", ""):
        sql = f"SELECT platform, source_id, count() FROM {DATABASE}.events {final} GROUP BY 1, 2"  # noqa: S608 - ours
        found: Counter[Key] = Counter()
        for platform, source_id, number in client.query(sql).result_rows:
            if fresh or source_id in paths:
                found[paths.get(source_id, (platform, f"unknown source {source_id}"))] += int(number)
        counts.append(found)
    sql = (
        "SELECT uniqExact(platform, actor), uniqExactIf((platform, actor), actor_type != 'network') "  # noqa: S608 - ours
        f"FROM {DATABASE}.events WHERE {_within(run)} AND actor IS NOT NULL"
    )
    actors, accounts = client.query(sql).result_rows[0]
    return Stored(counts[0], counts[1], int(actors), int(accounts))


def _within(run: World) -> str:
    """Between the world's start and its end, a day more on both sides."""
    first, last = run.start_ms // 1_000 - SECONDS_PER_DAY, run.end_ms // 1_000 + SECONDS_PER_DAY
    return f"occurred_at BETWEEN toDateTime({first}, 'UTC') AND toDateTime({last}, 'UTC')"


def hours(client: Client, run: World) -> list[Hour]:
    """Events over time."""
    sql = (
        "SELECT platform, toUnixTimestamp(toStartOfHour(occurred_at)) * 1000 AS at, count() "  # noqa: S608 - ours
        f"FROM {DATABASE}.events FINAL WHERE {_within(run)} GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return [Hour(str(p), int(at), int(n)) for p, at, n in client.query(sql).result_rows]


def top_actors(client: Client, run: World, count: int = 12) -> list[TopActor]:
    """Who took out the most rows; services included, for comparison."""
    sql = (
        "SELECT platform, actor, sum(rows) AS r, sum(bytes) AS b, countIf(action = 'export') "  # noqa: S608 - ours
        f"FROM {DATABASE}.events FINAL WHERE {_within(run)} AND action IN ('read', 'query', 'export') "
        f"AND actor IS NOT NULL GROUP BY 1, 2 ORDER BY r DESC NULLS LAST, b DESC NULLS LAST LIMIT {count}"
    )
    return [TopActor(str(p), str(a), _told(r), _told(b), int(n)) for p, a, r, b, n in client.query(sql).result_rows]


def _told(total: int | None) -> int | None:
    return None if total is None else int(total)


def judged(alert: Alert) -> JudgedAlert:
    """An alert as `alerts.jsonl` holds it."""
    return JudgedAlert(
        alert_id=alert.alert_id,
        detector=alert.detector,
        severity=alert.severity,
        platform=alert.platform,
        subject=alert.subject,
        actor=alert.actor,
        app=alert.app,
        merchant=alert.merchant,
        title=alert.title,
        reason=alert.reason,
        window_start=alert.window_start,
        window_end=alert.window_end,
        raised_at=alert.raised_at,
        evidence=[e.event_id for e in alert.evidence],
    )


def keep(
    client: Client, folder: Path, world_folder: Path, paths: Mapping[str, Key], pseudonyms: Sequence[Path]
) -> list[JudgedAlert]:
    """Writes `alerts.jsonl`, `events.jsonl` and `pseudonyms.jsonl`, with which anyone can judge the run.

    An alert of which all evidence comes from other sources is none of this run's: the store may have existed before.
    """
    everything = [judged(alert) for alert in queries.alerts(client, database=DATABASE)]
    found = queries.events_by_id(client, [e for a in everything for e in a.evidence], database=DATABASE)
    foreign = {event.event_id for event in found if event.source_id not in paths}
    alerts = [a for a in everything if not a.evidence or not foreign.issuperset(a.evidence)]
    world.write_lines(folder / ALERTS_FILE, alerts)
    lines = Lines(world_folder)
    kept = []
    for event in found:
        if event.event_id not in foreign:
            file = paths[event.source_id][1]
            line = lines.number(file, event.source_position // POSITIONS_PER_RECORD)
            kept.append(KeptEvent(event_id=event.event_id, file=file, line=line))
    world.write_lines(folder / EVENTS_FILE, kept)
    named = {one: None for path in pseudonyms for one in world.read_lines(path, Pseudonym)}
    world.write_lines(folder / PSEUDONYMS_FILE, named)
    return alerts


class Lines:
    """Line numbers of byte offsets."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._starts: dict[str, list[int]] = {}

    def number(self, file: str, offset: int) -> int:
        """The line, from 1, that holds this byte."""
        if file not in self._starts:
            starts, at = [], 0
            with world.open_log(self._folder / file) as lines:
                for line in lines:
                    starts.append(at)
                    at += len(line)
            self._starts[file] = starts
        return bisect_right(self._starts[file], offset)
