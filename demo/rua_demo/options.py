"""What a person may choose about a demonstration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Options of `rua demo`.

    Attributes:
        seed: Repeats a simulation; random, and printed, unless given.
        days: Past days before the day of the attacks.
        keep: Where the run's files are left; nothing is left unless given.
        world: Replays this folder instead of simulating.
        scale: Traffic in proportion to the usual.
    """

    seed: int | None = None
    days: int = 21
    keep: Path | None = None
    world: Path | None = None
    scale: float = 1.0
