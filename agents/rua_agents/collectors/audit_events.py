"""What an event of the audit system was: its records, one after the other, to facts without names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec
from rua_schemas.events import Action, Kind, Label, Outcome, Privilege

from rua_agents import labels
from rua_agents.collectors.audit_records import AuditRecord, arguments, somebody
from rua_agents.collectors.commands import DUMPERS, MAX_WORDS, option_of
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import Facts, Ignored, party

O_ACCMODE = 3
REFUSED = frozenset(("-1", "-13"))
"""EPERM and EACCES."""


class Call(NamedTuple):
    """A system call that touches a file."""

    kind: Kind
    action: Action
    flags: str | None = None
    """Which argument holds the flags of open: reading is not writing."""


_OPEN, _OPENAT = Call("data_access", "read", "a1"), Call("data_access", "read", "a2")
_OPENAT2 = Call("data_access", "unknown")  # its flags stand in memory, not in an argument
_CREATE = Call("data_change", "alter")
_DELETE, _CHANGE = Call("data_change", "delete"), Call("administration", "alter")
_NUMBERS: Mapping[str, Mapping[Call, str]] = {
    # x86-64
    "c000003e": {
        **{_OPEN: "2", _OPENAT: "257", _OPENAT2: "437", _CREATE: "85"},
        **{_DELETE: "76 84 87 263", _CHANGE: "82 90 92 94 260 264 268 316"},
    },
    # x86-32: any program may be built for it, also on a 64-bit host
    "40000003": {
        **{_OPEN: "5", _OPENAT: "295", _OPENAT2: "437", _CREATE: "8"},
        **{_DELETE: "10 40 92 193 301", _CHANGE: "15 16 38 182 198 212 298 302 306 353"},
    },
    # arm64
    "c00000b7": {_OPENAT: "56", _OPENAT2: "437", _DELETE: "35 45", _CHANGE: "38 53 54 276"},
}
"""Architecture → open, openat, openat2, creat; truncate, unlink, rmdir; rename, chmod, chown."""
CALLS: Mapping[tuple[str, str], Call] = {
    (architecture, number): call
    for architecture, calls in _NUMBERS.items()
    for call, numbers in calls.items()
    for number in numbers.split()
}
"""(Architecture, number) → what the call does to a file."""


class Deed(NamedTuple):
    """A type that is an event by itself."""

    kind: Kind
    action: Action = "unknown"
    only_failed: bool = False
    """Whether its success is told again by another record."""


ALONE: Mapping[str, Deed] = {
    "USER_LOGIN": Deed("authentication"),
    "USER_AUTH": Deed("authentication", only_failed=True),
    "USER_CMD": Deed("privileged_access"),
    **dict.fromkeys(("ADD_USER", "ADD_GROUP", "USER_CHAUTHTOK", "ROLE_ASSIGN"), Deed("privilege_change", "alter")),
    **dict.fromkeys(
        (
            "DEL_USER",
            "DEL_GROUP",
            "USER_MGMT",
            "GRP_MGMT",
            "ROLE_REMOVE",
            "CONFIG_CHANGE",
            "DAEMON_END",
            "DAEMON_ABORT",
        ),
        Deed("administration", "alter"),
    ),
}


class Pending(msgspec.Struct):
    """What is known of an event so far; pseudonyms and shapes only."""

    at_ms: int
    first_position: int
    kind: Kind = "unknown"
    action: Action = "unknown"
    outcome: Outcome = "unknown"
    actor: str | None = None
    run_as: str | None = None
    by: str | None = None
    privilege: Privilege = "unknown"
    source_ip: str | None = None
    source_network: str | None = None
    session: str | None = None
    tool: str | None = None
    dumps: bool = False
    shape: list[str] = []
    """Program and options of the command, no argument."""
    dataset: str | None = None
    ignored: str = "other_syscall"
    truncated: bool = False
    records: int = 0
    event: Draft | str = ""
    """The event as it would be now, or why it is none."""


def add(pending: Pending, record: AuditRecord, place: Place) -> None:
    """Takes one more record of the event."""
    reader = READERS.get(record.type)
    if reader is not None:
        reader(pending, record, place)
    elif record.type in ALONE:
        _alone(pending, record, place)
    elif pending.kind == "unknown" and record.type not in ("CWD", "PROCTITLE", "EOE", "SOCKADDR", "FD_PAIR", "OPENAT2"):
        pending.ignored = "other_type"


def facts_of(pending: Pending, place: Place) -> Facts:
    """The fields of the event.

    Raises:
        Ignored: it is none.
    """
    if pending.kind == "unknown":
        raise Ignored(pending.ignored)
    names = place.keys.at(pending.at_ms)
    exports = pending.dumps and pending.outcome != "denied"
    notes = {"as": pending.run_as, "by": pending.by}
    return Facts(
        kind=pending.kind,
        action="export" if exports else pending.action,
        outcome=pending.outcome,
        channel="host",
        actor=pending.actor,
        privilege=pending.privilege,
        session=pending.session,
        dataset=pending.dataset,
        tool=pending.tool,
        statement_fingerprint=names.pseudonym("statement", " ".join(pending.shape)) if pending.shape else None,
        source_ip=pending.source_ip,
        source_network=pending.source_network,
        truncated=pending.truncated,
        labels=tuple(Label(key=key, value=value) for key, value in notes.items() if value),
    )


def _who(pending: Pending, record: AuditRecord, place: Place) -> None:
    """The actor is the login user, which survives sudo and su; only without one is it whose rights the process has."""
    names, host = place.keys.at(pending.at_ms), record.node or place.host
    login, user = somebody(record, "auid", host), somebody(record, "euid", host) or somebody(record, "uid", host)
    actor = login or user
    pending.actor = names.pseudonym("actor", actor) if actor else None
    if login and user and user != login:
        pending.run_as = names.pseudonym("actor", user)
    pending.privilege = "superuser" if user == "root" else "elevated" if pending.run_as else "standard"
    session = record.fields.get("ses", "")
    pending.session = names.pseudonym("session", f"{host} {session}") if session.isdigit() else None


def _syscall(pending: Pending, record: AuditRecord, place: Place) -> None:
    fields = record.fields
    _who(pending, record, place)
    pending.outcome = _outcome(fields)
    call = CALLS.get((fields.get("arch", ""), fields.get("syscall", "")))
    if call is None or pending.shape:
        return
    pending.kind, pending.action = call.kind, call.action
    flags = fields.get(call.flags, "") if call.flags else ""
    if flags and _hex(flags) & O_ACCMODE:
        pending.kind, pending.action = "data_change", "alter"


def _outcome(fields: Mapping[str, str]) -> Outcome:
    if fields.get("success") == "yes":
        return "ok"
    if fields.get("success") == "no":
        return "denied" if fields.get("exit") in REFUSED else "failed"
    return "unknown"


def _hex(text: str) -> int:
    try:
        return int(text[:16], 16)
    except ValueError:
        return 0


def _execve(pending: Pending, record: AuditRecord, place: Place) -> None:
    del place
    words = arguments(record)
    pending.kind, pending.action = "privileged_access", "unknown"
    if not pending.shape:
        program = (words[0] if words else "").rpartition("/")[2]
        pending.tool, pending.dumps = labels.product(program), program in DUMPERS
        pending.shape, words = [pending.tool or "?"], words[1:]
    pending.shape = [*pending.shape, *map(option_of, words)][:MAX_WORDS]


def _path(pending: Pending, record: AuditRecord, place: Place) -> None:
    del place
    name = record.fields.get("name", "")
    if not pending.shape and name.startswith("/") and record.fields.get("nametype") != "PARENT":
        pending.dataset = f"file:{labels.path_shape(name)}"


def _alone(pending: Pending, record: AuditRecord, place: Place) -> None:
    deed, fields = ALONE[record.type], record.fields
    ok = fields.get("res", fields.get("result", "")) in ("success", "1", "yes")
    if deed.only_failed and ok:
        pending.ignored = "told_again"
        return
    pending.kind, pending.action, pending.outcome = deed.kind, deed.action, "ok" if ok else "denied"
    _who(pending, record, place)
    account = fields.get("acct") or record.names.get("ID")
    address = fields.get("addr") or fields.get("hostname")
    told = party(place, pending.at_ms, account, address if address not in (None, "?", "") else None)
    pending.source_ip, pending.source_network = told.source_ip, told.source_network
    if told.actor is not None and deed.kind != "privileged_access":
        pending.by = pending.actor if deed.kind in ("privilege_change", "administration") else None
        pending.actor, pending.run_as = told.actor, None
    if "cmd" in fields:
        words = fields["cmd"].split()
        program = (words[0] if words else "").rpartition("/")[2]
        pending.tool, pending.dumps = labels.product(program), program in DUMPERS
        pending.shape = [pending.tool or "?", *map(option_of, words[1:MAX_WORDS])]


READERS: Mapping[str, Callable[[Pending, AuditRecord, Place], None]] = {
    "SYSCALL": _syscall,
    "EXECVE": _execve,
    "PATH": _path,
}
"""Type of record → what it adds to its event."""
