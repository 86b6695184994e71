"""How an SDK and the agent talk over their socket. Standard library only: the platform's own processes import it.

Each way has frames: from the SDK a header (length of the body, number of the export) and a body in JSON; from the agent
the number up to which everything is durable. Number 0 is talk about the connection: who speaks, what was dropped.
"""

from __future__ import annotations

import struct

HEADER = struct.Struct(">IQ")
ACK = struct.Struct(">Q")
TALK = 0
VERSION = 1
MOST_BODY_BYTES = 1 << 15
"""An export with all its texts at their longest fits."""


def frame(number: int, body: bytes) -> bytes:
    """What is sent for an export, or for talk."""
    return HEADER.pack(len(body), number) + body
