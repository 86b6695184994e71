"""What a collector is. One module and one line in `COLLECTORS` make a new source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable
from zoneinfo import ZoneInfo

import msgspec
from rua_schemas.events import TelemetryEvent

from rua_agents.identity import EventIds
from rua_agents.pseudonyms import KeyRing
from rua_agents.records import RawRecord, Splitter
from rua_agents.sealing import Written
from rua_agents.tally import Tally

Draft: TypeAlias = TelemetryEvent
"""An event that is complete but for its number (`agent_epoch`, `agent_seq`) and the clock's offset."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where records come from: all that a parser may know beside them."""

    platform: str
    source: str
    source_id: str
    agent_id: str
    host: str
    zone: ZoneInfo | None
    keys: KeyRing
    tally: Tally
    options: Any
    """The collector's own options struct."""
    ids: EventIds


class Parser(Protocol):
    """Records of one file, in order, to drafts in increasing position. Pure: no clock, no file, no network.

    Every record is counted once in the tally: as event, merged, ignored or failed.
    """

    @property
    def waiting(self) -> bool:
        """Whether a draft waits for a record that would complete it."""
        ...

    def feed(self, record: RawRecord, observed_at: int) -> list[Draft]:
        """The drafts that this record completes."""
        ...

    def flush(self) -> list[Draft]:
        """The drafts that wait: the file is silent, or at its end."""
        ...

    def dump(self) -> dict[str, Any]:
        """What the parser remembers, fit for the checkpoint: pseudonyms only."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where `dump` was taken."""
        ...


@runtime_checkable
class BatchParser(Parser, Protocol):
    """A parser that is quicker with many records at once, and gives the same events: a test holds both together."""

    def feed_all(self, records: Sequence[RawRecord], observed_at: int) -> Sequence[Draft | Written]:
        """The drafts that these records complete, each counted once."""
        ...


class Collector(Protocol):
    """One kind of source."""

    name: str
    options: type[msgspec.Struct]

    def splitter(self, offset: int, limit_bytes: int, options: Any) -> Splitter:
        """Cuts the bytes by the format's grammar. `options` is the collector's own struct, here and below."""
        ...

    def time_ms(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """The record's own time, or None if it holds none. `now_ms` tells the year of a stamp that names none."""
        ...

    def parser(self, place: Place) -> Parser:
        """A parser for one file."""
        ...
