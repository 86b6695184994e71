"""One process at the other end of the socket: its bytes into frames, what is durable back to it. All of it bounded."""

from __future__ import annotations

import socket
from typing import NamedTuple

from rua_agents.intake.peers import Peer
from rua_agents.sdk.wire import ACK, HEADER, MOST_BODY_BYTES

READ_BYTES = 1 << 18
"""Of one connection in one turn; more than one frame, and all that is ever kept of it."""


class Frame(NamedTuple):
    """What a process sent."""

    number: int
    body: bytes


class Broken(Exception):
    """The connection cannot go on; the argument says why in one word."""


class Connection:
    """Frames out of a stream of bytes, acknowledgements into it."""

    def __init__(self, made: socket.socket, peer: Peer, now: float) -> None:
        self.socket, self.peer = made, peer
        self.stream: str | None = None
        """Which process it says it is; None until it has."""
        self.waits_since: float | None = now
        """Since when it owes the rest of a frame, or its name, in seconds of a monotonic clock."""
        self.ended = False
        self._kept = b""

    def read(self) -> list[Frame]:
        """The frames that came; at most about `READ_BYTES`.

        Raises:
            Broken: a frame is too long.
            OSError: the connection is lost.
        """
        try:
            chunk = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return []
        self.ended = not chunk
        return self._frames(self._kept + chunk)

    def heard(self, now: float, *, frames: bool) -> None:
        """Its frames were looked at; whether there were any."""
        if self.stream is not None and not self._kept:
            self.waits_since = None
        elif self.stream is not None and (frames or self.waits_since is None):
            self.waits_since = now

    def _frames(self, data: bytes) -> list[Frame]:
        found, at = [], 0
        while len(data) - at >= HEADER.size:
            length, number = HEADER.unpack_from(data, at)
            if length > MOST_BODY_BYTES:
                raise Broken("too_long")
            end = at + HEADER.size + length
            if end > len(data):
                break
            found.append(Frame(number, data[at + HEADER.size : end]))
            at = end
        self._kept = data[at:]
        return found

    def acknowledge(self, number: int) -> None:
        """Tells up to where everything is durable. A process that does not listen now will hear a later number.

        Raises:
            OSError: the connection is lost.
        """
        try:
            if self.socket.send(ACK.pack(number)) < ACK.size:
                raise BrokenPipeError
        except BlockingIOError:
            pass
