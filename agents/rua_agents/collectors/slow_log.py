"""The grammar of MySQL's and MariaDB's slow query log: a header of `#` lines, `SET timestamp=…;`, then the statement.

Statements stand there as they were sent, so no grammar can tell a header from a statement's line that looks like one:
whoever may send statements may write such lines. Only what the audit log confirms can be believed; see the pages.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rua_agents.blocks import BlockSplitter
from rua_agents.collectors.drafting import Unreadable
from rua_agents.collectors.mysql_statements import Counts
from rua_agents.times import epoch_seconds_ms

USER, TIME = b"# User@Host: ", b"# Time: "
_BANNER = re.compile(rb"\S[^\n]*, Version: [^\n]+ started with:")
_SET_TIME = re.compile(rb"^SET timestamp=(\d{1,12})(?:\.\d+)?;(?:\r?\n|\Z)", re.MULTILINE)
_USE = re.compile(rb"^use [^\n]+;$", re.MULTILINE)
_WHO = re.compile(rb"# User@Host: (.*)\] @ ([^\n]*?) ?\[([^\]\n]*)\](?:[ \t]+Id:[ \t]*(\d+))?[ \t]*\r?$", re.DOTALL)
_THREAD = re.compile(rb"^# (?:Thread_id: (\d+)  )?Schema: ?(.*?)(?:  \w+: [^\n]*)?\r?$", re.MULTILINE)
_COUNTED = re.compile(rb"^# (?:Query_time|Rows_affected): [^\n]*$", re.MULTILINE)
_FIELD = re.compile(rb"\b(Query_time|Rows_sent|Rows_affected|Bytes_sent|Thread_id|Errno|Killed): +([\d.]{1,18})(?!\S)")
_ERRNO = re.compile(rb"\bLast_errno: (\d{1,6})")
_GENERAL = re.compile(
    rb"^(?:\d{6} [ \d]\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[^\t\n]{1,40}|\t)?\t *\d+ "
    rb"(?:Query|Connect|Quit|Init DB|Prepare|Execute)(?:\t|$)",
    re.MULTILINE,
)
ADMINISTRATOR = b"# administrator command: "


class Entry(NamedTuple):
    """One statement of the slow log."""

    at_ms: int
    """When it ended, by the session's own clock, which the session may set."""
    user: bytes
    address: bytes
    """IP address, or the host's name if there is none."""
    connection: str
    database: bytes
    text: bytes
    counts: Counts
    errno: int | None
    killed: bool
    whole: bool
    """Whether the text ends as the server ends it."""


def splitter(offset: int, limit_bytes: int) -> BlockSplitter:
    """One record a statement; a line of the time, and the server's banner, are records of their own."""
    return BlockSplitter(offset, limit_bytes, continues)


def continues(line: bytes) -> bool:
    """Whether the line goes on with the record before it."""
    return not line.startswith((USER, TIME)) and not (b" started with:" in line and _BANNER.match(line))


def is_time_or_banner(data: bytes) -> bool:
    """Whether the record is no statement.

    Raises:
        Unreadable: it is the general log, which has the same banner, and passwords in clear.
    """
    if _BANNER.match(data):
        refuse_general_log(data)
        return True
    return data.startswith(TIME)


def refuse_general_log(data: bytes) -> None:
    """A file of the general log is none for Rua.

    Raises:
        Unreadable: it is that.
    """
    if _GENERAL.search(data):
        raise Unreadable("general_log")


def is_whole(data: bytes) -> bool:
    """Whether the record's last bytes are those of a statement's end."""
    begins = _SET_TIME.search(data)
    return begins is not None and data[begins.end() :].rstrip().endswith(b";")


def read_entry(data: bytes) -> Entry:
    """A record's statement.

    Raises:
        Unreadable, BadTime: it breaks the grammar.
    """
    begins = _SET_TIME.search(data)
    if begins is None or not data.startswith(USER):
        raise Unreadable("bad_slow_log")
    header = data[: begins.start()]
    line_end = header.find(b"] @ ")
    line_end = header.find(b"\n", line_end if line_end >= 0 else 0)
    who = _WHO.match(header[: line_end if line_end >= 0 else len(header)])
    if who is None:
        raise Unreadable("bad_slow_log")
    thread = _THREAD.search(header, line_end)
    fields = {name: value for line in _COUNTED.findall(header, line_end) for name, value in _FIELD.findall(line)}
    text = data[begins.end() :]
    seconds = float(begins[1]) + _number(fields.get(b"Query_time"))
    connection = (thread and thread[1]) or who[4] or fields.get(b"Thread_id") or b""
    errno = fields.get(b"Errno") or next(iter(_ERRNO.findall(header, line_end)), None)
    return Entry(
        epoch_seconds_ms(seconds),
        _user(who[1]),
        who[3] or who[2],
        connection.decode(),
        thread[2] if thread else b"",
        text.rstrip().removesuffix(b";"),
        Counts(*(_count(fields.get(name)) for name in (b"Rows_sent", b"Rows_affected", b"Bytes_sent"))),
        int(float(errno)) if errno else None,
        fields.get(b"Killed", b"0") != b"0",
        text.rstrip().endswith(b";"),
    )


def _user(text: bytes) -> bytes:
    """Of `privileges[user` the user; both are the same as a rule, and may hold brackets."""
    middle = len(text) // 2
    if len(text) % 2 and text[middle : middle + 1] == b"[" and text[:middle] == text[middle + 1 :]:
        return text[:middle]
    return text.partition(b"[")[2]


def _count(digits: bytes | None) -> int | None:
    return int(digits) if digits is not None and digits.isdigit() else None


def _number(digits: bytes | None) -> float:
    try:
        return float(digits) if digits else 0.0
    except ValueError:
        return 0.0
