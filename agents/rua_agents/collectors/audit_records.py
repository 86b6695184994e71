r"""Records of the Linux audit system: `type=EXECVE msg=audit(1772445600.100:501): argc=2 a0="psql" a1=2D63`.

A value in quotes stands for itself; an unquoted one is hexadecimal if it is of a field that the kernel encodes, because
it holds a blank, a quote or a control character. So no name, argument or path can forge a field: `"3005"` is text,
`3005` of an argument is two bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from rua_agents.collectors.drafting import Unreadable
from rua_agents.times import checked

_HEAD = re.compile(r"(?:node=(\S+) )?type=([A-Z_0-9\[\]]+) msg=audit\((\d{1,12})\.(\d{3}):(\d{1,20})\): ?", re.ASCII)
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9_-]*(?:\[\d+\])?)=(\"[^\"]*\"?|'[^']*'?|\S*)", re.ASCII)
_HEX = re.compile(r"(?:[0-9A-F]{2})+", re.ASCII)
_ARGUMENT = re.compile(r"a(\d{1,6})(?:\[(\d{1,6})\])?", re.ASCII)
ENRICHED = "\x1d"
"""Stands between the kernel's fields and the names that auditd adds in `log_format = ENRICHED`."""
ENCODED = frozenset(("acct", "cmd", "comm", "cwd", "data", "dir", "exe", "key", "name", "path", "proctitle", "vm"))
NOBODY = frozenset(("4294967295", "-1", "unset", "?"))


class AuditRecord(NamedTuple):
    """One line."""

    type: str
    at_ms: int
    serial: str
    """Node, time and number: what the records of one event share."""
    fields: Mapping[str, str]
    names: Mapping[str, str]
    """Interpreted fields of the enriched format: AUID, UID, SYSCALL …"""
    node: str | None
    """The host that wrote it, if auditd names it (`name_format`), as in a file that collects those of several."""


def read_record(line: str) -> AuditRecord:
    """Parses a line.

    Raises:
        Unreadable: no audit record.
        BadTime: its time is out of range.
    """
    head = _HEAD.match(line)
    if head is None:
        raise Unreadable("not_audit")
    node, kind, seconds, millis, number = head.groups()
    at_ms = checked(int(seconds) * 1_000 + int(millis))
    kernel, _, enriched = line[head.end() :].partition(ENRICHED)
    serial = f"{node or ''} {seconds}.{millis}:{number}"
    return AuditRecord(kind, at_ms, serial, _fields(kernel), _fields(enriched), node)


def _fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in _FIELD.findall(text):
        if value[:1] == "'":
            found |= _fields(value.strip("'"))
        else:
            found[name] = _decoded(name, value)
    return found


def _decoded(name: str, value: str) -> str:
    if value[:1] == '"':
        return value.strip('"')
    encoded = name in ENCODED or _ARGUMENT.fullmatch(name) is not None
    if encoded and _HEX.fullmatch(value):
        return bytes.fromhex(value).decode("utf-8", "replace")
    return value


def arguments(record: AuditRecord) -> list[str]:
    """The arguments of an EXECVE record, in order; pieces of a long one (`a2[0]=`, `a2[1]=`) are joined."""
    pieces = []
    for name, value in record.fields.items():
        found = _ARGUMENT.fullmatch(name)
        if found:
            pieces.append((int(found[1]), int(found[2] or 0), value))
    joined: dict[int, str] = {}
    for number, _, value in sorted(pieces):
        joined[number] = joined.get(number, "") + value
    return list(joined.values())


def title(record: AuditRecord) -> str:
    """The process title, its NUL-separated words joined by blanks."""
    return record.fields.get("proctitle", "").replace("\0", " ").strip()


def somebody(record: AuditRecord, field: str, host: str) -> str | None:
    """A user by name: the enriched one, root for 0, else the number on this host; None if nobody is set."""
    number = record.fields.get(field)
    name = record.names.get(field.upper())
    if name is not None and name not in NOBODY and not name.startswith("unknown("):
        return name
    if number is None or number in NOBODY or not number.isdigit():
        return None
    return "root" if number == "0" else f"uid {number} of {host}"
