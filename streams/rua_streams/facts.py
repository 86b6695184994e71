"""What detectors may ask about an event, as polars expressions evaluated together, once per batch.

A number that an event does not know counts as 0 here: a sum of rows is what is known to have left, at least. What has
no known size at all is counted by `unsized`, so that COPY and pg_dump do not pass for nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import polars as pl
from rua_common.errors import BadConfiguration
from rua_schemas.events import MAX_TIME_MS

from rua_streams.features import on_sale
from rua_streams.runs import DAY

LIMIT = 1 << 40  # one event cannot make a sum wrap, whatever it claims
AHEAD_MS, BEHIND_S = 300_000, 7_200  # a source's clock may run so far ahead of the agent's; later than this is late
MASS_ROWS = 100  # a statement that gives back so many rows is no look-up
ROW_BYTES = 200  # a line of CSV with a name, a phone number and an address, where an export tells only its bytes
EARLIEST_S, LATEST_S = 1 << 20, 1 << 32

ACTION, OUTCOME, ROWS, BYTES = pl.col("action"), pl.col("outcome"), pl.col("rows"), pl.col("bytes")
EGRESS = ACTION.is_in(["read", "query", "export", "transfer"]) & ~OUTCOME.is_in(["denied", "failed"])
EXPORT = EGRESS & ACTION.is_in(["export", "transfer"])
GRANT = (pl.col("kind") == "privilege_change") & ~OUTCOME.is_in(["denied", "failed"])
# What is read, and sent nowhere else, goes to the client: how much a source calls bulk must not matter here.
DESTINATION = pl.coalesce("destination", pl.lit("client:") + pl.col("source_network"))
PRIVATE = (  # RFC 1918, 3927, 4193 and 6598
    r"^client:(local|unknown|127\.|10\.|192\.168\.|169\.254\.|172\.(1[6-9]|2\d|3[01])\."
    r"|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|f[cd][0-9a-f]{2}:)"
)


def known(time: str) -> pl.Expr:
    """Whether a time can be one. What cannot must neither move a clock nor be taken for the distant past."""
    return (pl.col(time) > 0) & (pl.col(time) <= MAX_TIME_MS)


USABLE = known("observed_at")
AT_MS = pl.min_horizontal(
    pl.when(known("occurred_at")).then("occurred_at").otherwise("observed_at"), pl.col("observed_at") + AHEAD_MS
)
AT = (AT_MS // 1_000).clip(EARLIEST_S, LATEST_S)


@lru_cache(maxsize=1 << 16)
def stable_hash(item: str) -> int:
    """A hash that stays the same in every process and release, unlike polars' own: state depends on it."""
    return int.from_bytes(hashlib.blake2b(item.encode(), digest_size=8).digest(), "little")


def hashed(items: pl.Series) -> pl.Series:
    """Hashes each distinct item once; a missing one is as good as an empty one."""
    codes = items.fill_null("").to_arrow().dictionary_encode()
    table = np.array([stable_hash(item) for item in codes.dictionary.to_pylist()], np.uint64)
    return pl.Series(table[np.from_dlpack(codes.indices)])  # not `to_numpy`: see `engine.keyed_runs`


def measure(number: pl.Expr, where: pl.Expr) -> pl.Expr:
    """A count where the condition holds, else and where unknown 0."""
    return pl.when(where).then(number.fill_null(0).clip(0, LIMIT)).otherwise(0)


def zone_named(name: str) -> ZoneInfo:
    """The IANA zone.

    Raises:
        BadConfiguration: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as why:
        problem = f"{name!r} is no IANA time zone"
        raise BadConfiguration(problem, key="zone", allowed=("Asia/Bangkok", "UTC", "…")) from why


def wall_clock(zone: str) -> pl.Expr:
    """Local seconds: an addition where the zone's offset never changes between 2000 and 2050, else the calendar's."""
    info = zone_named(zone)
    weeks = (datetime(2000, 1, 1, tzinfo=UTC) + timedelta(weeks=week) for week in range(52 * 50))
    offsets = {info.utcoffset(week.astimezone(info)) for week in weeks}
    if len(offsets) == 1:
        (offset,) = offsets
        return AT + int((offset or timedelta()).total_seconds())
    local = pl.from_epoch(AT, "s").dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return local.dt.replace_time_zone(None).dt.epoch("s")


def closing(wall: pl.Expr) -> pl.Expr:
    """The last three and first three days of a month: they hold its last and its first working day."""
    date = pl.from_epoch(wall, "s")
    return (date.dt.day() <= 3) | (date.dt.days_in_month() - date.dt.day() < 3)


def sale(wall: pl.Expr) -> pl.Expr:
    """The days of `features.on_sale`."""
    return wall.map_batches(lambda at: pl.Series(on_sale(at.to_numpy() // DAY)), return_dtype=pl.Boolean)


def facts(zone: str) -> Mapping[str, pl.Expr]:
    """Every fact by name, for a platform that lives by this IANA zone.

    Raises:
        BadConfiguration: there is no such zone.
    """
    wall = wall_clock(zone)
    volume = pl.when(EXPORT).then(pl.coalesce(ROWS, BYTES // ROW_BYTES)).otherwise(ROWS)
    return {
        "at": AT,
        "at_ms": AT_MS,
        "wall": wall,
        "behind": pl.col("observed_at") // 1_000 - AT > BEHIND_S,
        "observed": pl.col("observed_at"),
        "offset": pl.col("offset"),
        "any": pl.lit(value=True),
        "egress": EGRESS,
        "rows": measure(ROWS, EGRESS),
        "bytes": measure(BYTES, EGRESS),
        "subjects": measure(pl.col("subjects"), EGRESS),
        # Rows, estimated for exports that tell only their bytes; and of these what looked nobody up but took many.
        "volume": measure(volume, EGRESS),
        "mass": measure(volume, EXPORT | (EGRESS & (ROWS >= MASS_ROWS))),
        "read_bytes": measure(BYTES, EGRESS & ~EXPORT & ROWS.is_null()),
        "guessed": measure(BYTES, EXPORT & ROWS.is_null()),  # the bytes that estimated rows rest on
        "massive": EXPORT | (EGRESS & (ROWS >= MASS_ROWS)).fill_null(value=False),
        "unsized": (EXPORT & ROWS.is_null() & BYTES.is_null()).cast(pl.Int64),
        "grant": GRANT,
        "grant_or_egress": GRANT | EGRESS,
        "ticket": pl.col("ticket").is_not_null(),
        "machine": pl.col("actor_type").is_in(["service", "app"]),
        "scheduled": pl.col("actor_type").is_in(["service", "app", "merchant", "network"]),
        "person": pl.col("actor_type") == "interactive",
        # Database logs do not tell a nightly job's account from a person's.
        "perhaps_machine": ~pl.col("actor_type").is_in(["interactive", "merchant"]),
        "season": closing(wall) | sale(wall),
        "sale": sale(wall),
        "sent": EGRESS & DESTINATION.is_not_null(),
        # A file's name is new every day; that the actor writes files at all is what may be new.
        "destination": pl.when(DESTINATION.str.starts_with("file:"))
        .then(pl.lit("file:"))
        .otherwise(DESTINATION)
        .map_batches(hashed, return_dtype=pl.UInt64),
        "to_program": DESTINATION.str.starts_with("program:").fill_null(value=False),
        "to_client": DESTINATION.str.starts_with("client:").fill_null(value=False),
        "outside": ~DESTINATION.str.contains(PRIVATE).fill_null(value=False),
        "external": pl.col("destination_external").fill_null(value=False),
    }
