"""PostgreSQL with `log_destination = csvlog` and pgaudit: CSV records that may span lines, the payload CSV again."""

from __future__ import annotations

import csv
import re
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rua_schemas.codec import clean

from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Place
from rua_agents.collectors.csv_records import CsvSplitter
from rua_agents.collectors.drafting import Unreadable
from rua_agents.collectors.pgaudit_lines import LOCAL, Line, LineParser
from rua_agents.collectors.pgaudit_parser import PgauditOptions
from rua_agents.records import RawRecord, Splitter
from rua_agents.times import stamp_ms

# Columns of every version since 9.0; 13 added the backend's type, 14 the leader's pid and the query's id.
LEAST_COLUMNS = 23
TIME, USER, DATABASE, PID, HOST, SESSION = range(6)
SEVERITY, MESSAGE, CONTEXT, PROGRAM = 11, 13, 18, 22
_SESSION = re.compile(r"[0-9a-f]+\.[0-9a-f]+")


class PgauditCsvlog(LineCollector):
    """The collector."""

    name = "pgaudit-csvlog"
    options: type[msgspec.Struct] = PgauditOptions

    def splitter(self, offset: int, limit_bytes: int, options: Any) -> Splitter:
        """A record ends at a newline outside quotes."""
        del options
        return CsvSplitter(offset, limit_bytes)

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """The record's own time."""
        del now_ms, options
        return stamp_ms(columns(record)[0][TIME], zone)

    def parser(self, place: Place) -> _Parser:
        """A parser for one file."""
        return _Parser(place)


def columns(record: RawRecord) -> tuple[list[str], int]:
    """The columns of a record, and how many characters had to be replaced. A cut one ends in its message, or later.

    Raises:
        Unreadable: torn before its message, or not csvlog.
    """
    text, _ = clean(record.data.decode("utf-8", "replace"))
    try:
        found = next(csv.reader((text,), strict=not record.truncated))
    except (csv.Error, StopIteration) as why:
        raise Unreadable("torn" if record.truncated else "not_csv") from why
    if len(found) < (MESSAGE + 1 if record.truncated else LEAST_COLUMNS):
        raise Unreadable("torn" if record.truncated else "columns")
    if not (found[PID].isdigit() and _SESSION.fullmatch(found[SESSION])):
        raise Unreadable("columns")
    return found, text.count("\N{REPLACEMENT CHARACTER}")


class _Parser(LineParser):
    def read(self, record: RawRecord) -> tuple[int, Line]:
        """The fields of one record."""
        found, replaced = columns(record)
        found += [""] * (LEAST_COLUMNS - len(found))
        host, _, port = found[HOST].rpartition(":")
        return stamp_ms(found[TIME], self._place.zone), Line(
            found[MESSAGE],
            found[SESSION],
            found[USER] or None,
            found[DATABASE] or None,
            (host if port.isdigit() else found[HOST]) or LOCAL,
            found[PROGRAM] or None,
            found[SEVERITY],
            bool(found[CONTEXT]),
            replaced,
        )
