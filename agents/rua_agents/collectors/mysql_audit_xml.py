"""MySQL Enterprise's and Percona's audit log as XML, new style (elements) and old style (attributes).

The root element stays open while the server runs, so each record is parsed by itself. Text of users has no `<` in it:
a line that begins with one is the log's own. What is parsed begins with the record's element, in which no document
type may stand: so no entity can be declared.
"""

from __future__ import annotations

import re
from typing import Any
from xml.parsers import expat
from zoneinfo import ZoneInfo

import msgspec

from rua_agents.blocks import BlockSplitter
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Place
from rua_agents.collectors.drafting import Ignored, Unreadable
from rua_agents.collectors.mysql_audit import UTC_ZONE, Audited, MysqlAuditOptions, MysqlAuditParser, Sort
from rua_agents.collectors.mysql_statements import Counts
from rua_agents.records import RawRecord, Splitter
from rua_agents.times import stamp_ms

RECORD = b"<AUDIT_RECORD"
_MARKUP = (b"<?xml", b"<AUDIT>", b"</AUDIT>")
_BEGINS = (RECORD, *_MARKUP)
# characters that XML 1.0 may not hold, raw or by number
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_REFERENCE = re.compile(r"&#(?:x([0-9a-fA-F]{1,8})|([0-9]{1,8}));")
_NUMBER = re.compile(r"-?\d{1,9}", re.ASCII)
# what may be open where a record of attributes was cut
_CLOSERS = ("", '"/>', "/>")
_LOGINS = {"connect": "connect", "change user": "change_user", "quit": "quit", "disconnect": "quit"}


class MysqlAuditXml(LineCollector):
    """The collector."""

    name = "mysql-audit-xml"
    options: type[msgspec.Struct] = MysqlAuditOptions

    def splitter(self, offset: int, limit_bytes: int, options: Any) -> Splitter:
        """One record element, which begins a line."""
        del options
        return BlockSplitter(offset, limit_bytes, lambda line: not line.lstrip().startswith(_BEGINS))

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """The record's own time, which is UTC."""
        del zone, now_ms, options
        at = fields_of(record.data, truncated=record.truncated)[0].get("TIMESTAMP", "")
        return stamp_ms(at.replace("Z UTC", "Z"), UTC_ZONE)

    def parser(self, place: Place) -> _Parser:
        """A parser for one file."""
        return _Parser(place)


class _Parser(MysqlAuditParser):
    def audited(self, record: RawRecord) -> Audited:
        """The record, in either style."""
        fields, replaced = fields_of(record.data, truncated=record.truncated)
        self.place.tally.replaced += replaced
        return of_old(fields)


def of_old(fields: dict[str, str]) -> Audited:
    """A record by the names that the older formats share.

    Raises:
        Unreadable: it says not what it is.
    """
    name = fields.get("NAME", "").lower()
    if not name:
        raise Unreadable("no_name")
    table = name.removeprefix("table") if name.startswith("table") else None
    plain: Sort = "audit" if name in ("audit", "noaudit") else "connection" if name in _LOGINS else "general"
    sort: Sort = "table_access" if table else plain
    status = fields.get("STATUS", "")
    return Audited(
        fields.get("TIMESTAMP", ""),
        sort,
        table or _LOGINS.get(name, "status" if sort == "general" else name),
        name,
        fields.get("CONNECTION_ID", ""),
        fields.get("USER"),
        fields.get("IP") or fields.get("HOST"),
        fields.get("DB"),
        fields.get("TABLE"),
        fields.get("SQLTEXT", ""),
        int(status) if _NUMBER.fullmatch(status) else None,
        Counts(),
        composite=True,
    )


def fields_of(data: bytes, *, truncated: bool = False) -> tuple[dict[str, str], int]:
    """Attributes and child elements of one record, and how many characters had to be replaced.

    Raises:
        Ignored: it is the log's root.
        Unreadable: it is no such element.
    """
    data = data.strip()
    if data.startswith(_MARKUP):
        raise Ignored("markup")
    if not data.startswith(RECORD):
        raise Unreadable("not_xml")
    text = data.decode("utf-8", "replace")
    text = _FORBIDDEN.sub("\ufffd", text)
    if "&#" in text:
        text = _REFERENCE.sub(_allowed, text)
    for closer in _CLOSERS if truncated else ("",):
        reader = _Reader()
        if reader.read(text + closer, final=not truncated):
            return reader.fields, text.count("\ufffd")
    raise Unreadable("not_xml")


def _allowed(reference: re.Match[str]) -> str:
    number = int(reference[1], 16) if reference[1] else int(reference[2])
    if number > 0x10FFFF or 0xD800 <= number < 0xE000 or _FORBIDDEN.match(chr(number)):
        return "\ufffd"
    return reference[0]


class _Reader:
    """The fields of one element, by an incremental parser without entities."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self._depth = 0
        self._name, self._parts = "", list[str]()

    def read(self, text: str, *, final: bool) -> bool:
        """Whether the text is that, or a beginning of it that tells something."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(text, final)
        except expat.ExpatError:
            return False
        if self._depth == 2 and not final:
            self._end(self._name)
        return bool(self.fields)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1:
            self.fields.update(attributes)
        elif self._depth == 2:
            self._name, self._parts = name, []

    def _text(self, text: str) -> None:
        if self._depth == 2:
            self._parts.append(text)

    def _end(self, name: str) -> None:
        if self._depth == 2:
            self.fields[name] = "".join(self._parts)
        self._depth -= 1
