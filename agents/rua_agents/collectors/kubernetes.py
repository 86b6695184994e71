"""Requests to a Kubernetes API server, in each of the forms in which they are written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

from rua_schemas.events import MAX_TIME_MS, Outcome

from rua_agents.collectors.drafting import Ignored, Unreadable
from rua_agents.collectors.json_values import MAX_CHARACTERS, inside, listed, mappings, number, text
from rua_agents.collectors.seen import digest
from rua_agents.jsontext import NotJson, read_object
from rua_agents.times import BadTime, stamp_ms

ANONYMOUS = "system:anonymous"
PERMISSION_DENIED, UNAUTHENTICATED = 7, 16
"""Codes of google.rpc, in which GKE tells an outcome."""
_GKE = "io.k8s."


class Request(NamedTuple):
    """A request, whoever wrote it down."""

    key: str
    """Tells requests apart. Not the auditID alone: a client may choose that, and would hide behind an older one."""
    at_ms: int | None
    verb: str
    resource: str
    subresource: str
    namespace: str | None
    name: str | None
    user: str | None
    groups: frozenset[str]
    runs_as: str | None
    """Whom the user impersonates."""
    addresses: list[str]
    """The client's own claim first, what the server saw last."""
    agent: str | None
    outcome: Outcome
    unauthenticated: bool
    command: list[str]
    """What is run in a container."""
    body: object
    cut: bool = False


class Entry(NamedTuple):
    """One request as a platform wraps it."""

    written: Mapping[str, Any] | str
    """An object, or JSON in a string."""
    at_ms: int | None = None
    """The platform's own time."""


def entries(value: Mapping[str, Any], zone: ZoneInfo | None) -> Iterator[Entry]:
    """The requests of one record: itself, AKS's string in it, or the many of CloudWatch or a webhook."""
    log = inside(value, "properties", "log")
    if isinstance(log, str):
        yield Entry(log, time_of(value, zone, "time"))
    elif "logEvents" in value:
        for one in mappings(value["logEvents"]):
            message = one.get("message")
            yield Entry(message if isinstance(message, str) else "", _milliseconds(one.get("timestamp")))
    elif value.get("kind") == "EventList":
        yield from map(Entry, mappings(value.get("items")))
    else:
        yield Entry(value)


def request_of(entry: Entry, zone: ZoneInfo | None) -> Request:
    """The request of one entry.

    Raises:
        Ignored: a stage of a request that is told again, or told already.
        Unreadable, NotJson: no audit record of Kubernetes.
    """
    written, at_ms = entry
    if isinstance(written, str):
        value, cut = _nested(written)
        found = _of_event(value, zone)
        return found._replace(at_ms=found.at_ms or at_ms, cut=cut)
    return _of_cloud_logging(written, zone) if "protoPayload" in written else _of_event(written, zone)


def _milliseconds(told: object) -> int | None:
    at_ms = number(told)
    return at_ms if at_ms is not None and at_ms <= MAX_TIME_MS else None


def _nested(log: str) -> tuple[Mapping[str, Any], bool]:
    """The event that stands in a string, and whether the platform cut it."""
    data = log.strip().encode("utf-8", "replace")
    try:
        return read_object(data)[0], False
    except NotJson:
        return read_object(data, truncated=True)[0], True


def _of_event(value: Mapping[str, Any], zone: ZoneInfo | None) -> Request:
    verb, stage, uri = text(value.get("verb")), text(value.get("stage")), _uri(value)
    if stage is None or (verb is None and not uri):
        raise Unreadable("no_audit_event")
    verb = verb or ""  # a client that sends a very long URI cuts it off
    if stage == "RequestReceived":
        raise Ignored("request_received")
    user, told, code = value.get("user"), value.get("objectRef"), number(inside(value, "responseStatus", "code"))
    name = text(inside(user, "username"))
    # a long user agent cuts objectRef off; the path says the same
    namespace, resource, object_name, subresource = _path(uri.partition("?")[0].strip("/").removeprefix("apis/"))
    received = text(value.get("requestReceivedTimestamp")) or text(value.get("stageTimestamp")) or ""
    return Request(
        key=digest(text(value.get("auditID")) or "", name or "", verb, uri, received) if received else "",
        at_ms=time_of(value, zone, "requestReceivedTimestamp", "stageTimestamp"),
        verb=verb,
        resource=(text(inside(told, "resource")) or "") if told else resource,
        subresource=(text(inside(told, "subresource")) or "") if told else subresource,
        namespace=text(inside(told, "namespace")) if told else namespace,
        name=text(inside(told, "name")) if told else object_name,
        user=name,
        groups=_texts(inside(user, "groups")) | _texts(inside(value, "impersonatedUser", "groups")),
        runs_as=text(inside(value, "impersonatedUser", "username")),
        addresses=[one for one in map(text, listed(value.get("sourceIPs"))[:100]) if one],
        agent=text(value.get("userAgent")),
        outcome="failed" if stage == "Panic" else outcome_of(code),
        unauthenticated=code == 401,
        command=parse_qs(uri.partition("?")[2]).get("command", []),
        body=value.get("requestObject") or value.get("responseObject"),
    )


def _of_cloud_logging(value: Mapping[str, Any], zone: ZoneInfo | None) -> Request:
    payload, operation = value["protoPayload"], value.get("operation")
    method, where = text(inside(payload, "methodName")) or "", text(inside(payload, "resourceName")) or ""
    if not method.startswith(_GKE):
        raise Unreadable("not_of_kubernetes")
    if inside(operation, "last") is True and inside(operation, "first") is not True:
        raise Ignored("told_before")
    namespace, resource, name, subresource = _path(where)
    insert_id, stamp = text(value.get("insertId")), text(value.get("timestamp"))
    code = number(inside(payload, "status", "code")) or 0
    denied = code in (PERMISSION_DENIED, UNAUTHENTICATED)
    return Request(
        key=digest(insert_id, stamp or "") if insert_id else "",
        at_ms=time_of(value, zone, "timestamp"),
        verb=method.rpartition(".")[2],
        resource=resource,
        subresource=subresource,
        namespace=namespace,
        name=name,
        user=text(inside(payload, "authenticationInfo", "principalEmail")),
        groups=frozenset(),
        runs_as=None,
        addresses=[one for one in [text(inside(payload, "requestMetadata", "callerIp"))] if one],
        agent=text(inside(payload, "requestMetadata", "callerSuppliedUserAgent")),
        outcome="denied" if denied else "failed" if code else "ok",
        unauthenticated=code == UNAUTHENTICATED,
        command=[],
        body=inside(payload, "request") or inside(payload, "response"),
    )


def time_of(value: Mapping[str, Any], zone: ZoneInfo | None, *names: str) -> int | None:
    """The first of these fields that holds a time."""
    for name in names:
        stamp = value.get(name)
        if isinstance(stamp, str):
            try:
                return stamp_ms(stamp, zone)
            except BadTime:
                continue
    return None


def outcome_of(code: int | None) -> Outcome:
    """How a request ended, by its HTTP status; 101 is a connection that is handed over to exec and its like."""
    if code is None:
        return "unknown"
    return "denied" if code in (401, 403) else "failed" if code >= 400 else "ok"


def _uri(value: Mapping[str, Any]) -> str:
    uri = value.get("requestURI")
    return uri[: 4 * MAX_CHARACTERS] if isinstance(uri, str) else ""


def _texts(value: object) -> frozenset[str]:
    return frozenset(one for one in map(text, listed(value)[:100]) if one)


def _path(where: str) -> tuple[str | None, str, str | None, str]:
    """`core/v1/namespaces/shop/pods/api-1/exec` as namespace, resource, name and subresource."""
    parts = where.split("/")[2:]
    namespace = parts[1] if parts[:1] == ["namespaces"] and len(parts) > 2 else None
    resource, name, subresource = [*(parts[2:] if namespace else parts), "", "", ""][:3]
    return namespace, resource, name or None, subresource
