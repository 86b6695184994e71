"""A test kit for detectors, shipped for whoever writes one: readable events, and the frames that the engine takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import polars as pl
from rua_schemas.columns import ColumnCodec
from rua_schemas.events import TelemetryEvent

from rua_streams.engine import Detector, Engine, Finding
from rua_streams.state import State
from rua_streams.watermark import VOTES

NUMBERS = count(1)
SCHEMA = ColumnCodec().schema
ZONE = "Asia/Bangkok"


def at(text: str, zone: str = ZONE) -> int:
    """Milliseconds since the epoch of a local time such as `2026-03-04 10:30`."""
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1_000)


def event(when: int | str, *, observed: int | None = None, **given: Any) -> TelemetryEvent:
    """An export by `somchai`, seen at once, but for what is given; `when` is milliseconds or local time."""
    time, number = at(when) if isinstance(when, str) else when, next(NUMBERS)
    made: dict[str, Any] = {
        "event_id": f"{number:032x}",
        "source_id": "5" * 32,
        "source_position": 1024 * number,
        "source": "pgaudit-jsonlog",
        "agent_id": "agent-1",
        "agent_epoch": 1,
        "agent_seq": number,
        "platform": "lazada",
        "kind": "data_export",
        "action": "export",
        "outcome": "ok",
        "actor": "somchai",
        "actor_type": "interactive",
        "occurred_at": time,
        "observed_at": time if observed is None else observed,
    }
    return msgspec.convert({**made, **given}, TelemetryEvent)


def frame(events: Iterable[TelemetryEvent], first_offset: int = 0) -> pl.DataFrame:
    """The events as one partition's frame, offsets counted from `first_offset`."""
    rows = [msgspec.to_builtins(e) for e in events]
    made = pl.DataFrame(rows, schema=SCHEMA)
    return made.with_columns(pl.int_range(first_offset, first_offset + pl.len(), dtype=pl.Int64).alias("offset"))


def replay(
    detectors: Sequence[Detector],
    events: Sequence[TelemetryEvent],
    cuts: Sequence[int] = (),
    *,
    zone: str = ZONE,
    restart: bool = False,
    keep_days: int | None = None,
    votes: int = VOTES,
) -> tuple[list[Finding], dict[bytes, bytes]]:
    """Findings and final state of a log applied in the pieces that the cuts make.

    Args:
        detectors: what to apply.
        events: one partition's log.
        cuts: ascending places between events.
        zone: the platform's.
        restart: whether the state goes through bytes between the pieces.
        keep_days: see `Engine`.
        votes: see `Engine`.
    """
    engine = Engine(detectors, zone=zone, keep_days=keep_days, votes=votes)
    state, found = State(engine.layout), list[Finding]()
    for start, stop in zip([0, *cuts], [*cuts, len(events)], strict=True):
        found += engine.apply(frame(events[start:stop], start), state)
        if restart:
            saved, state = state.dump(), State(engine.layout)
            state.load(saved, [engine.layout])
    return found, state.dump()


def findings(detector: Detector, *events: TelemetryEvent, zone: str = ZONE) -> list[Finding]:
    """What one detector finds in a log."""
    return replay([detector], events, zone=zone)[0]


def workdays(first: str, days: int, *, hours: Sequence[int] = (9, 11, 14, 16), **given: Any) -> list[TelemetryEvent]:
    """Ordinary work: an export at each of the hours on so many working days from `first`, a local date, on.

    Rows differ a little from one to the next, as they do, unless given.
    """
    made: list[TelemetryEvent] = []
    day = datetime.fromisoformat(first)
    while days:
        if day.weekday() < 5:
            days -= 1
            for hour in hours:
                rows = {"rows": 40 + 7 * (len(made) % 5)}
                made.append(event(f"{day:%Y-%m-%d} {hour:02}:05", **{**rows, **given}))
        day += timedelta(days=1)
    return made
