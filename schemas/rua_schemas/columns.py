"""Many messages into one polars frame, at column speed, without trusting where one message ends and the next begins.

The messages are joined into one Avro block that polars reads natively. Before that, each is proved to be exactly one
record in its canonical encoding (`walk`, and for what that doubts `codec.read_exactly`), so that no message can shift,
or forge, the row of its neighbour, and a message gives the same row whatever stands beside it. polars would not notice:
it reads a boolean of 2, a union branch of -1 or an over-long number without complaint, and panics at an enum of 9.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PanicException
from rua_common.errors import PoisonEvent

from rua_schemas.codec import CONFLUENT, LOCAL, UNDECODABLE, Schema, Writers, prefix_bytes, read_exactly, writer_of
from rua_schemas.compat import defaults, enum_default
from rua_schemas.events import Record, TelemetryEvent
from rua_schemas.released import current
from rua_schemas.walk import Data, compiled, doubtful

SYNC = bytes(16)
PRIMITIVES: Mapping[str, type[pl.DataType]] = {
    "boolean": pl.Boolean,
    "int": pl.Int32,
    "long": pl.Int64,
    "float": pl.Float32,
    "double": pl.Float64,
    "string": pl.String,
    "bytes": pl.Binary,
}


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that is no record, and why: `reason` is one of `codec.REASONS`, `detail` never holds content."""

    index: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """Rows in the order of the messages. `places[i]` is the index in the input of row i."""

    frame: pl.DataFrame
    places: NDArray[np.int64]
    rejected: list[Rejected]
    tombstones: int
    unknown_symbols: int


class ColumnCodec:
    """Decodes messages of one kind of record into one frame, with the columns of this release's schema."""

    def __init__(self, kind: type[Record] = TelemetryEvent, writers: Writers = LOCAL) -> None:
        self._kind, self._writers = kind, writers
        self._plans: dict[bytes, _Plan] = {}
        self.schema = pl.Schema({f["name"]: dtype_of(f["type"]) for f in current(kind).plain["fields"]})

    def decode(self, payloads: Sequence[bytes | None]) -> Decoded:
        """One row for each message that is a record. Never raises for the sake of a message, whatever its bytes.

        Raises:
            RetryLater: by `writers`, when a schema registry is asked and is away.
        """
        rejected: list[Rejected] = []
        batches = _by_prefix(payloads, rejected)
        parts: list[_Part] = []
        for prefix, batch in batches.items():
            try:
                plan = self._plan(prefix)
            except PoisonEvent as why:
                rejected += [Rejected(index, why.reason, why.detail) for index in batch.indexes]
                continue
            parts += plan.parts(batch, rejected)
        rejected.sort(key=lambda one: one.index)
        frame, places = self._in_order(parts)
        tombstones = len(payloads) - len(places) - len(rejected)
        return Decoded(frame, places, rejected, tombstones, sum(part.unknown_symbols for part in parts))

    def _plan(self, prefix: bytes) -> _Plan:
        if prefix not in self._plans:
            self._plans[prefix] = _Plan(prefix, writer_of(prefix, self._kind, self._writers), current(self._kind))
        return self._plans[prefix]

    def _in_order(self, parts: Sequence[_Part]) -> tuple[pl.DataFrame, NDArray[np.int64]]:
        places = np.array([index for part in parts for index in part.indexes], np.int64)
        if len(parts) <= 1:
            return (parts[0].frame if parts else pl.DataFrame(schema=self.schema)), places
        order = np.argsort(places)
        return pl.concat([part.frame for part in parts])[order], places[order]


def dtype_of(avro: Any) -> pl.DataType:
    """The polars type of a plain Avro type."""
    if isinstance(avro, list):
        return dtype_of(next(one for one in avro if one != "null"))
    if isinstance(avro, str):
        return PRIMITIVES[avro]()
    if avro["type"] == "enum":
        return pl.Enum(avro["symbols"])
    if avro["type"] == "array":
        return pl.List(dtype_of(avro["items"]))
    return pl.Struct({f["name"]: dtype_of(f["type"]) for f in avro["fields"]})


@dataclass(frozen=True, slots=True)
class _Batch:
    """Messages with the same prefix, and where each stands in the input."""

    payloads: list[bytes] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)

    def without(self, rows: Collection[int]) -> _Batch:
        kept = [row for row in range(len(self.indexes)) if row not in rows]
        return _Batch([self.payloads[row] for row in kept], [self.indexes[row] for row in kept])

    def halves(self) -> tuple[_Batch, _Batch]:
        middle = len(self.indexes) // 2
        return (
            _Batch(self.payloads[:middle], self.indexes[:middle]),
            _Batch(self.payloads[middle:], self.indexes[middle:]),
        )


@dataclass(frozen=True, slots=True)
class _Part:
    frame: pl.DataFrame
    indexes: list[int]
    unknown_symbols: int


def _by_prefix(payloads: Sequence[bytes | None], rejected: list[Rejected]) -> dict[bytes, _Batch]:
    """Messages grouped by what tells their writer. Most have the prefix of the one before, so that is tried first."""
    batches: dict[bytes, _Batch] = {}
    batch, prefix = _Batch(), b"none yet"
    for index, payload in enumerate(payloads):
        if payload is None:
            continue
        if not payload.startswith(prefix):
            try:
                prefix = payload[: prefix_bytes(payload)]
            except PoisonEvent as why:
                rejected.append(Rejected(index, why.reason, why.detail))
                continue
            batch = batches.setdefault(prefix, _Batch())
        batch.payloads.append(payload)
        batch.indexes.append(index)
    return batches


class _Plan:
    """How messages of one writer's schema become columns of the reader's."""

    def __init__(self, prefix: bytes, writer: Schema, reader: Schema) -> None:
        self._writer, self._prefix_bytes = writer, len(prefix)
        self._step = compiled(writer.plain)
        self._header = _header(writer.plain, prefix)
        written = {f["name"]: f["type"] for f in writer.plain["fields"]}
        known = defaults(reader)
        self._columns: list[_Column] = [
            _column(f["name"], written.get(f["name"]), f["type"], known.get(f["name"]), reader)
            for f in reader.plain["fields"]
        ]

    def parts(self, batch: _Batch, rejected: list[Rejected]) -> list[_Part]:
        """The rows of all sound messages of the batch; usually one part."""
        joined = b"".join(batch.payloads)
        sizes = np.fromiter(map(len, batch.payloads), np.int64, len(batch.payloads))
        ends = np.cumsum(sizes)
        doubts = doubtful(self._step, Data(joined), ends - sizes + self._prefix_bytes, ends)
        if doubts.any():
            batch = self._sound(batch, np.flatnonzero(doubts).tolist(), rejected)
        return self._read(batch, rejected)

    def _sound(self, batch: _Batch, rows: Iterable[int], rejected: list[Rejected]) -> _Batch:
        """The batch without those of `rows` that are, looked at one by one, no canonical record."""
        bad = set()
        for row in rows:
            try:
                read_exactly(batch.payloads[row][self._prefix_bytes :], self._writer)
            except PoisonEvent as why:
                rejected.append(Rejected(batch.indexes[row], why.reason, why.detail))
                bad.add(row)
        return batch.without(bad) if bad else batch

    def _read(self, batch: _Batch, rejected: list[Rejected]) -> list[_Part]:
        if not batch.indexes:
            return []
        try:
            written = self._native(batch.payloads)
        except (Exception, PanicException):  # a panic is a BaseException; this is the only place that may meet one
            return self._read_with_care(batch, rejected)
        series, unknown = [], 0
        for column in self._columns:
            one, strange = column(written)
            series.append(one)
            unknown += strange
        return [_Part(pl.DataFrame(series), batch.indexes, unknown)]

    def _read_with_care(self, batch: _Batch, rejected: list[Rejected]) -> list[_Part]:
        """After polars refused the batch: text that is not UTF-8 goes; if readers disagree, the smallest part goes."""
        sound = self._sound(batch, range(len(batch.indexes)), rejected)
        if len(sound.indexes) < len(batch.indexes):
            return self._read(sound, rejected)
        if len(batch.indexes) == 1:
            rejected.append(Rejected(batch.indexes[0], UNDECODABLE, "one reader takes it, the other does not"))
            return []
        return [part for half in batch.halves() for part in self._read(half, rejected)]

    def _native(self, payloads: Sequence[bytes]) -> pl.DataFrame:
        body = b"".join(payloads)
        frame = pl.read_avro(io.BytesIO(b"".join((self._header, _long(len(payloads)), _long(len(body)), body, SYNC))))
        if frame.height != len(payloads):
            raise ValueError(f"{frame.height} rows in {len(payloads)} messages")
        return frame


_Column = Callable[[pl.DataFrame], tuple[pl.Series, int]]
"""From the frame as written to one column as read, and how many enum symbols were unknown."""


def _column(name: str, written: Any, wanted: Any, default: Any, reader: Schema) -> _Column:
    dtype = dtype_of(wanted)
    if written is None:
        blank = pl.Series(name, [default], dtype)
        return lambda frame: (blank.new_from_index(0, frame.height), 0)
    if isinstance(dtype, pl.Enum):
        return _enum_column(name, _not_null(written)["symbols"], dtype, enum_default(reader, _not_null(wanted)["name"]))
    if dtype_of(written) == dtype:
        return lambda frame: (frame.get_column(name), 0)
    return lambda frame: (frame.get_column(name).cast(dtype), 0)


def _enum_column(name: str, symbols: Sequence[str], dtype: pl.Enum, instead: str | None) -> _Column:
    """Enums are read as their index, because an index out of range makes polars panic, and to count unknown symbols."""
    known = dtype.categories.to_list()
    table = pl.Series(name, [s if s in known else instead for s in symbols], dtype)
    strange = [index for index, s in enumerate(symbols) if s not in known]

    def column(frame: pl.DataFrame) -> tuple[pl.Series, int]:
        index = frame.get_column(name)
        return table.gather(index), int(index.is_in(strange).sum()) if strange else 0

    return column


def _not_null(avro: Any) -> Any:
    return next(one for one in avro if one != "null") if isinstance(avro, list) else avro


def _header(plain: Mapping[str, Any], prefix: bytes) -> bytes:
    """Start of an Avro file whose records are whole messages: the prefix is read as two numbers and dropped."""
    rest = "float" if prefix.startswith(CONFLUENT) else "double"
    fields = [{"name": "", "type": "long"}, {"name": " ", "type": rest}]
    fields += [{"name": f["name"], "type": _enum_as_int(f["type"])} for f in plain["fields"]]
    schema = json.dumps({"type": "record", "name": plain["name"], "fields": fields}).encode()
    meta = b"".join(_long(len(part)) + part for part in (b"avro.codec", b"null", b"avro.schema", schema))
    return b"Obj\x01" + _long(2) + meta + _long(0) + SYNC


def _enum_as_int(avro: Any) -> Any:
    if isinstance(avro, list):
        return [_enum_as_int(one) for one in avro]
    return "int" if isinstance(avro, Mapping) and avro["type"] == "enum" else avro


def _long(number: int) -> bytes:
    """A non-negative number as Avro writes a long."""
    left, out = number << 1, bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)
