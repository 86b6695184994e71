"""What a request was: its path without literals, sort of event, outcome, bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from rua_schemas.events import Action, ActorType, Kind, Outcome, Quality

from rua_agents import labels
from rua_agents.collectors.nginx_fields import Fields, count, text

STATIC = ("css", "js", "mjs", "map", "png", "jpg", "jpeg", "gif", "svg", "ico", "webp", "avif", "woff", "woff2", "ttf")
EXPORT_WORDS = frozenset(("export", "exports", "download", "downloads", "dump", "backup", "backups", "report-export"))
FILE_TYPES = ("text/csv", "application/zip", "application/gzip", "application/vnd", "application/x-tar", "text/tab-")
METHODS: Mapping[str, tuple[Kind, Action]] = {
    "GET": ("data_access", "read"),
    "HEAD": ("data_access", "read"),
    "POST": ("data_change", "alter"),
    "PUT": ("data_change", "alter"),
    "PATCH": ("data_change", "alter"),
    "DELETE": ("data_change", "delete"),
}
VERSIONS = frozenset((" HTTP/1.0", " HTTP/1.1", " HTTP/2.0", " HTTP/3.0"))
VERSION_CHARACTERS = 9
NO_DATA = frozenset(("OPTIONS", "TRACE", "CONNECT"))
READING_WORDS = frozenset(("graphql", "search", "query", "list"))
CLIENT_CLOSED = 499
PATH_CHARACTERS = 8 * labels.MAX_CHARACTERS
NUMBERS = re.compile(r"/[0-9]+(?=/|$)")
BROWSERS = frozenset(("Chrome", "Firefox", "Safari", "Edge", "Opera"))


class Target(NamedTuple):
    """What a request's path tells; the path itself is kept without literals."""

    shape: str
    downloads: bool
    static: bool
    reads: bool


def target(path: str) -> Target:
    """Facts of a path."""
    return _target(skeleton(path))


def skeleton(path: str) -> str:
    """All of a path that its facts depend on: paths that differ in numbers only share one entry of a cache."""
    if "?" in path:
        path = path.partition("?")[0]
    path = NUMBERS.sub("/{n}", path)
    return path if len(path) <= PATH_CHARACTERS else path[:PATH_CHARACTERS]


@lru_cache(16_384)
def _target(path: str) -> Target:
    # of the path itself: its shape may have lost the extension
    segments = [unquote(segment).partition(";")[0] for segment in path.lower().split("/")]
    _, dot, extension = segments[-1].rpartition(".")
    downloads = (bool(dot) and extension in labels.FILES) or not EXPORT_WORDS.isdisjoint(segments)
    static = bool(dot) and extension in STATIC
    return Target(labels.path_shape(path), downloads, static, not READING_WORDS.isdisjoint(segments))


def request_line(request: str) -> tuple[str, str] | None:
    """Method and target of `GET /path HTTP/1.1`; None if it is no request line."""
    blank, end = request.find(" "), len(request) - VERSION_CHARACTERS
    method = request[:blank]
    if method in METHODS and blank < end and request[end:] in VERSIONS:
        return method, request[blank + 1 : end]
    method, _, rest = request.partition(" ")
    path, space, version = rest.rpartition(" ")
    if not space or not version.startswith("HTTP/"):
        return None
    return (method, path) if _is_method(method) else None


def _is_method(method: str) -> bool:
    return method.isascii() and method.isalpha() and method.isupper()


class Request(NamedTuple):
    """Method and target, each None if the log does not tell."""

    method: str | None
    where: Target | None


def kind_of(fields: Fields, method: str | None, where: Target | None) -> tuple[Kind, Action]:
    """Sort of event: an attachment, a file or a download is an export, else the method says it."""
    disposition, content_type = text(fields.disposition), text(fields.content_type)
    attached = disposition is not None and disposition.lower().startswith("attachment")
    attached = attached or (content_type is not None and content_type.lower().startswith(FILE_TYPES))
    if method in (None, "GET", "POST") and (attached or (where is not None and where.downloads)):
        return "data_export", "export"
    if method == "POST" and where is not None and where.reads:
        return "data_access", "query"
    return METHODS.get(method or "", ("unknown", "unknown"))


def bytes_of(fields: Fields, method: str | None) -> tuple[int | None, Quality]:
    """Bytes of the body that left. gzip shrinks them, so more data left than bytes: a lower bound."""
    body, whole = count(fields.body_bytes), count(fields.bytes)
    if method == "HEAD":
        return 0, "exact"
    if body is None and whole is None:
        return None, "unknown"
    if text(fields.gzip):
        return (whole if body is None else body), "lower_bound"
    return (body, "exact") if body is not None else (whole, "upper_bound")


def outcome_of(fields: Fields, method: str | None) -> Outcome:
    """How it ended; a client that went away early has aborted, although the status says 200."""
    status = count(fields.status)
    if not status:
        return "unknown"
    if status in (401, 403, 407):
        return "denied"
    if status == CLIENT_CLOSED or fields.completion == "":
        return "aborted"
    if status >= 400:
        return "failed"
    length, sent = count(fields.length), count(fields.body_bytes)
    sent = count(fields.bytes) if sent is None else sent
    cut = method != "HEAD" and status in (200, 206) and length is not None and sent is not None and sent < length
    return "aborted" if cut and not text(fields.gzip) else "ok"


def actor_type_of(user: str | None, source_ip: str | None, tool: str | None) -> ActorType:
    """A user is a person if a browser speaks for it; without a user the address acts."""
    if user is None:
        return "network" if source_ip else "unknown"
    return "interactive" if tool in BROWSERS else "unknown"
