"""Log lines as PostgreSQL with pgaudit (jsonlog, `pgaudit.log_rows` on) and nginx (`escape=json`) write them.

Everything that does not change from line to line is escaped once, so that a line costs one f-string.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

OFFSET_SECONDS = 7 * 3_600  # Thailand has no summer time
BANGKOK = timezone(timedelta(seconds=OFFSET_SECONDS))
LITERAL = "@@"  # where a statement's literal stands


class Line(NamedTuple):
    """A line, when it was written, and the attack that it belongs to, if any."""

    at_ms: int
    text: str
    attack: str | None


@dataclass(slots=True)
class Log:
    """The lines of one host's log, in the order in which they were made."""

    lines: list[Line] = field(default_factory=list)
    dates: dict[int, str] = field(default_factory=dict)

    def stamp(self, second: int) -> str:
        """`2026-11-25 06:46:30`, in Bangkok."""
        day, rest = divmod(second + OFFSET_SECONDS, 86_400)
        date = self.dates.get(day)
        if date is None:
            date = self.dates[day] = f"{datetime.fromtimestamp(second, BANGKOK):%Y-%m-%d}"
        return f"{date} {rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"


def quoted(text: str) -> str:
    """As inside a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _csv(text: str) -> str:
    """As pgaudit quotes a field."""
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text


@dataclass(frozen=True, slots=True)
class Sql:
    """A statement's shape: what pgaudit says of it. `table` is given as it is written in SQL."""

    audit_class: str
    command: str
    text: str
    table: str = ""
    params: str = "<none>"
    before: str = field(init=False, default="")
    after: str = field(init=False, default="")
    as_copy: str = field(init=False, default="")
    query_id: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        kind = "TABLE" if self.table else ""
        body = f",{_csv(self.text)},{self.params},"
        name = _csv(f"public.{self.table}") if self.table else ""
        object.__setattr__(self, "before", quoted(f",{self.audit_class},{self.command},{kind},{name}"))
        object.__setattr__(self, "after", quoted(body))
        object.__setattr__(self, "as_copy", quoted(f",READ,COPY,,{body}"))
        object.__setattr__(self, "query_id", random.Random(self.text).getrandbits(63))

    @property
    def copies(self) -> bool:
        """Whether this is `COPY (SELECT …) TO …`, of which pgaudit writes two records: the query, then the COPY."""
        return self.command == "SELECT" and self.text.startswith("COPY")


class PgLog(Log):
    """A PostgreSQL server's log."""

    def __init__(self, database: str, rng: random.Random) -> None:
        super().__init__()
        self.database, self.rng = database, rng
        self.pid, self.transaction = 20_000 + rng.randrange(5_000), 1_000

    def session(self, user: str, app: str, address: str, at_ms: int, attack: str | None = None) -> PgSession:
        """Somebody connects."""
        self.pid = self.pid + self.rng.randrange(1, 40)
        if self.pid > 4_000_000:
            self.pid = 1_000
        return PgSession(self, user, app, address, at_ms=at_ms, attack=attack)

    def server(self, at_ms: int, message: str, backend: str = "checkpointer") -> None:
        """The server speaks of itself."""
        text = (
            f'{{"timestamp":"{self.stamp(at_ms // 1000)}.{at_ms % 1000:03d} +07","pid":1841,'
            f'"session_id":"68f0a1b2.731","line_num":{len(self.lines) + 1},"ps":"",'
            f'"session_start":"2026-01-02 03:04:05 +07","txid":0,"error_severity":"LOG",'
            f'"message":"{quoted(message)}","backend_type":"{backend}","query_id":0}}'
        )
        self.lines.append(Line(at_ms, text, None))


class PgSession:
    """A client's connection. Every method writes what the server would, `at_ms` later or equal each time."""

    def __init__(self, log: PgLog, user: str, app: str, address: str, *, at_ms: int, attack: str | None) -> None:
        self.log, self.user, self.app, self.attack = log, user, app, attack
        self.start_ms, self.line, self.statement = at_ms, 0, 0
        self.port = 32_768 + log.rng.randrange(28_000)
        self.address, self.backend = address, log.rng.randrange(3, 60)
        pid = log.pid
        self.who = f'"user":"{quoted(user)}","dbname":"{log.database}",'
        self.where = f'"pid":{pid},"remote_host":"{address}","remote_port":{self.port},'
        self.where += f'"session_id":"{at_ms // 1000:x}.{pid:x}","line_num":'
        self.since = f'"session_start":"{log.stamp(at_ms // 1000)} +07",'
        self.named = f'"application_name":"{quoted(app)}",' if app else ""
        self._connect(at_ms)

    def _connect(self, at_ms: int) -> None:
        received = f"connection received: host={self.address} port={self.port}"
        self._write(at_ms, "", "", f'"message":"{received}","backend_type":"not initialized"', 0, known=False)
        shown = f" application_name={self.app}" if self.app else ""
        authorized = quoted(f"connection authorized: user={self.user} database={self.log.database}{shown}")
        self._write(at_ms + 1, "authentication", self._vxid(), f'"message":"{authorized}",{_CLIENT}', 0)

    def _vxid(self) -> str:
        self.log.transaction += 1
        return f'"vxid":"{self.backend}/{self.log.transaction}",'

    def _write(self, at_ms: int, ps: str, vxid: str, rest: str, query_id: int, *, known: bool = True) -> None:
        self.line += 1
        log = self.log
        severity = "" if rest.startswith('"error_severity"') else '"error_severity":"LOG",'
        who = self.who if known else ""
        text = (
            f'{{"timestamp":"{log.stamp(at_ms // 1000)}.{at_ms % 1000:03d} +07",{who}{self.where}'
            f'{self.line},"ps":"{ps}",{self.since}{vxid}"txid":0,{severity}{rest},"query_id":{query_id}}}'
        )
        log.lines.append(Line(at_ms, text, self.attack))

    def run(self, at_ms: int, sql: Sql, rows: int, literal: str = "0", *, watched: bool = False) -> None:
        """A statement ends. `watched`: pgaudit.role may read the table, so there is an OBJECT record as well."""
        self.statement += 1
        vxid, number = self._vxid(), self.statement
        after = sql.after.replace(LITERAL, literal)
        tail = f'{sql.before}{after}{rows}",{self.named}{_CLIENT}'
        ps = "COPY" if sql.copies else _PS.get(sql.command, sql.command)
        if watched:
            self._write(at_ms, ps, vxid, f'"message":"AUDIT: OBJECT,{number},1{tail}', sql.query_id)
        self._write(at_ms, ps, vxid, f'"message":"AUDIT: SESSION,{number},1{tail}', sql.query_id)
        if sql.copies:
            copy = (
                f'"message":"AUDIT: SESSION,{number},2{sql.as_copy.replace(LITERAL, literal)}0",{self.named}{_CLIENT}'
            )
            self._write(at_ms, ps, vxid, copy, sql.query_id)

    def note(self, at_ms: int, ps: str, message: str) -> None:
        """Another LOG record of the session, e.g. a duration."""
        self._write(at_ms, ps, self._vxid(), f'"message":"{quoted(message)}",{self.named}{_CLIENT}', 0)

    def fails(self, at_ms: int, code: str, message: str, statement: str) -> None:
        """An ERROR record."""
        rest = f'"error_severity":"ERROR","state_code":"{code}","message":"{quoted(message)}",'
        rest += f'"statement":"{quoted(statement)}",{self.named}{_CLIENT}'
        self._write(at_ms, "SELECT", self._vxid(), rest, 0)

    def close(self, at_ms: int) -> None:
        """The client goes."""
        seconds, ms = divmod(max(at_ms - self.start_ms, 0), 1_000)
        lasted = f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}.{ms:03d}"
        message = f"disconnection: session time: {lasted} user={self.user} database={self.log.database}"
        message = quoted(f"{message} host={self.address} port={self.port}")
        self._write(at_ms, "idle", "", f'"message":"{message}",{self.named}{_CLIENT}', 0)


_CLIENT = '"backend_type":"client backend"'
_PS = {"GRANT ROLE": "GRANT ROLE", "PREPARE": "PREPARE"}


class WebLog(Log):
    """An nginx access log. A line is written when its request ends."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng

    def request(
        self,
        at_ms: int,
        address: str,
        uri: str,
        *,
        user: str = "",
        args: str = "",
        method: str = "GET",
        status: int = 200,
        size: int = 600,
        content: str = "application/json",
        attachment: str = "",
        app: str = "",
        merchant: str = "",
        agent: str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/141.0",
        seconds: float = 0.02,
        announced: int | None = None,
        attack: str | None = None,
    ) -> None:
        """A request ends. `announced`: the Content-Length, where it differs from what was sent (aborted, HEAD)."""
        target = f"{uri}?{args}" if args else uri
        complete = "" if announced is not None and method != "HEAD" and announced > size else "OK"
        shown = f'attachment; filename=\\"{attachment}\\"' if attachment else ""
        text = (
            f'{{"ts":"{self.stamp(at_ms // 1000).replace(" ", "T")}+07:00","msec":{at_ms // 1000}.{at_ms % 1000:03d},'
            f'"addr":"{address}","user":"{user}","req":"{method} {target} HTTP/1.1","uri":"{uri}","args":"{args}",'
            f'"status":{status},"bytes_sent":{size + 306},"body_bytes_sent":{size},'
            f'"sent_cl":"{size if announced is None else announced}","sent_ct":"{content}","sent_cd":"{shown}",'
            f'"range":"","completion":"{complete}","rt":{seconds:.3f},"urt":"{seconds:.3f}","ua":"{agent}","xff":"",'
            f'"rid":"{self.rng.getrandbits(128):032x}","gzr":"","app":"{app}","merchant":"{merchant}"}}'
        )
        self.lines.append(Line(at_ms, text, attack))

    def raw(self, at_ms: int, text: str) -> None:
        """A line that is not made from a request of ours; lone surrogates become bytes that are not UTF-8."""
        self.lines.append(Line(at_ms, text, None))
