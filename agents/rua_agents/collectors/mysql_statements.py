"""What a statement of MySQL or MariaDB was, whichever of their logs tells it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from rua_schemas.events import Action, Kind, Label, Outcome, Privilege, Quality

from rua_agents import labels
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import Ignored, draft, party
from rua_agents.records import RawRecord
from rua_agents.sqlfacts import SUPERUSERS, FactReader, Facts
from rua_agents.sqltext import quoted_name, tokenise
from rua_agents.statements import MAX_CHARACTERS, Statements

DIALECT = "mysql"
DENIED = frozenset((1044, 1045, 1130, 1142, 1143, 1227, 1370, 1410, 1698, 3118, 3530, 4151))
"""Errors of MySQL and MariaDB that mean: not allowed."""
ABORTED = frozenset((1317, 1969, 3024))
NOT_RUN = 1064
"""A syntax error: whatever the text says, nothing of it was run."""
READS = frozenset(("SELECT", "TABLE", "VALUES", "HANDLER", "CALL"))
CHANGES = frozenset(("INSERT", "REPLACE", "UPDATE", "LOAD"))
DELETES = frozenset(("DELETE", "TRUNCATE"))
RIGHTS = frozenset(
    (
        *("GRANT", "REVOKE", "CREATE ROLE", "ALTER ROLE", "DROP ROLE", "RENAME ROLE"),
        *("SET PASSWORD", "SET DEFAULT ROLE"),
    )
)
ADMINISTRATION = frozenset(
    (
        *(
            "CREATE",
            "ALTER",
            "DROP",
            "RENAME",
            "SET GLOBAL",
            "SET LOGGING",
            "INSTALL",
            "UNINSTALL",
            "FLUSH",
            "PURGE",
            "RESET",
        ),
        *("CHANGE", "SHUTDOWN", "KILL", "BACKUP"),
    )
)
# their count of rows does not tell what left: 0 means that nobody knows
UNCOUNTED = frozenset(("HANDLER", "CALL"))
BUFFER_BYTES = 1 << 14
"""`net_buffer_length`: of a prepared statement MariaDB counts the buffers that were full, which may be none."""
CATALOGS = frozenset(("information_schema", "performance_schema", "sys"))
# what mysqldump, mariadb-dump and mydumper put into each SELECT, so that they do not empty the cache
DUMPS = "SELECT /*!40001 SQL_NO_CACHE */"
DUMPERS = frozenset(("mysqldump", "mariadb-dump", "mysqlpump", "mydumper", "mysqlsh"))
INTERACTIVE = frozenset(("mysql", "mariadb", "mycli", "MySQLWorkbench", "DBeaver", "HeidiSQL", "DataGrip", "TablePlus"))
_SEQUENCE = re.compile(r"seq_\d+_to_\d+(?:_step_\d+)?", re.ASCII)
_QUALIFIER = re.compile(r'("(?:[^"]|"")*"|[^".]+)\.')
_FIRST_WORD = re.compile(r"[\s(]*([A-Za-z]+)")


class Table(NamedTuple):
    """A table that the server itself says a statement used."""

    use: str
    """READ, WRITE, CREATE, ALTER, RENAME or DROP."""
    dataset: str


def table_of(use: str, database: str, name: str) -> Table | None:
    """The table, or None if it holds no data: statistics, routines, a sequence that stands in no file."""
    if (database == "mysql" and (name.endswith("_stats") or name == "proc")) or _SEQUENCE.fullmatch(name):
        return None
    return Table(use, _qualified(quoted_name(database, DIALECT), quoted_name(name, DIALECT)))


class Counts(NamedTuple):
    """What the server counted; None if it did not."""

    sent: int | None = None
    affected: int | None = None
    sent_bytes: int | None = None


class Ran(NamedTuple):
    """A statement that ended, as a log tells it."""

    at_ms: int
    user: str | None
    address: str | None
    connection: str
    database: str | None
    text: str
    outcome: Outcome
    cut: bool = False
    """Whether the log holds a part of the text only."""
    tables: Sequence[Table] = ()
    role: str | None = None
    """Taken by SET ROLE, as a pseudonym."""
    tool: str | None = None
    """The client's program, as it calls itself."""


class Made(msgspec.Struct, frozen=True):
    """An event whose rows are not known yet, with what it needs when they are."""

    event: Draft
    verb: str
    destination: str
    external: bool | None


def outcome_of(code: int) -> Outcome:
    """What an error's number means.

    Raises:
        Ignored: nothing was run.
    """
    if code == NOT_RUN:
        raise Ignored("not_run")
    return "ok" if code == 0 else "denied" if code in DENIED else "aborted" if code in ABORTED else "failed"


class Texts:
    """Facts of statements, each by the key of its own time."""

    def __init__(self, place: Place) -> None:
        self._keys = place.keys
        self._known: dict[int, Statements] = {}

    def facts(self, ran: Ran) -> Facts:
        """The facts of its text; of one that breaks the grammar the first word, which decides what sort it is."""
        names = self._keys.at(ran.at_ms)
        known = self._known.get(names.epoch) or self._known.setdefault(names.epoch, Statements(names, DIALECT))
        facts = known.head(ran.text) if ran.cut else known.facts(ran.text)
        if not facts.verb and (word := _FIRST_WORD.match(ran.text)):
            facts = msgspec.structs.replace(facts, verb=word[1].upper(), partial=True)
        return facts


def role_of(text: str) -> str:
    """The role that SET ROLE takes, in clear: for memory that must outlive a change of keys. Empty if none."""
    return FactReader(lambda _, name: name, DIALECT).read(tokenise(text[:MAX_CHARACTERS], DIALECT)).role or ""


def meaning(facts: Facts, ran: Ran) -> tuple[Kind, Action]:  # noqa: PLR0911 - a table of cases, one a line
    """Sort of event.

    Raises:
        Ignored: it is none.
    """
    verb = facts.verb
    if facts.outward or _dumps(ran) or (ran.tool in DUMPERS and verb == "SELECT"):
        return "data_export", "export"
    if verb in READS:
        return "data_access", "read"
    if verb in CHANGES:
        return "data_change", "alter"
    if verb in DELETES:
        return "data_change", "delete"
    if verb in RIGHTS:
        return ("privilege_change" if facts.raises else "administration"), "alter"
    if verb == "SET ROLE" and facts.strong:
        return "privilege_change", "alter"
    if verb in ADMINISTRATION:
        return "administration", "alter"
    raise Ignored("session_control")


def made_of(place: Place, record: RawRecord, observed_at: int, ran: Ran, facts: Facts) -> list[Made]:
    """The events of a statement, one for each person who gets or loses rights by it.

    Args:
        place: the file.
        record: the one that completes the statement.
        observed_at: ms.
        ran: the statement.
        facts: of its text.

    Raises:
        Ignored: it is no event.
    """
    kind, action = meaning(facts, ran)
    dataset = _dataset(facts, ran, kind)
    who = party(place, ran.at_ms, ran.user, ran.address)
    people = facts.names if kind in ("privilege_change", "administration") else ()
    session = place.keys.at(ran.at_ms).pseudonym("session", ran.connection)
    leaves = action == "export"
    destination = facts.destination if leaves and facts.destination else who.destination
    external = who.external if destination == who.destination else None
    return [
        Made(
            draft(
                place,
                record,
                observed_at,
                ran.at_ms,
                index=index,
                kind=kind,
                action=action,
                channel="db",
                outcome=ran.outcome,
                actor=person or who.actor,
                privilege=_privilege(facts, ran, kind),
                session=session,
                dataset=dataset,
                statement_fingerprint=facts.fingerprint,
                tool=ran.tool or ("mysqldump" if _dumps(ran) else None),
                actor_type="interactive" if ran.tool in INTERACTIVE and person is None else "unknown",
                truncated=record.truncated or ran.cut or facts.partial,
                destination=destination if leaves else None,
                destination_external=external if leaves else None,
                source_ip=who.source_ip,
                source_network=who.source_network,
                labels=_labels(facts, ran, kind, None if person is None else who.actor),
            ),
            facts.verb,
            destination,
            external,
        )
        for index, person in enumerate(people or (None,))
    ]


def counted(made: Made, counts: Counts, bulk_rows: int) -> Draft:
    """The event with what the server counted: many rows make a read a bulk query, whose rows leave to its client."""
    event = made.event
    if event.kind == "data_change":
        return _with_rows(event, None if made.verb == "TRUNCATE" else counts.affected)
    if event.kind not in ("data_access", "data_export"):
        return event
    nobody_knows = counts.sent == 0 and (made.verb in UNCOUNTED or event.kind == "data_export")
    event = _with_rows(event, None if nobody_knows else counts.sent)
    if counts.sent_bytes and not made.destination.startswith("file:"):  # the file takes the rows, not the client
        exact: Quality = "exact" if counts.sent_bytes % BUFFER_BYTES else "estimated"
        event = msgspec.structs.replace(event, bytes=counts.sent_bytes, bytes_quality=exact)
    if event.kind == "data_access" and event.rows is not None and event.rows >= bulk_rows:
        return msgspec.structs.replace(
            event,
            kind="bulk_query",
            action="query",
            destination=made.destination,
            destination_external=made.external,
        )
    return event


def _dumps(ran: Ran) -> bool:
    return ran.text.startswith(DUMPS)


def _with_rows(event: Draft, rows: int | None) -> Draft:
    quality: Quality = "unknown" if rows is None else "exact"
    return msgspec.structs.replace(event, rows=rows, rows_quality=quality)


def _dataset(facts: Facts, ran: Ran, kind: Kind) -> str | None:
    """The table: by the server if it names any, else by the text.

    Raises:
        Ignored: a read of the catalog alone.
    """
    reading = kind in ("data_access", "data_export")
    if facts.verb in RIGHTS:
        return None
    # what was meant comes before what was used beside it: statistics, routines, rights
    used = sorted(ran.tables, key=lambda t: ((t.use == "READ") != reading, t.dataset.startswith("mysql.")))
    if used:
        return used[0].dataset
    if facts.table is None:
        return None
    qualifier = _QUALIFIER.match(facts.table)
    database = qualifier[1] if qualifier else ran.database
    if reading and database is not None and database.lower() in CATALOGS:
        raise Ignored("catalog")
    return _qualified(None if qualifier or not database else quoted_name(database, DIALECT), facts.table)


def _qualified(database: str | None, table: str) -> str:
    return labels.table_shape(f"{database}.{table}" if database else table)


def _privilege(facts: Facts, ran: Ran, kind: Kind) -> Privilege:
    if kind == "privilege_change":
        return "superuser" if facts.strong else "elevated" if facts.verb == "GRANT" else "standard"
    if (ran.user or "").lower() in SUPERUSERS:
        return "superuser"
    return "elevated" if ran.role else "unknown"


def _labels(facts: Facts, ran: Ran, kind: Kind, doer: str | None) -> tuple[Label, ...]:
    found = []
    if kind in ("privilege_change", "administration"):
        found.append(Label(key="command", value=facts.verb.lower()))
    if ran.role:
        found.append(Label(key="role", value=ran.role))
    if doer is not None:
        found.append(Label(key="by", value=doer))
    if facts.named > len(facts.names):
        found.append(Label(key="grantees", value=str(facts.named)))
    return tuple(found)
