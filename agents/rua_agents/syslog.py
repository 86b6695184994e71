"""Lines as syslog daemons write them: `<stamp> <host> <program>[<pid>]: <message>`, or as RFC 5424 has them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from rua_agents.times import MONTHS, BadTime, stamp_ms

DAY_MS = 86_400_000
TOLERANCE_MS = 60_000
"""Lines of one file are in order, but for threads that were overtaken by less than this."""
YEARS_BACK = 9
"""29 February occurs at least once in so many."""
_TRADITIONAL = re.compile(r"([A-Z][a-z]{2}) ([ \d]\d) (\d\d:\d\d:\d\d) ", re.ASCII)
_YEAR = re.compile(r" (\d{4})$", re.ASCII)
_PRIORITY = re.compile(r"<\d{1,3}>(1 )?", re.ASCII)
_RFC5424 = re.compile(r'(\S+) \S+ \S+ (?:-|(?:\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])+)(?: |$)', re.ASCII)
"""Program, process, message id and structured data, behind stamp and host (RFC 5424 §6)."""


class SyslogLine(NamedTuple):
    """What stands before the message is written by the daemon; the message may come from anybody."""

    at_ms: int
    program: str
    """Empty if the line names none."""
    message: str


class Stamps:
    """Time stamps of one file, in order: tells the year and the hour that the clock shows twice."""

    def __init__(self, zone: ZoneInfo | None, last_ms: int = 0) -> None:
        self._zone = zone
        self.last_ms = last_ms
        """Time of the line before; kept in the checkpoint, so that a re-read finds the same hour."""

    def read(self, line: str, now_ms: int) -> SyslogLine:
        """Cuts a line.

        Args:
            line: without its end.
            now_ms: when it was read; tells the year of a stamp that names none.

        Raises:
            BadTime: no stamp, or its zone is not known.
        """
        priority = _PRIORITY.match(line)
        start = priority.end() if priority else 0
        old = _TRADITIONAL.match(line, start)
        if old:
            at_ms, rest = self.local_ms(old, now_ms), line[old.end() :]
        else:
            stamp, _, rest = line[start:].partition(" ")
            at_ms = stamp_ms(stamp, self._zone)
        self.last_ms = at_ms
        _, _, after_host = rest.partition(" ")
        new = _RFC5424.match(after_host) if priority and priority[1] else None
        if new:
            return SyslogLine(at_ms, "" if new[1] == "-" else new[1], after_host[new.end() :].lstrip("\ufeff "))
        return SyslogLine(at_ms, *_program(after_host))

    def event(self, line: str, now_ms: int) -> tuple[int, str]:
        """Time and message of a line without host and program: `Nov 24 23:14:31 : …`, with or without the year.

        Raises:
            BadTime: as `read`.
        """
        stamp, colon, message = line.partition(" : ")
        old, year = _TRADITIONAL.match(stamp + " "), _YEAR.search(stamp)
        if not colon or old is None:
            raise BadTime("no time stamp")
        now_ms = now_ms if year is None else _in_year(int(year[1]))
        self.last_ms = self.local_ms(old, now_ms)
        return self.last_ms, message

    def local_ms(self, old: re.Match[str], now_ms: int) -> int:
        """The time of a stamp without year and zone: the last such one before tomorrow."""
        if self._zone is None:
            raise BadTime("its zone is not known: set zone for this source")
        month = MONTHS.get(old[1])
        latest = now_ms + DAY_MS
        this_year = datetime.fromtimestamp(latest / 1_000, UTC).year + 1
        for year in range(this_year, this_year - YEARS_BACK, -1) if month else ():
            text = f"{year}-{month:02}-{int(old[2]):02} {old[3]}"
            try:
                at_ms = stamp_ms(text, self._zone)
            except BadTime:
                continue
            if at_ms <= latest:
                return self._folded(text, at_ms)
        raise BadTime("no such day in the last years")

    def _folded(self, text: str, first_ms: int) -> int:
        """Of an hour that the clock shows twice, the second one once the file has passed the first."""
        local = datetime.fromisoformat(text).replace(tzinfo=self._zone, fold=1)
        second_ms = round(local.timestamp() * 1_000)
        return second_ms if first_ms < self.last_ms - TOLERANCE_MS and second_ms > first_ms else first_ms


def _in_year(year: int) -> int:
    """So late in a year that every one of its days is the last such one before tomorrow."""
    return round(datetime(year, 12, 31, 12, tzinfo=UTC).timestamp() * 1_000)


def _program(text: str) -> tuple[str, str]:
    """Program and message; `sudo:  ana : …` aligns its message with a second blank."""
    tag, colon, message = text.partition(": ")
    name = tag.partition("[")[0]
    if not colon or " " in tag or not name:
        return "", text
    return name, message.lstrip(" ")
