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


class KeptEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `events.jsonl`: where the evidence stands. Lines count from 1."""

    event_id: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Events in the store: distinct ones, and rows before doubles are merged."""

    events: Counter[Key]
    rows: Counter[Key]
    actors: int


@dataclass(frozen=True, slots=True)
class Hour:
    """Events of one platform in one hour. `at_ms` is the hour's start."""

    platform: str
    at_ms: int
    events: int


@dataclass(frozen=True, slots=True)
class TopActor:
    """Somebody who took out much."""

    platform: str
    actor: str
    rows: int
    bytes: int
    exports: int


def stored(client: Client, paths: Mapping[str, Key]) -> Stored:
    """Counts the store by platform and file; `paths` says which file a source id is."""
    counts = []
    for final in ("FINAL", ""):
        sql = f"SELECT platform, source_id, count() FROM {DATABASE}.events {final} GROUP BY 1, 2"  # noqa: S608 - ours
        found: Counter[Key] = Counter()
        for platform, source_id, number in client.query(sql).result_rows:
            found[paths.get(source_id, (platform, f"unknown source {source_id}"))] += int(number)
        counts.append(found)
    actors = client.query(f"SELECT uniqExact(platform, actor) FROM {DATABASE}.events").result_rows  # noqa: S608 - ours
    return Stored(counts[0], counts[1], int(actors[0][0]))


def hours(client: Client) -> list[Hour]:
    """Events over time."""
    sql = (
        "SELECT platform, toUnixTimestamp(toStartOfHour(occurred_at)) * 1000 AS at, count() "  # noqa: S608 - ours
        f"FROM {DATABASE}.events FINAL GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return [Hour(str(p), int(at), int(n)) for p, at, n in client.query(sql).result_rows]


def top_actors(client: Client, count: int = 12) -> list[TopActor]:
    """Who took out the most rows; services included, for comparison."""
    sql = (
        "SELECT platform, actor, sum(rows) AS r, sum(bytes) AS b, countIf(action = 'export') "  # noqa: S608 - ours
        f"FROM {DATABASE}.events FINAL WHERE action IN ('read', 'query', 'export') AND actor IS NOT NULL "
        f"GROUP BY 1, 2 ORDER BY r DESC, b DESC LIMIT {count}"
    )
    return [
        TopActor(str(p), str(a), int(r or 0), int(b or 0), int(n)) for p, a, r, b, n in client.query(sql).result_rows
    ]


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
    """Writes `alerts.jsonl`, `events.jsonl` and `pseudonyms.jsonl`, with which anyone can judge the run."""
    alerts = [judged(alert) for alert in queries.alerts(client, database=DATABASE)]
    world.write_lines(folder / ALERTS_FILE, alerts)
    evidence = queries.events_by_id(client, [e for a in alerts for e in a.evidence], database=DATABASE)
    lines = Lines(world_folder)
    kept = []
    for event in evidence:
        file = paths[event.source_id][1]
        line = lines.number(file, event.source_position // POSITIONS_PER_RECORD)
        kept.append(KeptEvent(event_id=event.event_id, file=file, line=line))
    world.write_lines(folder / EVENTS_FILE, kept)
    named = [one for path in pseudonyms for one in world.read_lines(path, Pseudonym)]
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
            with (self._folder / file).open("rb") as lines:
                for line in lines:
                    starts.append(at)
                    at += len(line)
            self._starts[file] = starts
        return bisect_right(self._starts[file], offset)
