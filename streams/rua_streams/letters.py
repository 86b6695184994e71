"""Dead letters as a person selects, counts and looks at them. Pure: reading the queue is `letter_queue.py`'s.

What stands in a dead letter may have been written to harm whoever looks at it: it is shown through `printable` only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from rua_common.errors import BadConfiguration
from rua_schemas.events import DeadLetter

REPLAYED = "replay"  # the stage of the note that a letter was replayed: no letter itself
CUT = re.compile(r"\(first \d+ of \d+ bytes\)$")
PERIOD = re.compile(r"^(\d{1,6})([smhd])$")
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
MOST_CHARACTERS = 500
ROW_BYTES = 16


class Place(NamedTuple):
    """Where a message stands."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


def place_of(text: str) -> Place:
    """The place that a person wrote as `topic-partition-offset`.

    Raises:
        BadConfiguration: it is none.
    """
    found = re.fullmatch(r"([\w.-]{1,249})-(\d{1,9})-(\d{1,18})", text, re.ASCII)
    if found is None:
        raise BadConfiguration(
            "no dead letter has such a name", key=printable(text), allowed=["topic-partition-offset"]
        )
    return Place(found[1], int(found[2]), int(found[3]))


class Letter(NamedTuple):
    """A dead letter, and where it lies in the queue."""

    at: Place
    letter: DeadLetter

    @property
    def origin(self) -> Place:
        """Where the message stood that could not be used."""
        return Place(self.letter.topic, self.letter.partition, self.letter.offset)

    @property
    def is_note(self) -> bool:
        """Whether this only tells that a letter was replayed."""
        return self.letter.stage == REPLAYED

    @property
    def is_cut(self) -> bool:
        """Whether only the beginning of the message was kept."""
        return CUT.search(self.letter.detail) is not None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters: those of any of the places, or if none is given those that fit every filter."""

    places: Collection[Place] = ()
    topic: str | None = None
    reason: str | None = None
    since_ms: int | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing narrows it down."""
        return not self.places and (self.topic, self.reason, self.since_ms) == (None, None, None)

    def fits(self, one: Letter) -> bool:
        """Whether this is one of them."""
        letter = one.letter
        return (
            (not self.places or one.at in self.places or one.origin in self.places)
            and self.topic in {None, letter.topic}
            and self.reason in {None, letter.reason}
            and (self.since_ms is None or letter.failed_at >= self.since_ms)
        )


def since(text: str, now_ms: int) -> int:
    """The time, in milliseconds since the epoch, of `90m`, `24h`, `7d` ago or of an ISO date or time (UTC unless told).

    Raises:
        BadConfiguration: it is neither.
    """
    if found := PERIOD.match(text):
        return now_ms - int(found[1]) * SECONDS[found[2]] * 1_000
    try:
        at = datetime.fromisoformat(text)
    except ValueError as why:
        allowed = ["90m", "24h", "7d", "2026-03-02", "2026-03-02T10:00"]
        raise BadConfiguration(f"{printable(text)} is no time", key="--since", allowed=allowed) from why
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1_000)


@dataclass(slots=True)
class Heap:
    """Letters of one topic, reason and stage. A worker that repeated itself after a crash has sent some twice."""

    letters: int = 0
    replayed: int = 0
    first_ms: int = 0
    last_ms: int = 0


@dataclass(slots=True)
class Heaps:
    """Counts letters by topic, reason and stage."""

    heaps: dict[tuple[str, str, str], Heap] = field(default_factory=dict)
    _seen: set[tuple[Place, str]] = field(default_factory=set)

    def add(self, one: Letter, *, replayed: bool) -> None:
        """Counts a letter, the same one once. Agents' letters have no place of origin: each is one."""
        name = (one.origin if one.letter.offset >= 0 else one.at, one.letter.stage)
        if one.is_note or name in self._seen:
            return
        self._seen.add(name)
        at = one.letter.failed_at
        heap = self.heaps.setdefault((one.letter.topic, one.letter.reason, one.letter.stage), Heap(0, 0, at, at))
        heap.letters += 1
        heap.replayed += replayed
        heap.first_ms, heap.last_ms = min(heap.first_ms, at), max(heap.last_ms, at)


def printable(text: str, most: int = MOST_CHARACTERS) -> str:
    """The text with everything escaped that a terminal would obey or hide: control characters, directions, surrogates.

    The backslash too, so that nothing can pass for an escape. Letters of any script stay.
    """
    shown = "".join(
        one if one.isprintable() and one != "\\" else one.encode("unicode_escape", "surrogatepass").decode("ascii")
        for one in text[:most]
    )
    return f"{shown}… ({len(text)} characters)" if len(text) > most else shown


def printable_bytes(value: bytes | None) -> str:
    """As text if it is some, else in hexadecimal."""
    if value is None:
        return "none"
    try:
        return f'"{printable(value.decode())}"'
    except UnicodeDecodeError:
        return f"0x{value[:MOST_CHARACTERS].hex()}"


def dump(value: bytes, most_bytes: int) -> Iterator[str]:
    """Offset, sixteen bytes in hexadecimal, and those that are ASCII: line after line."""
    for at in range(0, min(len(value), most_bytes), ROW_BYTES):
        row = value[at : min(at + ROW_BYTES, most_bytes)]
        ascii_only = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        yield f"{at:08x}  {row.hex(' '):<{3 * ROW_BYTES - 1}}  |{ascii_only}|"


def iso(at_ms: int) -> str:
    """A time to the second; a number that is no time is shown as it is."""
    try:
        return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of a table, each column as wide as its widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
