"""Noise that hides any single actor in a published count: the discrete Laplace mechanism of OpenDP.

Ghosh, Roughgarden, Sundararajan (2009): for counts, no mechanism of the same epsilon serves any receiver better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import opendp.prelude as dp
from rua_common.errors import BadConfiguration

SENSITIVITY = 1
"""An actor adds at most 1 to a cell, however many incidents they cause there."""

MAX_EPSILON = 4.0
"""Above, exp(-4): a published number is exact in 96 of 100 cells. That hides nobody."""

Noise = Callable[[int], int]
"""A count in, the count with noise out: may be negative."""


@dataclass(frozen=True, slots=True)
class Privacy:
    """How much noise a release carries. A smaller epsilon hides more."""

    epsilon: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and 0 < self.epsilon <= MAX_EPSILON):
            raise BadConfiguration(f"give a number above 0 and at most {MAX_EPSILON:g}", key="epsilon")

    @property
    def scale(self) -> float:
        """Scale of the noise, in actors."""
        return SENSITIVITY / self.epsilon

    @property
    def error_95(self) -> int:
        """In 95 of 100 cells the noise is at most this, either way, in actors."""
        # P(|noise| > t) = 2 p^(t+1) / (1 + p)
        p = math.exp(-self.epsilon)
        return max(0, math.ceil(math.log(0.05 * (1 + p) / 2) / math.log(p) - 1))

    def mechanism(self) -> Any:
        """OpenDP's measurement, which draws from the operating system's randomness."""
        dp.enable_features("contrib")
        return dp.m.make_laplace(dp.atom_domain(T="i64"), dp.absolute_distance(T="i64"), scale=self.scale)

    def noise(self) -> Noise:
        """The mechanism as a function."""
        mechanism = self.mechanism()
        return lambda count: int(mechanism(count))


def library() -> str:
    """Name and release of what draws the noise."""
    return f"OpenDP {metadata.version('opendp')}"
