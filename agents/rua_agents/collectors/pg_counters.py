"""What PostgreSQL's counters say happened between two looks at them. Pure: two snapshots in, rows out.

`pg_stat_statements` counts the rows of finished COPY and FETCH statements, which pgaudit does not know;
`pg_stat_progress_copy` shows those of a COPY that still runs, or was cancelled. A COPY that both have seen is told
once: what its progress told is taken off what its statement counts at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from rua_agents.memo import memo
from rua_agents.sqlfacts import FactReader
from rua_agents.sqltext import DEFAULT_DIALECT, tokenise

MAX_CHARACTERS = 8_192
Command = Literal["copy", "fetch"]
CREDIT_LOOKS = 2
"""A COPY leaves the progress view just before its statement is counted: its credit waits for one more look."""


class Statement(NamedTuple):
    """One entry of `pg_stat_statements`."""

    key: str
    """Query, user and database, as numbers: `queryid/userid/dbid`."""
    user: str
    database: str
    query: str
    calls: int
    rows: int


class Copy(NamedTuple):
    """One COPY … TO that runs."""

    key: str
    """Process, and when its statement began."""
    statement: str
    """`key` of its statement."""
    user: str
    database: str
    relation: str | None
    """None if it copies a query."""
    address: str | None
    program: str
    tuples: int
    bytes: int


class Snapshot(NamedTuple):
    """Both views at one time of the server's clock."""

    at_ms: int
    reset_ms: int
    """When the counters were last set back."""
    evicted: int
    """How often entries were dropped for want of space."""
    statements: Sequence[Statement]
    copies: Sequence[Copy]


class Running(msgspec.Struct):
    """What was told of a COPY that runs."""

    statement: str
    tuples: int = 0
    bytes: int = 0


class Credit(msgspec.Struct):
    """Rows that progress told before the statement was counted."""

    rows: int
    looks: int = CREDIT_LOOKS


class Seen(msgspec.Struct):
    """What is remembered between two looks; fit for the checkpoint: numbers only."""

    at_ms: int
    reset_ms: int
    evicted: int
    statements: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    """Key → calls, rows."""
    copies: dict[str, Running] = msgspec.field(default_factory=dict)
    credits: dict[str, Credit] = msgspec.field(default_factory=dict)


class Row(msgspec.Struct, frozen=True):
    """Rows that left between two looks: one record of the source `pg-stats`."""

    at_ms: int
    since_ms: int
    command: Command
    user: str
    database: str
    rows: int
    exact: bool
    calls: int = 0
    query: str | None = None
    relation: str | None = None
    bytes: int | None = None
    address: str | None = None
    program: str | None = None


@memo(2_048)
def uncounted(query: str) -> Command | None:
    """What statement it is, if pgaudit cannot count the rows that it sends. COPY of a query is counted."""
    tokens = tokenise(query[:MAX_CHARACTERS])
    facts = FactReader(lambda _, name: name, DEFAULT_DIALECT).read(tokens)
    if facts.verb == "COPY" and facts.outward and tokens[1].text != "(":
        return "copy"
    return "fetch" if facts.verb == "FETCH" else None


def look(seen: Seen | None, now: Snapshot) -> tuple[list[Row], Seen]:
    """The rows that left since the last look, and what to remember. At the first look no count is known to be new."""
    wanted = {one.key: (one, command) for one in now.statements if (command := uncounted(one.query))}
    counters = {key: (one.calls, one.rows) for key, (one, _) in wanted.items()}
    after = Seen(now.at_ms, now.reset_ms, now.evicted, counters)
    if seen is None:
        return [], after
    after.credits = {key: Credit(one.rows, one.looks - 1) for key, one in seen.credits.items() if one.looks > 1}
    return [*_progress(seen, after, now), *_finished(seen, after, now, wanted)], after


def _progress(seen: Seen, after: Seen, now: Snapshot) -> Iterator[Row]:
    """What running COPYs have sent more; those that ended leave their rows as a credit."""
    for one in now.copies:
        if one.relation is None:
            continue
        told = seen.copies.get(one.key, Running(one.statement))
        after.copies[one.key] = Running(one.statement, max(one.tuples, told.tuples), max(one.bytes, told.bytes))
        if one.tuples > told.tuples:
            yield Row(
                now.at_ms,
                seen.at_ms,
                "copy",
                one.user,
                one.database,
                one.tuples - told.tuples,
                exact=False,
                bytes=max(one.bytes - told.bytes, 0),
                relation=one.relation,
                address=one.address,
                program=one.program,
            )
    for key, told in seen.copies.items():
        if key not in after.copies and told.tuples:
            before = after.credits.get(told.statement, Credit(0))
            after.credits[told.statement] = Credit(before.rows + told.tuples)


def _finished(seen: Seen, after: Seen, now: Snapshot, wanted: Mapping[str, tuple[Statement, Command]]) -> Iterator[Row]:
    """What finished statements have sent, without what was told while they ran."""
    whole = now.reset_ms == seen.reset_ms and now.evicted == seen.evicted
    for key, (one, command) in wanted.items():
        calls, rows = seen.statements.get(key, (0, 0))
        grown = now.reset_ms == seen.reset_ms and one.calls >= calls and one.rows >= rows
        calls, rows = (one.calls - calls, one.rows - rows) if grown else (one.calls, one.rows)
        credit = after.credits.get(key, Credit(0)) if calls else Credit(0)
        told = min(credit.rows, rows)
        credit.rows -= told
        if rows > told:
            since, left, exact = seen.at_ms, rows - told, whole and grown
            yield Row(now.at_ms, since, command, one.user, one.database, left, exact, calls=calls, query=one.query)
