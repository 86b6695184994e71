"""The parser that every log format of PostgreSQL shares: a line's facts in, drafts out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from rua_common.settings import Struct

from rua_agents import labels
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.pgaudit import PREVIOUSLY_LOGGED, Audit, read_audit
from rua_agents.collectors.pgaudit_events import STRENGTH, events_of
from rua_agents.collectors.pgaudit_logins import Logins, login_event
from rua_agents.collectors.pgaudit_statements import Group, Memory, OpenStatement, Ready, Session, bounded
from rua_agents.identity import position
from rua_agents.memo import memo
from rua_agents.records import RawRecord
from rua_agents.sqlfacts import FactReader
from rua_agents.sqltext import DEFAULT_DIALECT
from rua_agents.statements import MAX_CHARACTERS, NOTHING, SUPERUSERS, Facts, Statements, tokenise

MAX_OPEN = 4_096
"""Statements that may still get records; PostgreSQL's own default is 100 connections."""
MAX_GROUPS = 64
MAX_SESSIONS = 10_000
MAX_CURSORS = 32
CACHED = 256
WITH_FACTS = frozenset(("COPY", "FETCH", "MOVE", "DECLARE CURSOR", "SET", "RESET"))


class PgauditOptions(Struct, frozen=True):
    """Options of the pgaudit sources."""

    bulk_rows: int = 1_000
    """From how many rows on a read is a bulk query."""
    logins: Logins = "failed"
    """Which connections are events."""


class LogLine(NamedTuple):
    """What a line of PostgreSQL's log says beside its message."""

    record: RawRecord
    observed_at: int
    at_ms: int
    session: str
    message: str
    user: str | None
    database: str | None
    address: str | None
    program: str | None
    truncated: bool


@memo(CACHED)
def in_clear(text: str) -> Facts:
    """Names of a statement as they are: for memory that must outlive a change of keys; they never leave."""
    return FactReader(lambda _, name: name, DEFAULT_DIALECT).read(tokenise(text[:MAX_CHARACTERS]))


class PgauditParser:
    """Drafts of one file."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._bulk_rows: int = place.options.bulk_rows
        self._texts: dict[int, Statements] = {}
        self._sessions: dict[tuple[str | int | None, ...], Session] = {}
        self.memory = Memory()

    @property
    def waiting(self) -> bool:
        """Whether a draft waits for a record that would complete it."""
        return bool(self.memory.statements.open or self.memory.statements.ready)

    def time_passes(self, record_ms: int) -> list[Draft]:
        """A record of this time was seen; it may complete statements."""
        statements = self.memory.statements
        if not statements.open:
            return []
        for statement in statements.expired(record_ms):
            self._close(statement)
        return statements.due()

    def begin_session(self, session: str) -> None:
        """A connection is received: what was remembered of an earlier session of this name is over."""
        self.end_session(session)
        self.memory.strangers[self._remembered_as("session", session)] = True
        bounded(self.memory.strangers, MAX_SESSIONS)

    def admit(self, session: str) -> None:
        """A connection is authorised."""
        self.memory.authorizes = True
        self.memory.strangers.pop(self._remembered_as("session", session), None)

    def is_stranger(self, session: str) -> bool:
        """Whether this connection was received and not authorised, in a log that tells both."""
        return self.memory.authorizes and self._remembered_as("session", session) in self.memory.strangers

    def know(self, session: str, user: str, database: str) -> None:
        """The server has said who this session is."""
        self.memory.people[self._remembered_as("session", session)] = self._person(user, database)
        bounded(self.memory.people, MAX_SESSIONS)

    def is_known(self, session: str, user: str, database: str) -> bool:
        """Whether it was this one."""
        return self.memory.people.get(self._remembered_as("session", session)) == self._person(user, database)

    def _person(self, user: str, database: str) -> str:
        return self._remembered_as("person", f"{user}\0{database}")

    def end_session(self, session: str) -> None:
        """Forgets a session's role and cursors."""
        key, memory = self._remembered_as("session", session), self.memory
        for kept in (memory.roles, memory.cursors, memory.strangers, memory.people):
            kept.pop(key, None)

    def login(self, line: LogLine, *, denied: bool) -> list[Draft]:
        """Somebody connected, or was not let in."""
        event = login_event(self._place, line.record, line.observed_at, line.at_ms, self._session(line), denied=denied)
        statements = self.memory.statements
        for statement in statements.expired(line.at_ms):
            self._close(statement)
        statements.ready.append(Ready(event.source_position, event))
        self._place.tally.events += 1
        return statements.due()

    def feed(self, line: LogLine) -> list[Draft]:
        """Takes an AUDIT line.

        Raises:
            BadAudit: pgaudit's grammar is broken.
        """
        audit = read_audit(line.message, truncated=line.truncated)
        statements = self.memory.statements
        complete = statements.expired(line.at_ms)
        session = self._session(line)
        current = statements.open.pop(session.key, None)
        if current is not None and current.number != audit.statement:
            complete.append(current)
            current = None
        if len(statements.open) >= MAX_OPEN:  # many at once: finding what is due looks at all that are open
            complete += [statements.open.pop(key) for key in list(statements.open)[: MAX_OPEN // 2]]
        for statement in complete:
            self._close(statement)
        if current is None:
            roles, strong = self.memory.roles.get(session.key, ({}, False))
            role = self._place.keys.recalled(roles, line.at_ms)
            first = position(line.record.offset)
            current = OpenStatement(audit.statement, session, first, line.at_ms, [], role=role, role_superuser=strong)
        current.last_ms = max(current.last_ms, line.at_ms)
        self._add(current, line, audit)
        statements.open[session.key] = current
        # nothing new can be due unless a statement was completed
        return statements.due() if complete or len(current.groups) >= MAX_GROUPS // 2 else []

    def flush(self) -> list[Draft]:
        """Completes everything."""
        statements = self.memory.statements
        while statements.open:
            self._close(statements.open.pop(next(iter(statements.open))))
        return statements.due()

    def dump(self) -> dict[str, Any]:
        """What is remembered; pseudonyms only."""
        return self.memory.dump()

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where `dump` was taken."""
        self.memory = Memory.of(state)

    def _remembered_as(self, field: str, name: str) -> str:
        """What a session or cursor is called in the checkpoint: it outlives a change of keys, and never leaves."""
        return self._place.keys.at(0).pseudonym(field, name)

    def _session(self, line: LogLine) -> Session:
        names = self._place.keys.at(line.at_ms)
        known = (line.session, line.user, line.database, line.address, line.program, names.epoch)
        found = self._sessions.get(known)
        if found is None:
            found = self._sessions[known] = Session(
                self._remembered_as("session", line.session),
                names.pseudonym("session", line.session),
                names.pseudonym("actor", line.user) if line.user else None,
                labels.name_shape(line.database) if line.database else None,
                labels.product(line.program) if line.program else None,
                names.pseudonym("address", line.address) if line.address else None,
                names.network(line.address) if line.address else None,
                (line.user or "").lower() in SUPERUSERS,
                labels.ticket(line.program) if line.program else None,
            )
            bounded(self._sessions, MAX_SESSIONS)
        return found

    def _add(self, statement: OpenStatement, line: LogLine, audit: Audit) -> None:
        facts = self._facts(statement, audit, line.at_ms)
        at = position(line.record.offset)
        event_id, data = self._place.ids.event_id, line.record.data
        people = range(len(facts.names)) if facts.names else (0,)
        event_ids = tuple([event_id(at + i, data) for i in people])
        for group in statement.groups:
            if group.substatement == audit.substatement:
                break
        else:
            group = Group(audit.substatement, audit.klass, audit.command, line.at_ms, line.observed_at, at, event_ids)
            group.records, group.facts = 0, facts
            statement.groups.append(group)
        strength, before = STRENGTH.get(audit.command, 0), STRENGTH.get(group.command, 0)
        if strength > before:
            group.klass, group.command, group.facts, group.table = audit.klass, audit.command, facts, None
        if strength >= before and (group.table is None or (audit.by_object and not group.by_object)):
            group.table, group.by_object = audit.table or self._table(statement, audit, facts), audit.by_object
        if audit.rows is not None:
            group.rows = max(group.rows or 0, audit.rows)
        group.records += 1
        group.position, group.event_ids, group.observed_at = at, event_ids, line.observed_at
        group.truncated |= line.truncated
        if facts.verb in ("SET ROLE", "DECLARE"):
            self._remember(statement, audit, facts)
        if len(statement.groups) > MAX_GROUPS:
            # a loop in a function: its older substatements are complete for all that COPY could want of them
            early, statement.groups = statement.groups[: MAX_GROUPS // 2], statement.groups[MAX_GROUPS // 2 :]
            self._close(msgspec.structs.replace(statement, groups=early))
            statement.first_position = min(g.position for g in statement.groups)

    def _facts(self, statement: OpenStatement, audit: Audit, at_ms: int) -> Facts:
        text = audit.text
        if text is None:
            return NOTHING
        if text == PREVIOUSLY_LOGGED:
            return statement.text_facts
        names = self._place.keys.at(at_ms)
        texts = self._texts.get(names.epoch) or self._texts.setdefault(names.epoch, Statements(names))
        # without log_relation pgaudit names no table, and the text has to
        nameless = audit.table is None and audit.klass in ("READ", "WRITE")
        if nameless or audit.command in WITH_FACTS or audit.klass == "ROLE" or text[:4].upper() == "COPY":
            facts = texts.facts(text)
        else:
            facts = texts.plain(text)
        statement.text_facts = facts
        return facts

    def _table(self, statement: OpenStatement, audit: Audit, facts: Facts) -> str | None:
        cursor = in_clear(audit.text or "").cursor if facts.verb == "FETCH" else None
        if cursor is None:
            return facts.table
        known = self.memory.cursors.get(statement.session.key, {})
        return known.get(self._remembered_as("cursor", cursor))

    def _remember(self, statement: OpenStatement, audit: Audit, facts: Facts) -> None:
        key, memory, named = statement.session.key, self.memory, in_clear(audit.text or "")
        if facts.verb == "SET ROLE" and audit.klass == "MISC":
            if named.role:
                memory.roles[key] = self._place.keys.remembered("actor", named.role), facts.strong
                bounded(memory.roles, MAX_SESSIONS)
            else:
                memory.roles.pop(key, None)
        table = audit.table or facts.table
        if facts.verb == "DECLARE" and named.cursor and table:
            cursors = memory.cursors.setdefault(key, {})
            cursors[self._remembered_as("cursor", named.cursor)] = table
            bounded(cursors, MAX_CURSORS)
            bounded(memory.cursors, MAX_SESSIONS)

    def _close(self, statement: OpenStatement) -> None:
        made = events_of(statement, self._place, self._bulk_rows)
        self.memory.statements.ready += [Ready(at, event) for at, event in made]
