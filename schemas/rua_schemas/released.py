"""Avro schemas that writers may have used: every version ever released, found by the fingerprint on the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from rua_schemas.canonical import fingerprint
from rua_schemas.events import Alert, DeadLetter, Heartbeat, Record, TelemetryEvent

HERE = Path(__file__).parent
FILES: Mapping[type[Record], str] = {
    TelemetryEvent: "telemetry_event",
    Alert: "alert",
    Heartbeat: "heartbeat",
    DeadLetter: "dead_letter",
}


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """One version of one record's schema. Two of them are the same writer if their fingerprints are."""

    record: str
    avro: Mapping[str, Any] = field(repr=False)
    plain: Mapping[str, Any] = field(repr=False)
    fingerprint: bytes

    @staticmethod
    def of(avro: Mapping[str, Any]) -> Schema:
        """From the JSON of a .avsc file.

        Raises:
            SchemaParseException: it is no schema.
        """
        _parsed_by_fastavro(avro)
        return Schema.known(avro)

    @staticmethod
    def known(avro: Mapping[str, Any]) -> Schema:
        """Likewise, of a file that is known to be a schema."""
        return Schema(short(avro["name"]), avro, plain(avro, {}), fingerprint(avro))

    @property
    def parsed(self) -> Any:
        """As fastavro wants it."""
        return _parsed(self)


@cache
def _parsed(schema: Schema) -> Any:
    return _parsed_by_fastavro(schema.avro)


def _parsed_by_fastavro(avro: Mapping[str, Any]) -> Any:
    import fastavro  # noqa: PLC0415 - only who reads needs its 8 MB

    return fastavro.parse_schema(dict(avro))


def short(name: str) -> str:
    """A name without its namespace: ours are all `rua`."""
    return name.rsplit(".", 1)[-1]


def plain(avro: Any, named: dict[str, Any]) -> Any:
    """The type with every name replaced by what it stands for, reduced to what decides how bytes are read."""
    if isinstance(avro, str):
        return named.get(short(avro), avro)
    if isinstance(avro, list):
        return [plain(one, named) for one in avro]
    kind = avro["type"]
    if kind == "array":
        return {"type": kind, "items": plain(avro["items"], named)}
    if kind == "record":
        fields = [{"name": f["name"], "type": plain(f["type"], named)} for f in avro["fields"]]
        return {"type": kind, "name": short(avro["name"]), "fields": fields}
    if kind == "enum":
        name = short(avro["name"])
        named[name] = {"type": kind, "name": name, "symbols": list(avro["symbols"])}
        return named[name]
    return avro if set(avro) != {"type"} else plain(kind, named)


class Writers(Protocol):
    """Tells which schema a payload was written with. None: nobody knows it."""

    def by_fingerprint(self, fingerprint: bytes) -> Schema | None:
        """The schema with this CRC-64-AVRO fingerprint (8 bytes, little-endian)."""
        ...

    def by_id(self, schema_id: int) -> Schema | None:
        """The schema with this id in the schema registry."""
        ...


class LocalWriters:
    """Every schema released with this version of Rua, and the ids that a registry gave to some of them, if given."""

    def __init__(self, ids: Mapping[int, Schema] | None = None) -> None:
        self._ids = dict(ids or {})
        self._by_fingerprint = {s.fingerprint: s for kind in FILES for s in released(kind)}

    def by_fingerprint(self, fingerprint: bytes) -> Schema | None:
        """The released schema with this fingerprint."""
        return self._by_fingerprint.get(fingerprint)

    def by_id(self, schema_id: int) -> Schema | None:
        """The schema given for this id."""
        return self._ids.get(schema_id)


def load(path: Path) -> Schema:
    """Reads one .avsc file."""
    return Schema.known(json.loads(path.read_text(encoding="utf-8")))


@cache
def current(kind: type[Record]) -> Schema:
    """The schema that this version of Rua writes, and reads into."""
    return load(HERE / "avro" / f"{FILES[kind]}.avsc")


@cache
def released(kind: type[Record]) -> tuple[Schema, ...]:
    """All released versions of a record's schema, oldest first."""
    files = sorted((HERE / "released" / FILES[kind]).glob("*.avsc"), key=lambda path: int(path.stem))
    return tuple(load(path) for path in files)
