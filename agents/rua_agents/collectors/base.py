"""What most collectors are: a record is a line, and its time is read as the parser reads it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rua_common.settings import Struct

from rua_agents.collectors.contract import Parser, Place
from rua_agents.collectors.drafting import UNREADABLE, Ignored
from rua_agents.records import LineSplitter, RawRecord, Splitter


class NoOptions(Struct, frozen=True):
    """This source has no options."""


class LineCollector(ABC):
    """A collector of records that are lines. One with another grammar overrides `splitter`."""

    name: str
    options: type[msgspec.Struct] = NoOptions

    def splitter(self, offset: int, limit_bytes: int, options: Any) -> Splitter:
        """One record a line."""
        del options
        return LineSplitter(offset, limit_bytes)

    def time_ms(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """The record's own time, or None if it holds none."""
        try:
            return self.when(record, zone, now_ms, options)
        except (Ignored, *UNREADABLE):
            return None

    @abstractmethod
    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """The record's own time.

        Raises:
            Ignored: it is of no event.
            Unreadable, NotJson, BadTime, msgspec.ValidationError: it cannot be read.
        """

    @abstractmethod
    def parser(self, place: Place) -> Parser:
        """A parser for one file."""
