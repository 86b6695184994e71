"""MySQL Enterprise's and Percona's audit log as JSON: one growing array, or Percona's older objects, one a line."""

from __future__ import annotations

from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Place
from rua_agents.collectors.drafting import Unreadable
from rua_agents.collectors.mysql_audit import UTC_ZONE, Audited, MysqlAuditOptions, MysqlAuditParser
from rua_agents.collectors.mysql_audit_xml import of_old
from rua_agents.collectors.mysql_statements import Counts
from rua_agents.elements import ElementSplitter
from rua_agents.jsontext import read_object
from rua_agents.records import RawRecord, Splitter
from rua_agents.times import stamp_ms

MOST_ROWS = 1 << 62


class _Account(msgspec.Struct):
    user: str | None = None
    host: str | None = None
    ip: str | None = None


class _Attributes(msgspec.Struct):
    program_name: Any = None


class _Data(msgspec.Struct):
    command: str = ""
    query: str = ""
    status: int | None = None
    db: str | None = None
    table: str | None = None
    connection_attributes: _Attributes = msgspec.field(default_factory=_Attributes)


class _Statistics(msgspec.Struct):
    rows_sent: Any = None
    bytes_sent: Any = None


class _Record(msgspec.Struct):
    timestamp: str = ""
    sort: Literal["general", "table_access", "connection", "audit", "other"] = msgspec.field(
        name="class", default="other"
    )
    event: str = ""
    connection_id: int | str = ""
    account: _Account = msgspec.field(default_factory=_Account)
    login: _Account = msgspec.field(default_factory=_Account)
    general_data: _Data = msgspec.field(default_factory=_Data)
    table_access_data: _Data = msgspec.field(default_factory=_Data)
    connection_data: _Data = msgspec.field(default_factory=_Data)
    query_statistics: _Statistics = msgspec.field(default_factory=_Statistics)


class MysqlAuditJson(LineCollector):
    """The collector."""

    name = "mysql-audit-json"
    options: type[msgspec.Struct] = MysqlAuditOptions

    def splitter(self, offset: int, limit_bytes: int, options: Any) -> Splitter:
        """The objects of an array that is never closed."""
        del options
        return ElementSplitter(offset, limit_bytes)

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """The record's own time, which is UTC."""
        del zone, now_ms, options
        value, _ = read_object(record.data, truncated=record.truncated)
        inner = value.get("audit_record", value)
        at = inner.get("timestamp") if isinstance(inner, dict) else None
        return stamp_ms(at.replace("Z UTC", "Z"), UTC_ZONE) if isinstance(at, str) else None

    def parser(self, place: Place) -> _Parser:
        """A parser for one file."""
        return _Parser(place)


class _Parser(MysqlAuditParser):
    def audited(self, record: RawRecord) -> Audited:
        """The record, in either of the two forms."""
        value, replaced = read_object(record.data, truncated=record.truncated)
        self.place.tally.replaced += replaced
        old = value.get("audit_record")
        if isinstance(old, dict):
            return of_old({str(k).upper(): str(v) for k, v in old.items()})
        if value.get("class") not in ("general", "table_access", "connection", "audit"):
            value["class"] = "other"
        one = msgspec.convert(value, _Record)
        if one.sort == "other":
            raise Unreadable("unknown_class")
        data = getattr(one, f"{one.sort}_data", _Data())
        statistics, program = one.query_statistics, data.connection_attributes.program_name
        return Audited(
            one.timestamp,
            one.sort,
            one.event.lower(),
            data.command.lower(),
            str(one.connection_id),
            one.account.user or one.login.user,
            one.login.ip or one.account.host,
            data.db,
            data.table,
            data.query,
            data.status,
            Counts(_count(statistics.rows_sent), None, _count(statistics.bytes_sent)),
            program if isinstance(program, str) else None,
        )


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < MOST_ROWS else None
