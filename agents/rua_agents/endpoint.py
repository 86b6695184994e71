"""`/healthz`, `/readyz`, `/metrics` and `/status` over HTTP/1.1: GET only, one small answer, one client at a time.

Python's own server would cost ten megabytes. Nothing that is sent to it can change anything, keep it busy for more than
a few seconds, or make it hold more than a few kilobytes.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from rua_common.errors import BadConfiguration

from rua_agents import exposition
from rua_agents.settings import address_of
from rua_agents.status import Status

log = logging.getLogger(__name__)
REQUEST_BYTES = 8_192
CLIENT_SECONDS = 2.0
BACKLOG = 16
STANDS_STILL_SECONDS = 60.0
PLAIN = "text/plain; charset=utf-8"
JSON = "application/json"
WORDS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Answer(NamedTuple):
    """What goes back."""

    code: int
    body: str
    content_type: str = PLAIN

    def encode(self, *, body: bool = True) -> bytes:
        """As HTTP/1.1, for a connection that is closed after it."""
        data = self.body.encode()
        head = [
            f"HTTP/1.1 {self.code} {WORDS[self.code]}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(data)}",
            "Connection: close",
            "Cache-Control: no-store",
            *(["Allow: GET, HEAD"] if self.code == 405 else []),
        ]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + (data if body else b"")


class Board:
    """What the loop has written down last, for the endpoint's thread to read."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._last: tuple[Status, float] | None = None
        self._began = monotonic()

    def publish(self, status: Status) -> None:
        """Takes the place of what was there."""
        self._last = status, self._monotonic()

    def answer(self, path: str) -> Answer:
        """The answer to a GET."""
        if path == "/healthz":
            return self._health()
        if path not in ("/readyz", "/metrics", "/status"):
            return Answer(404, "there are /healthz, /readyz, /metrics and /status\n")
        if self._last is None:
            return Answer(503, "starting\n")
        if path == "/readyz":
            return self._ready(self._last[0])
        if path == "/metrics":
            return Answer(200, exposition.text(self._last[0]), exposition.CONTENT_TYPE)
        return Answer(200, msgspec.json.encode(self._last[0]).decode() + "\n", JSON)

    def _ready(self, status: Status) -> Answer:
        health = self._health()
        if status.wrong or health.code != 200:
            still = [health.body] if health.code != 200 else []
            return Answer(503, "".join([*still, *(f"{one}\n" for one in status.wrong)]))
        return Answer(200, "ready\n")

    def _health(self) -> Answer:
        still = self._monotonic() - (self._last[1] if self._last else self._began)
        if still > STANDS_STILL_SECONDS:
            return Answer(503, f"the loop has stood still for {still:.0f} s\n")
        return Answer(200, "alive\n")


class Endpoint:
    """Listens in a thread of its own."""

    def __init__(self, listen: str, board: Board) -> None:
        host, port = address_of(listen)
        try:
            self._socket = socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
            )
        except OSError as why:
            raise BadConfiguration(f"cannot listen at {listen}: {why.strerror}", key="http.listen") from why
        self.port: int = self._socket.getsockname()[1]
        self._board = board
        self._thread = threading.Thread(target=self._serve, name="endpoint", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(2 * CLIENT_SECONDS)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return  # closed
            with client:
                try:
                    self._talk(client)
                except OSError:
                    log.debug("a client of the endpoint went away")

    def _talk(self, client: socket.socket) -> None:
        end = time.monotonic() + CLIENT_SECONDS
        asked = b""
        while b"\r\n\r\n" not in asked:
            client.settimeout(max(0.01, end - time.monotonic()))
            more = client.recv(REQUEST_BYTES)
            asked += more
            if not more or len(asked) > REQUEST_BYTES or time.monotonic() > end:
                client.sendall(Answer(400, "not one small request\n").encode())
                return
        client.sendall(reply(self._board, asked))


def reply(board: Board, asked: bytes) -> bytes:
    """The answer to a request's head."""
    words = asked.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return Answer(400, "not HTTP/1.1\n").encode()
    method, target, _ = words
    if method not in ("GET", "HEAD"):
        return Answer(405, "GET only\n").encode()
    return board.answer(target.partition("?")[0]).encode(body=method == "GET")
