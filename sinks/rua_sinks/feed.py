"""Builds the feed for regulators: one closed day over a fixed universe, with noise, released once and for ever."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from clickhouse_connect.driver.client import Client
from rua_common.errors import Refused

from rua_sinks.client import meaning
from rua_sinks.feed_format import ZONE, Cell, Day, Universe, as_csv, as_json
from rua_sinks.feed_privacy import Noise, Privacy

# The day of an incident is that of its first version: later ones cannot move it into a second day, and one that is
# found late falls into the day it was found in, which is not closed yet.
COUNTS = """
SELECT platform, detector, uniqExact(who) FROM (
    SELECT any(alert_log.platform) AS platform, any(alert_log.detector) AS detector,
        argMax(ifNull(actor, subject), revision) AS who, min(toUnixTimestamp64Milli(raised_at)) AS first_raised
    FROM {database:Identifier}.alert_log GROUP BY alert_id
) WHERE first_raised >= {start:Int64} AND first_raised < {end:Int64} GROUP BY platform, detector
"""
Texts = tuple[str, str]
"""JSON and CSV."""


@dataclass(frozen=True, slots=True)
class Release:
    """What was written. Nothing in it tells of the cells in `outside_universe`, where there were incidents too."""

    json_file: Path
    csv_file: Path
    is_new: bool
    outside_universe: tuple[Cell, ...]


def build(
    client: Client,
    day: date,
    *,
    universe: Universe,
    now_ms: int,
    out_dir: Path,
    epsilon: float = 1.0,
    database: str = "rua",
    noise: Noise | None = None,
) -> Release:
    """Writes `rua-feed-DAY.json` and `.csv`. A day that was released before is written again byte for byte.

    Args:
        client: see `rua_sinks.client.connect`.
        day: a calendar day in Asia/Bangkok.
        universe: all platforms and all detector ids, whatever happened. Of a released day the old one stays.
        now_ms: milliseconds since the epoch; decides whether the day is closed.
        out_dir: made if it does not exist.
        epsilon: per cell. Of a released day the old one stays.
        database: where the alerts are.
        noise: other than that of `Privacy(epsilon)`, in tests.

    Raises:
        Refused: the day is not closed yet. The text says from when on it may be built.
        BadConfiguration: epsilon or universe cannot be used.
        RetryLater: ClickHouse is away or not migrated.
    """
    the_day, privacy = Day(day), Privacy(epsilon)
    _refuse_open(the_day, now_ms)
    outside: tuple[Cell, ...] = ()
    texts: Texts | None = None
    with meaning():
        kept = _kept(client, database, the_day)
        if kept is None:
            exact = _exact_counts(client, database, the_day)
            outside = tuple(sorted(exact.keys() - set(universe.cells())))
            texts = _noisy_texts(the_day, universe, privacy, exact, noise or privacy.noise())
            kept = _keep(client, database, the_day, now_ms, texts)
    files = out_dir / f"rua-feed-{day}.json", out_dir / f"rua-feed-{day}.csv"
    for file, text in zip(files, kept, strict=True):
        _write(file, text)
    return Release(*files, kept == texts, outside)


def _refuse_open(day: Day, now_ms: int) -> None:
    if now_ms < day.cut_off_ms:
        opens = datetime.fromtimestamp(day.cut_off_ms / 1_000, ZoneInfo(ZONE))
        raise Refused(
            f"{day.date} is not closed: late alerts may still arrive, and a day is released only once. "
            f"Build it from {opens:%Y-%m-%d %H:%M} ({ZONE}) on"
        )


def _exact_counts(client: Client, database: str, day: Day) -> dict[Cell, int]:
    span = {"database": database, "start": day.start_ms, "end": day.end_ms}
    return {(str(p), str(d)): int(n) for p, d, n in client.query(COUNTS, parameters=span).result_rows}


def _noisy_texts(day: Day, universe: Universe, privacy: Privacy, exact: Mapping[Cell, int], draw: Noise) -> Texts:
    # post-processing is free: clamping looks at the noisy number only
    noisy = {cell: max(0, draw(exact.get(cell, 0))) for cell in universe.cells()}
    return as_json(day, universe, privacy, noisy), as_csv(day, universe, privacy, noisy)


def _kept(client: Client, database: str, day: Day) -> Texts | None:
    rows = client.query(
        "SELECT json, csv FROM {database:Identifier}.feed_releases WHERE toString(day) = {day:String} "
        "ORDER BY released_at, json LIMIT 1",
        parameters={"database": database, "day": day.date.isoformat()},
    ).result_rows
    return (str(rows[0][0]), str(rows[0][1])) if rows else None


def _keep(client: Client, database: str, day: Day, now_ms: int, texts: Texts) -> Texts:
    """Stores the release before anybody can read it. Of two builders the store takes the first, by the token."""
    client.insert(
        "feed_releases",
        [[day.date, now_ms, *texts]],
        ["day", "released_at", "json", "csv"],
        database=database,
        settings={"insert_deduplication_token": f"feed/{day.date}", "async_insert": 0},
    )
    kept = _kept(client, database, day)
    if kept is None:
        raise Refused(f"the release of {day.date} cannot be read back: compare the store's replicas, then repeat")
    return kept


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    part.write_text(text, encoding="utf-8", newline="")
    os.replace(part, file)
