"""MySQL's and MariaDB's slow query log as a source of its own: who ran what, and the rows and bytes that left."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rua_common.settings import Struct
from rua_schemas.events import Outcome

from rua_agents.collectors import slow_log
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import Ignored, RecordParser
from rua_agents.collectors.mysql_statements import Ran, Texts, counted, made_of, outcome_of
from rua_agents.records import RawRecord, Splitter


class SlowOptions(Struct, frozen=True):
    """Options of the slow log."""

    bulk_rows: int = 1_000
    """From how many rows on a read is a bulk query."""


class MysqlSlow(LineCollector):
    """The collector."""

    name = "mysql-slow"
    options: type[msgspec.Struct] = SlowOptions

    def splitter(self, offset: int, limit_bytes: int, options: Any) -> Splitter:
        """One record a statement."""
        del options
        return slow_log.splitter(offset, limit_bytes)

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """When the statement ended."""
        del zone, now_ms, options
        return slow_log.read_entry(record.data).at_ms

    def parser(self, place: Place) -> _Parser:
        """A parser for one file."""
        return _Parser(place)


class MariadbSlow(MysqlSlow):
    """The same grammar; the header tells more."""

    name = "mariadb-slow"


class _Parser(RecordParser):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._texts = Texts(place)

    def read(self, record: RawRecord, observed_at: int) -> list[Draft]:
        """The events of one statement."""
        if slow_log.is_time_or_banner(record.data):
            raise Ignored("header")
        if not record.data.startswith(slow_log.USER):
            slow_log.refuse_general_log(record.data)
        entry = slow_log.read_entry(record.data)
        if entry.text.startswith(slow_log.ADMINISTRATOR):
            raise Ignored("session_control")
        ran = Ran(
            entry.at_ms,
            _text(entry.user) or None,
            _text(entry.address) or None,
            entry.connection,
            _text(entry.database) or None,
            _text(entry.text),
            _outcome(entry),
            cut=record.truncated or not entry.whole,
        )
        made = made_of(self.place, record, observed_at, ran, self._texts.facts(ran))
        self.place.tally.replaced += "\ufffd" in ran.text
        return [counted(one, entry.counts, self.place.options.bulk_rows) for one in made]


def _outcome(entry: slow_log.Entry) -> Outcome:
    if entry.killed:
        return "aborted"
    return "unknown" if entry.errno is None else outcome_of(entry.errno)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
