"""What MongoDB's two logs share: dates, what commands and roles mean, the shape of a command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from rua_schemas.events import Action, Kind, Outcome, Privilege

from rua_agents import labels
from rua_agents.collectors.json_values import inside, listed, number, text
from rua_agents.pseudonyms import Pseudonymiser
from rua_agents.times import BadTime, checked, stamp_ms

SYSTEM = "__system"
"""The user as which members of a cluster log in to each other."""
OPLOG = "local.oplog.rs"
INTERACTIVE = frozenset(("mongosh", "mongo", "Compass", "Studio", "NoSQLBooster", "DataGrip"))
DUMPERS = frozenset(("mongodump", "mongoexport"))
SUPERUSERS = frozenset(("root", SYSTEM))
_STRONG = frozenset(("dbOwner", "userAdmin", "clusterAdmin", "clusterManager", "hostManager", "backup", "restore"))
_PROGRAMS = {"MongoDB Compass": "Compass", "MongoDB Shell": "mongo", "Studio 3T": "Studio"}
_UNAUTHORIZED = frozenset((11, 13, 18))
"""UserNotFound, Unauthorized, AuthenticationFailed."""
_OF_DRIVERS = frozenset(("lsid", "txnNumber", "apiVersion", "comment", "maxTimeMS"))
_JOINS = frozenset(("$lookup", "$graphLookup", "$unionWith"))
MAX_JOINED = 8
MAX_DEPTH, MAX_ITEMS, MAX_NAME, MAX_SHAPE = 12, 100, 64, 4_096
"""Of a command's shape are looked at."""


class Meaning(NamedTuple):
    """What sort of event a command is."""

    kind: Kind
    action: Action


UNKNOWN = Meaning("unknown", "unknown")
READ = Meaning("data_access", "read")
QUERY = Meaning("data_access", "query")
EXPORT = Meaning("data_export", "export")
ALTER = Meaning("data_change", "alter")
DELETE = Meaning("data_change", "delete")
GRANT = Meaning("privilege_change", "alter")
ADMINISTER = Meaning("administration", "alter")
LOGIN = Meaning("authentication", "unknown")

COMMANDS: Mapping[str, Meaning] = {
    **dict.fromkeys(("find", "query"), READ),
    **dict.fromkeys(("aggregate", "count", "distinct", "mapReduce", "mapreduce", "geoSearch"), QUERY),
    **dict.fromkeys(("getMore", "getmore"), EXPORT),
    **dict.fromkeys(("insert", "update", "findAndModify", "findandmodify", "bulkWrite"), ALTER),
    **dict.fromkeys(("delete", "remove"), DELETE),
    **dict.fromkeys(
        (
            *("createUser", "updateUser", "grantRolesToUser", "createRole", "updateRole", "grantRolesToRole"),
            *("grantPrivilegesToRole", "directAuthMutation"),
        ),
        GRANT,
    ),
    **dict.fromkeys(
        (
            *("create", "createCollection", "createDatabase", "createIndex", "createIndexes", "collMod"),
            *("convertToCapped", "cloneCollectionAsCapped", "compact", "renameCollection", "drop", "dropCollection"),
            *("dropDatabase", "dropIndex", "dropIndexes", "dropUser", "dropAllUsersFromDatabase", "dropRole"),
            *("dropAllRolesFromDatabase", "revokeRolesFromUser", "revokeRolesFromRole", "revokePrivilegesFromRole"),
            *("importCollection", "exportCollection", "enableSharding", "shardCollection", "reshardCollection"),
            *("refineCollectionShardKey", "addShard", "removeShard", "moveChunk", "replSetReconfig"),
            *("replSetInitiate", "setParameter", "setClusterParameter", "auditConfigure", "setAuditConfig"),
            *("profile", "logRotate", "rotateLog", "shutdown", "fsync", "killOp", "killCursors"),
            "setFeatureCompatibilityVersion",
        ),
        ADMINISTER,
    ),
}
"""Of the commands that touch data, rights or the server."""


def date_ms(value: object, zone: ZoneInfo | None) -> int:
    """`{"$date": …}` in each spelling of server versions and of extended JSON, to milliseconds since the epoch.

    Raises:
        BadTime: it is none.
    """
    date = inside(value, "$date")
    if isinstance(date, str):
        return stamp_ms(date, zone)
    at_ms = number(date)
    if at_ms is None:
        raise BadTime("no $date")
    return checked(at_ms)


def outcome_of(result: object) -> Outcome:
    """How a command ended, by its error code."""
    code = number(result)
    if code is None:
        return "unknown"
    return "ok" if code == 0 else "denied" if code in _UNAUTHORIZED else "failed"


def privilege_of(roles: object) -> Privilege:
    """The strongest of these roles, by MongoDB's built-in names; what a role of the user's own may do is unknown."""
    names = {text(inside(role, "role") or role) or "" for role in listed(roles)}
    if not SUPERUSERS.isdisjoint(names):
        return "superuser"
    return "elevated" if any(name in _STRONG or name.endswith("AnyDatabase") for name in names) else "unknown"


def namespace(value: object) -> str | None:
    """`database.collection`, each without what may be a person's."""
    name = text(value)
    return ".".join(map(labels.name_shape, name.split(".")))[: labels.MAX_CHARACTERS] if name else None


def program(app_name: str | None) -> str | None:
    """The program that a client's own text names."""
    if app_name is None:
        return None
    named = next((short for name, short in _PROGRAMS.items() if app_name.startswith(name)), None)
    return named or labels.product(app_name)


def command_name(value: str | None) -> str | None:
    """A command's name as it may leave: letters only."""
    return value if value and value.isascii() and value.isalpha() and len(value) <= labels.MAX_STEM_CHARACTERS else None


def written_to(command: object) -> str | None:
    """The collection into which a pipeline's last stage writes what it reads ($out, $merge)."""
    stages = inside(command, "pipeline")
    last = stages[-1] if isinstance(stages, list) and stages else None
    target = inside(last, "$out") or inside(last, "$merge", "into") or inside(last, "$merge")
    if isinstance(target, Mapping):
        parts = text(target.get("db")), text(target.get("coll"))
        return namespace(".".join(filter(None, parts)))
    return namespace(target)


def joined(command: object) -> str | None:
    """The other collections that a pipeline reads, in order: the namespace names only the first."""
    found = dict.fromkeys(filter(None, map(namespace, _joined(inside(command, "pipeline"), 0))))
    return " ".join(islice(found, MAX_JOINED))[: labels.MAX_CHARACTERS] or None


def _joined(value: object, depth: int) -> Iterator[object]:
    if depth > MAX_DEPTH:
        return
    if isinstance(value, list):
        for one in value[:MAX_ITEMS]:
            yield from _joined(one, depth + 1)
    elif isinstance(value, Mapping):
        for key, one in islice(value.items(), MAX_ITEMS):
            if key in _JOINS:
                yield one if isinstance(one, str) else inside(one, "from") or inside(one, "coll")
            yield from _joined(one, depth + 1)


def fingerprint(command: object, names: Pseudonymiser) -> str | None:
    """Keyed hash of a command's field names and operators, without any value; None if there is no command."""
    if not isinstance(command, Mapping):
        return None
    own = {key: one for key, one in command.items() if key not in _OF_DRIVERS and not key.startswith("$")}
    return names.pseudonym("statement", _shape(own, 0)[:MAX_SHAPE]) if own else None


def _shape(value: object, depth: int) -> str:
    """Names in one another; a list as its different shapes, so that its length does not matter."""
    if depth > MAX_DEPTH:
        return "?"
    if isinstance(value, Mapping):
        pairs = (f"{key[:MAX_NAME]}{_shape(one, depth + 1)}" for key, one in islice(value.items(), MAX_ITEMS))
        return "{" + " ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + " ".join(dict.fromkeys(_shape(one, depth + 1) for one in value[:MAX_ITEMS])) + "]"
    return ""
