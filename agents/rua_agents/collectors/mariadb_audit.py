"""MariaDB's server_audit file, with rows and bytes from the slow log if it is told where that stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
from rua_common.settings import Struct
from rua_schemas.events import Label

from rua_agents.collectors import mariadb_lines
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import Ignored, Unreadable, login, party, reason_of
from rua_agents.collectors.mariadb_lines import (
    HEAD_BYTES,
    Line,
    local_ms,
    read_line,
)
from rua_agents.collectors.mariadb_refused import HELD_BYTES, Refused
from rua_agents.collectors.mysql_statements import (
    Counts,
    Made,
    Ran,
    Table,
    Texts,
    counted,
    made_of,
    outcome_of,
    role_of,
    table_of,
)
from rua_agents.collectors.slow_rows import SlowRows
from rua_agents.records import RawRecord, Splitter
from rua_agents.sqlfacts import SUPERUSERS
from rua_agents.times import BadTime

TABLE_USES = frozenset(("READ", "WRITE", "CREATE", "ALTER", "RENAME", "DROP"))
LOGINS = frozenset(("CONNECT", "FAILED_CONNECT", "CHANGEUSER"))
COUNTED_KINDS = frozenset(("data_access", "data_export", "data_change"))
PATIENCE_MS = 2_000
"""The slow log has so long, by the times of the audit log's records."""
DOUBTFUL = Label(key="doubtful", value="user_name_of_several_lines")
MAX_WAITING, MAX_CONNECTIONS, MAX_TABLES = 10_000, 10_000, 64


class MariadbAuditOptions(Struct, frozen=True):
    """Options of the audit log."""

    bulk_rows: int = 1_000
    """From how many rows on a read is a bulk query."""
    slow_log: str | None = None
    """Path of the same server's slow log, which knows rows and bytes."""
    server_audit_query_log_limit: Annotated[int, msgspec.Meta(ge=1)] = 1_024
    """As the server has it: a statement of so many bytes was cut, which nothing else shows."""


class Used(msgspec.Struct, array_like=True):
    """A table that a statement used which is not there yet."""

    query: int
    offset: int
    table: Table


class Waiting(msgspec.Struct, array_like=True):
    """An event that waits for its turn."""

    made: Made
    offset: int
    end: int
    connection: str
    key: str = ""
    """Recognises its entry in the slow log; empty if it waits for none."""
    counts: Counts = Counts()


class Memory(msgspec.Struct, omit_defaults=True):
    """What is remembered between two records."""

    latest_ms: int = 0
    tables: dict[str, list[Used]] = msgspec.field(default_factory=dict)
    """Connection → what its statement has used so far."""
    roles: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    """Connection → the role that it took, by key epoch."""
    queue: list[Waiting] = msgspec.field(default_factory=list)
    refused: Refused = msgspec.field(default_factory=Refused)


class MariadbAudit(LineCollector):
    """The collector."""

    name = "mariadb-audit"
    options: type[msgspec.Struct] = MariadbAuditOptions

    def splitter(self, offset: int, limit_bytes: int, options: Any) -> Splitter:
        """A record begins with its time."""
        del options
        return mariadb_lines.splitter(offset, limit_bytes)

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """The record's own time."""
        del now_ms, options
        return local_ms(read_line(record.data, truncated=record.truncated).stamp, zone, 0)

    def parser(self, place: Place) -> _Parser:
        """A parser for one file."""
        return _Parser(place)


class _Parser:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._options: MariadbAuditOptions = place.options
        self._texts = Texts(place)
        self._head_bytes = min(HEAD_BYTES, max(1, self._options.server_audit_query_log_limit // 2 - 16))
        slow = self._options.slow_log
        self._rows = SlowRows(slow, self._key_of, self._head_bytes) if slow else None
        self._memory = Memory()

    @property
    def waiting(self) -> bool:
        """Whether an event waits."""
        return bool(self._memory.queue)

    def dump(self) -> dict[str, Any]:
        """What is remembered; names are pseudonyms."""
        plain: dict[str, Any] = msgspec.to_builtins(self._memory)
        return plain

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where `dump` was taken."""
        self._memory = msgspec.convert(state, Memory)

    def feed(self, record: RawRecord, observed_at: int) -> list[Draft]:
        """The events before which nothing else can come."""
        tally, memory = self._place.tally, self._memory
        tally.records += 1
        if not record.data.strip():
            tally.ignored["blank"] += 1
            return []
        try:
            line = read_line(record.data, truncated=record.truncated)
            at_ms = local_ms(line.stamp, self._place.zone, memory.latest_ms)
            memory.latest_ms = at_ms
            self._doubt(memory.refused.forged_by(line))
            self._take(record, observed_at, line, at_ms)
        except Ignored as why:
            tally.ignored[str(why)] += 1
        except (Unreadable, BadTime) as why:
            tally.fail(reason_of(why), MariadbAudit.name, record.offset, record.data)
        memory.refused.note(record, self._key_of_record)
        return self._due(record.offset)

    def flush(self) -> list[Draft]:
        """All that waits: the file is silent, or at its end."""
        return self._due(None)

    def _take(self, record: RawRecord, observed_at: int, line: Line, at_ms: int) -> None:
        if line.operation in TABLE_USES:
            self._use(record, line)
        elif line.operation == "QUERY":
            self._query(record, observed_at, line, at_ms)
        elif line.operation in LOGINS:
            self._login(record, observed_at, line, at_ms)
        else:
            if line.operation == "DISCONNECT":
                self._forget(line.connection)
            raise Ignored("session_end" if line.operation == "DISCONNECT" else "session_control")

    def _use(self, record: RawRecord, line: Line) -> None:
        tables = self._memory.tables.setdefault(line.connection, [])
        table = table_of(line.operation, line.database, line.object.partition("|")[0])
        if table is None:
            raise Ignored("table")
        tables.append(Used(line.query, record.offset, table))
        del tables[:-MAX_TABLES]
        _bounded(self._memory.tables)
        self._place.tally.merged += 1  # with its statement, which is written when it ends

    def _query(self, record: RawRecord, observed_at: int, line: Line, at_ms: int) -> None:
        used = self._used(line)
        role = self._memory.roles.get(line.connection)
        ran = Ran(
            at_ms,
            line.user,
            line.host,
            line.connection,
            line.database or None,
            line.object,
            "unknown" if line.code is None else outcome_of(line.code),
            record.truncated or line.quoted_bytes >= self._options.server_audit_query_log_limit - 1,
            used,
            self._place.keys.recalled(role, at_ms) if role else None,
        )
        facts = self._texts.facts(ran)
        if facts.verb == "SET ROLE" and facts.role is not None and line.code == 0:
            self._remember_role(line)
        made = made_of(self._place, record, observed_at, ran, facts)
        asks = self._rows is not None and made[0].event.kind in COUNTED_KINDS and line.code == 0
        self._queue(record, line.connection, made, self._key_of(line.head[: self._head_bytes]) if asks else "")
        self._place.tally.replaced += "\ufffd" in line.object

    def _used(self, line: Line) -> list[Table]:
        """A statement's own tables, and those of what it called: these have higher numbers. Lower are its caller's."""
        tables = self._memory.tables.pop(line.connection, [])
        callers = [one for one in tables if one.query < line.query]
        if callers:
            self._memory.tables[line.connection] = callers
        return [one.table for one in tables if one.query >= line.query]

    def _login(self, record: RawRecord, observed_at: int, line: Line, at_ms: int) -> None:
        self._forget(line.connection)
        who = party(self._place, at_ms, line.user, line.host)
        failed = line.operation == "FAILED_CONNECT" or bool(line.code)
        event = login(
            self._place,
            record,
            observed_at,
            at_ms,
            who=who[:3],
            session=self._place.keys.at(at_ms).pseudonym("session", line.connection),
            outcome="denied" if failed else "ok",
            superuser=line.user.lower() in SUPERUSERS,
        )
        self._queue(record, line.connection, [Made(event, "", "", None)], "")

    def _queue(self, record: RawRecord, connection: str, made: list[Made], key: str) -> None:
        self._place.tally.events += 1
        self._place.tally.split += len(made) - 1
        self._memory.queue += [Waiting(one, record.offset, record.end, connection, key) for one in made]

    def _due(self, offset: int | None) -> list[Draft]:
        """The events whose counts are known or will never be, and which no name behind them can put in doubt."""
        queue, n = self._memory.queue, 0
        for one in queue:
            hurry = offset is None or len(queue) - n > MAX_WAITING
            if not hurry and offset is not None and offset < one.end + HELD_BYTES:
                break
            if one.key and not self._counted(one) and not hurry:
                break
            n += 1
        if not n:
            return []
        due, self._memory.queue = queue[:n], queue[n:]
        return [counted(one.made, one.counts, self._options.bulk_rows) for one in due]

    def _counted(self, one: Waiting) -> bool:
        """Whether all is known that the slow log will tell."""
        at_ms = one.made.event.occurred_at
        found, final = (None, True) if self._rows is None else self._rows.look(one.connection, one.key, at_ms)
        one.counts = found or one.counts
        if final or self._memory.latest_ms > at_ms + PATIENCE_MS:
            one.key = ""
        return not one.key

    def _doubt(self, offsets: list[int]) -> None:
        """The events of these records name nobody, and their tables are no statement's."""
        if not offsets:
            return
        for one in self._memory.queue:
            event = one.made.event
            if one.offset in offsets:
                event = msgspec.structs.replace(event, actor=None, session=None, labels=(*event.labels, DOUBTFUL))
                one.made = msgspec.structs.replace(one.made, event=event)
        for connection, tables in list(self._memory.tables.items()):
            self._memory.tables[connection] = [used for used in tables if used.offset not in offsets]

    def _remember_role(self, line: Line) -> None:
        role = role_of(line.object)
        if role:
            self._memory.roles[line.connection] = self._place.keys.remembered("actor", role)
            _bounded(self._memory.roles)
        else:
            self._memory.roles.pop(line.connection, None)

    def _forget(self, connection: str) -> None:
        self._memory.tables.pop(connection, None)
        self._memory.roles.pop(connection, None)

    def _key_of(self, head: bytes) -> str:
        text = b"".join(head.split()).decode("latin-1")
        return self._place.keys.at(0).pseudonym("statement_text", text)

    def _key_of_record(self, data: bytes) -> str:
        return self._place.keys.at(0).pseudonym("record", data.decode("latin-1"))[:16]


def _bounded(kept: dict[str, Any]) -> None:
    while len(kept) > MAX_CONNECTIONS:
        kept.pop(next(iter(kept)))
