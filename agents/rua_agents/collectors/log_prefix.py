"""PostgreSQL's `log_line_prefix`, read by its own grammar.

Names of users, databases and programs are written as they are, so they may hold blanks, brackets, `@`, `/` or a whole
false prefix. What a line can mean is found by going through the prefix's parts from both ends: a field is known only if
every way to read the line gives it the same text. Nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import islice
from typing import NamedTuple

from rua_agents.collectors.prefix_parts import OF_SESSION, Part, split
from rua_agents.collectors.prefix_ways import Spans, endings_of, people_of

TIMES = ("m", "t", "n")
PROCESSES = ("c", "p")
_SEVERITY = re.compile(
    rb"(DEBUG[1-5]?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC"
    rb"|DETAIL|HINT|QUERY|CONTEXT|LOCATION|BACKTRACE|STATEMENT):  "
)
LONGEST_SEVERITY = 12
MOST_SEVERITIES = 48
"""So many fit into the names of a prefix, each of which may hold some."""
ENDINGS = 2_048
ADDITIONS = frozenset((b"DETAIL", b"HINT", b"QUERY", b"CONTEXT", b"LOCATION", b"BACKTRACE", b"STATEMENT"))
"""Lines that tell more of the report before them."""


class BadPrefix(ValueError):
    """A `log_line_prefix` with which records cannot be told apart."""


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
        self._sessionless = None if "q" in escapes else _sessionless(parts)
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

    def sessionless(self, data: bytes) -> dict[str, bytes]:
        """The time, if a process without a session wrote this: of a prefix without %q it leaves the names out."""
        found = self._sessionless.match(data[: self.longest]) if self._sessionless else None
        return {escape: text.strip(b" ") for escape, text in found.groupdict().items()} if found else {}

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


def _sessionless(parts: Sequence[Part]) -> re.Pattern[bytes] | None:
    if OF_SESSION.isdisjoint(part.escape for part in parts):
        return None
    time = next(part for part in parts if part.escape in TIMES)
    patterns = [
        b"(?P<%b>%b)" % (p.escape.encode(), p.without_session) if p is time else p.without_session for p in parts
    ]
    return re.compile(b"".join(patterns) + _SEVERITY.pattern)
