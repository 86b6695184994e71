"""What a complete pgaudit statement was: the meaning of classes, commands and row counts."""

from __future__ import annotations

from typing import NamedTuple

from rua_schemas.events import Action, Kind, Label, Privilege, Quality

from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.pgaudit_statements import Group, OpenStatement, Session

DUMPERS = frozenset(("pg_dump", "pg_dumpall"))
CATALOGS = ("pg_catalog.", "information_schema.")
INTERACTIVE = frozenset(("psql", "pgcli", "pgAdmin", "DBeaver", "DataGrip", "TablePlus", "Navicat"))
# their ROWS column does not count rows that left: 0 there means that nobody knows
UNCOUNTED = frozenset(("COPY", "FETCH", "MOVE", "DECLARE CURSOR", "EXECUTE", "TRUNCATE TABLE", "CALL"))
# of several records of one substatement, the one that changes most names the event
STRENGTH = {"SELECT": 0, "INSERT": 1, "UPDATE": 2, "MERGE": 2, "DELETE": 3, "TRUNCATE TABLE": 3, "COPY": 4}


class Meaning(NamedTuple):
    """What sort of event a substatement is."""

    kind: Kind
    action: Action
    ignored: str = ""
    """Why it is no event."""


def meaning(group: Group, tool: str | None, bulk_rows: int) -> Meaning:  # noqa: PLR0911 - a table of cases, one a line
    """Sort of event of a substatement, or why it is none."""
    command, klass = group.command, group.klass
    if klass == "ROLE":
        return Meaning("privilege_change" if group.facts.raises else "administration", "alter")
    if command == "COPY":
        inward = klass == "WRITE" if group.facts.outward is None else not group.facts.outward
        return Meaning("data_change", "alter") if inward else Meaning("data_export", "export")
    if command == "FETCH" or (tool in DUMPERS and klass == "READ" and command == "SELECT" and _holds_data(group)):
        return Meaning("data_export", "export")
    if command == "DECLARE CURSOR":
        return Meaning("data_access", "query")
    if klass == "READ" and command != "PREPARE":
        many = group.rows is not None and group.rows >= bulk_rows
        return Meaning("bulk_query", "query") if many else Meaning("data_access", "read")
    if klass == "WRITE":
        return Meaning("data_change", "delete" if command in ("DELETE", "TRUNCATE TABLE") else "alter")
    if klass == "DDL" or group.facts.verb == "SET LOGGING":
        return Meaning("administration", "alter")
    if group.facts.verb == "SET ROLE" and group.facts.strong:
        return Meaning("privilege_change", "alter")
    prepared = command in ("PREPARE", "EXECUTE", "DEALLOCATE") and klass != "FUNCTION"
    reason = "prepared" if prepared else "code_block" if command == "DO" else "routine" if klass == "FUNCTION" else ""
    return Meaning("unknown", "unknown", reason or "session_control")


def _holds_data(group: Group) -> bool:
    """Whether it reads a table that is not the catalog: pg_dump asks much before it dumps."""
    return group.table is not None and not group.table.startswith(CATALOGS)


def events_of(statement: OpenStatement, place: Place, bulk_rows: int) -> list[tuple[int, Draft]]:
    """The events of a complete statement with their positions; counts each of its records."""
    found: list[tuple[int, Draft]] = []
    for group in _joined(statement.groups):
        means = meaning(group, statement.session.tool, bulk_rows)
        if means.ignored:
            place.tally.ignored[means.ignored] += group.records
            continue
        actors = group.facts.names if means.kind in ("privilege_change", "administration") else ()
        actors = actors[: len(group.event_ids)]
        made = [
            (group.position + i, _event(statement, group, means, place, index=i, actor=actor))
            for i, actor in enumerate(actors or (None,))
        ]
        place.tally.events += 1
        place.tally.merged += group.records - 1
        place.tally.split += len(made) - 1
        found += made
    return found


def _joined(groups: list[Group]) -> list[Group]:
    """COPY (query) reports its rows with the query: one event, known rows and table, at the later record."""
    kept = list(groups)
    for copy in [g for g in groups if g.command == "COPY" and g.facts.outward]:
        for read in [g for g in kept if g.klass == "READ" and g.command == "SELECT"]:
            if read.facts.fingerprint == copy.facts.fingerprint:
                copy.rows = max(copy.rows or 0, read.rows or 0) or None
                copy.table, copy.records = read.table or copy.table, copy.records + read.records
                copy.truncated |= read.truncated
                if read.position > copy.position:
                    copy.position, copy.event_ids, copy.observed_at = read.position, read.event_ids, read.observed_at
                kept.remove(read)
    return kept


def _rows(group: Group) -> tuple[int | None, Quality]:
    uncounted = group.command in UNCOUNTED or group.klass == "MISC"
    unknown = group.rows is None or (group.rows == 0 and uncounted) or group.klass in ("ROLE", "DDL")
    return (None, "unknown") if unknown else (group.rows, "exact")


def _privilege(statement: OpenStatement, group: Group, means: Meaning) -> Privilege:
    if means.kind == "privilege_change":
        if group.facts.strong:
            return "superuser"
        return "elevated" if group.facts.verb == "GRANT" else "standard"
    if statement.session.superuser or statement.role_superuser:
        return "superuser"
    return "elevated" if statement.role else "unknown"


def _labels(statement: OpenStatement, group: Group, actor: str | None) -> tuple[Label, ...]:
    found = []
    if group.klass in ("ROLE", "DDL", "MISC"):
        found.append(Label(key="command", value=group.command.lower()))
    if statement.role:
        found.append(Label(key="role", value=statement.role))
    if actor is not None and statement.session.actor is not None:
        found.append(Label(key="by", value=statement.session.actor))
    if group.facts.named > len(group.facts.names):
        found.append(Label(key="grantees", value=str(group.facts.named)))
    return tuple(found)


def _destination(group: Group, session: Session) -> str:
    """Where rows go: to the client, unless the statement says otherwise or hides it behind its own length."""
    if group.facts.partial and group.facts.outward is None and group.command == "COPY":
        return "unknown"
    return group.facts.destination or f"client:{session.network or 'unknown'}"


def _dataset(database: str | None, table: str) -> str:
    return f"{database}.{table}" if database else table


def _event(
    statement: OpenStatement, group: Group, means: Meaning, place: Place, *, index: int, actor: str | None
) -> Draft:
    session, table = statement.session, group.table
    rows, quality = _rows(group)
    leaves = means.kind in ("data_export", "bulk_query")
    destination = _destination(group, session) if leaves else None
    return Draft(
        event_id=group.event_ids[index],
        source_id=place.source_id,
        source_position=group.position + index,
        source=place.source,
        agent_id=place.agent_id,
        agent_epoch=0,
        agent_seq=0,
        platform=place.platform,
        host=place.host,
        channel="db",
        kind=means.kind,
        action=means.action,
        # without log_rows the record is written before the statement runs
        outcome="ok" if group.rows is not None else "unknown",
        actor=actor or session.actor,
        actor_type="interactive" if session.tool in INTERACTIVE and actor is None else "unknown",
        privilege=_privilege(statement, group, means),
        ticket=session.ticket,
        session=session.name,
        dataset=_dataset(session.database, table) if table else None,
        rows=rows,
        rows_quality=quality,
        statement_fingerprint=group.facts.fingerprint,
        tool=session.tool,
        truncated=group.truncated or group.facts.partial,
        destination=destination,
        destination_external=False if destination == "client:local" else None,
        source_ip=session.source_ip,
        source_network=session.network if session.network != "local" else None,
        key_epoch=place.keys.at(group.occurred_at).epoch,
        occurred_at=group.occurred_at,
        observed_at=group.observed_at,
        labels=_labels(statement, group, actor),
    )
