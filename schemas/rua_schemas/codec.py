"""Records to bytes and back, in Avro, one record a message.

Two framings, both read by everybody. With a schema registry: Confluent's, 00 and the schema id (4 bytes, big-endian).
Without: Avro's single-object encoding, C3 01 and the CRC-64-AVRO fingerprint of the schema (8 bytes, little-endian).
Times are integers, so no time zone can ever slip in.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec
from rua_common.errors import PoisonEvent

from rua_schemas.compat import differences
from rua_schemas.events import Alert, DeadLetter, Heartbeat, Record, TelemetryEvent
from rua_schemas.released import LocalWriters, Schema, Writers, current
from rua_schemas.writing import MOST_INT, Write, adjacent

__all__ = ["LOCAL", "REASONS", "Encoder", "LocalWriters", "Schema", "Writers", "clean", "decode", "encode", "piece"]

T = TypeVar("T", TelemetryEvent, Alert, Heartbeat, DeadLetter)

SINGLE_OBJECT = b"\xc3\x01"
SINGLE_OBJECT_PREFIX_BYTES = 10
CONFLUENT = b"\x00"
CONFLUENT_PREFIX_BYTES = 5
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LOCAL: Writers = LocalWriters()

EMPTY = "empty"
UNDECODABLE = "undecodable"
UNKNOWN_SCHEMA = "unknown_schema"
WRONG_RECORD = "wrong_record"
NOT_CANONICAL = "not_canonical"
REASONS = (EMPTY, UNDECODABLE, UNKNOWN_SCHEMA, WRONG_RECORD, NOT_CANONICAL)
UNENCODABLE = "unencodable"
APART = frozenset(("event_id", "actor", "session", "statement_fingerprint", "source_ip", "chain"))
"""Fields of an event that seldom repeat, while those between them do."""


def clean(text: str) -> tuple[str, int]:
    """The text with what cannot be stored (lone surrogates, NUL) replaced by U+FFFD, and how many there were."""
    nuls = text.count("\0")
    try:
        text.encode()
    except UnicodeEncodeError:
        kept = [REPLACEMENT if "\ud800" <= c <= "\udfff" or c == "\0" else c for c in text]
        return "".join(kept), sum(a != b for a, b in zip(kept, text, strict=True))
    return text.replace("\0", REPLACEMENT) if nuls else text, nuls


class Encoder:
    """Writes records of one kind with the schema of this release."""

    def __init__(self, kind: type[Record], schema_id: int | None = None) -> None:
        self._kind = kind
        self._write = piece(kind)
        self.prefix = (
            SINGLE_OBJECT + current(kind).fingerprint
            if schema_id is None
            else CONFLUENT + schema_id.to_bytes(CONFLUENT_PREFIX_BYTES - 1, "big")
        )

    def encode(self, record: Record) -> bytes:
        """One message.

        Raises:
            PoisonEvent: unencodable, because a value does not fit the schema: a datetime where milliseconds belong,
                an integer beyond 64 bits, text that is not well-formed Unicode (see `clean`). Names the field.
        """
        try:
            return self.prefix + self._write(record)
        except ValueError as why:
            raise PoisonEvent(UNENCODABLE, f"{self._kind.__name__}: {why}") from why


@cache
def piece(kind: type[Record], first: str | None = None, last: str | None = None) -> Write:
    """Writes adjacent fields of a record, from one to another; by default all of them.

    The result raises ValueError where `Encoder.encode` raises PoisonEvent.
    """
    fields = current(kind).plain["fields"]
    names = [field["name"] for field in fields]
    start, end = names.index(first) if first else 0, names.index(last) + 1 if last else len(names)
    return adjacent(fields[start:end], APART)


def encode(record: Record) -> bytes:
    """One message in single-object encoding."""
    return Encoder(type(record)).encode(record)


def decode(payload: bytes, kind: type[T], writers: Writers = LOCAL) -> T:
    """The record in one message, read with its writer's schema and brought to this release's.

    Raises:
        PoisonEvent: with one of `REASONS`; never anything else, whatever the bytes.
    """
    import fastavro  # noqa: PLC0415 - who only writes does without its 8 MB

    schema, body = unframe(payload, kind, writers)
    value = read_exactly(body, schema)
    reader = current(kind)
    try:
        if schema.fingerprint != reader.fingerprint:
            value = fastavro.schemaless_reader(io.BytesIO(body), schema.parsed, reader.parsed)
        return msgspec.convert(value, kind, builtin_types=(bytes,))
    except Exception as why:
        raise PoisonEvent(UNDECODABLE, f"does not fit {kind.__name__}: {type(why).__name__}") from why


def unframe(payload: bytes, kind: type[Record], writers: Writers) -> tuple[Schema, bytes]:
    """The writer's schema and the Avro body of a message.

    Raises:
        PoisonEvent: empty, undecodable, unknown_schema or wrong_record.
    """
    size = prefix_bytes(payload)
    schema = writer_of(payload[:size], kind, writers)
    return schema, payload[size:]


def prefix_bytes(payload: bytes) -> int:
    """How many bytes stand before the Avro body.

    Raises:
        PoisonEvent: empty, or undecodable because it starts like neither framing.
    """
    if not payload:
        raise PoisonEvent(EMPTY)
    if payload.startswith(SINGLE_OBJECT):
        size = SINGLE_OBJECT_PREFIX_BYTES
    elif payload.startswith(CONFLUENT):
        size = CONFLUENT_PREFIX_BYTES
    else:
        raise PoisonEvent(UNDECODABLE, f"starts with {payload[:2].hex()}, which is neither framing")
    if len(payload) < size:
        raise PoisonEvent(UNDECODABLE, f"{len(payload)} bytes, shorter than its own prefix")
    return size


def writer_of(prefix: bytes, kind: type[Record], writers: Writers) -> Schema:
    """The schema that a whole prefix names.

    Raises:
        PoisonEvent: unknown_schema, or wrong_record if it is the schema of another record.
    """
    if prefix.startswith(CONFLUENT):
        schema_id = int.from_bytes(prefix[1:], "big")
        schema, name = writers.by_id(schema_id), f"id {schema_id}"
    else:
        schema, name = writers.by_fingerprint(prefix[2:]), f"fingerprint {prefix[2:].hex()}"
    if schema is None:
        raise PoisonEvent(UNKNOWN_SCHEMA, name)
    if schema.record != kind.__name__:
        raise PoisonEvent(WRONG_RECORD, f"{name} is of {schema.record}, expected {kind.__name__}")
    if unreadable := _differences(schema, kind):
        raise PoisonEvent(UNKNOWN_SCHEMA, f"{name} cannot be read here: {unreadable}")
    return schema


@cache
def _differences(schema: Schema, kind: type[Record]) -> str:
    return "; ".join(differences(schema, current(kind)))


def read_exactly(body: bytes, schema: Schema) -> Any:
    """The value in `body`, if it is exactly one record in the one canonical encoding of its value.

    Avro leaves writers some freedom (over-long varints, arrays cut into blocks), and readers differ on what lies
    outside it (a boolean of 2, a union branch of -1). What does not come out byte for byte when it is written again is
    refused.

    Raises:
        PoisonEvent: undecodable or not_canonical.
    """
    import fastavro  # noqa: PLC0415 - as above

    stream = io.BytesIO(body)
    try:
        value = fastavro.schemaless_reader(stream, schema.parsed)
    except Exception as why:
        raise PoisonEvent(UNDECODABLE, f"{type(why).__name__} in {len(body)} bytes") from why
    if stream.tell() != len(body):
        raise PoisonEvent(UNDECODABLE, f"{len(body) - stream.tell()} bytes after the record")
    if beyond := _beyond_int(schema, value):
        raise PoisonEvent(UNDECODABLE, f"{beyond} does not fit into 32 bits")
    again = io.BytesIO()
    try:
        fastavro.schemaless_writer(again, schema.parsed, value)
    except Exception as why:
        raise PoisonEvent(NOT_CANONICAL, f"cannot be written again: {type(why).__name__}") from why
    if again.getvalue() != body:
        raise PoisonEvent(NOT_CANONICAL, "an encoding that no writer of ours makes")
    return value


@cache
def _int_fields(schema: Schema) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Fields that hold 32-bit integers, and for an array of records which of theirs do."""
    found = []
    for field in schema.plain["fields"]:
        avro = field["type"]
        if avro == "int" or (isinstance(avro, list) and "int" in avro):
            found.append((field["name"], ()))
        elif isinstance(avro, Mapping) and avro["type"] == "array" and isinstance(avro["items"], Mapping):
            inner = tuple(f["name"] for f in avro["items"].get("fields", ()) if f["type"] == "int")
            found += [(field["name"], inner)] if inner else []
    return tuple(found)


def _beyond_int(schema: Schema, value: Any) -> str | None:
    """The name of an `int` that is larger than Avro allows: fastavro reads without this limit."""
    for name, inner in _int_fields(schema):
        numbers = [item[one] for item in value[name] for one in inner] if inner else [value[name]]
        if any(number is not None and not -MOST_INT - 1 <= number <= MOST_INT for number in numbers):
            return name
    return None
