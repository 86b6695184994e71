"""The grammar of MariaDB's server_audit file: `time,server,user,host,connection,query,operation,database,object,code`.

Nothing but the statement is quoted, so a line is read from its right end: a statement's quotes are escaped, and what
stands to the left of the operation is the client's. Users' names may hold commas, quotes and even a line's end, and
anybody who reaches the port may send one, without a password.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from rua_agents.blocks import BlockSplitter
from rua_agents.collectors import slow_log
from rua_agents.collectors.drafting import Unreadable
from rua_agents.times import BadTime, checked

MOST_USER_BYTES, MOST_SERVER_BYTES = 384, 255
"""Of a user's name the server writes 128 characters; whoever sends one may put whole lines into it."""
STAMP_BYTES = 18
HEAD_BYTES = 480
"""So much of a statement is there even if all of it is escaped and it is cut at the default of 1,024 bytes."""
FOLD_MS = 600_000
"""So far back records of several threads never go: an hour that comes again is the second one."""
_START = re.compile(rb"\d{8} \d\d:\d\d:\d\d,")
_STAMP = re.compile(r"(\d{4})(\d\d)(\d\d) (\d\d):(\d\d):(\d\d)", re.ASCII)
_CODE = re.compile(r",(\d{1,9})?\s*\Z", re.ASCII)
_OPERATION = re.compile(r",(\d{1,20}),(\d{1,20}),([A-Z_]{2,24}),", re.ASCII)
# MariaDB 12 writes the client's port behind its host
_PORT = re.compile(r"([^:]+):(?:\d{1,5}|unavailable)", re.ASCII)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "b": "\b", "Z": "\x1a"}


class Line(NamedTuple):
    """One record."""

    stamp: str
    user: str
    host: str
    connection: str
    query: int
    operation: str
    database: str
    object: str
    """The statement, or a table."""
    head: bytes
    """The statement's first bytes as they were sent."""
    quoted_bytes: int
    """Length of the statement as it is written, by which a cut shows."""
    code: int | None
    """The error's number; None where the record has none, or was cut."""


def splitter(offset: int, limit_bytes: int) -> BlockSplitter:
    """A record begins with its time; other lines go on with the record before."""
    return BlockSplitter(offset, limit_bytes, lambda line: not _START.match(line))


def read_line(data: bytes, *, truncated: bool = False) -> Line:
    """Parses one record.

    Raises:
        Unreadable: it breaks the grammar.
    """
    if not _START.match(data):
        slow_log.refuse_general_log(data)
        raise Unreadable("bad_audit")
    text = data.decode("utf-8", "surrogateescape")
    code, end = None, len(text)
    if not truncated:
        found = _CODE.search(text, max(0, len(text) - 16))
        if found is None:
            raise Unreadable("bad_audit")
        code, end = None if found[1] is None else int(found[1]), found.start()
    statement = None
    if truncated or text[end - 1] == "'":
        opening = text.find(",'") + 1 if truncated else _opening(text, end - 1)
        statement, end = text[opening + 1 : end if truncated else end - 1], opening
    operations = list(_OPERATION.finditer(text, 0, end))
    if not operations:
        raise Unreadable("bad_audit")
    found = operations[-1]
    stamp, _, rest = text[: found.start()].partition(",")
    named, comma, host = rest.rpartition(",")
    _, other_comma, user = named.partition(",")
    if not (comma and other_comma):
        raise Unreadable("bad_audit")
    database, object_ = _database(text[found.end() : end], statement=statement is not None)
    sent, port = unescaped(statement or ""), _PORT.fullmatch(host)
    return Line(
        stamp,
        _clean(user),
        _clean(port[1] if port else host),
        found[1],
        int(found[2]),
        found[3],
        _clean(database),
        _clean(object_ if statement is None else sent),
        _raw(sent[:HEAD_BYTES])[:HEAD_BYTES],
        len(_raw(statement or "")),
        code,
    )


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _clean(text: str) -> str:
    return text if text.isascii() else _raw(text).decode("utf-8", "replace")


def _database(text: str, *, statement: bool) -> tuple[str, str]:
    """Database and object of what stands behind the operation."""
    if statement:
        return text.removesuffix(","), ""
    database, _, named = text.partition(",")
    return database, named


def _opening(text: str, closing: int) -> int:
    """Where the quote opens that closes here: the last one to the left that no backslash escapes.

    The closing one counts whatever stands before it: a statement may be cut behind a backslash.
    """
    at = closing
    while (at := text.rfind("'", 0, at)) >= 0:
        start = at
        while start and text[start - 1] == "\\":
            start -= 1
        if (at - start) % 2 == 0:
            return at
    raise Unreadable("bad_audit")


def unescaped(text: str) -> str:
    """A statement as it was sent."""
    return _ESCAPED.sub(lambda part: _ESCAPES.get(part[1], part[1]), text) if "\\" in text else text


def local_ms(stamp: str, zone: ZoneInfo | None, latest_ms: int) -> int:
    """A time of the server's clock on the wall, which shows an hour twice when summer time ends.

    Args:
        stamp: `20261125 20:01:58`.
        zone: where the server stands.
        latest_ms: the record before; time does not go back by an hour.

    Raises:
        BadTime: no stamp, or the zone is not known.
    """
    if zone is None:
        raise BadTime("its zone is not known: set zone for this source")
    first, second = _both_ms(stamp, zone)
    return second if first < latest_ms - FOLD_MS and second != first else first


@lru_cache(1024)
def _both_ms(stamp: str, zone: ZoneInfo) -> tuple[int, int]:
    found = _STAMP.fullmatch(stamp)
    if found is None:
        raise BadTime("no time stamp")
    try:
        year, month, day, hour, minute, second = map(int, found.groups())
        local = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        first, later = [checked(round(local.replace(tzinfo=zone, fold=fold).timestamp()) * 1_000) for fold in (0, 1)]
    except (ValueError, OverflowError) as why:
        raise BadTime(str(why)) from why
    return first, max(first, later)
