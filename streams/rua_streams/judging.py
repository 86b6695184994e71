"""Words and comparisons that detectors share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rua_schemas.events import Number

from rua_streams.engine import Measured
from rua_streams.state import Ints

USUAL_PEAK = 1.5  # half as much again as the biggest of 30 days is no longer the usual job grown a little
SEASON = 10  # ten-fold month-end reports and double-date sales are usual (published false positive of daily sums)


def ladder(value: NDArray[Any], limits: Sequence[NDArray[Any]]) -> tuple[Ints, Measured]:
    """How many of the ascending limits the value has reached; and the highest reached, else the lowest, beside it."""
    steps = np.stack(limits)
    level = (value >= steps).sum(0)
    return level, Measured(value, steps[np.maximum(level - 1, 0), np.arange(len(value))])


def reached(numbers: Mapping[str, Number], units: Mapping[str, str]) -> str:
    """`52,300 rows (limit 50,000)` for each of the numbers that reached its limit, in the order of `units`."""
    said = []
    for name, unit in units.items():
        number = numbers[name]
        if number.limit is not None and number.value >= number.limit:
            said.append(f"{number.value:,.0f} {unit} (limit {number.limit:,.0f})")
    return " and ".join(said)


def span(seconds: float) -> str:
    """`3 h 20 min`, `12 min` or `40 s`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds // 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
