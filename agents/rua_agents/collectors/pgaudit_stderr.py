"""PostgreSQL's log as text (`log_destination = stderr`) with pgaudit, read by its `log_line_prefix`."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rua_schemas.codec import clean

from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Place
from rua_agents.collectors.drafting import Ignored, Unreadable
from rua_agents.collectors.log_prefix import TIMES, Prefix
from rua_agents.collectors.pgaudit_lines import Line, LineParser
from rua_agents.collectors.pgaudit_logins import AUTHORIZED
from rua_agents.collectors.pgaudit_parser import PgauditOptions
from rua_agents.collectors.stderr_reports import Report, ReportSplitter
from rua_agents.records import RawRecord, Splitter
from rua_agents.times import epoch_seconds_ms, stamp_ms

DEFAULT_PREFIX = "%m [%p] %q%u@%d/%a %h "
UNKNOWN = "[unknown]"
_AUTHORIZED = tuple(text.encode() for text in AUTHORIZED)


class StderrOptions(PgauditOptions, frozen=True):
    """Options of pgaudit-stderr."""

    prefix: str = DEFAULT_PREFIX
    """The server's `log_line_prefix`, with its blanks."""

    def __post_init__(self) -> None:
        Prefix(self.prefix)


class PgauditStderr(LineCollector):
    """The collector."""

    name = "pgaudit-stderr"
    options: type[msgspec.Struct] = StderrOptions

    def splitter(self, offset: int, limit_bytes: int, options: Any) -> Splitter:
        """A line with a prefix, and all that belongs to it."""
        return ReportSplitter(offset, limit_bytes, Prefix(options.prefix))

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """The record's own time."""
        del now_ms
        prefix = Prefix(options.prefix)
        report = Report(prefix, record.data)
        fields = report.fields() if report.reading else prefix.sessionless(record.data)
        return _time_ms(fields, zone) if fields else None

    def parser(self, place: Place) -> _Parser:
        """A parser for one file."""
        return _Parser(place)


def _time_ms(fields: dict[str, bytes], zone: ZoneInfo | None) -> int:
    named = next((name for name in TIMES if name in fields), "")
    text = fields.get(named, b"").decode("ascii", "replace")
    return epoch_seconds_ms(text) if named == "n" else stamp_ms(text, zone)


class _Parser(LineParser):
    names_can_forge = True

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._prefix = Prefix(place.options.prefix)

    def read(self, record: RawRecord) -> tuple[int, Line]:
        """The fields of one report."""
        report = Report(self._prefix, record.data)
        if report.reading is None and self._prefix.sessionless(record.data):
            raise Ignored("not_audit")
        if report.reading is None:
            raise Unreadable("other_prefix")
        fields = report.fields()
        message, _ = clean(report.message.decode("utf-8", "replace"))
        session = (fields.get("c") or b"pid " + fields.get("p", b"?")).decode()
        if message and ("u" not in fields or "d" not in fields):
            person = self._person(report, session, message)
            fields = report.fields_with(*person) if person else fields
        return _time_ms(fields, self._place.zone), Line(
            message,
            session,
            _known(fields, "u"),
            _known(fields, "d"),
            _known(fields, "h") or (_known(fields, "r") or "").partition("(")[0] or None,
            _known(fields, "a"),
            report.reading.severity.decode(),
            b"CONTEXT" in report.additions(),
            message.count("\N{REPLACEMENT CHARACTER}"),
            admits=report.may_say(_AUTHORIZED),
        )

    def _person(self, report: Report, session: str, message: str) -> tuple[bytes, bytes] | None:
        """Who of those that the prefix may name: whom the server named when it authorised the session."""
        people = [(pair, _text(pair[0]), _text(pair[1])) for pair in report.people()]
        if message.startswith(AUTHORIZED):
            said = message.partition(": ")[2] + " "
            for pair, user, database in people:
                if said.startswith(f"user={user} database={database} "):
                    self._core.know(session, user, database)
                    return pair
        return next((pair for pair, user, database in people if self._core.is_known(session, user, database)), None)


def _text(raw: bytes) -> str:
    return clean(raw.decode("utf-8", "replace"))[0]


def _known(fields: dict[str, bytes], escape: str) -> str | None:
    text = _text(fields.get(escape, b""))
    return text if text not in ("", UNKNOWN) else None
