"""Ranges of consecutive records, each stored once. Pure: the time is an argument."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from faust.types import TP
from rua_common.errors import PoisonEvent, Refused

from rua_streams.checkpoint import TopicFacts
from rua_streams.partition import Cursor
from rua_streams.transport import Batch, Mark

PENDING = re.compile(r"^pending=(\d+)-(\d+)$")


@dataclass(frozen=True, slots=True)
class Range:
    """Consecutive records of one partition, and the token that names exactly these."""

    tp: TP
    facts: TopicFacts
    records: Batch

    @property
    def first(self) -> int:
        """Offset of the first record."""
        return self.records[0].offset

    @property
    def last(self) -> int:
        """Offset of the last record."""
        return self.records[-1].offset

    @property
    def token(self) -> str:
        """Topic id, not name: a topic of the same name created later re-uses offsets."""
        digest = hashlib.blake2b(digest_size=16)
        for record in self.records:
            value = record.value
            digest.update(b"-" if value is None else len(value).to_bytes(4, "big") + value)
        return f"{self.facts.topic_id}/{self.tp.partition}/{self.first}-{self.last}/{digest.hexdigest()}"


@dataclass(slots=True)
class Lane:
    """The records of one partition that are not stored yet."""

    tp: TP
    facts: TopicFacts
    cursor: Cursor
    stored: int  # everything below is stored
    note: str = ""
    until: int | None = None  # last offset of a range that a former owner announced
    waiting: list[Batch] = field(default_factory=list)
    rows: int = 0
    since: float = 0.0  # monotonic seconds, of the oldest record that waits

    def add(self, batch: Batch, now: float) -> None:
        """Takes a batch."""
        if not self.rows:
            self.since = now
        self.waiting.append(batch)
        self.rows += len(batch)
        self.cursor.next = batch[-1].offset + 1

    def due(self, max_rows: int, linger_seconds: float, now: float) -> bool:
        """Whether a range should be cut. An announced one only when its last record is here."""
        if self.until is not None:
            return self.cursor.next > self.until
        return self.rows >= max_rows or (self.rows > 0 and now - self.since >= linger_seconds)

    def cut(self, max_rows: int) -> Range | None:
        """The next range: the announced one if there is one, else at most `max_rows`. It stays until `done`."""
        records = [record for batch in self.waiting for record in batch]
        if self.until is None:
            return Range(self.tp, self.facts, records[:max_rows])
        records = [record for record in records if record.offset <= self.until]
        return Range(self.tp, self.facts, records) if records else None

    def announce(self, cut: Range) -> None:
        """From now on this range, and no other, comes next, whoever stores it."""
        self.until, self.note = cut.last, f"pending={cut.first}-{cut.last}"

    def done(self, last: int, now: float) -> None:
        """Everything up to `last` is stored."""
        left = [record for batch in self.waiting for record in batch if record.offset > last]
        self.waiting, self.rows, self.since = ([left] if left else []), len(left), now
        self.stored, self.note, self.until = last + 1, "", None


def lane(tp: TP, facts: TopicFacts, committed: Mark | None, first: int) -> Lane:
    """A lane that goes on where the group's committed offset and its note say.

    Raises:
        Refused: the note is not ours.
    """
    if committed is None:
        return Lane(tp, facts, Cursor(first), first)
    at, note = max(committed.offset, first), committed.note
    found = PENDING.match(note)
    if note and not found:
        raise Refused(
            f"{tp.topic}-{tp.partition}: the committed offset carries a note that is not ours: {note!r}. "
            "Another program commits with this group: give one of them another name"
        )
    until = int(found[2]) if found and int(found[2]) >= at else None
    return Lane(tp, facts, Cursor(at), at, note if until is not None else "", until)


def halves(
    store: Callable[[int, int, str], None], size: int, token: str, bad: Callable[[int, PoisonEvent], None]
) -> None:
    """Narrows down what a store will never take: `store(start, end, token)` for ever smaller parts of `size` rows.

    The same rows fail in the same way, so a repetition makes the same parts with the same tokens.
    """
    parts = [(0, size)]
    while parts:
        start, end = parts.pop()
        try:
            store(start, end, token if (start, end) == (0, size) else f"{token}/{start}-{end}")
        except PoisonEvent as why:
            if end - start == 1:
                bad(start, why)
            else:
                middle = (start + end) // 2
                parts += [(middle, end), (start, middle)]
