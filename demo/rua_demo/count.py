"""How many events a world's lines must give, counted without the agent's code: it would share the agent's mistakes.

The rules, in short: of pgaudit, each (session, statement, substatement) that reads, writes, defines or grants is one
event, a COPY and its query together one, a GRANT one for each grantee, and a statement ends when the log is more than
a second further; of nginx, each request that can carry data. What has no readable time is none.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rua_demo import world
from rua_demo.world import World

csv.field_size_limit(1 << 30)

Key = tuple[str, str]
STATIC = re.compile(r"\.(css|js|mjs|map|png|jpe?g|gif|svg|ico|webp|avif|woff2?|ttf)$", re.IGNORECASE)
REQUEST = re.compile(r"([A-Z]+) (.*) HTTP/\S*", re.DOTALL)
DOWNLOADS = {"export", "exports", "download", "downloads", "dump", "backup", "backups", "report-export"}
TIMES = (
    *("msec", "time_msec", "timestamp_msec", "epoch", "time_iso8601", "ts", "timestamp", "@timestamp", "time"),
    *("datetime", "time_local"),
)
REQUESTS = ("request", "req", "request_line")
PATHS = ("uri", "request_uri", "path", "url", "document_uri")
METHODS = ("request_method", "method", "verb")
STATUSES = ("status", "status_code", "response_code", "code")
ESCAPED = re.compile(r"((?<!\\)(?:\\\\)*)\\x([0-9A-Fa-f]{2})")
STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)([.,]\d+)?\s?\S*")
LAST_SECONDS = 4_102_444_800  # 2100: nothing later can be stored
THAI_YEARS, FIRST_THAI_YEAR = 543, 2400
STATEMENT_SECONDS = 1.0
RECORD_BYTES = 1 << 20  # an agent cuts a longer record, see its `record_bytes`
AUDIT = b'"AUDIT: '
TIMESTAMP = re.compile(rb'"timestamp":"([ -~]+?)"')
MOST_GRANTEES = 100  # a statement that names more people is one event
WITHOUT_DATA = {"OPTIONS", "TRACE", "CONNECT"}
GRANTEES = re.compile(r'\b(?:TO|FROM)\s+((?:"[^"]*"|\w+)(?:\s*,\s*(?:"[^"]*"|\w+))*)', re.IGNORECASE)
SUPERUSER_ROLE = re.compile(
    r"SET\s+(SESSION\s+|LOCAL\s+)?(ROLE|AUTHORIZATION)\s+['\"]?(postgres|root)\b", re.IGNORECASE
)


@dataclass(slots=True)
class Statement:
    """The audit records of one statement of one session: class, command and text by substatement."""

    last_seconds: float
    records_seen: int
    """Records of the file up to the statement's last one."""
    parts: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def ended(self, times: Sequence[float]) -> bool:
        """Whether any record since its last one is more than a second away from it, in either direction."""
        return any(abs(at - self.last_seconds) > STATEMENT_SECONDS for at in times[self.records_seen :])

    def events(self) -> int:
        """How many events it is."""
        copied = {text for klass, command, text in self.parts.values() if command == "COPY" and klass == "READ"}
        return sum(
            0 if (klass, command) == ("READ", "SELECT") and text in copied else _events(klass, command, text)
            for klass, command, text in self.parts.values()
        )


def _events(klass: str, command: str, text: str) -> int:
    if klass == "ROLE":
        grantees = GRANTEES.search(text) if command.startswith(("GRANT", "REVOKE")) else None
        people = grantees[1].count(",") + 1 if grantees else 1
        return people if people <= MOST_GRANTEES else 1
    if command in ("COPY", "FETCH") or klass in ("WRITE", "DDL"):
        return 1
    if klass == "READ":
        return int(command != "PREPARE")
    return int(klass == "MISC" and SUPERUSER_ROLE.match(text) is not None)


def pgaudit(lines: Iterator[bytes]) -> int:
    """Events of a PostgreSQL JSON log with pgaudit."""
    statements: dict[tuple[str, str], Statement] = {}
    done = 0
    times: list[float] = []
    for line in lines:
        record = _object(line) if AUDIT in line else _only_time(line)
        seconds = _seconds(record.get("timestamp"))
        if seconds is None:
            continue
        times.append(seconds)
        found = _audit(record)
        if found is not None:
            _, number, part, klass, command, _, _, text = found[:8]
            key = str(record.get("session_id") or record.get("pid")), number
            if key in statements and statements[key].ended(times):
                done += statements.pop(key).events()
            statement = statements.setdefault(key, Statement(seconds, len(times)))
            statement.last_seconds, statement.records_seen = seconds, len(times)
            if part not in statement.parts or klass != "READ":
                statement.parts[part] = klass, command, text
    return done + sum(one.events() for one in statements.values())


def _only_time(line: bytes) -> dict[str, Any]:
    """Of the many records that are not pgaudit's."""
    found = TIMESTAMP.search(line)
    return {"timestamp": found[1].decode("ascii")} if found else {}


def _audit(record: Mapping[str, Any]) -> list[str] | None:
    """The fields of an AUDIT payload; a record with a context was forged by a function."""
    message = record.get("message", "")
    if not message.startswith("AUDIT: ") or "context" in record:
        return None
    found = next(csv.reader([message.removeprefix("AUDIT: ")]), [])
    return found if len(found) in (9, 10) else None


def _seconds(stamp: object) -> float | None:
    """Seconds of a stamp such as `2026-11-25 06:46:31.498 +08`, whatever its zone: only differences matter."""
    found = STAMP.fullmatch(stamp.strip()) if isinstance(stamp, str) else None
    if not found:
        return None
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    year -= THAI_YEARS if year >= FIRST_THAI_YEAR else 0
    try:
        at = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC).timestamp()  # 60: a leap second
    except ValueError:  # month 13
        return None
    return at + float("0" + (found[7] or "").replace(",", ".")) if 0 <= at <= LAST_SECONDS else None


def _timed(value: object) -> bool:
    """Whether a time of an access log can be read: seconds, a stamp, or nginx's `$time_local`."""
    try:
        if isinstance(value, int | float | str):
            return 0 <= float(value) <= LAST_SECONDS
    except (ValueError, OverflowError):
        pass
    try:
        return _seconds(value) is not None or datetime.strptime(str(value), "%d/%b/%Y:%H:%M:%S %z").tzinfo is not None
    except ValueError:
        return False


def nginx(lines: Iterator[bytes]) -> int:
    """Events of an nginx access log in JSON."""
    return sum(_carries_data(_request_object(line)) for line in lines if line.strip())


def _carries_data(record: Mapping[str, Any]) -> bool:
    whole = _first(record, REQUESTS)
    request = REQUEST.fullmatch(whole)
    path = _first(record, PATHS) or (request[2] if request else "")
    is_request = bool(request or path or (not whole and _first(record, STATUSES)))
    if not is_request or not any(_timed(record.get(name)) for name in TIMES):
        return False
    path = path.partition("?")[0]
    method = _first(record, METHODS) or (request[1] if request else "GET")
    downloads = not DOWNLOADS.isdisjoint(path.lower().split("/"))
    return method not in WITHOUT_DATA and (downloads or not STATIC.search(path))


def _first(record: Mapping[str, Any], names: Iterable[str]) -> str:
    """The first of these fields that says something."""
    found = (record.get(name) for name in names)
    return next((str(one) for one in found if one not in (None, "", "-")), "")


def _request_object(line: bytes) -> dict[str, Any]:
    """As `_object`; of a longer line only what stands before the agent's limit counts."""
    if len(line) <= RECORD_BYTES:
        return _object(line)
    return next(filter(None, (_object(line[:RECORD_BYTES] + end) for end in (b'"}', b"}"))), {})


def _object(line: bytes) -> dict[str, Any]:
    text = line.decode("utf-8", "replace")
    if "\\x" in text:  # nginx without escape=json
        text = ESCAPED.sub(r"\1\\u00\2", text)
    try:
        found = DECODER.decode(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


DECODER = json.JSONDecoder(strict=False)
COUNTERS: Mapping[str, Callable[[Iterator[bytes]], int]] = {"pgaudit-jsonlog": pgaudit, "nginx-json": nginx}


@dataclass(slots=True)
class Expected:
    """What must be stored, by platform and file; sources that nobody counts here are named."""

    events: Counter[Key] = field(default_factory=Counter)
    uncounted: set[str] = field(default_factory=set)


def expected(folder: Path, described: World, unreadable: Collection[Path] = ()) -> Expected:
    """Counts every file of a world that can be read."""
    found = Expected()
    for source in described.sources:
        counter = COUNTERS.get(source.source)
        if counter is None:
            found.uncounted.add(source.source)
            continue
        for path in world.files(folder, source):
            if path not in unreadable:
                with world.open_log(folder / path) as lines:
                    found.events[source.platform, str(path)] += counter(iter(lines))
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    """A file of which not exactly the expected events are stored."""

    platform: str
    file: str
    expected: int
    stored: int
    rows: int

    def __str__(self) -> str:
        return (
            f"{self.platform}: {self.file}: expected {self.expected:,} events, stored {self.stored:,} "
            f"(in {self.rows:,} rows)"
        )


def differences(expected: Mapping[Key, int], stored: Mapping[Key, int], rows: Mapping[Key, int]) -> list[Difference]:
    """Files whose stored events (distinct) or rows (before merging doubles) are not what was expected."""
    return [
        Difference(*key, expected.get(key, 0), stored.get(key, 0), rows.get(key, 0))
        for key in sorted({*expected, *stored, *rows})
        if not expected.get(key, 0) == stored.get(key, 0) == rows.get(key, 0)
    ]
