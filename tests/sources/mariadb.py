"""A real MariaDB with server_audit and the slow log, for `make test-sources`."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.sources import packages

ZONE = "Asia/Bangkok"
PHRASE = "not-a-real-one-7"
SETTINGS = (
    "plugin-load-add=server_audit",
    "server-audit-logging=ON",
    "server-audit-file-rotations=9",
    "server-audit-file-rotate-size=1000000",
    "slow-query-log=ON",
    "long-query-time=0",
    "log-slow-verbosity=",
    "secure-file-priv=",
    "innodb-buffer-pool-size=16M",
    "innodb-log-file-size=8M",
    "bind-address=127.0.0.1",
    "skip-networking",
)
STARTS_SECONDS = 30


class MariaDb(NamedTuple):
    """A running server."""

    root: Path
    folder: Path
    """Its home: data, logs, socket, and a place for files."""

    @property
    def audit_log(self) -> Path:
        """Who did what."""
        return self.folder / "server_audit.log"

    @property
    def slow_log(self) -> Path:
        """How much."""
        return self.folder / "slow.log"

    def client(
        self, sql: str | bytes, *words: str, user: str = "root", database: str = "shop", stops: bool = True
    ) -> str:
        """Statements by the real client; one that fails fails the test, unless failing is what is wanted."""
        text = sql.encode() if isinstance(sql, str) else sql
        given = [f"--user={user}", "--batch", "--comments", *([] if stops else ["--force"]), *words, database]
        return self._run("mariadb", *given, text=text, stops=stops)

    def dump(self, *words: str) -> str:
        """What mariadb-dump makes of tables."""
        return self._run("mariadb-dump", "--user=root", "shop", *words)

    def _run(self, program: str, *words: str, text: bytes = b"", stops: bool = True) -> str:
        given = [str(self.root / "usr/bin" / program), "--no-defaults", f"--socket={self.folder / 's'}"]
        environment = packages.environment(self.root)
        done = subprocess.run(
            [*given, *words], input=text, capture_output=True, env=environment, check=False, timeout=60
        )
        if stops:
            assert not done.returncode, done.stderr.decode(errors="replace")
        return done.stdout.decode(errors="replace")


@contextmanager
def running() -> Iterator[MariaDb]:
    """The MariaDB of this system's packages, for as long as it is needed."""
    names = ("mariadb-server", "mariadb-server-core", "mariadb-client", "mariadb-client-core")
    server = MariaDb(packages.unpacked(*names), packages.folder_of_nobody())
    process = None
    try:
        process = _started(server)
        server.client("CREATE DATABASE shop CHARACTER SET utf8mb4", database="mysql")
        yield server
    finally:
        if process is not None:
            process.terminate()
            process.wait(timeout=STARTS_SECONDS)
        shutil.rmtree(server.folder, ignore_errors=True)


def _started(server: MariaDb) -> subprocess.Popen[bytes]:
    root, folder = server.root, server.folder
    environment = packages.environment(root) | {"TZ": ZONE}
    places = [f"--datadir={folder / 'data'}", f"--lc-messages-dir={root / 'usr/share/mysql'}"]
    makes = [str(root / "usr/bin/mariadb-install-db"), "--no-defaults", f"--basedir={root / 'usr'}", *places]
    makes += ["--auth-root-authentication-method=normal", "--skip-test-db"]
    made = subprocess.run(packages.unprivileged(makes), capture_output=True, env=environment, check=False, timeout=120)
    assert not made.returncode, made.stderr.decode(errors="replace") + made.stdout.decode(errors="replace")
    runs = [str(root / "usr/sbin/mariadbd"), "--no-defaults", *places, *(f"--{setting}" for setting in SETTINGS)]
    runs += [f"--plugin-dir={root / 'usr/lib/mysql/plugin'}", f"--socket={folder / 's'}", f"--pid-file={folder / 'p'}"]
    runs += [f"--server-audit-file-path={server.audit_log}", f"--slow-query-log-file={server.slow_log}"]
    runs += [f"--log-error={folder / 'error.log'}"]
    process = subprocess.Popen(packages.unprivileged(runs), env=environment)
    for _ in range(STARTS_SECONDS * 10):
        if (folder / "s").exists():
            return process
        if process.poll() is not None:
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    said = (folder / "error.log").read_text(errors="replace") if (folder / "error.log").exists() else ""
    pytest.fail(f"MariaDB did not start: {said[-600:]}", pytrace=False)
