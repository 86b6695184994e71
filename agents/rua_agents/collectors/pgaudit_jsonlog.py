"""PostgreSQL 15 and later with `log_destination = jsonlog` and pgaudit: one JSON object a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.pgaudit import PREFIX, BadAudit
from rua_agents.collectors.pgaudit_parser import LogLine, PgauditOptions, PgauditParser
from rua_agents.jsontext import NotJson, read_object
from rua_agents.records import LineSplitter, RawRecord, Splitter
from rua_agents.times import BadTime, stamp_ms

LOCAL = "[local]"


class _Line(msgspec.Struct):
    """The keys of jsonlog that matter; absent ones are omitted by PostgreSQL."""

    timestamp: str | None = None
    user: str | None = None
    dbname: str | None = None
    pid: int | None = None
    remote_host: str | None = None
    session_id: str | None = None
    message: str = ""
    context: str | None = None
    application_name: str | None = None


_DECODER = msgspec.json.Decoder(_Line)


def _line(record: RawRecord) -> tuple[_Line, int]:
    if not record.truncated and b"\\u0000" not in record.data:
        try:
            return _DECODER.decode(record.data), 0
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    value, replaced = read_object(record.data, truncated=record.truncated)
    return msgspec.convert(value, _Line), replaced


class PgauditJsonlog:
    """The collector."""

    name = "pgaudit-jsonlog"
    options: type[msgspec.Struct] = PgauditOptions

    def splitter(self, offset: int, limit_bytes: int, options: Any) -> Splitter:
        """One JSON object a line."""
        del options
        return LineSplitter(offset, limit_bytes)

    def time_ms(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """The record's own time."""
        del now_ms, options
        try:
            return stamp_ms(_line(record)[0].timestamp or "", zone)
        except (NotJson, msgspec.ValidationError, BadTime):
            return None

    def parser(self, place: Place) -> _Parser:
        """A parser for one file."""
        return _Parser(place)


class _Parser:
    def __init__(self, place: Place) -> None:
        self._place, self._core = place, PgauditParser(place)
        self.flush, self.dump = self._core.flush, self._core.dump

    @property
    def waiting(self) -> bool:
        """Whether a draft waits for a record that would complete it."""
        return self._core.waiting

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where `dump` was taken."""
        self._core.load(state)

    def feed(self, record: RawRecord, observed_at: int) -> list[Draft]:  # noqa: PLR0911 - one return for each fate
        """The drafts that this record completes."""
        tally = self._place.tally
        tally.records += 1
        if not record.data.strip():
            tally.ignored["blank"] += 1
            return []
        try:
            line, replaced = _line(record)
            at_ms = stamp_ms(line.timestamp or "", self._place.zone)
        except NotJson:
            return self._failed("not_json", record)
        except msgspec.ValidationError:
            return self._failed("unexpected_type", record)
        except BadTime:
            return self._failed("no_time", record)
        tally.replaced += replaced
        if not line.message.startswith(PREFIX):
            if line.message.startswith("disconnection:") and line.session_id:
                self._core.end_session(line.session_id)
            tally.ignored["not_audit"] += 1
            return self._core.time_passes(at_ms)
        if line.context is not None:
            # pgaudit hides its context; a function that writes this text with RAISE cannot
            return [*self._failed("not_from_pgaudit", record), *self._core.time_passes(at_ms)]
        try:
            return self._core.feed(self._facts(line, record, observed_at, at_ms))
        except BadAudit:
            return [*self._failed("bad_audit", record), *self._core.time_passes(at_ms)]

    def _facts(self, line: _Line, record: RawRecord, observed_at: int, at_ms: int) -> LogLine:
        return LogLine(
            record,
            observed_at,
            at_ms,
            line.session_id or f"pid {line.pid}",
            line.message,
            line.user,
            line.dbname,
            line.remote_host or LOCAL,
            line.application_name,
            record.truncated,
        )

    def _failed(self, reason: str, record: RawRecord) -> list[Draft]:
        self._place.tally.fail(reason, PgauditJsonlog.name, record.offset, record.data)
        return []
