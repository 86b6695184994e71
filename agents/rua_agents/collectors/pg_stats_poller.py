"""Asks a PostgreSQL server for its counters. The only module that knows the driver."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pg8000.native
from pg8000.exceptions import DatabaseError, InterfaceError
from rua_common.errors import BadConfiguration

from rua_agents.collectors.pg_counters import MAX_CHARACTERS, Copy, Seen, Snapshot, Statement, look
from rua_agents.intake.contract import Poll, PollFailed
from rua_agents.keyfile import read_secret

T = TypeVar("T", Statement, Copy)
TIMEOUT_SECONDS = 10
STATEMENT_SECONDS = 8
HIDDEN = "<insufficient privilege>"
GRANT = "it may not see what others run: GRANT pg_read_all_stats TO {user}"
# The regular expression leaves out what can be neither; the grammar decides about the rest.
STATEMENTS = """
SELECT coalesce(queryid, 0) || '/' || userid || '/' || dbid || CASE WHEN toplevel THEN '' ELSE '/nested' END,
  coalesce(rolname, userid::text), coalesce(datname, dbid::text), left(query, :characters), calls, rows
FROM pg_stat_statements LEFT JOIN pg_roles r ON r.oid = userid LEFT JOIN pg_database d ON d.oid = dbid
WHERE rows > 0 AND query ~* '\\mcopy\\M|\\mfetch\\M' OR query = :hidden
ORDER BY queryid, userid, dbid LIMIT 20000
"""
COPIES = """
SELECT p.pid || '/' || (extract(epoch FROM a.query_start) * 1000000)::bigint,
  coalesce(a.query_id, 0) || '/' || a.usesysid || '/' || a.datid,
  coalesce(a.usename, ''), coalesce(a.datname, ''),
  CASE WHEN p.relid <> 0 AND p.datid = (SELECT oid FROM pg_database WHERE datname = current_database())
    THEN (SELECT quote_ident(nspname) || '.' || quote_ident(relname)
          FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = p.relid)
    WHEN p.relid <> 0 THEN '' END,
  host(a.client_addr), coalesce(a.application_name, ''), coalesce(p.tuples_processed, 0), coalesce(p.bytes_processed, 0)
FROM pg_stat_progress_copy p JOIN pg_stat_activity a ON a.pid = p.pid AND a.datid = p.datid
WHERE p.command = 'COPY TO'
"""
STATE = """
SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
  (extract(epoch FROM stats_reset) * 1000)::bigint, dealloc FROM pg_stat_statements_info
"""
CURES = {
    "28P01": "the password is refused: correct password_file",
    "28000": "the server lets {user} not in: check the role and pg_hba.conf",
    "3D000": "there is no database {database}",
    "42P01": "pg_stat_statements is not in database {database}: CREATE EXTENSION pg_stat_statements (version 1.9 or "
    "later, PostgreSQL 14) and add it to shared_preload_libraries",
    "55000": "add pg_stat_statements to shared_preload_libraries and restart the server",
    "42501": GRANT,
}


class PgStatsPoller:
    """Keeps one connection, and asks three questions each time.

    Raises:
        BadConfiguration: the password's file or the certificates cannot be used.
    """

    def __init__(self, options: Any) -> None:
        self.every_seconds: float = options.every_seconds
        self._options = options
        self._local = options.host.startswith("/")
        self._connection: pg8000.native.Connection | None = None
        self._password()
        self._tls = None
        if options.tls and not self._local:
            try:
                self._tls = ssl.create_default_context(cafile=options.ca_file)
            except OSError as why:
                raise BadConfiguration(f"cannot be read: {why}", file=options.ca_file, key="options.ca_file") from why

    def poll(self, cursor: Any, now_ms: int) -> Poll:
        """The rows that left since the last poll."""
        del now_ms
        try:
            now = self._snapshot()
        except (DatabaseError, InterfaceError, BadConfiguration, OSError) as why:
            self.close()
            raise PollFailed(self._cure(why)) from why
        seen = None if cursor is None else msgspec.convert(cursor, Seen)
        made, after = look(seen, now)
        return Poll([msgspec.json.encode(row) for row in made], msgspec.to_builtins(after))

    def close(self) -> None:
        """Lets the connection go, whatever state it is in."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except (InterfaceError, OSError):
                return  # it was gone already

    def _snapshot(self) -> Snapshot:
        """Statements first: a COPY that ends between the questions is not counted yet, and so not told twice."""
        statements = self._ask(STATEMENTS, Statement, characters=MAX_CHARACTERS, hidden=HIDDEN)
        copies = self._ask(COPIES, Copy)
        if any(one.query == HIDDEN for one in statements):
            raise PollFailed(GRANT.format(user=self._options.user))
        at_ms, reset_ms, evicted = self._connected().run(STATE)[0]
        return Snapshot(at_ms, reset_ms or 0, evicted, statements, copies)

    def _ask(self, question: str, kind: type[T], **values: int | str) -> Sequence[T]:
        return [kind(*columns) for columns in self._connected().run(question, **values)]

    def _connected(self) -> pg8000.native.Connection:
        if self._connection is None:
            options = self._options
            self._connection = pg8000.native.Connection(
                options.user,
                host="localhost" if self._local else options.host,
                port=options.port,
                unix_sock=os.path.join(options.host, f".s.PGSQL.{options.port}") if self._local else None,
                database=options.database,
                password=self._password() or b"",
                ssl_context=self._tls or False,
                timeout=TIMEOUT_SECONDS,
                application_name="rua-pg-stats",
            )
            self._connection.run("SET default_transaction_read_only = on")
            self._connection.run(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
        return self._connection

    def _password(self) -> bytes | None:
        """Read anew for each connection: it may be rotated."""
        named = self._options.password_file
        return read_secret(Path(named), "options.password_file").strip() if named else None

    def _cure(self, why: Exception) -> str:
        """What to do, in words; of the server's answer only its code."""
        options = self._options
        if isinstance(why, BadConfiguration):
            return str(why)
        if isinstance(why, DatabaseError) and why.args and isinstance(why.args[0], dict):
            code = why.args[0].get("C")
            cure = CURES.get(str(code), f"the server answers {code}")
        else:
            cure = _without_answer(str(why))
        return f"{options.host}:{options.port}: " + cure.format(user=options.user, database=options.database)


def _without_answer(told: str) -> str:
    """What to do where the server said nothing that it would say to a client."""
    if "refuses SSL" in told:
        return "the server offers no TLS: set ssl = on there, or tls: false where nobody else can listen"
    if "CERTIFICATE" in told:
        return "its certificate does not hold: set ca_file, and host to a name that the certificate has"
    return "no answer: is the server running, are host and port right, and does a firewall let this host through?"
