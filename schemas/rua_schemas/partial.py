"""How far a message can be read that cannot be read as a whole. For people who look at dead letters."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rua_common.errors import PoisonEvent

from rua_schemas.codec import LOCAL, Writers, decode, prefix_bytes, unframe
from rua_schemas.events import TelemetryEvent
from rua_schemas.released import Schema


@dataclass(frozen=True, slots=True)
class Partial:
    """The leading fields that can be read, as whoever wrote them named them; everything in them may be hostile.

    `problem` says why the message is no record, "" if it is one. `read_bytes` counts what the fields took, framing
    included. `next_field` is the first that cannot be read; None when all can, or when the schema is unknown.
    """

    problem: str
    fields: Mapping[str, Any]
    read_bytes: int
    next_field: str | None = None


def read_partly(payload: bytes, writers: Writers = LOCAL) -> Partial:
    """Reads as many leading fields of an event as can be read. Never raises, whatever the bytes."""
    problem = ""
    try:
        decode(payload, TelemetryEvent, writers)
    except PoisonEvent as why:
        problem = str(why)
    try:
        schema, body = unframe(payload, TelemetryEvent, writers)
    except PoisonEvent as why:
        return Partial(problem or str(why), {}, 0)
    names = [field["name"] for field in schema.avro["fields"]]
    count, fields, consumed = _longest(body, schema)
    return Partial(problem, fields, prefix_bytes(payload) + consumed, names[count] if count < len(names) else None)


def _longest(body: bytes, schema: Schema) -> tuple[int, Mapping[str, Any], int]:
    """The most leading fields, by halving: if some can be read, so can fewer."""
    few, many = 0, len(schema.avro["fields"])
    best: tuple[Mapping[str, Any], int] = ({}, 0)
    while few < many:
        middle = (few + many + 1) // 2
        read = _leading(body, schema, middle)
        if read is None:
            many = middle - 1
        else:
            few, best = middle, read
    return (few, *best)


def _leading(body: bytes, schema: Schema, count: int) -> tuple[Mapping[str, Any], int] | None:
    """So many fields, and how many bytes they took; None if they cannot be read."""
    import fastavro  # noqa: PLC0415 - only who reads needs its 8 MB

    shorter = fastavro.parse_schema({**schema.avro, "fields": schema.avro["fields"][:count]})
    stream = io.BytesIO(body)
    try:
        value: Any = fastavro.schemaless_reader(stream, shorter, None)
    except Exception:  # as in `codec.read_exactly`: whatever the reader makes of hostile bytes, they cannot be read
        return None
    return value, stream.tell()
