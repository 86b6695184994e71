"""sudo's own log file with `log_format=json`: one pretty-printed object, whose end is rewritten at every event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from rua_agents.collectors import host
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Parser, Place
from rua_agents.collectors.drafting import RecordParser
from rua_agents.collectors.sudo_event import event_of
from rua_agents.elements import ElementSplitter
from rua_agents.jsontext import read_object
from rua_agents.records import RawRecord, Splitter


class SudoJson(LineCollector):
    """The collector."""

    name = "sudo-json"

    def splitter(self, offset: int, limit_bytes: int, options: Any) -> Splitter:
        """The objects inside of the outer one; its keys repeat, so no JSON reader may see it whole."""
        del options
        return ElementSplitter(offset, limit_bytes, levels=1, rewritten=True)

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """When sudo decided."""
        del zone, now_ms, options
        return event_of(read_object(record.data, truncated=record.truncated)[0]).at_ms

    def parser(self, place: Place) -> Parser:
        """A parser for one file."""
        return _Parser(place)


class _Parser(RecordParser):
    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The event of an object."""
        value, replaced = read_object(record.data, truncated=record.truncated)
        event = event_of(value)
        at_ms, deed = event.at_ms, event.deed()
        self.place.tally.replaced += replaced
        return [host.event_of(deed, self.place, record, observed_at, at_ms)]
