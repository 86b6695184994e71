"""PostgreSQL's `log_line_prefix`, read by its own grammar.

Names of users, databases and programs are written as they are, so they may hold blanks, brackets, `@`, `/` or a whole
false prefix. What a line can mean is found by going through the prefix's parts from both ends: a field is known only if
every way to read the line gives it the same text. Nothing is guessed.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import islice, product
from typing import NamedTuple

NAME_BYTES = 63  # NAMEDATALEN - 1: the server cuts longer names
HOST_BYTES = 270
TAG_BYTES = 96
LONGEST_FIXED = 64
ESCAPED_NAME_BYTES = 4 * NAME_BYTES  # PostgreSQL 16 writes \xc3 for a byte of an application's name
TIMES = ("m", "t", "n")
PROCESSES = ("c", "p")
_ZONE = rb" (?:[A-Za-z]{1,10}|[+-]\d{2,6})"
_DAY = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
_FIXED: Mapping[str, bytes] = {
    "m": _DAY + rb"\.\d{1,6}" + _ZONE,
    "t": _DAY + _ZONE,
    "s": _DAY + _ZONE,
    "n": rb"\d{1,12}\.\d{1,6}",
    "p": rb"\d{1,10}",
    "P": rb"\d{0,10}",
    "l": rb"\d{1,20}",
    "c": rb"[0-9a-f]{1,16}\.[0-9a-f]{1,16}",
    "v": rb"(?:-?\d{1,20}/\d{1,20})?",
    "x": rb"\d{1,20}",
    "Q": rb"-?\d{1,20}",
    "e": rb"[0-9A-Z]{5}",
}
_TEXTS = {"u": NAME_BYTES, "d": NAME_BYTES, "a": ESCAPED_NAME_BYTES, "h": HOST_BYTES, "r": HOST_BYTES, "b": TAG_BYTES}
_TEXTS |= {"i": TAG_BYTES}
_ESCAPE = re.compile(r"%(-?\d{1,3})?(.)|%$", re.DOTALL)
_HOST = re.compile(rb"[][0-9A-Za-z.:%_()-]+")
_ESCAPED_BYTE = re.compile(rb"\\x[0-9a-f]{2}")
_SEVERITY = re.compile(
    rb"(DEBUG[1-5]?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC"
    rb"|DETAIL|HINT|QUERY|CONTEXT|LOCATION|BACKTRACE|STATEMENT):  "
)
LONGEST_SEVERITY = 12
MOST_SEVERITIES = 48
"""So many fit into the names of a prefix, each of which may hold some."""
ENDINGS = 2_048
MOST_PEOPLE = 512
ADDITIONS = frozenset((b"DETAIL", b"HINT", b"QUERY", b"CONTEXT", b"LOCATION", b"BACKTRACE", b"STATEMENT"))
"""Lines that tell more of the report before them."""


class BadPrefix(ValueError):
    """A `log_line_prefix` with which records cannot be told apart."""


class Part(NamedTuple):
    """A literal, an escape of fixed form, or one that may hold any text."""

    escape: str
    literal: bytes = b""
    fixed: re.Pattern[bytes] | None = None
    longest: int = 0
    width: int = 0
    """Least number of characters of a fixed form; negative if blanks follow it instead of going before."""

    def fixed_end(self, window: bytes, at: int) -> int | None:
        """Where the fixed form that begins here ends."""
        start = at
        if self.width > 0:
            start = min(at + self.width, len(window) - len(window[at:].lstrip(b" ")))
        found = self.fixed.match(window, start) if self.fixed else None
        if found is None or (self.width > 0 and found.end() - at < self.width):
            return None
        end = max(found.end(), at - self.width)
        return end if not window[found.end() : end].strip(b" ") and end <= len(window) else None

    def fits(self, text: bytes) -> bool:
        """Whether the server could have written this for the escape."""
        if not text or len(text) > self.longest:
            return False
        if self.escape in "hr":
            return _HOST.fullmatch(text) is not None
        return self.escape != "a" or len(_ESCAPED_BYTE.sub(b"?", text.strip(b" "))) <= NAME_BYTES


Spans = dict[str, tuple[int, int]]
"""Escape → where its text stands."""


class Reading(NamedTuple):
    """One way to read a line: its severity, where that begins and the message, and the fields that are beyond doubt."""

    severity: bytes
    end: int
    message: int
    spans: Spans


class Head:
    """The start of a line, and all ways to read it."""

    def __init__(self, opening: tuple[int, Spans] | None, endings: Sequence[Ending], window: bytes) -> None:
        self.window = window
        self.readings: list[Reading] = []
        if opening is None:
            return
        start, spans = opening
        for found in islice(_SEVERITY.finditer(window, start), MOST_SEVERITIES):
            for ending in endings:
                rest = ending(window[start : found.start()])
                if rest is not None:
                    whole = spans | {escape: (start + a, start + b) for escape, (a, b) in rest.items()}
                    self.readings.append(Reading(found[1], found.start(), found.end(), whole))

    def fields(self, reading: Reading) -> dict[str, bytes]:
        """The texts that this reading tells beyond doubt."""
        return {escape: self.window[a:b].strip(b" ") for escape, (a, b) in reading.spans.items()}

    def key(self, reading: Reading) -> bytes:
        """The prefix without the line's number: the same for all lines of one report."""
        a, b = reading.spans.get("l", (reading.end, reading.end))
        return self.window[:a] + b"\0" + self.window[b : reading.end]


Ending = Callable[[bytes], Spans | None]


class Prefix:
    """A `log_line_prefix`.

    Raises:
        BadPrefix: it names no time or no process.
    """

    def __init__(self, text: str) -> None:
        parts = list(split(text))
        escapes = [part.escape for part in parts]
        for needed, what in ((TIMES, "time (%m)"), (PROCESSES, "process (%p) or session (%c)")):
            if not set(needed) & set(escapes):
                raise BadPrefix(f"prefix {text!r} names no {what}; add it to log_line_prefix, and here")
        stop = escapes.index("q") if "q" in escapes else len(parts)
        parts = [part for part in parts if part.escape != "q"]
        free = next((n for n, part in enumerate(parts) if part.escape and part.fixed is None), len(parts))
        self.longest = sum(len(p.literal) + p.longest for p in parts) + LONGEST_SEVERITY
        self._opening, self._rest = parts[: min(free, stop)], parts[min(free, stop) :]
        short = parts[len(self._opening) : stop]
        # the same names come again and again: what their part of a prefix means is remembered
        both = [self._rest] if short == self._rest else [short, self._rest]
        self._endings = [lru_cache(ENDINGS)(partial(endings_of, one)) for one in both]

    def head(self, data: bytes) -> Head:
        """All ways to read the start of this record."""
        window = data[: self.longest]
        return Head(self._opened(window), self._endings, window)

    def people(self, head: Head, reading: Reading) -> list[tuple[bytes, bytes]]:
        """Every user and database that this reading may mean."""
        opened = self._opened(head.window)
        return people_of(self._rest, head.window[opened[0] : reading.end]) if opened else []

    def fields_with(self, head: Head, reading: Reading, user: bytes, database: bytes) -> dict[str, bytes]:
        """What else is beyond doubt, once it is known whose session it is."""
        opened, known = self._opened(head.window), {"u": user, "d": database}
        tail = head.window[opened[0] if opened else 0 : reading.end]
        parts = [Part("", known[part.escape]) if part.escape in known else part for part in self._rest]
        return {escape: tail[a:b].strip(b" ") for escape, (a, b) in (endings_of(parts, tail) or {}).items()} | known

    def unfinished(self, data: bytes) -> bool:
        """Whether a record begins here whose prefix does not end: a name in it holds a line feed."""
        short = len(data) < self.longest
        return short and _SEVERITY.search(data) is None and self._opened(data) is not None

    def may_add(self, line: bytes) -> bool:
        """Whether some way to read this line might add to the report before it; cheap."""
        return any(m[1] in ADDITIONS for m in _SEVERITY.finditer(line, 0, self.longest))

    def _opened(self, window: bytes) -> tuple[int, Spans] | None:
        """Where the parts of fixed form end with which every record begins, or None if none begins here."""
        at, spans = 0, Spans()
        for part in self._opening:
            literal = part.literal and window.startswith(part.literal, at)
            end = part.fixed_end(window, at) if part.fixed else at + len(part.literal) if literal else None
            if end is None:
                return None
            if part.escape:
                spans[part.escape] = at, end
            at = end
        return at, spans


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


def split(text: str) -> Iterator[Part]:
    """The parts of a `log_line_prefix`."""
    literal, at = "", 0
    for found in _ESCAPE.finditer(text):
        literal += text[at : found.start()]
        at = found.end()
        letter = found[2] or ""
        if letter == "%":
            literal += "%"
        if letter == "q" or letter in _FIXED or letter in _TEXTS:
            if literal:
                yield Part("", literal.encode())
            literal = ""
            yield _escape(letter, int(found[1] or 0))
    literal += text[at:]
    if literal:
        yield Part("", literal.encode())


def _escape(letter: str, width: int) -> Part:
    if letter == "q":
        return Part("q")
    if letter in _TEXTS:
        return Part(letter, longest=max(_TEXTS[letter], abs(width)))
    return Part(letter, fixed=re.compile(_FIXED[letter]), longest=max(LONGEST_FIXED, abs(width)), width=width)
