"""nginx's access log in a JSON `log_format`, with `escape=json` or without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rua_agents.collectors.contract import Draft, Parser, Place
from rua_agents.collectors.nginx_fields import Fields, fields_of
from rua_agents.collectors.web import WebCollector, WebParser
from rua_agents.collectors.weblines import WebLines
from rua_agents.jsontext import read_object
from rua_agents.records import RawRecord
from rua_agents.sealing import Written


class NginxJson(WebCollector):
    """The collector."""

    name = "nginx-json"

    def fields(self, record: RawRecord, options: Any) -> tuple[Fields, int]:
        """The values of the JSON object."""
        value, replaced = read_object(record.data, truncated=record.truncated)
        return fields_of(value, tuple(options.fields.items())), replaced

    def parser(self, place: Place) -> Parser:
        """A parser for one file."""
        return _Parser(place, self.fields)


class _Parser(WebParser):
    def __init__(self, place: Place, fields: Callable[[RawRecord, Any], tuple[Fields, int]]) -> None:
        super().__init__(place, fields)
        self._lines = WebLines(self)

    def feed_all(self, records: Sequence[RawRecord], observed_at: int) -> Sequence[Draft | Written]:
        """The drafts of many requests, quicker than one by one."""
        if self.keeps_queries:
            return [draft for record in records for draft in self.feed(record, observed_at)]
        return self._lines.feed_all(records, observed_at)
