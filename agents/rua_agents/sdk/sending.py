"""What the client's thread does: numbers, sends, hears what is durable, sends again. Bounded, and never for ever."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import deque

from rua_agents.sdk.wire import ACK, TALK, VERSION, frame

MOST_BYTES = 4 << 20
"""Kept for an agent that is away; beyond it the oldest are dropped."""
WINDOW_BYTES = 1 << 20
"""Sent and not acknowledged."""
PATIENCE_SECONDS = 60.0
"""An agent that takes exports and acknowledges none for so long is asked anew."""
FIRST_BACK_OFF_SECONDS, LAST_BACK_OFF_SECONDS = 0.1, 5.0
CONNECT_SECONDS = 1.0
LOOK_SECONDS = 0.05
"""Between two looks for an acknowledgement."""
SEND_SECONDS = 0.2


class Sender:
    """One stream of exports: numbered from 1, kept until the agent has acknowledged them. One thread uses it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stream = os.urandom(16).hex()
        self._socket: socket.socket | None = None
        self._number = 0
        self._unsent: deque[tuple[int, bytes]] = deque()
        self._unacked: deque[tuple[int, bytes]] = deque()
        self._kept_bytes = self._window_bytes = 0
        self._dropped = self._told = 0
        self._out, self._in = b"", b""
        self._back_off, self._next_try, self._moved_at = FIRST_BACK_OFF_SECONDS, 0.0, 0.0
        self.refused = False
        """Whether nobody listened at the last try."""

    @property
    def unfinished(self) -> bool:
        """Whether anything waits for the agent's acknowledgement."""
        return bool(self._unsent or self._unacked)

    @property
    def pause_seconds(self) -> float:
        """How long nothing can be done but to wait."""
        return LOOK_SECONDS if self._socket is not None else max(LOOK_SECONDS, self._next_try - time.monotonic())

    def add(self, body: bytes) -> None:
        """Takes an export; beyond the cap the oldest that was not sent is dropped."""
        self._number += 1
        data = frame(self._number, body)
        self._unsent.append((self._number, data))
        self._kept_bytes += len(data)
        while self._kept_bytes > MOST_BYTES and len(self._unsent) > 1:
            _, gone = self._unsent.popleft()
            self._kept_bytes -= len(gone)
            self._dropped += 1

    def drop(self, count: int) -> None:
        """So many were dropped before they came here."""
        self._dropped += count

    def exchange(self) -> None:
        """Sends and hears what is possible now, within about a second."""
        if not self.unfinished or not self._connected():
            return
        try:
            self._send()
            self._hear()
        except Exception:  # whatever it is, this thread must go on: all is kept and sent again
            self._lost()
        if self._unacked and time.monotonic() - self._moved_at > PATIENCE_SECONDS:
            self._lost()

    def forget(self) -> None:
        """Lets the connection go without a word: it is the parent's, this is a forked child."""
        if self._socket is not None:
            self._socket.close()

    def close(self) -> None:
        """Ends the connection."""
        self.forget()
        self._socket = None

    def _connected(self) -> bool:
        if self._socket is not None:
            return True
        if time.monotonic() < self._next_try:
            return False
        try:
            self._socket, self._in = _connect(self._path), b""
        except (OSError, AttributeError):  # nobody listens; or this system has no Unix sockets
            self.refused = True
            self._wait_longer()
            return False
        self.refused = False
        self._out = _talk({"version": VERSION, "stream": self._stream})
        self._told = -1
        self._moved_at = time.monotonic()
        return True

    def _send(self) -> None:
        if self._dropped != self._told:
            self._out += _talk({"dropped": self._dropped})
            self._told = self._dropped
        while self._unsent and self._window_bytes < WINDOW_BYTES:
            number, data = self._unsent.popleft()
            self._unacked.append((number, data))
            self._window_bytes += len(data)
            self._out += data
        self._write()

    def _write(self) -> None:
        assert self._socket is not None  # noqa: S101 - connected
        until = time.monotonic() + SEND_SECONDS
        while self._out:
            try:
                self._out = self._out[self._socket.send(self._out[: 1 << 16]) :]
            except BlockingIOError:
                if time.monotonic() >= until:
                    return
                time.sleep(LOOK_SECONDS)  # no select: it fails above descriptor 1023, and greenlets have another one

    def _hear(self) -> None:
        assert self._socket is not None  # noqa: S101 - connected
        try:
            heard = self._socket.recv(1 << 12)
        except BlockingIOError:
            return
        if not heard:
            raise ConnectionResetError
        self._in += heard
        whole = len(self._in) // ACK.size * ACK.size
        if whole:
            self._acknowledged(max(ACK.unpack_from(self._in, at)[0] for at in range(0, whole, ACK.size)))
            self._in = self._in[whole:]

    def _acknowledged(self, number: int) -> None:
        self._back_off, self._moved_at = FIRST_BACK_OFF_SECONDS, time.monotonic()
        while self._unacked and self._unacked[0][0] <= number:
            _, data = self._unacked.popleft()
            self._window_bytes -= len(data)
            self._kept_bytes -= len(data)

    def _lost(self) -> None:
        self.close()
        self._unsent.extendleft(reversed(self._unacked))
        self._unacked.clear()
        self._window_bytes, self._out = 0, b""
        self._wait_longer()

    def _wait_longer(self) -> None:
        self._next_try = time.monotonic() + self._back_off
        self._back_off = min(2 * self._back_off, LAST_BACK_OFF_SECONDS)


def _talk(what: dict[str, object]) -> bytes:
    return frame(TALK, json.dumps(what).encode())


def _connect(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(CONNECT_SECONDS)
        made.connect(path)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
