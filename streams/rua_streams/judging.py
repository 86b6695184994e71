"""Words and comparisons that detectors share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rua_schemas.events import Number

from rua_streams.engine import Measured, View
from rua_streams.facts import LIMIT
from rua_streams.features import Active, Since
from rua_streams.habits import Hours
from rua_streams.runs import DAY
from rua_streams.state import Ints

USUAL_PEAK = 1.5  # half as much again as the biggest of 30 days is no longer the usual job grown a little
SEASON = 12  # ten-fold days are usual (published false positive of daily sums); a fifth of slack: ten is no measure
JOB_HOURS, SERVICE_HOURS = 4, 20  # of the day: a nightly job with its reruns; a service that never sleeps
UNITS: Mapping[str, str] = {
    "rows": "{} rows",
    "rows_estimated": "about {} rows",
    "bytes": "{} bytes",
    "page_bytes": "{} bytes of pages",
    "subjects": "{} data subjects at most",
    "exports": "{} exports of unknown size",
}
TOLD = "told_as_bytes"  # the bytes that `rows_estimated` rests on


def ladder(value: NDArray[Any], limits: Sequence[NDArray[Any]]) -> tuple[Ints, Measured]:
    """How many of the ascending limits the value has reached; and the highest reached, else the lowest, beside it."""
    steps = np.stack(limits)
    level = (value >= steps).sum(0)
    return level, Measured(value, steps[np.maximum(level - 1, 0), np.arange(len(value))])


def by_calendar(view: View, people: Active, hours: Hours, tickets: Since) -> NDArray[np.bool_]:
    """Who may take many times the usual on closing and sale days (`facts.closing`, `facts.sale`).

    Jobs, apps and merchants follow the calendar. Database logs do not tell a job's account from a person's: it is one
    if no person's tool was seen for 30 days and it runs in few of the 24 hours, or nearly all; a day's work is neither.
    A person follows the calendar for a day after naming a ticket. All others are judged as on any day: those are eight
    days of 30, and a thief can read a calendar too. The price: a ten-fold report without a ticket is asked about.
    """
    spread = view.of(hours).spread
    job = view["scheduled"] | (spread <= JOB_HOURS) | (spread >= SERVICE_HOURS)
    person = view["person"] | (view.of(people) > 0)
    asked_for = view["ticket"] | (view.of(tickets) <= DAY)
    return np.asarray(view["season"] & ((job & ~person) | asked_for))


def rows_known_or_guessed(rows: Measured, guessed: Ints) -> dict[str, Measured]:
    """An estimate must not pass for a count: it has a name of its own, and the bytes that it rests on beside it."""
    exact, estimated = guessed == 0, guessed > 0
    return {
        "rows": rows._replace(where=exact),
        "rows_estimated": rows._replace(where=estimated),
        TOLD: Measured(guessed, where=estimated),
    }


def counted(value: float) -> str:
    """`52,300`. Facts and sums stop at `LIMIT`, of which nobody knows what it was."""
    return f"{value:,.0f}" if value < LIMIT else "more than 1,000,000,000,000"


def megabytes(value: float) -> str:
    """`150 MB`, or bytes if there are few."""
    return f"{counted(value)} bytes" if value < 1_000_000 or value >= LIMIT else f"{value / 1e6:,.0f} MB"


def decided(numbers: Mapping[str, Number]) -> list[str]:
    """The names of the numbers that reached their limits, in the order of `UNITS`."""
    found = []
    for name in UNITS:
        number = numbers.get(name)
        if number is not None and number.limit is not None and number.value >= number.limit:
            found.append(name)
    return found


def reached(numbers: Mapping[str, Number]) -> str:
    """`52,300 rows (limit 50,000)`, `about 750,000 rows (limit 500, estimated from 150 MB)`, for each that decided."""
    said = []
    for name in decided(numbers):
        number = numbers[name]
        basis = f", estimated from {megabytes(numbers[TOLD].value)}" if name == "rows_estimated" else ""
        said.append(f"{UNITS[name].format(counted(number.value))} (limit {number.limit:,.0f}{basis})")
    return " and ".join(said)


def span(seconds: float) -> str:
    """`3 h 20 min`, `12 min` or `40 s`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds // 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
