"""What became of every record: records = events + merged + ignored + failed + open."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)
SAMPLES_PER_REASON = 3
SAMPLE_CHARACTERS = 400
_WORD = re.compile(r"(?:[^\W_]|[^\x00-\x7f])+")  # Thai vowels are marks, no letters
_STRUCTURE = frozenset(
    re.findall(
        r"\w+",
        "timestamp message user dbname session id AUDIT SESSION OBJECT READ WRITE ROLE MISC DDL FUNCTION SELECT COPY "
        "INSERT UPDATE DELETE FROM WHERE TO TABLE none ts msec time local iso8601 addr remote request req uri args "
        "status bytes sent body ua completion http referer GET POST PUT PATCH HEAD HTTP",
    )
)


def shape(text: str) -> str:
    """The text with everything but known structure replaced: no literal, name, address or number is left."""
    return _WORD.sub(lambda word: word[0] if word[0] in _STRUCTURE else "x", text[:SAMPLE_CHARACTERS])


@dataclass(slots=True)
class Tally:
    """Counts of one source of an agent, or of one run of `parse`."""

    read_bytes: int = 0
    """Those of an incomplete last record too."""
    records: int = 0
    events: int = 0
    """Records, or groups of merged ones, that are an event."""
    split: int = 0
    """Events beyond these: a GRANT to two people is two events of one record."""
    merged: int = 0
    replaced: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    """Events or records that were lost before they could be sent: `spool_full`, `sdk_overflow`, `source_gap` …"""

    @staticmethod
    def total(tallies: Iterable[Tally]) -> Tally:
        """The sum over an agent's sources."""
        found = Tally()
        for one in tallies:
            found.read_bytes += one.read_bytes
            found.records += one.records
            found.events += one.events
            found.split += one.split
            found.merged += one.merged
            found.replaced += one.replaced
            for mine, other in (
                (found.ignored, one.ignored),
                (found.failed, one.failed),
                (found.dropped, one.dropped),
            ):
                mine.update(dict(other))  # a copy: another thread may be counting
        return found

    @property
    def open(self) -> int:
        """Records whose event is not complete yet."""
        return self.records - self.events - self.merged - self.ignored.total() - self.failed.total()

    @property
    def unreadable(self) -> bool:
        """Whether there were records and not one of them could be read."""
        return 0 < self.failed.total() == self.records - self.ignored["blank"]

    def fail(self, reason: str, source: str, offset: int, data: bytes) -> None:
        """Counts a record that could not be parsed; the first few of a reason go to the log without their literals."""
        self.failed[reason] += 1
        if self.failed[reason] <= SAMPLES_PER_REASON:
            text = shape(data[: 2 * SAMPLE_CHARACTERS].decode("utf-8", "replace"))
            log.warning("%s: record at byte %d cannot be parsed (%s): %s", source, offset, reason, text)

    def line(self) -> str:
        """The account in one line."""
        more = f"{self.split} more event{'s' if self.split > 1 else ''}, from records that name several people"
        return (
            f"records {self.records} = events {self.events} + merged {self.merged} + "
            f"ignored {_reasons(self.ignored)} + failed {_reasons(self.failed)}" + (f"; {more}" if self.split else "")
        )


def _reasons(counts: Counter[str]) -> str:
    named = ", ".join(f"{reason}: {n}" for reason, n in sorted(counts.items()))
    return f"{counts.total()} ({named})" if named else "0"
