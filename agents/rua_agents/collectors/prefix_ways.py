"""All ways to read a text as the parts of a prefix.

The places where parts can begin and end are found from the left, and then from the right those of them that lead to the
end. What they have in common is beyond doubt.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice, product

from rua_agents.collectors.prefix_parts import Part

MOST_PEOPLE = 512
Spans = dict[str, tuple[int, int]]
"""Escape → where its text stands."""


def endings_of(parts: Sequence[Part], text: bytes) -> Spans | None:
    """Reads the text as these parts: which escapes are beyond doubt, or None if it cannot be read so."""
    places = ways(parts, text)
    if places is None:
        return None
    certain = [one[0] if len(one) == 1 else None for one in places]
    spans = zip(parts, certain, certain[1:], strict=False)
    return {part.escape: (a, b) for part, a, b in spans if part.escape and a is not None and b is not None}


def ways(parts: Sequence[Part], text: bytes) -> list[list[int]] | None:
    """Before and after each part all places where it can begin and end if the text is read as these parts."""
    reached = reach(parts, text)
    if len(reached) <= len(parts) or len(text) not in reached[-1]:
        return None
    places = [[len(text)]]
    for part, starts in zip(reversed(parts), reversed(reached[:-1]), strict=True):
        places.append([p for p in starts if _leads(part, text, p, places[-1])])
    return places[::-1]


def people_of(parts: Sequence[Part], text: bytes) -> list[tuple[bytes, bytes]]:
    """The users with their databases that the text may name, if `%u` and `%d` stand side by side; so many at most."""
    at = next((n for n in range(len(parts) - 2) if (parts[n].escape, parts[n + 2].escape) == ("u", "d")), None)
    places = None if at is None else ways(parts, text)
    if at is None or places is None:
        return []
    found = islice(product(places[at], places[at + 1], places[at + 3]), MOST_PEOPLE)
    return [(text[a:b], text[b + len(parts[at + 1].literal) : d]) for a, b, d in found]


def reach(parts: Sequence[Part], window: bytes) -> list[list[int]]:
    """After each part, every place in the window where it can end, ascending; ends early if there is none.

    Each place is looked at once for each part: the work does not depend on how the texts are made.
    """
    reached = [[0]]
    for n, part in enumerate(parts):
        starts = reached[-1]
        if part.fixed is not None:
            ends = sorted({end for p in starts if (end := part.fixed_end(window, p)) is not None})
        elif part.literal:
            ends = [p + len(part.literal) for p in starts if window.startswith(part.literal, p)]
        else:
            following = parts[n + 1].literal if n + 1 < len(parts) else b""
            ends = [p for p in _places(window, following, starts[0]) if _fits_from_nearest(part, window, starts, p)]
        if not ends:
            break
        reached.append(ends)
    return reached


def _places(window: bytes, literal: bytes, start: int) -> Iterator[int]:
    """Where a text may end: before what follows it."""
    if not literal:
        yield from range(start + 1, len(window) + 1)
        return
    at = window.find(literal, start + 1)
    while at >= 0:
        yield at
        at = window.find(literal, at + 1)


def _fits_from_nearest(part: Part, window: bytes, starts: list[int], end: int) -> bool:
    """A part of what fits does fit, so the nearest start decides for all."""
    n = bisect_left(starts, end)
    return n > 0 and part.fits(window[starts[n - 1] : end])


def _leads(part: Part, window: bytes, start: int, ends: list[int]) -> bool:
    """Whether this part can go from here to one of these places (ascending)."""
    if part.fixed is not None:
        return part.fixed_end(window, start) in ends
    if part.literal:
        return window.startswith(part.literal, start) and start + len(part.literal) in ends
    n = bisect_left(ends, start + 1)
    return n < len(ends) and part.fits(window[start : ends[n]])
