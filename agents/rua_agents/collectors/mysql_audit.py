"""MySQL Enterprise's and Percona's audit records, whichever of their formats carried them.

A statement has up to three sorts of records: `general` when it ended, `table_access` for each table before that, and
its connection's. With both of the first, the later one is the event and the others name its tables.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from rua_common.settings import Struct

from rua_agents import labels
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import Ignored, RecordParser, Unreadable, draft, login, party
from rua_agents.collectors.mysql_statements import (
    Counts,
    Ran,
    Table,
    Texts,
    counted,
    made_of,
    outcome_of,
    table_of,
)
from rua_agents.records import RawRecord
from rua_agents.sqlfacts import SUPERUSERS
from rua_agents.times import stamp_ms

UTC_ZONE = ZoneInfo("UTC")
MAX_CONNECTIONS, MAX_TABLES = 10_000, 64
STATEMENTS = frozenset(("query", "execute"))
LOGINS = frozenset(("connect", "change_user", "change user"))
USES = {"read": "READ", "insert": "WRITE", "update": "WRITE", "delete": "WRITE"}
# `privileges[user] @ host [address]`, read from its right end: a user's name may hold any of that
_ACCOUNT = re.compile(r"(.*)\] @ ([^\]@]*) \[([^\]]*)\]", re.DOTALL)


class MysqlAuditOptions(Struct, frozen=True):
    """Options of the audit log."""

    bulk_rows: int = 1_000
    """From how many rows on a read is a bulk query."""
    statements: Literal["general", "table_access"] = "general"
    """Which records are the events. Choose table_access if a filter logs no general ones."""


Sort = Literal["general", "table_access", "connection", "audit"]


class Audited(NamedTuple):
    """One record, whatever its format."""

    at: str
    sort: Sort
    event: str
    """In lower case: connect, status, read …"""
    command: str
    """Of a general record, in lower case: query, execute, quit …"""
    connection: str
    user: str | None
    address: str | None
    database: str | None = None
    table: str | None = None
    text: str = ""
    status: int | None = None
    counts: Counts = Counts()
    program: str | None = None
    """The client's, as it calls itself when it connects."""
    composite: bool = False
    """Whether its format always writes users as `root[root] @ localhost []`."""


class Memory(msgspec.Struct, omit_defaults=True):
    """What is remembered between two records."""

    tables: dict[str, list[Table]] = msgspec.field(default_factory=dict)
    """Connection → what its statement has used so far."""
    tools: dict[str, str] = msgspec.field(default_factory=dict)
    """Connection → the client's program."""
    plain_users: bool = False
    """Whether a user was seen who is written plainly: then what looks composite is a name that somebody chose."""


class MysqlAuditParser(RecordParser, ABC):
    """Drafts of one file."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._options: MysqlAuditOptions = place.options
        self._texts = Texts(place)
        self._memory = Memory()

    @abstractmethod
    def audited(self, record: RawRecord) -> Audited:
        """The record.

        Raises:
            Ignored: it is markup.
            Unreadable, NotJson, msgspec.ValidationError: it breaks the format's grammar.
        """

    def dump(self) -> dict[str, Any]:
        """What is remembered; no names of people."""
        plain: dict[str, Any] = msgspec.to_builtins(self._memory)
        return plain

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where `dump` was taken."""
        self._memory = msgspec.convert(state, Memory)

    def read(self, record: RawRecord, observed_at: int) -> list[Draft]:
        """The events of one record."""
        one = self.audited(record)
        at_ms = stamp_ms(one.at.replace("Z UTC", "Z"), UTC_ZONE)
        one = one._replace(user=self._user(one))
        if one.sort == "connection":
            return self._login(record, observed_at, at_ms, one)
        if one.sort == "audit":
            return self._audit(record, observed_at, at_ms, one)
        if one.sort != self._options.statements:
            raise Ignored(self._beside(one))
        return self._statement(record, observed_at, at_ms, one)

    def _user(self, one: Audited) -> str | None:
        composite = _ACCOUNT.fullmatch(one.user) if one.user else None
        if one.user and not composite:
            self._memory.plain_users |= not one.composite
        if composite is None or (self._memory.plain_users and not one.composite):
            return one.user or None
        return user_of(composite[1]) or None

    def _beside(self, one: Audited) -> str:
        """Why the record is no event; its table is kept for the one that is."""
        if one.sort == "general":
            return "told_by_table_access"
        table = table_of(USES.get(one.event, "READ"), one.database or "", one.table or "") if one.table else None
        tables = self._memory.tables.setdefault(one.connection, [])
        if table is not None and len(tables) < MAX_TABLES:
            tables.append(table)
        while len(self._memory.tables) > MAX_CONNECTIONS:
            self._memory.tables.pop(next(iter(self._memory.tables)))
        return "told_by_general"

    def _statement(self, record: RawRecord, observed_at: int, at_ms: int, one: Audited) -> list[Draft]:
        tables = self._memory.tables.pop(one.connection, [])
        if one.sort == "general" and (one.event != "status" or one.command not in STATEMENTS):
            raise Ignored("session_control")
        if one.sort == "table_access" and (table := table_of(USES.get(one.event, "READ"), *_names(one))):
            tables = [table]
        ran = Ran(
            at_ms,
            one.user,
            one.address,
            one.connection,
            one.database,
            one.text,
            "unknown" if one.status is None else outcome_of(one.status),
            record.truncated,
            tables,
            tool=self._memory.tools.get(one.connection),
        )
        made = made_of(self.place, record, observed_at, ran, self._texts.facts(ran))
        return [counted(event, one.counts, self._options.bulk_rows) for event in made]

    def _login(self, record: RawRecord, observed_at: int, at_ms: int, one: Audited) -> list[Draft]:
        self._memory.tables.pop(one.connection, None)
        tool = self._tool(one)
        if one.event not in LOGINS:
            raise Ignored("session_end" if one.event in ("disconnect", "quit") else "session_control")
        who = party(self.place, at_ms, one.user, one.address)
        return [
            login(
                self.place,
                record,
                observed_at,
                at_ms,
                who=who[:3],
                session=self.place.keys.at(at_ms).pseudonym("session", one.connection),
                outcome="unknown" if one.status is None else "denied" if one.status else "ok",
                superuser=(one.user or "").lower() in SUPERUSERS,
                tool=tool,
            )
        ]

    def _tool(self, one: Audited) -> str | None:
        """The program of a connection that begins, which its statements will have too."""
        self._memory.tools.pop(one.connection, None)
        tool = labels.product(one.program) if one.program and one.event in LOGINS and not one.status else None
        if tool:
            self._memory.tools[one.connection] = tool
            while len(self._memory.tools) > MAX_CONNECTIONS:
                self._memory.tools.pop(next(iter(self._memory.tools)))
        return tool

    def _audit(self, record: RawRecord, observed_at: int, at_ms: int, one: Audited) -> list[Draft]:
        """The audit log was begun or ended: whoever silences it must be seen."""
        if one.event not in ("", "audit", "startup", "noaudit", "shutdown"):
            raise Ignored("session_control")
        self._memory.tables.clear()
        facts: Mapping[str, Any] = {"kind": "administration", "action": "alter", "channel": "db", "outcome": "ok"}
        return [draft(self.place, record, observed_at, at_ms, **facts)]


def _names(one: Audited) -> tuple[str, str]:
    if one.table is None:
        raise Unreadable("no_table")
    return one.database or "", one.table


def user_of(text: str) -> str:
    """Of `privileges[user` the user; both are the same as a rule, and may hold brackets."""
    middle = len(text) // 2
    if len(text) % 2 and text[middle] == "[" and text[:middle] == text[middle + 1 :]:
        return text[:middle]
    return text.partition("[")[2]
