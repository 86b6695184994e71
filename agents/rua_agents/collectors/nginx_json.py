"""nginx's access log in a JSON `log_format`, with `escape=json` or without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Parser, Place
from rua_agents.collectors.nginx_fields import Fields, fields_of
from rua_agents.collectors.web import WebOptions, WebParser, occurred
from rua_agents.collectors.weblines import WebLines
from rua_agents.jsontext import read_object
from rua_agents.records import RawRecord
from rua_agents.sealing import Written


class NginxJson(LineCollector):
    """The collector."""

    name = "nginx-json"
    options: type[msgspec.Struct] = WebOptions

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """When the request ended."""
        del now_ms, options
        return occurred(fields_of(read_object(record.data, truncated=record.truncated)[0]), zone)

    def parser(self, place: Place) -> Parser:
        """A parser for one file."""
        return _Parser(place)


class _Parser(WebParser):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._lines = WebLines(self)

    def fields(self, record: RawRecord) -> tuple[Fields, int]:
        """The values of the JSON object."""
        value, replaced = read_object(record.data, truncated=record.truncated)
        return fields_of(value, self.given), replaced

    def feed_all(self, records: Sequence[RawRecord], observed_at: int) -> Sequence[Draft | Written]:
        """The drafts of many requests, quicker than one by one."""
        if self.keeps_queries:
            return [draft for record in records for draft in self.feed(record, observed_at)]
        return self._lines.feed_all(records, observed_at)
