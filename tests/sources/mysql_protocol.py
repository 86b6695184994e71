"""As much of MySQL's client protocol as a prepared statement and a server-side cursor need, as drivers use them.

The command line client has neither. See MariaDB's documentation, "Client/Server Protocol".
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

CAPABILITIES = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x80000
PREPARE, EXECUTE, FETCH, CLOSE, QUIT = b"\x16", b"\x17", b"\x1c", b"\x19", b"\x01"
END, ERROR, CURSOR = 0xFE, 0xFF, 0x40


class Connection:
    """One connection of a user without a password."""

    def __init__(self, path: Path, user: str, database: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(path))
        self._packet()
        names = user.encode() + b"\0\0" + database.encode() + b"\0mysql_native_password\0"
        self._send(struct.pack("<IIB23x", CAPABILITIES, 1 << 24, 33) + names, 1)
        if self._packet()[0] == END:  # another method of authentication: an empty password answers it
            self._send(b"", 3)
            assert self._packet()[0] == 0

    def prepare(self, sql: str) -> int:
        """The number of a statement with one `?`."""
        self._send(PREPARE + sql.encode())
        answer = self._packet()
        assert answer[0] == 0, answer
        number, columns, parameters = struct.unpack("<IHH", answer[1:9])
        for described in (parameters, columns):
            if described:
                self._rows()
        return int(number)

    def execute(self, statement: int, value: int, *, cursor: bool = False) -> int | None:
        """How many rows came; None if they wait behind a cursor."""
        given = struct.pack("<IBI", statement, int(cursor), 1) + b"\x00\x01\x03\x00" + struct.pack("<I", value)
        self._send(EXECUTE + given)
        self._packet()
        _, end = self._rows()
        return None if end[3] & CURSOR else self._rows()[0]

    def fetch(self, statement: int, rows: int) -> int:
        """How many rows the cursor gave."""
        self._send(FETCH + struct.pack("<II", statement, rows))
        return self._rows()[0]

    def close(self) -> None:
        """Says good-bye."""
        self._send(QUIT)
        self._socket.close()

    def _rows(self) -> tuple[int, bytes]:
        """How many packets came before the one that ends them, and that."""
        count = 0
        while True:
            packet = self._packet()
            assert packet[0] != ERROR, packet
            if packet[0] == END and len(packet) < 9:
                return count, packet
            count += 1

    def _send(self, data: bytes, number: int = 0) -> None:
        self._socket.sendall(struct.pack("<I", len(data))[:3] + bytes([number]) + data)

    def _packet(self) -> bytes:
        head = self._exactly(4)
        return self._exactly(head[0] | head[1] << 8 | head[2] << 16)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            assert part, "the server hung up"
            data += part
        return data
