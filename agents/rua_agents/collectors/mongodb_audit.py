"""MongoDB's audit log as JSON lines: Enterprise, Atlas, Percona Server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rua_common.settings import Struct
from rua_schemas.events import ActorType, Label, Privilege

from rua_agents.collectors import mongodb
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import Ignored, RecordParser, Unreadable, draft, party
from rua_agents.collectors.json_values import inside, listed, text
from rua_agents.collectors.mongodb import Meaning
from rua_agents.jsontext import read_object
from rua_agents.pseudonyms import Pseudonymiser
from rua_agents.records import RawRecord

_SILENT = {"clientMetadata": "client_metadata", "logout": "logout", "startup": "startup", "applicationMessage": "note"}
_LOOKS_ONLY = frozenset(
    (
        *("hello", "isMaster", "ismaster", "ping", "buildInfo", "buildinfo", "getParameter", "serverStatus"),
        *("replSetGetStatus", "listCollections", "listDatabases", "listIndexes", "dbStats", "collStats"),
        *("connectionStatus", "endSessions", "getCmdLineOpts", "getLog", "hostInfo", "usersInfo", "rolesInfo"),
        *("currentOp", "explain", "startSession", "refreshSessions", "getDiagnosticData", "top", "validate"),
    )
)
"""Commands that authCheck reports and that return no data of a collection."""


class MongodbAuditOptions(Struct, frozen=True):
    """It has none."""


class MongodbAudit(LineCollector):
    """The collector."""

    name = "mongodb-audit"
    options: type[msgspec.Struct] = MongodbAuditOptions

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """When the server wrote it."""
        del now_ms, options
        value, _ = read_object(record.data, truncated=record.truncated)
        return mongodb.date_ms(value.get("ts"), zone)

    def parser(self, place: Place) -> RecordParser:
        """A parser for one file."""
        return _Parser(place)


class _Parser(RecordParser):
    """Every record is an event of its own; what it does not tell is unknown."""

    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The event of this record."""
        place = self.place
        value, replaced = read_object(record.data, truncated=record.truncated)
        at_ms = mongodb.date_ms(value.get("ts"), place.zone)
        atype = text(value.get("atype"))
        if atype is None:
            raise Unreadable("no_atype")
        param = value.get("param", value.get("params"))
        command = text(inside(param, "command")) if atype == "authCheck" else atype
        means = _meaning(atype, command, param)
        place.tally.replaced += replaced
        users, names = _users(value, param), place.keys.at(at_ms)
        grantee = text(inside(param, "user")) if atype not in ("authCheck", "authenticate") else None
        who = party(place, at_ms, grantee or (users[0] if users else None), _address(value.get("remote")))
        copied_to = mongodb.written_to(inside(param, "args")) if means == mongodb.EXPORT else None
        return [
            draft(
                place,
                record,
                observed_at,
                at_ms,
                kind=means.kind,
                action=means.action,
                channel="db",
                outcome=mongodb.outcome_of(value.get("result")),
                actor=who.actor or who.source_ip,
                actor_type=_actor_type(value, users, grantee, who.source_ip),
                privilege=_privilege(value, param, means, atype),
                session=names.pseudonym("session", session) if (session := text(_session(value))) else None,
                dataset=mongodb.namespace(inside(param, "ns")),
                statement_fingerprint=mongodb.fingerprint(inside(param, "args"), names),
                destination=(f"collection:{copied_to}" if copied_to else who.destination)
                if means.action == "export"
                else None,
                destination_external=False if copied_to else who.external if means.action == "export" else None,
                source_ip=who.source_ip,
                source_network=who.source_network,
                labels=(*_told(command, param), *_people(users, grantee, names)),
            )
        ]


def _meaning(atype: str, command: str | None, param: object) -> Meaning:
    """What sort of event it is.

    Raises:
        Ignored: it is none.
    """
    if atype in _SILENT:
        raise Ignored(_SILENT[atype])
    if atype == "authenticate":
        return mongodb.LOGIN
    if atype != "authCheck":
        return mongodb.COMMANDS.get(atype, Meaning("administration", "unknown"))
    if command in _LOOKS_ONLY:
        raise Ignored("no_data")
    if command == "aggregate" and mongodb.written_to(inside(param, "args")):
        return mongodb.EXPORT
    return mongodb.COMMANDS.get(command or "", mongodb.UNKNOWN)


def _users(value: Mapping[str, Any], param: object) -> list[str]:
    """Who is logged in on this connection; of a login that failed, who tried."""
    found = [name for user in listed(value.get("users")) if (name := text(inside(user, "user")))]
    tried = text(inside(param, "user")) if value.get("atype") == "authenticate" else None
    return found or ([tried] if tried else [])


def _address(remote: object) -> str | None:
    if text(inside(remote, "unix")):
        return "local"
    return text(inside(remote, "ip")) or text(inside(remote, "host"))


def _session(value: Mapping[str, Any]) -> object:
    """The connection's UUID, in each spelling of extended JSON."""
    uuid = value.get("uuid")
    binary = inside(uuid, "$binary")
    return inside(binary, "base64") or binary or inside(uuid, "$uuid")


def _actor_type(value: Mapping[str, Any], users: list[str], grantee: str | None, source_ip: str | None) -> ActorType:
    own = inside(value, "remote", "isSystemUser") is True or users[:1] == [mongodb.SYSTEM]
    if grantee is None and own:
        return "service"
    return "network" if not users and grantee is None and source_ip else "unknown"


def _privilege(value: Mapping[str, Any], param: object, means: Meaning, atype: str) -> Privilege:
    if means == mongodb.GRANT and atype != "authCheck":
        given = mongodb.privilege_of(inside(param, "roles"))
        return "standard" if given == "unknown" else given
    return mongodb.privilege_of(value.get("roles"))


def _told(command: str | None, param: object) -> list[Label]:
    found = {"command": mongodb.command_name(command), "joins": mongodb.joined(inside(param, "args"))}
    return [Label(key=key, value=value) for key, value in found.items() if value is not None]


def _people(users: list[str], grantee: str | None, names: Pseudonymiser) -> list[Label]:
    """Who gave the rights, or who else is logged in on the connection."""
    key, shown = ("also", users[1:9]) if grantee is None else ("by", users[:1])
    return [Label(key=key, value=names.pseudonym("actor", user)) for user in shown]
