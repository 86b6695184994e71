"""A real ClickHouse engine that keeps a query log, behind the smallest HTTP interface: one process, for tests.

`python -m tests.query_log_server DIRECTORY` prints its port. The embedded engine keeps no log unless its configuration
says so, which is why this is not the gateway of `rua up`. It has one user; what it logs is the engine's own.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from chdb.session import Session

CONFIG = """<clickhouse><query_log><database>system</database><table>query_log</table>
<flush_interval_milliseconds>300</flush_interval_milliseconds></query_log></clickhouse>"""


def main(directory: Path) -> None:
    """Serves until it is killed."""
    config = directory / "config.xml"
    config.write_text(CONFIG)
    one_at_a_time = Lock()
    session: Any = Session(f"{directory / 'data'}?config-file={config}")  # type: ignore[no-untyped-call]  # it has no types

    class Handler(BaseHTTPRequestHandler):
        """Runs what is posted."""

        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            """One statement."""
            sql = self.rfile.read(int(self.headers["Content-Length"])).decode()
            try:
                with one_at_a_time:
                    status, body = 200, session.query(sql).bytes()
            except RuntimeError as why:
                status, body = 500, str(why).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
