"""A real PostgreSQL with pgaudit that writes all three log formats at once, for `make test-sources`."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.sources import packages

PREFIX = "%m [%p] %c %q%u@%d/%a %h "
PHRASE = "not-a-real-one-7"
SETTINGS = f"""
shared_preload_libraries = 'pgaudit, pg_stat_statements'
listen_addresses = '127.0.0.1'
log_destination = 'stderr, csvlog, jsonlog'
logging_collector = on
log_directory = 'log'
log_filename = 'pg.log'
log_file_mode = 0644
log_rotation_age = 0
log_rotation_size = 0
log_timezone = 'Asia/Kathmandu'
log_line_prefix = '{PREFIX}'
log_connections = on
log_disconnections = on
log_statement = 'none'
lc_messages = 'C'
pgaudit.log = 'read, write, role, ddl, misc, function'
pgaudit.log_rows = on
pgaudit.log_relation = on
pgaudit.log_catalog = off
fsync = off
autovacuum = off
max_connections = 30
shared_buffers = 16MB
"""
HBA = """
local all postgres trust
local all all trust
host all all 127.0.0.1/32 scram-sha-256
"""


class Postgres(NamedTuple):
    """A running server."""

    root: Path
    binaries: Path
    folder: Path
    """Its home: data, log, socket, and a place for files."""
    port: int

    def log(self, ending: str) -> Path:
        """Its log as `log`, `csv` or `json`."""
        return self.folder / "data" / "log" / f"pg.{ending}"

    def run(self, program: str, *words: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """One of PostgreSQL's programs, whatever it returns."""
        command = packages.unprivileged([str(self.binaries / program), *words])
        given = packages.environment(self.root) | environment
        return subprocess.run(
            command, input=text, capture_output=True, text=True, env=given, cwd=self.folder, check=False, timeout=60
        )

    def psql(
        self, sql: str, *, user: str = "postgres", program: str = "psql", host: str = "", stops: bool = True
    ) -> str:
        """Statements, each on its own; the first that fails fails the test, unless failing is what is wanted."""
        words = ["-h", host or str(self.folder), "-p", str(self.port), "-U", user, "-d", "shop", "-XqAt"]
        done = self.run("psql", *words, text=sql, PGAPPNAME=program, PGPASSWORD=PHRASE, PGCONNECT_TIMEOUT="10")
        if stops:
            assert not done.returncode, done.stderr
            assert "ERROR" not in done.stderr, done.stderr
        return done.stdout


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def running() -> Iterator[Postgres]:
    """The newest PostgreSQL of this system's packages, from 15 on, for as long as it is needed."""
    pgaudit = packages.newest("^postgresql-[0-9]+-pgaudit$")
    major = pgaudit.split("-")[1]
    root = packages.unpacked("libpq5", f"postgresql-{major}", f"postgresql-client-{major}", pgaudit)
    folder = packages.folder_of_nobody()
    server = Postgres(root, root / "usr/lib/postgresql" / major / "bin", folder, _free_port())
    try:
        _start(server)
        yield server
    finally:
        server.run("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _start(server: Postgres) -> None:
    data = server.folder / "data"
    words = ["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust", "-N"]
    made = server.run("initdb", "-D", str(data), *words)
    assert not made.returncode, made.stderr
    with (data / "postgresql.conf").open("a", encoding="utf-8") as conf:
        conf.write(SETTINGS + f"port = {server.port}\nunix_socket_directories = '{server.folder}'\n")
    (data / "pg_hba.conf").write_text(HBA, encoding="utf-8")
    # its own output is the server's standard error: a pipe would keep this test waiting for its end
    started = server.run("pg_ctl", "-D", str(data), "-l", str(server.folder / "start.log"), "-w", "-t", "30", "start")
    assert not started.returncode, started.stderr + started.stdout
    words = ["-h", str(server.folder), "-p", str(server.port), "-U", "postgres", "-d", "postgres"]
    made = server.run("psql", *words, "-c", "CREATE DATABASE shop")
    assert not made.returncode, made.stderr
