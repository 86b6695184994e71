"""A memory of results that a user cannot fill with texts of megabytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

T = TypeVar("T")
CHARACTERS = 128
"""Longer texts are rare unless somebody wants to harm: they are computed each time, and never kept."""


def memo(entries: int) -> Callable[[Callable[[str], T]], Callable[[str], T]]:
    """A decorator of a pure function of one text: its last results are kept.

    At most `entries` times `CHARACTERS` characters (4 bytes each, at worst) and a result about as long stay in memory.
    """

    def bounded(function: Callable[[str], T]) -> Callable[[str], T]:
        remembered = lru_cache(entries)(function)

        @wraps(function)
        def called(text: str) -> T:
            return remembered(text) if len(text) <= CHARACTERS else function(text)

        return called

    return bounded
