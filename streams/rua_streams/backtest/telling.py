"""What a backtest found, as lines for a person and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rua_schemas.events import Alert

from rua_streams.backtest.compare import Difference, Incident, incidents
from rua_streams.backtest.judge import Told

MARKS = {"appears": "+", "vanishes": "-", "changes": "~", "same": " "}
SUBJECT_LETTERS = 16  # of a pseudonym; all of it stands in the JSON


def listing(alerts: Sequence[Alert], zone: ZoneInfo) -> Iterator[str]:
    """One line an incident."""
    found = incidents(alerts)
    yield from (f"  {line(one, zone)}" for one in found)
    yield f"{counted(len(found))}{by_detector(found)}"


def comparison(found: Sequence[Difference], names: Sequence[str], zone: ZoneInfo) -> Iterator[str]:
    """One line a difference, two where an incident changes; what stays the same is counted only."""
    before, after = names
    for one in found:
        mark = MARKS[one.fate]
        if one.fate == "changes" and one.before and one.after:
            yield f"{mark} {line(one.after, zone)}"
            yield f"    {before}: {one.before.severity} at {local(one.before.raised_at, zone)}"
        elif one.fate != "same":
            yield f"{mark} {line(one.told, zone)}"
    fates = Counter(one.fate for one in found)
    old, new = fates.total() - fates["appears"], fates.total() - fates["vanishes"]
    yield f"{before}: {counted(old)}; {after}: {counted(new)}"
    yield f"{fates['appears']} appear (+), {fates['vanishes']} vanish (-), {fates['changes']} change (~)"


def line(one: Incident, zone: ZoneInfo) -> str:
    """`2026-03-24 10:10  high      bulk-export-volume  shop  actor 5f3a…  Exported 52,300 rows …`."""
    a = one.alert
    subject = a.subject if len(a.subject) <= SUBJECT_LETTERS else f"{a.subject[:SUBJECT_LETTERS]}…"
    at = local(one.raised_at, zone)
    return f"{at}  {one.severity:<8}  {a.detector}  {a.platform}  {a.subject_type} {subject}  {a.reason}"


def local(at_ms: int, zone: ZoneInfo) -> str:
    """Local time to the minute."""
    return f"{datetime.fromtimestamp(at_ms / 1_000, zone):%Y-%m-%d %H:%M}"


def counted(alerts: int) -> str:
    """`1 alert`, `2 alerts`."""
    return f"{alerts} alert{'' if alerts == 1 else 's'}"


def by_detector(found: Sequence[Incident]) -> str:
    """`: 3 bulk-export-volume, 1 off-hours`."""
    counts = Counter(one.alert.detector for one in found)
    return ": " + ", ".join(f"{n} {name}" for name, n in sorted(counts.items())) if counts else ""


def document(told: Told, names: Sequence[str], found: Sequence[Difference] | None) -> dict[str, Any]:
    """Everything, for programs: each version's alerts with all of their revisions, and the differences."""
    versions = [{"name": n, "alerts": alerts} for n, alerts in zip(names, told.alerts, strict=True)]
    made: dict[str, Any] = {"events": told.events, "copies": told.copies, "versions": versions}
    if found is not None:
        made["differences"] = [one for one in found if one.fate != "same"]
    plain: dict[str, Any] = msgspec.to_builtins(made)
    return plain
