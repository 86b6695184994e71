"""ClickHouse's `system.query_log`: asked for over HTTP, or exported as JSON lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from rua_common.settings import Struct
from rua_schemas.events import Action, Kind, Label, Outcome, Quality

from rua_agents import destinations, labels
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.clickhouse_text import MOST_CHARACTERS, Told, told
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import Ignored, Party, RecordParser, Unreadable, draft, party
from rua_agents.collectors.json_values import listed, number, text
from rua_agents.intake.contract import Poller
from rua_agents.jsontext import read_object
from rua_agents.pseudonyms import Pseudonymiser
from rua_agents.records import RawRecord
from rua_agents.times import checked, stamp_ms

DENIED = frozenset((164, 192, 193, 194, 291, 355, 497, 516))
"""ClickHouse's numbers of errors: READONLY, UNKNOWN_USER, WRONG_PASSWORD, ACCESS_DENIED, AUTHENTICATION_FAILED …"""
ABORTED = frozenset((209, 210, 236, 394))
"""SOCKET_TIMEOUT, NETWORK_ERROR, ABORTED, QUERY_WAS_CANCELLED."""
HERE = frozenset(("file", "disk"))
"""Functions and places that write to the server's own disks; all others but these write somewhere else."""
TAKERS = HERE | frozenset(
    (
        *("url", "s3", "gcs", "oss", "cosn", "azureblobstorage", "hdfs", "remote", "remotesecure", "cluster"),
        *("mysql", "postgresql", "mongodb", "redis", "sqlite", "odbc", "jdbc", "executable", "iceberg", "deltalake"),
    )
)
"""What rows can be written to; any other word of a statement is its writer's."""
NOWHERE = frozenset(("null", "values", "view", "input", "numbers"))
LOOKS = frozenset(("Show", "Describe", "Explain", "Exists", "Set", "Use", "KillQuery", "AsyncInsertFlush", "Check"))
_EMPTY = frozenset(("system.one", "system.numbers"))
_TELLING = ("_log", "processes", "users", "grants", "roles", "sessions")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}", re.ASCII)
_FUNCTION = "_table_function."
_UNNAMED = frozenset(("::", "0.0.0.0", "::ffff:0.0.0.0"))  # noqa: S104 - no address to bind to


class ClickhouseOptions(Struct, frozen=True):
    """Where the server is, and how often it is asked.

    Attributes:
        url: Of its HTTP interface, `http://` or `https://`, with the port.
        user: Who asks: needs SELECT on system.query_log, nothing else.
        password_file: File with the password, of its owner only.
        ca_file: Certificate authority of the server, for https; the system's own unless given.
        table: The log's table, e.g. of a cluster: `clusterAllReplicas('shop', system.query_log)`.
        poll_seconds: Between two questions.
        overlap_seconds: How much later than others a row may appear: well above the server's flush interval (7.5 s).
        first_seconds: How far the very first question goes back.
        bulk_rows: From so many rows on a read is a bulk query.
    """

    url: str = "http://127.0.0.1:8123"
    user: str = "default"
    password_file: str | None = None
    ca_file: str | None = None
    table: str = "system.query_log"
    poll_seconds: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    overlap_seconds: Annotated[int, msgspec.Meta(ge=1, le=3_600)] = 60
    first_seconds: Annotated[int, msgspec.Meta(ge=0)] = 300
    bulk_rows: Annotated[int, msgspec.Meta(ge=1)] = 1_000


class ClickhouseQueryLog(LineCollector):
    """The collector."""

    name = "clickhouse-query-log"
    reads = "poll"
    options: type[msgspec.Struct] = ClickhouseOptions

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """When the query ended."""
        del now_ms, options
        return _time(read_object(record.data, truncated=record.truncated)[0], zone)

    def parser(self, place: Place) -> RecordParser:
        """A parser of rows."""
        return _Parser(place)

    def poller(self, options: ClickhouseOptions) -> Poller:
        """What asks the server.

        Raises:
            BadConfiguration: the URL or the password file cannot be used.
        """
        from rua_agents.collectors.clickhouse_poller import ClickhousePoller  # noqa: PLC0415 - HTTP and TLS, only here

        return ClickhousePoller(options)


class Means(NamedTuple):
    """What sort of event a query is."""

    kind: Kind
    action: Action
    destination: str | None = None
    """Where rows go, if not to the client."""


class Query(NamedTuple):
    """A row of the log, as far as it is used."""

    kind: str
    said: Told
    tables: tuple[str, ...]
    functions: tuple[str, ...]
    outcome: Outcome
    rows: int | None
    written: int | None

    @property
    def ended(self) -> bool:
        """Whether it ran to its end."""
        return self.outcome == "ok"


def _time(value: Mapping[str, Any], zone: ZoneInfo | None) -> int:
    micros = number(value.get("event_us"))
    if micros is not None:
        return checked(micros // 1_000)
    return stamp_ms(text(value.get("event_time_microseconds")) or text(value.get("event_time")) or "", zone)


class _Parser(RecordParser):
    """A query's end is its event: its start tells nothing more, and of a query on shards only the whole counts."""

    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The events of a row."""
        place = self.place
        options: ClickhouseOptions = place.options
        value, replaced = read_object(record.data, truncated=record.truncated)
        at_ms = _time(value, place.zone)
        query, names = _query(value), place.keys.at(at_ms)
        means = meaning(query, names, options.bulk_rows)
        place.tally.replaced += replaced
        address = text(value.get("address"))
        who = party(place, at_ms, text(value.get("user")), None if address in _UNNAMED else address)
        people = tuple(names.pseudonym("actor", name) for name in query.said.names)
        rows, quality = _rows(query, means)
        sent = (
            number(value.get("written_bytes" if query.kind == "Insert" else "result_bytes"))
            if rows is not None
            else None
        )
        statement = text(value.get("normalized_query_hash"))
        return [
            draft(
                place,
                record,
                observed_at,
                at_ms,
                index=index,
                kind=means.kind,
                action=means.action,
                channel="db",
                outcome=query.outcome,
                actor=person or who.actor or who.source_ip,
                actor_type="interactive" if _is_console(value) and person is None else "unknown",
                privilege=_privilege(query, means),
                dataset=_dataset(query),
                rows=rows,
                rows_quality=quality,
                bytes=sent,
                bytes_quality="unknown" if sent is None else "estimated",
                statement_fingerprint=names.pseudonym("statement", statement) if statement else None,
                tool=_tool(value),
                truncated=record.truncated or (number(value.get("query_bytes")) or 0) > MOST_CHARACTERS,
                destination=_destination(means, who),
                destination_external=who.external if _leaves(means) and means.destination is None else None,
                source_ip=who.source_ip,
                source_network=who.source_network,
                labels=_labels(value, query, None if person is None else who.actor),
            )
            for index, person in enumerate(people or (None,))
        ]


def _query(value: Mapping[str, Any]) -> Query:
    """What the row says.

    Raises:
        Ignored: it is a start, or a part of another query.
        Unreadable: it is no row of this log.
    """
    state = text(value.get("type"))
    if state is None:
        raise Unreadable("no_type")
    if state in ("QueryStart", "1"):
        raise Ignored("start")
    if value.get("is_initial_query") in (0, "0", False):
        raise Ignored("part_of_a_query")
    tables = [name for one in listed(value.get("tables")) if (name := text(one))]
    code = number(value.get("exception_code"))
    failed = state not in ("QueryFinish", "2")
    outcome: Outcome = (
        "ok" if not failed else "denied" if code in DENIED else "aborted" if code in ABORTED else "failed"
    )
    return Query(
        kind=text(value.get("query_kind")) or "",
        said=told(query if isinstance(query := value.get("query"), str) else ""),
        tables=tuple(name for name in tables if not name.startswith(_FUNCTION)),
        functions=tuple(name for one in listed(value.get("used_table_functions")) if (name := text(one))),
        outcome=outcome,
        rows=number(value.get("result_rows")),
        written=number(value.get("written_rows")),
    )


def meaning(query: Query, names: Pseudonymiser, bulk_rows: int) -> Means:  # noqa: PLR0911 - a table of cases
    """Sort of event.

    Raises:
        Ignored: it is none.
    """
    said, kind = query.said, query.kind
    if kind == "Select":
        return _select(query, names, bulk_rows)
    if kind in ("Insert", "Backup") and said.function not in (None, *NOWHERE):
        return _elsewhere(said, names)
    if kind == "Insert":
        return Means("data_change", "alter")
    if kind == "Delete" or said.verb == "TRUNCATE" or (kind == "Alter" and said.changes == "DELETE"):
        return Means("data_change", "delete")
    if kind in ("Update", "Alter") and (kind == "Update" or said.changes == "UPDATE"):
        return Means("data_change", "alter")
    if kind == "Grant" or (said.people and said.verb != "DROP"):
        return Means("privilege_change", "alter")
    if kind in LOOKS:
        raise Ignored("session_control" if kind in ("Set", "Use") else "looks_only")
    if not kind and query.ended:
        raise Ignored("no_kind")
    return Means("administration", "alter") if kind else Means("unknown", "unknown")


def _select(query: Query, names: Pseudonymiser, bulk_rows: int) -> Means:
    said = query.said
    if said.file is not None:
        return Means("data_export", "export", destinations.of_file(said.file, names))
    if query.ended and not query.functions and all(name in _EMPTY or _is_quiet(name) for name in query.tables):
        raise Ignored("no_data" if _EMPTY.issuperset(query.tables) else "system_tables")
    if query.rows is not None and query.rows >= bulk_rows:
        return Means("bulk_query", "query")
    return Means("data_access", "read")


def _is_quiet(table: str) -> bool:
    """Whether it is a system table that tells of the server alone; logs and lists of users tell of people."""
    schema, _, name = table.partition(".")
    return schema.lower() in ("system", "information_schema") and not name.endswith(_TELLING)


def _elsewhere(said: Told, names: Pseudonymiser) -> Means:
    """INSERT INTO FUNCTION, BACKUP: a file of the server's is an export, another system gets a transfer."""
    function, target = said.function or "", said.target or ""
    if function not in TAKERS:
        function = "function"
    if function in HERE:
        return Means("data_export", "export", destinations.of_file(target, names))
    if not target:
        return Means("data_transfer", "transfer", f"{function}:unknown")
    url = target if "://" in target else f"{function}://{target.partition(',')[0]}"
    scheme = url.partition("://")[0].lower() if function == "url" else function
    return Means("data_transfer", "transfer", destinations.of_url(scheme, url, names))


def _rows(query: Query, means: Means) -> tuple[int | None, Quality]:
    """What left or was changed; of a query that broke off nobody knows. Deletes and backups are not counted."""
    counted = means.kind in ("data_export", "data_transfer", "bulk_query", "data_access", "data_change")
    if not counted or not query.ended or query.kind in ("Delete", "Update", "Alter", "Drop", "Backup"):
        return None, "unknown"
    found = query.written if query.kind == "Insert" else query.rows
    return (None, "unknown") if found is None else (found, "exact")


def _leaves(means: Means) -> bool:
    return means.action in ("export", "transfer") or means.kind == "bulk_query"


def _destination(means: Means, who: Party) -> str | None:
    return (means.destination or who.destination) if _leaves(means) else None


def _dataset(query: Query) -> str | None:
    """The table; of several all, as the log sorts them. A query that failed early names them in its text only."""
    early = query.said.table if not query.ended and query.kind in ("Select", "Insert", "Backup", "Delete") else None
    tables = query.tables or ((early,) if early else ())
    return ",".join(labels.table_shape(name) for name in tables)[: labels.MAX_CHARACTERS] or None


def _privilege(query: Query, means: Means) -> Any:
    if means.kind != "privilege_change":
        return "unknown"
    return "superuser" if query.said.everything else "elevated"


def _is_console(value: Mapping[str, Any]) -> bool:
    return (text(value.get("client_name")) or "").startswith("ClickHouse client")


def _tool(value: Mapping[str, Any]) -> str | None:
    if _is_console(value):
        return "clickhouse-client"
    named = text(value.get("client_name")) or text(value.get("http_user_agent"))
    return labels.product(named) if named else None


def _is_word(name: str) -> bool:
    """Whether it can be the server's own name for something, and nobody's."""
    return _WORD.fullmatch(name) is not None and not labels.is_personal(name)


def _labels(value: Mapping[str, Any], query: Query, by: str | None) -> tuple[Label, ...]:
    functions = ",".join(name for name in query.functions if _is_word(name))
    found = {"by": by, "function": functions[: labels.MAX_CHARACTERS]}
    if query.kind not in ("Select", "Insert") and _is_word(query.kind):
        found["command"] = query.kind.lower()
    read = number(value.get("read_rows"))
    found["read_rows"] = str(read) if read else ""
    if query.said.named > len(query.said.names):
        found["grantees"] = str(query.said.named)
    return tuple(Label(key=key, value=one) for key, one in found.items() if one)
