"""Several AUDIT records are one event: OBJECT beside SESSION, one row a table of a join, COPY beside its query.

A statement of a session is complete when the session goes on to another one, or when any record of the file is more
than a second away from it: younger as a rule, older where a clock was set back or one line bears a date of the future.
Both are told by records alone, so reading again merges the same way. An event stands at the position of its last
record, and events come in the order of their positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rua_agents.collectors.contract import Draft
from rua_agents.statements import NOTHING, Facts

CLOSE_AFTER_MS = 1_000


class Group(msgspec.Struct, omit_defaults=True):
    """The records of one substatement, already pseudonymised."""

    substatement: int
    klass: str
    command: str
    occurred_at: int
    observed_at: int
    position: int
    event_ids: tuple[str, ...]
    """Ids of its events if its latest record completes them; several if it names several people."""
    facts: Facts = NOTHING
    table: str | None = None
    by_object: bool = False
    rows: int | None = None
    truncated: bool = False
    records: int = 1


class Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who speaks, as pseudonyms."""

    key: str
    """What the parser remembers it by."""
    name: str
    """What its events call it."""
    actor: str | None = None
    database: str | None = None
    tool: str | None = None
    source_ip: str | None = None
    network: str | None = None
    superuser: bool = False
    ticket: str | None = None


class OpenStatement(msgspec.Struct, omit_defaults=True):
    """A statement that may still get records."""

    number: int
    session: Session
    first_position: int
    last_ms: int
    groups: list[Group]
    text_facts: Facts = NOTHING
    """Of the last text seen, for `<previously logged>`."""
    role: str | None = None
    role_superuser: bool = False


class Ready(msgspec.Struct, array_like=True):
    """A complete event that waits for its turn."""

    position: int
    event: Draft


class Statements(msgspec.Struct, omit_defaults=True):
    """Of one file: statements that are not complete, and events that wait for those before them."""

    open: dict[str, OpenStatement] = msgspec.field(default_factory=dict)
    """By session, the least recently touched first."""
    ready: list[Ready] = msgspec.field(default_factory=list)
    latest_ms: int = 0
    """Time of the record before this one."""

    def expired(self, record_ms: int) -> list[OpenStatement]:
        """Statements that a record of this time completes."""
        jumped = abs(record_ms - self.latest_ms) > CLOSE_AFTER_MS
        self.latest_ms = record_ms
        done = []
        for session, statement in self.open.items():
            if abs(record_ms - statement.last_ms) > CLOSE_AFTER_MS:
                done.append(session)
            elif not jumped:
                break  # those touched later are nearer, unless time has jumped between two records
        return [self.open.pop(session) for session in done]

    def due(self) -> list[Draft]:
        """The events before which nothing else can come, in order."""
        if not self.ready:
            return []
        lowest = min([s.first_position for s in self.open.values()], default=None)
        self.ready.sort(key=lambda one: one.position)
        n = len(self.ready)
        while n and lowest is not None and self.ready[n - 1].position >= lowest:
            n -= 1
        due, self.ready = self.ready[:n], self.ready[n:]
        return [one.event for one in due]


class Memory(msgspec.Struct, omit_defaults=True):
    """All that a pgaudit parser remembers between two records; fit for the checkpoint."""

    statements: Statements = msgspec.field(default_factory=Statements)
    roles: dict[str, tuple[dict[str, str], bool]] = msgspec.field(default_factory=dict)
    """Session → role taken by SET ROLE, by every key, and whether it is a superuser's."""
    cursors: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    """Session → cursor → the table it reads."""
    strangers: dict[str, bool] = msgspec.field(default_factory=dict)
    """Sessions whose connection was received and not authorised."""
    people: dict[str, str] = msgspec.field(default_factory=dict)
    """Session → who was authorised for which database, where its prefix alone does not tell."""
    authorizes: bool = False
    """Whether the log has ever told that a connection was authorised."""

    def dump(self) -> dict[str, Any]:
        """As plain values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Memory:
        """From `dump`'s values."""
        return msgspec.convert(state, cls)


def bounded(kept: dict[Any, Any], most: int) -> None:
    """Forgets the oldest entries beyond a number."""
    while len(kept) > most:
        kept.pop(next(iter(kept)))
