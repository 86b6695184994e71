"""MongoDB's own log (4.4 and later, one JSON object a line): slow operations with their counts, and logins."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from rua_common.settings import Struct
from rua_schemas.events import ActorType, Label, Outcome

from rua_agents import labels
from rua_agents.collectors import mongodb
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import Ignored, Party, RecordParser, Unreadable, draft, party
from rua_agents.collectors.json_values import inside, number, text
from rua_agents.collectors.mongodb import Meaning
from rua_agents.jsontext import read_object
from rua_agents.records import RawRecord

MAX_CONNECTIONS = 4_096
DEFAULT_BULK_ROWS = 1_000
SLOW = "Slow query"
DENIED = "Checking authorization failed"
STARTING = "MongoDB starting"
LOGINS: Mapping[str, Outcome] = {
    "Authentication succeeded": "ok",
    "Successfully authenticated": "ok",
    "Authentication failed": "denied",
    "Failed to authenticate": "denied",
}
_ADDRESS = re.compile(r"\[?([0-9A-Fa-f.:]+?)\]?(?::\d{1,5})?")
_REFUSED = re.compile(r'execute command \{ (\w{1,64}): "([^"]{1,256})"')
_CONNECTION = re.compile(r"conn\d{1,9}", re.ASCII)
_COUNTS = ("nreturned", "nModified", "ndeleted", "ninserted")


class MongodbLogOptions(Struct, frozen=True):
    """Options."""

    bulk_rows: int = DEFAULT_BULK_ROWS
    """From so many returned documents on, a read is a bulk query."""


class Connection(NamedTuple):
    """Who is logged in on a connection, until it ends."""

    actor: Mapping[str, str]
    """Pseudonyms by all keys: it may outlive a rotation."""
    system: bool
    """Whether it is another member of the cluster."""


class Line(NamedTuple):
    """One line of the log."""

    record: RawRecord
    observed_at: int
    at_ms: int
    connection: str
    attr: object
    cut: bool
    """Whether the server or the agent cut it."""


class MongodbLog(LineCollector):
    """The collector."""

    name = "mongodb-log"
    options: type[msgspec.Struct] = MongodbLogOptions

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """When the server wrote it."""
        del now_ms, options
        value, _ = read_object(record.data, truncated=record.truncated)
        return mongodb.date_ms(value.get("t"), zone)

    def parser(self, place: Place) -> RecordParser:
        """A parser for one file."""
        return _Parser(place)


class _Parser(RecordParser):
    """Operations name only their connection: who logged in on it is remembered."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        options: MongodbLogOptions = place.options
        self._bulk_rows = options.bulk_rows
        self._connections: dict[str, Connection] = {}

    def dump(self) -> dict[str, Any]:
        """Who is logged in where, as pseudonyms."""
        return {"connections": {name: list(one) for name, one in self._connections.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where `dump` was taken."""
        self._connections = {name: Connection(*one) for name, one in state.get("connections", {}).items()}

    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The event of this record."""
        value, replaced = read_object(record.data, truncated=record.truncated)
        at_ms = mongodb.date_ms(value.get("t"), self.place.zone)
        message = text(value.get("msg"))
        if message is None:
            raise Unreadable("no_message")
        self.place.tally.replaced += replaced
        cut = record.truncated or "truncated" in value
        line = Line(record, observed_at, at_ms, _connection(value.get("ctx")), value.get("attr"), cut)
        if message == SLOW:
            return [self._operation(line)]
        if message in LOGINS:
            return [self._login(line, LOGINS[message])]
        if message == DENIED:
            return [self._refused(line)]
        self._forget(message, line)
        raise Ignored("no_operation")

    def _forget(self, message: str, line: Line) -> None:
        """Connections are numbered anew when the server starts, and a number may have a new owner."""
        if message == STARTING:
            self._connections.clear()
        elif message == "Connection ended":
            self._connections.pop(line.connection, None)
        elif message == "Connection accepted":
            self._connections.pop(f"conn{number(inside(line.attr, 'connectionId'))}", None)

    def _login(self, line: Line, outcome: Outcome) -> Draft:
        attr = line.attr
        user = text(inside(attr, "user")) or text(inside(attr, "principalName"))
        who = self._party(line.at_ms, user, inside(attr, "client") or inside(attr, "remote"))
        system = user == mongodb.SYSTEM or inside(attr, "isClusterMember") is True
        if outcome == "ok" and user:
            self._connections.pop(line.connection, None)
            self._connections[line.connection] = Connection(self.place.keys.remembered("actor", user), system)
            if len(self._connections) > MAX_CONNECTIONS:
                del self._connections[next(iter(self._connections))]
        return draft(
            self.place,
            line.record,
            line.observed_at,
            line.at_ms,
            kind="authentication",
            action="unknown",
            channel="db",
            outcome=outcome,
            actor=who.actor or who.source_ip,
            actor_type="service" if system else "network" if who.actor is None and who.source_ip else "unknown",
            session=self._session(line),
            source_ip=who.source_ip,
            source_network=who.source_network,
        )

    def _refused(self, line: Line) -> Draft:
        error = inside(line.attr, "error")
        told = _REFUSED.search(text(inside(error, "errmsg")) or text(error) or "")
        means = mongodb.COMMANDS.get(told[1], mongodb.UNKNOWN) if told else mongodb.UNKNOWN
        actor, actor_type = self._actor(line, self._party(line.at_ms, None, None), None)
        return draft(
            self.place,
            line.record,
            line.observed_at,
            line.at_ms,
            kind=means.kind,
            action=means.action,
            channel="db",
            outcome="denied",
            actor=actor,
            actor_type=actor_type,
            dataset=mongodb.namespace(told[2]) if told else None,
        )

    def _operation(self, line: Line) -> Draft:
        attr = line.attr
        name, command = _command(attr)
        app = text(inside(attr, "appName"))
        tool, namespace = mongodb.program(app), text(inside(attr, "ns"))
        rows = next((n for key in _COUNTS if (n := number(inside(attr, key))) is not None), None)
        known = self._connections.get(line.connection)
        if namespace == mongodb.OPLOG and known is not None and known.system:
            raise Ignored("replication")
        copied_to = mongodb.written_to(command) if name == "aggregate" else None
        means = mongodb.UNKNOWN if line.cut and not command else self._meaning(name, tool, rows, copied_to)
        who = self._party(line.at_ms, None, inside(attr, "remote"))
        actor, actor_type = self._actor(line, who, tool)
        names = self.place.keys.at(line.at_ms)
        leaves = means.kind in ("data_export", "bulk_query")
        size = number(inside(attr, "reslen")) if means.action in ("read", "query", "export") else None
        return draft(
            self.place,
            line.record,
            line.observed_at,
            line.at_ms,
            kind=means.kind,
            action=means.action,
            channel="db",
            outcome="failed" if inside(attr, "ok") == 0 or text(inside(attr, "errName")) else "ok",
            actor=actor,
            actor_type=actor_type,
            ticket=labels.ticket(app) if app else None,
            session=self._session(line),
            dataset=mongodb.namespace(namespace),
            rows=rows,
            rows_quality="unknown" if rows is None else "exact",
            bytes=size,
            bytes_quality="unknown" if size is None else "exact",
            statement_fingerprint=mongodb.fingerprint(inside(attr, "originatingCommand") or command, names),
            tool=tool,
            truncated=line.cut,
            destination=(f"collection:{copied_to}" if copied_to else who.destination) if leaves else None,
            destination_external=(False if copied_to else who.external) if leaves else None,
            source_ip=who.source_ip,
            source_network=who.source_network,
            labels=tuple(self._labels(name, line)),
        )

    def _meaning(self, name: str | None, tool: str | None, rows: int | None, copied_to: str | None) -> Meaning:
        """What sort of event it is.

        Raises:
            Ignored: it is none.
        """
        means = mongodb.COMMANDS.get(name or "")
        if means is None:
            raise Ignored("no_data")
        if means in (mongodb.READ, mongodb.QUERY):
            if tool in mongodb.DUMPERS or copied_to:
                return mongodb.EXPORT
            if rows is not None and rows >= self._bulk_rows:
                return Meaning("bulk_query", "query")
        return means

    def _actor(self, line: Line, who: Party, tool: str | None) -> tuple[str | None, ActorType]:
        known = self._connections.get(line.connection)
        if known is None:
            return who.source_ip, "network" if who.source_ip else "unknown"
        actor = self.place.keys.recalled(known.actor, line.at_ms)
        return actor, "service" if known.system else "interactive" if tool in mongodb.INTERACTIVE else "unknown"

    def _party(self, at_ms: int, user: str | None, remote: object) -> Party:
        """`192.0.2.1:40001`, `[2001:db8::1]:40001`, or the path of a socket."""
        told = text(remote)
        found = _ADDRESS.fullmatch(told) if told else None
        local = told is not None and ("/" in told or "unix" in told)
        return party(self.place, at_ms, user, found[1] if found else "local" if local else told)

    def _session(self, line: Line) -> str:
        peer = text(inside(line.attr, "remote")) or text(inside(line.attr, "client")) or ""
        return self.place.keys.at(line.at_ms).pseudonym("session", f"{line.connection} {peer}")

    def _labels(self, name: str | None, line: Line) -> list[Label]:
        attr = line.attr
        examined, plan = number(inside(attr, "docsExamined")), text(inside(attr, "planSummary"))
        cursor = text(inside(attr, "cursorid"))
        told = {
            "command": mongodb.command_name(name),
            "examined": None if examined is None else str(examined),
            "plan": mongodb.command_name(plan.partition(" ")[0]) if plan else None,
            "joins": mongodb.joined(inside(attr, "command")),
            "cursor": self.place.keys.at(line.at_ms).pseudonym("cursor", cursor) if cursor else None,
        }
        return [Label(key=key, value=value) for key, value in told.items() if value is not None]


def _connection(told: object) -> str:
    """The server's own name for a connection, which is remembered; anything else is none."""
    name = text(told) or ""
    return name if _CONNECTION.fullmatch(name) else ""


def _command(attr: object) -> tuple[str | None, object]:
    """The name of the operation, and its command."""
    command, kind = inside(attr, "command"), text(inside(attr, "type"))
    if kind in (None, "command", "none") and isinstance(command, Mapping) and command:
        return str(next(iter(command))), command
    return kind, command
