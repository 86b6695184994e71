"""nginx's access log in a JSON `log_format`, with `escape=json` or without."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from rua_agents.collectors.contract import Parser, Place
from rua_agents.collectors.nginx_fields import Fields, fields_of
from rua_agents.collectors.web import WebOptions, WebParser, occurred
from rua_agents.jsontext import NotJson, read_object
from rua_agents.records import LineSplitter, RawRecord, Splitter
from rua_agents.times import BadTime


class NginxJson:
    """The collector."""

    name = "nginx-json"
    options: type[msgspec.Struct] = WebOptions

    def splitter(self, offset: int, limit_bytes: int, options: Any) -> Splitter:
        """One JSON object a line."""
        del options
        return LineSplitter(offset, limit_bytes)

    def time_ms(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """When the request ended."""
        del now_ms, options
        try:
            return occurred(fields_of(read_object(record.data, truncated=record.truncated)[0]), zone)
        except (NotJson, BadTime):
            return None

    def parser(self, place: Place) -> Parser:
        """A parser for one file."""
        return _Parser(place)


class _Parser(WebParser):
    def fields(self, record: RawRecord) -> tuple[Fields, int]:
        """The values of the JSON object."""
        value, replaced = read_object(record.data, truncated=record.truncated)
        return fields_of(value, self.given), replaced
