"""chDB, the engine of ClickHouse in this process, used as a server uses it: sessions, settings of one query, inserts.

Every method blocks; the gateway calls them in threads. One process can hold a data directory, and only one.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chdb

from rua_local import native, statements
from rua_local.statements import Statement, StatementRefused

# what a query may use when it does not say otherwise; a server's profile would hold these
LIMITS: Mapping[str, str] = {"max_execution_time": "300", "max_memory_usage": str(4 << 30)}
_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory in memory, and tempfile makes the names
_SCRATCH = str(_MEMORY) if _MEMORY.is_dir() else None


@dataclass(frozen=True)
class ExternalTable:
    """A table that a client sends along with a query."""

    name: str
    structure: str
    format: str
    data: bytes


@dataclass(frozen=True)
class Query:
    """All that one request asks for.

    Attributes:
        sql: the statement, and for an insert its data.
        restricted: the user may only read, and only from the database.
        reading: this request may only read.
        session: key of the session that it goes on with, or None.
    """

    sql: bytes
    format: str = "TabSeparated"
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    database: str | None = None
    restricted: bool = False
    reading: bool = False
    session: tuple[str, str] | None = None
    session_seconds: float = 60
    external: Sequence[ExternalTable] = ()


@dataclass(frozen=True)
class Answer:
    """What the engine says to a query. `rows` and `bytes` were read, or by an insert written."""

    body: bytes
    format: str
    insert: bool
    rows: int
    bytes: int
    seconds: float


class Session:
    """One connection: its own database, settings and temporary tables."""

    def __init__(self, path: str, *, restricted: bool) -> None:
        self.lock = threading.Lock()
        self.until = 0.0
        self._database = "default"
        self._connection: Any = chdb.connect(path)  # its stubs allow no bytes, which it takes
        for name, value in LIMITS.items():
            self.query(f"SET {name} = {_quoted(value)}")
        if restricted:
            self.query("SET readonly = 2")  # 2, not 1: the client may set a time limit. It cannot be taken back

    def query(self, sql: str | bytes, output: str = "TabSeparated", parameters: Mapping[str, str] | None = None) -> Any:
        """Runs one statement; the result is chDB's own."""
        return self._connection.query(sql, output, params=dict(parameters or {}))

    def use(self, database: str | None) -> None:
        """Makes it the default database of what follows."""
        if database and database != self._database:
            self.query(f"USE {_identifier(database)}")
            self._database = database

    @contextmanager
    def settings(self, given: Mapping[str, str]) -> Iterator[None]:
        """Settings of one query."""
        done: list[str] = []
        try:
            for name, value in given.items():
                self.query(f"SET {_identifier(name)} = {_quoted(value)}")
                done.append(name)
            yield
        finally:
            for name in done:
                self.query(f"SET {_identifier(name)} = {_quoted(LIMITS[name]) if name in LIMITS else 'DEFAULT'}")

    @contextmanager
    def external(self, tables: Sequence[ExternalTable]) -> Iterator[None]:
        """Tables of one query."""
        try:
            for table in tables:
                self.query(f"CREATE OR REPLACE TEMPORARY TABLE {_identifier(table.name)} ({table.structure})")
                with _file(table.data) as path:
                    name = _identifier(table.name)
                    self.query(f"INSERT INTO {name} FROM INFILE {_quoted(path)} FORMAT {_identifier(table.format)}")
            yield
        finally:
            for table in tables:
                self.query(f"DROP TEMPORARY TABLE IF EXISTS {_identifier(table.name)}")

    def close(self) -> None:
        """Gives the connection back."""
        self._connection.close()


class Engine:
    """The open data directory and its sessions."""

    def __init__(self, data_dir: Path) -> None:
        self._path = str(data_dir)
        self._root = Session(self._path, restricted=False)  # keeps the engine open while no client is there
        self._lock = threading.Lock()
        self._idle: dict[bool, list[Session]] = {False: [], True: []}
        self._sessions: dict[tuple[str, str], Session] = {}
        about = json.loads(self._root.query("SELECT version() v, timezone() z", "JSONEachRow").bytes())
        self.version, self.timezone = str(about["v"]), str(about["z"])
        formats = self._root.query("SELECT name FROM system.formats WHERE is_output").bytes().decode()
        self._formats = frozenset(formats.split())

    def run(self, query: Query) -> Answer:
        """Runs one query.

        Raises:
            StatementRefused: a server would not run it, or this user may not.
            RuntimeError: the engine's own error; its text begins with ClickHouse's code.
        """
        statement = statements.read(query.sql)
        if query.restricted or query.reading:
            statements.require_reading(statement)
        if query.restricted:
            statements.require_inside(statement)
        began = time.monotonic()
        with self._session(query) as session:
            session.use(query.database)
            with session.external(query.external), session.settings(query.settings):
                body, output, result = self._execute(session, statement, query)
        insert = statement.verb == b"INSERT"
        return Answer(body, output, insert, result.rows_read(), result.bytes_read(), time.monotonic() - began)

    def close(self) -> None:
        """Closes the data directory cleanly."""
        with self._lock:
            for session in [*self._sessions.values(), *self._idle[False], *self._idle[True], self._root]:
                session.close()

    def _execute(self, session: Session, statement: Statement, query: Query) -> tuple[bytes, str, Any]:
        if statement.insert_format is not None:
            with _file(memoryview(query.sql)[statement.data_start :]) as path:  # binary-safe: no SQL in the data
                source = b" FROM INFILE " + _quoted(path).encode() + b" " + statement.settings
                into = statement.sql + source + b" FORMAT " + statement.insert_format.encode()
                return b"", "", session.query(into, parameters=query.parameters)
        output = statement.output_format or ""
        if output not in self._formats:  # a column may be called format
            output = query.format
        if output not in self._formats:
            raise StatementRefused(73, "UNKNOWN_FORMAT", f"Unknown format {output}")
        result = session.query(statement.sql, output, query.parameters)
        body = b"" if statement.verb == b"INSERT" else result.bytes() or b""
        if not body and output == "Native" and statement.verb in {b"SELECT", b"WITH", b"("}:
            body = self._header(session, statement, query)
        return body, output, result

    @staticmethod
    def _header(session: Session, statement: Statement, query: Query) -> bytes:
        inner = statements.without_format(statement)
        rows = session.query(b"DESCRIBE (" + inner + b"\n)", "JSON", query.parameters).bytes()
        return native.empty_block((row["name"], row["type"]) for row in json.loads(rows)["data"])

    @contextmanager
    def _session(self, query: Query) -> Iterator[Session]:
        if query.session is None:
            session = self._take(restricted=query.restricted)
            try:
                yield session
            finally:
                with self._lock:
                    self._idle[query.restricted].append(session)
            return
        session = self._named(query.session, restricted=query.restricted)
        try:
            yield session
        finally:
            session.until = time.monotonic() + query.session_seconds
            session.lock.release()

    def _take(self, *, restricted: bool) -> Session:
        with self._lock:
            idle = self._idle[restricted]
            return idle.pop() if idle else Session(self._path, restricted=restricted)

    def _named(self, key: tuple[str, str], *, restricted: bool) -> Session:
        """The session of that key, locked; closes those that nobody used for long."""
        with self._lock:
            now = time.monotonic()
            for name, session in list(self._sessions.items()):
                if session.until < now and session.lock.acquire(blocking=False):
                    self._sessions.pop(name).close()
            if key not in self._sessions:
                self._sessions[key] = Session(self._path, restricted=restricted)
            session = self._sessions[key]
            if not session.lock.acquire(blocking=False):
                raise StatementRefused(373, "SESSION_IS_LOCKED", f"Session {key[1]} is locked by a concurrent query")
            return session


@contextmanager
def _file(data: bytes | memoryview) -> Iterator[str]:
    """The bytes as a file, in memory where there is such a directory."""
    with tempfile.NamedTemporaryFile(dir=_SCRATCH, prefix="rua-") as file:
        file.write(data)
        file.flush()
        yield file.name


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
