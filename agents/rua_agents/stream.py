"""One file's way from records to drafts: its identity, its parser, and when its silence completes what waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from rua_agents import identity
from rua_agents.collectors import BatchParser, Collector, Draft, Parser, Place
from rua_agents.envelopes import Envelope, EnvelopeSplitter
from rua_agents.pseudonyms import KeyRing
from rua_agents.records import RawRecord, Splitter
from rua_agents.sealing import Written
from rua_agents.tally import Tally

log = logging.getLogger(__name__)
SILENCE_MS = 2_000
LEAP_YEAR_MS = 1_984_000_000_000
"""In 2032: whether a record holds a time must not depend on when it is read, and 29 February is one."""
FIRST_RECORDS = 20
"""If none of so many can be read, the file is probably of another source; if none holds a time, its id is random."""
FIRST_BYTES = 1 << 16
"""Likewise if none of so many bytes is a record that holds one."""

Taken = Callable[[str], bool]
"""Whether another live file already has this source_id."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the configuration says about a source, ready to use."""

    collector: Collector
    platform: str
    agent_id: str
    host: str
    zone: ZoneInfo | None
    options: Any
    keys: KeyRing
    tally: Tally
    envelope: Envelope | None = None
    drafts_only: bool = False
    """Whether nothing that is in Avro already may come: a spool outlives the schema's version."""

    def place(self, source_id: str) -> Place:
        """Where the records of one file come from."""
        return Place(
            platform=self.platform,
            source=self.collector.name,
            source_id=source_id,
            agent_id=self.agent_id,
            host=self.host,
            zone=self.zone,
            keys=self.keys,
            tally=self.tally,
            options=self.options,
            ids=identity.EventIds(self.platform, source_id),
        )

    def splitter(self, offset: int, limit_bytes: int, skip: int = 0) -> Splitter:
        """Cuts the file's bytes from this offset on; `skip` as a splitter of an envelope has told."""
        if self.envelope is None:
            return self.collector.splitter(offset, limit_bytes, self.options)
        inner = partial(self.collector.splitter, limit_bytes=limit_bytes, options=self.options)
        return EnvelopeSplitter(self.envelope, inner, offset, skip)

    def time_ms(self, record: RawRecord, now_ms: int) -> int | None:
        """The record's own time, or None if it holds none."""
        return self.collector.time_ms(record, self.zone, now_ms, self.options)

    def source_id(self, first: RawRecord, twin_of: str = "") -> str | None:
        """The id that the file's first record gives, or None if it holds no time."""
        if self.time_ms(first, LEAP_YEAR_MS) is None:
            return None
        return identity.source_id(self.platform, self.collector.name, self.host, first.data, twin_of)


def may_identify(origin: Origin, first: Sequence[RawRecord]) -> bool:
    """Whether the last of a file's first records gives it its id: it holds a time, or there were enough without."""
    enough = len(first) >= FIRST_RECORDS or sum(len(record.data) for record in first) >= FIRST_BYTES
    return enough or origin.source_id(first[-1]) is not None


class SourceStream:
    """Records of one file, in order, to drafts."""

    def __init__(self, origin: Origin, path: str, taken: Taken = lambda _: False, *, warns: bool = True) -> None:
        self.origin, self.path = origin, path
        self.source_id: str | None = None
        self.last_observed_at = 0
        self._taken, self._bridges = taken, origin.keys.overlaps
        self._parser: Parser | None = None
        self._feed_all: Callable[[Sequence[RawRecord], int], Sequence[Draft | Written]] | None = None
        self._first: list[tuple[RawRecord, int]] = []
        """Records that came before the id is known, each with when it was read."""
        self._unread: int | None = 0 if warns else None
        """How many records have failed, as long as all of them have; None once that is decided."""

    def feed(self, record: RawRecord, observed_at: int) -> list[Draft]:
        """The drafts that this record completes. Nothing comes before it is known which source this is."""
        if self._parser is not None:
            return self._parse(self._parser, record, observed_at)
        self._first.append((record, observed_at))
        if not may_identify(self.origin, [record for record, _ in self._first]):
            return []
        return self._identified(record)

    def feed_all(self, records: Sequence[RawRecord], observed_at: int) -> list[Draft | Written]:
        """Likewise of many records; a parser that can take many at once does."""
        made: list[Draft | Written] = []
        for index, record in enumerate(records):
            if self._parser is not None and self._unread is None and self._feed_all is not None:
                self.last_observed_at = observed_at
                made += self._feed_all(records[index:], observed_at)
                break
            made += self.feed(record, observed_at)
        return made

    def _identified(self, by: RawRecord) -> list[Draft]:
        first, self._first = self._first, []
        parser = self._begin(self.identify(by))
        return [draft for record, observed_at in first for draft in self._parse(parser, record, observed_at)]

    def _parse(self, parser: Parser, record: RawRecord, observed_at: int) -> list[Draft]:
        self.last_observed_at = observed_at
        failed = self.origin.tally.failed.total() if self._unread is not None else 0
        made = parser.feed(record, observed_at)
        if self._unread is not None and record.data.strip():
            self._judge(failed=self.origin.tally.failed.total() > failed)
        return self._bridged(made) if self._bridges else made

    def identify(self, first: RawRecord) -> str:
        """The file's id by its first record with a time; a second live file with the same start gets its own."""
        found = self.origin.source_id(first)
        if found is not None and self._taken(found):
            found = self.origin.source_id(first, twin_of=self.path)
        return found or identity.random_source_id()

    @property
    def holds(self) -> bool:
        """Whether records wait for the id: nothing of the file is taken yet."""
        return bool(self._first)

    @property
    def silent_at(self) -> int | None:
        """When silence completes what waits; None if nothing does."""
        return self.last_observed_at + SILENCE_MS if self.waiting else None

    @property
    def waiting(self) -> bool:
        """Whether a draft waits."""
        return self._parser is not None and self._parser.waiting

    def flush(self) -> list[Draft]:
        """Completes what waits: the file is silent, or at its end."""
        made = self._identified(self._first[-1][0]) if self._first else []
        return made + self._bridged(self._parser.flush()) if self._parser is not None else []

    def dump(self) -> dict[str, Any]:
        """For the checkpoint; pseudonyms only."""
        parser = {} if self._parser is None else self._parser.dump()
        return {"source_id": self.source_id, "last_observed_at": self.last_observed_at, "parser": parser}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where `dump` was taken."""
        self.last_observed_at = state["last_observed_at"]
        if state["source_id"] is not None:
            self._unread = None
            self._begin(state["source_id"]).load(state["parser"])

    def _bridged(self, made: list[Draft]) -> list[Draft]:
        """In a rotation's overlap, with the pseudonyms of the key before."""
        return [self.origin.keys.bridged(draft) for draft in made] if self._bridges else made

    def _judge(self, *, failed: bool) -> None:
        """Says once if the file's first records are all none of this source's: a swapped `source` must be seen."""
        self._unread = self._unread + 1 if failed and self._unread is not None else None
        if self._unread == FIRST_RECORDS:
            told = "%s does not look like %s: none of its first %d records could be read; correct its source or paths"
            log.warning(told, self.path, self.origin.collector.name, FIRST_RECORDS)
            self._unread = None

    def _begin(self, source_id: str) -> Parser:
        self.source_id = source_id
        self._parser = self.origin.collector.parser(self.origin.place(source_id))
        if not self._bridges and not self.origin.drafts_only and isinstance(self._parser, BatchParser):
            self._feed_all = self._parser.feed_all
        return self._parser
