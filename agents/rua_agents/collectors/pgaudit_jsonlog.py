"""PostgreSQL 15 and later with `log_destination = jsonlog` and pgaudit: one JSON object a line."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Place
from rua_agents.collectors.pgaudit_lines import LOCAL, Line, LineParser
from rua_agents.collectors.pgaudit_parser import PgauditOptions
from rua_agents.jsontext import read_object
from rua_agents.records import RawRecord
from rua_agents.times import stamp_ms


class _Line(msgspec.Struct):
    """The keys of jsonlog that matter; absent ones are omitted by PostgreSQL."""

    timestamp: str | None = None
    user: str | None = None
    dbname: str | None = None
    pid: int | None = None
    remote_host: str | None = None
    session_id: str | None = None
    error_severity: str = ""
    message: str = ""
    context: str | None = None
    application_name: str | None = None


_DECODER = msgspec.json.Decoder(_Line)


def _line(record: RawRecord) -> tuple[_Line, int]:
    if not record.truncated and b"\\u0000" not in record.data:
        try:
            return _DECODER.decode(record.data), 0
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    value, replaced = read_object(record.data, truncated=record.truncated)
    return msgspec.convert(value, _Line), replaced


class PgauditJsonlog(LineCollector):
    """The collector."""

    name = "pgaudit-jsonlog"
    options: type[msgspec.Struct] = PgauditOptions

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """The record's own time."""
        del now_ms, options
        return stamp_ms(_line(record)[0].timestamp or "", zone)

    def parser(self, place: Place) -> _Parser:
        """A parser for one file."""
        return _Parser(place)


class _Parser(LineParser):
    def read(self, record: RawRecord) -> tuple[int, Line]:
        """The fields of one object."""
        line, replaced = _line(record)
        return stamp_ms(line.timestamp or "", self._place.zone), Line(
            line.message,
            line.session_id or f"pid {line.pid}",
            line.user,
            line.dbname,
            line.remote_host or LOCAL,
            line.application_name,
            line.error_severity,
            line.context is not None,
            replaced,
        )
