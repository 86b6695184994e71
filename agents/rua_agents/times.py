"""Times as logs write them, to milliseconds since the epoch."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

from rua_schemas.events import MAX_TIME_MS, MIN_TIME_MS

BUDDHIST_ERA_YEARS = 543
FIRST_BUDDHIST_YEAR = 2400
LONGEST_STAMP = 64
_STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\s?(\S+)?", re.ASCII)
_OFFSET = re.compile(r"(?:GMT|UTC)?([+-])(\d{1,2})(?::?(\d\d))?(?::?\d\d)?", re.ASCII)
_UTC_NAMES = frozenset(("Z", "UTC", "GMT", "UCT", "Zulu"))
_CLF = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d:\d\d:\d\d) ([+-]\d{4})", re.ASCII)
MONTHS = {m: i for i, m in enumerate(re.findall("...", "JanFebMarAprMayJunJulAugSepOctNovDec"), 1)}


class BadTime(ValueError):
    """Not a time, no zone, or outside of what can be stored."""


def checked(at_ms: int) -> int:
    """The same time.

    Raises:
        BadTime: before 1970 or after 2100.
    """
    if not MIN_TIME_MS <= at_ms <= MAX_TIME_MS:
        raise BadTime("outside 1970 to 2100")
    return at_ms


def stamp_ms(text: str, zone: ZoneInfo | None = None) -> int:
    """`2026-11-25 06:46:31.498 +08` and its relatives: ISO 8601, PostgreSQL, numeric or named zones, Buddhist years.

    Args:
        text: the stamp.
        zone: where the writer stands; used for a stamp without an offset, and for a zone's abbreviation.

    Raises:
        BadTime: no stamp, or its zone is not known.
    """
    if len(text) > LONGEST_STAMP:  # nothing of megabytes enters a cache
        raise BadTime("longer than any time stamp")
    if len(text) > 19 and text[19] == ".":
        digits = 20
        while digits < len(text) and text[digits] in "0123456789":
            digits += 1
        fraction = text[20:digits]
        if fraction:
            return checked(_second_ms(text[:19] + text[digits:], zone) + int((fraction + "00")[:3]))
    return _second_ms(text, zone)


@lru_cache(4096)
def _second_ms(text: str, zone: ZoneInfo | None) -> int:
    found = _STAMP.fullmatch(text.strip())
    if not found:
        raise BadTime("no time stamp")
    year, month, day, hour, minute, second = map(int, found.group(1, 2, 3, 4, 5, 6))
    year -= BUDDHIST_ERA_YEARS if year >= FIRST_BUDDHIST_YEAR else 0
    fraction = int(((found[7] or "") + "000")[:3])
    try:
        # a leap second is the last one of its minute
        local = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        return checked(_epoch_ms(local, found[8], zone) + fraction)
    except (ValueError, OverflowError) as why:
        raise BadTime(str(why)) from why


def _epoch_ms(local: datetime, zone_name: str | None, zone: ZoneInfo | None) -> int:
    offset = _OFFSET.fullmatch(zone_name) if zone_name else None
    if zone_name in _UTC_NAMES:
        at = local
    elif offset:
        sign = -1 if offset[1] == "-" else 1
        at = local.replace(tzinfo=timezone(sign * timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0))))
    elif zone is None:
        raise BadTime("its zone is not known: set zone for this source")
    else:
        # the abbreviation tells the two hours apart that the clock shows twice when summer time ends
        folds = [local.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
        at = next((f for f in folds if f.tzname() == zone_name), folds[0])
    return round(at.timestamp()) * 1_000


@lru_cache(4096)
def common_log_ms(text: str) -> int:
    """`24/Nov/2026:23:12:03 +0000`.

    Raises:
        BadTime: not that form.
    """
    found = _CLF.fullmatch(text)
    if not found or found[2] not in MONTHS:
        raise BadTime("no common-log time")
    return _second_ms(f"{found[3]}-{MONTHS[found[2]]:02}-{found[1]} {found[4]}{found[5]}", None)


def epoch_seconds_ms(value: object) -> int:
    """`1795561923.995`, as number or text.

    Raises:
        BadTime: no number, or out of range.
    """
    try:
        return checked(round(float(value) * 1_000)) if isinstance(value, int | float | str) else checked(-1)
    except (ValueError, OverflowError) as why:
        raise BadTime("no seconds since the epoch") from why
