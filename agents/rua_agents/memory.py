"""How this process keeps its memory: what was loaded stays, what comes and goes is freed by its count."""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 50_000, 20, 20
"""Containers that may be new before cycles are looked for. A slice of a log is thousands of tuples, none in a cycle."""


def settle() -> None:
    """Call it when everything is loaded and before the loop begins: a twentieth of the agent's time goes to this."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
