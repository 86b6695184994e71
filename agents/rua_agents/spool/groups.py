"""Groups of events as bytes: what one fsync makes durable. Pure.

A group is a header of 20 bytes (magic, length, CRC-32, sequence of the first event) and a MessagePack payload. Fields
are written with their names, so that an agent of another version reads what this one has left.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from rua_schemas.events import TelemetryEvent

MAGIC = b"RuaS"
HEADER = struct.Struct(">4sIIQ")
_CHECKED = struct.Struct(">IQ")
Event = TypeVar("Event")


class Group(msgspec.Struct, Generic[Event], array_like=True):
    """What is written together or not at all."""

    events: list[Event]
    marks: dict[str, Any]
    """How far the sources of these events are read; None: forgotten."""
    whole: bool = False
    """Whether these are the marks of all sources, not only of those that moved."""


class Framed(NamedTuple):
    """A group that stands in a file and is what was written."""

    first: int
    """Sequence of its first event."""
    payload: bytes
    end: int
    """Where the next group starts, in bytes."""


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Group[TelemetryEvent]).decode
peek = msgspec.msgpack.Decoder(Group[msgspec.Raw]).decode
"""As `decode`, without looking into the events."""


def frame(first: int, payload: bytes) -> bytes:
    """A group's bytes."""
    return HEADER.pack(MAGIC, len(payload), _crc(first, payload), first) + payload


def read(data: bytes, at: int = 0) -> Framed | None:
    """The group that starts there, or None: it is cut, damaged, or there is none."""
    if len(data) - at < HEADER.size:
        return None
    magic, length, crc, first = HEADER.unpack_from(data, at)
    end = at + HEADER.size + length
    if magic != MAGIC or end > len(data):
        return None
    payload = data[at + HEADER.size : end]
    return Framed(first, payload, end) if _crc(first, payload) == crc else None


def resync(data: bytes, at: int) -> int | None:
    """Where the next undamaged group starts, at this byte or later."""
    while (at := data.find(MAGIC, at)) >= 0:
        if read(data, at) is not None:
            return at
        at += 1
    return None


def _crc(first: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_CHECKED.pack(len(payload), first)))
