"""chDB behind ClickHouse's HTTP interface: the ordinary ClickHouse clients, and Grafana's plug-in, work against it.

For development, demonstrations and tests. NOT a security boundary: every user shares one engine that can read and write
this machine's files; users and the refusal of statements only keep honest clients to what a server would let them do.

By hand: `python -m rua_local.gateway --data DIR [--port N] [--users FILE]` prints the address and runs until Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rua_common.errors import BadConfiguration, RuaError
from rua_common.settings import load

from rua_local.process import Child, Service, ServiceFailed, free_port, listening, require_free

if TYPE_CHECKING:
    from rua_local.engine import Engine

LOOPBACK = "127.0.0.1"
WARNING = "for development only: this is no security boundary"


class EmbeddedClickHouse(Service):
    """A gateway in a process of its own, on 127.0.0.1. It dies with this process.

    Args:
        data_dir: keeps the databases over restarts, and the log file `gateway.log`.
        port: a free one when not given, the same after `stop` or `kill` and `start`.
        users: file of users; without it everybody is let in and may do all.
    """

    def __init__(self, data_dir: Path, port: int | None = None, *, users: Path | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.port = port or free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._users = ["--users", str(users.absolute())] if users else []
        super().__init__(Child("the ClickHouse gateway", self.data_dir / "gateway.log"))

    def start(self) -> None:
        """Starts it and waits until it answers.

        Raises:
            RuaError: port or directory are taken, or the engine did not open it.
        """
        if self.pid is not None:
            return
        module = [sys.executable, "-m", "rua_local.gateway"]
        command = [*module, "--data", str(self.data_dir), "--port", str(self.port), *self._users]
        environ = {**os.environ, "TZ": "UTC"}  # the machine's own zone would change results
        with self._child.starting():
            require_free(self.port, "the ClickHouse gateway")
            # the gateway opens its port only when the engine is open
            self._child.start(command, ready=lambda: listening(self.port), environ=environ)


async def serve(data_dir: Path, host: str, port: int, users: Path | None) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
        BadConfiguration: an address that others can reach without users, or a bad file of users.
        ServiceFailed: the data directory cannot be opened.
    """
    if host != LOOPBACK and users is None:
        raise BadConfiguration("an address that others can reach needs --users", key="--host")
    from aiohttp import web  # noqa: PLC0415 - only the child process needs aiohttp and the engine, 300 MB of memory

    from rua_local.gateway_http import Gateway, Users, accounts  # noqa: PLC0415 - likewise

    known = accounts(load(users, Users).users) if users else None
    engine = _open(data_dir)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    # aiohttp would unpack gzip and zstd itself, but not lz4
    runner = web.AppRunner(Gateway(engine, known).application(), auto_decompress=False, access_log=None)
    try:
        await runner.setup()
        await web.TCPSite(runner, host, port, shutdown_timeout=5).start()
        sys.stdout.write(f"http://{host}:{port}\n{WARNING}\n")
        sys.stdout.flush()
        await ended.wait()
    finally:
        await runner.cleanup()
        engine.close()


def _open(data_dir: Path) -> Engine:
    from rua_local.engine import Engine  # noqa: PLC0415 - as above

    data_dir.mkdir(parents=True, exist_ok=True)
    try:
        return Engine(data_dir / "clickhouse")
    except RuntimeError as why:
        cure = (
            "another process uses this data directory: stop it, or choose another one\n" if "lock" in str(why) else ""
        )
        raise ServiceFailed(f"{cure}the engine cannot open {data_dir}: {why}") from why


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a gateway until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m rua_local.gateway", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="directory that keeps everything")
    parser.add_argument("--port", type=int, help="(default: a free one)")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen at (default: %(default)s)")
    parser.add_argument("--users", type=Path, help="YAML: users: [{name: …, password_file: …, restricted: true}]")
    given = parser.parse_args(arguments)
    os.environ["TZ"] = "UTC"  # the engine reads it when it is loaded
    time.tzset()
    try:
        asyncio.run(serve(given.data.absolute(), given.host, given.port or free_port(), given.users))
    except RuaError as why:
        sys.stderr.write(f"{why}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
