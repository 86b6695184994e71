"""Many messages into one polars frame, at column speed, without trusting where one message ends and the next begins.

The messages are joined into one Avro block that polars reads natively. Before that, each is proved to be exactly one
record in its canonical encoding (`walk`, and for what that doubts `codec.read_exactly`), so that no message can shift,
or forge, the row of its neighbour, and a message gives the same row whatever stands beside it. polars would not notice:
it reads a boolean of 2, a union branch of -1 or an over-long number without complaint, and panics at an enum of 9.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PanicException
from rua_common.errors import PoisonEvent

from rua_schemas.codec import (
    CONFLUENT,
    LOCAL,
    SINGLE_OBJECT,
    SINGLE_OBJECT_PREFIX_BYTES,
    UNDECODABLE,
    Schema,
    Writers,
    prefix_bytes,
    read_exactly,
    writer_of,
)
from rua_schemas.compat import defaults, enum_default
from rua_schemas.events import Record, TelemetryEvent
from rua_schemas.released import current
from rua_schemas.walk import Data, compiled, doubtful
from rua_schemas.writing import long

Indexes = NDArray[np.int64]
SYNC = bytes(16)
FEW = 128  # messages that are read one by one in the time that polars takes for its next attempt, and some more
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
    places: Indexes
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
        parts: list[_Part] = []
        for prefix, batch in _by_prefix(payloads, rejected):
            try:
                plan = self._plan(prefix)
            except PoisonEvent as why:
                rejected += [Rejected(index, why.reason, why.detail) for index in batch.indexes.tolist()]
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

    def _in_order(self, parts: Sequence[_Part]) -> tuple[pl.DataFrame, Indexes]:
        if not parts:
            return pl.DataFrame(schema=self.schema), np.empty(0, np.int64)
        if len(parts) == 1:
            return parts[0].frame, parts[0].indexes
        places = np.concatenate([part.indexes for part in parts])
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

    payloads: Sequence[bytes]
    indexes: Indexes

    def without(self, rows: Sequence[int]) -> _Batch:
        kept = np.delete(np.arange(len(self.indexes)), rows)
        return _Batch([self.payloads[row] for row in kept.tolist()], self.indexes[kept])

    def halves(self) -> tuple[_Batch, _Batch]:
        middle = len(self.indexes) // 2
        return (
            _Batch(self.payloads[:middle], self.indexes[:middle]),
            _Batch(self.payloads[middle:], self.indexes[middle:]),
        )


@dataclass(frozen=True, slots=True)
class _Part:
    frame: pl.DataFrame
    indexes: Indexes
    unknown_symbols: int


def _by_prefix(payloads: Sequence[bytes | None], rejected: list[Rejected]) -> Iterator[tuple[bytes, _Batch]]:
    """Messages grouped by what tells their writer. Usually all have one, so that is tried first, at half the cost."""
    first = payloads[0] if payloads else None
    if first and first.startswith((SINGLE_OBJECT, CONFLUENT)) and len(first) >= SINGLE_OBJECT_PREFIX_BYTES:
        prefix = first[: prefix_bytes(first)]
        alike = [p for p in payloads if p is not None and p.startswith(prefix)]
        if len(alike) == len(payloads):
            yield prefix, _Batch(alike, np.arange(len(alike)))
            return
    groups: dict[bytes, tuple[list[bytes], list[int]]] = {}
    for index, payload in enumerate(payloads):
        if payload is None:
            continue
        try:
            group = groups.setdefault(payload[: prefix_bytes(payload)], ([], []))
        except PoisonEvent as why:
            rejected.append(Rejected(index, why.reason, why.detail))
            continue
        group[0].append(payload)
        group[1].append(index)
    for prefix, (members, indexes) in groups.items():
        yield prefix, _Batch(members, np.array(indexes, np.int64))


class _Plan:
    """How messages of one writer's schema become columns of the reader's."""

    def __init__(self, prefix: bytes, writer: Schema, reader: Schema) -> None:
        self._writer, self._prefix_bytes = writer, len(prefix)
        self._step = compiled(writer.plain)
        self._header = _header(writer.plain, prefix)
        written = {f["name"]: f["type"] for f in writer.plain["fields"]}
        wanted = {f["name"]: f["type"] for f in reader.plain["fields"]}
        known = defaults(reader)
        self._columns = [
            _column(name, written[name], avro, reader) if name in written else _default(name, known[name], avro)
            for name, avro in wanted.items()
        ]
        self._unknown = [
            pl.col(name).is_in(strange).sum()
            for name, avro in wanted.items()
            if (strange := _strange(written.get(name), avro))
        ]

    def parts(self, batch: _Batch, rejected: list[Rejected]) -> list[_Part]:
        """The rows of all sound messages of the batch; usually one part."""
        file, starts, ends = self._file(batch.payloads)
        doubts = doubtful(self._step, Data(file), starts, ends)
        if doubts.any():
            sound = self._sound(batch, np.flatnonzero(doubts).tolist(), rejected)
            if sound is not batch:
                return self._read(sound, rejected)
        return self._read(batch, rejected, file)

    def _file(self, payloads: Sequence[bytes]) -> tuple[bytes, Indexes, Indexes]:
        """An Avro file whose one block is these messages, and where in it each body begins and ends."""
        sizes = np.fromiter(map(len, payloads), np.int64, len(payloads))
        ends = np.cumsum(sizes)
        head = self._header + long(len(payloads)) + long(int(ends[-1]))
        ends += len(head)
        return b"".join((head, *payloads, SYNC)), ends - sizes + self._prefix_bytes, ends

    def _sound(self, batch: _Batch, rows: Iterable[int], rejected: list[Rejected]) -> _Batch:
        """The batch without those of `rows` that are, looked at one by one, no canonical record."""
        bad: list[int] = []
        for row in rows:
            try:
                read_exactly(batch.payloads[row][self._prefix_bytes :], self._writer)
            except PoisonEvent as why:
                rejected.append(Rejected(int(batch.indexes[row]), why.reason, why.detail))
                bad.append(row)
        return batch.without(bad) if bad else batch

    def _read(self, batch: _Batch, rejected: list[Rejected], file: bytes | None = None) -> list[_Part]:
        if not len(batch.indexes):
            return []
        try:
            written = pl.read_avro(io.BytesIO(file or self._file(batch.payloads)[0]))
            if written.height != len(batch.indexes):
                raise ValueError(f"{written.height} rows in {len(batch.indexes)} messages")
        except (Exception, PanicException):  # a panic is a BaseException; this is the only place that may meet one
            return self._read_with_care(batch, rejected)
        unknown = sum(written.select(self._unknown).row(0)) if self._unknown else 0
        return [_Part(written.select(self._columns), batch.indexes, unknown)]

    def _read_with_care(self, batch: _Batch, rejected: list[Rejected]) -> list[_Part]:
        """After polars refused the batch, for text that is not UTF-8: narrows it down, then looks one by one.

        Should the readers disagree, the single message that they disagree on is rejected.
        """
        if len(batch.indexes) <= FEW:
            sound = self._sound(batch, range(len(batch.indexes)), rejected)
            if sound is not batch:
                return self._read(sound, rejected)
            if len(batch.indexes) == 1:
                why = "one reader takes it, the other does not"
                rejected.append(Rejected(int(batch.indexes[0]), UNDECODABLE, why))
                return []
        return [part for half in batch.halves() for part in self._read(half, rejected)]


def _column(name: str, written: Any, wanted: Any, reader: Schema) -> pl.Expr:
    """The column as read, from the one as written."""
    dtype = dtype_of(wanted)
    if isinstance(dtype, pl.Enum):  # read as its index, because an index out of range would make polars panic
        known, instead = dtype.categories.to_list(), enum_default(reader, _not_null(wanted)["name"])
        symbols = [s if s in known else instead for s in _not_null(written)["symbols"]]
        return pl.lit(pl.Series(symbols, dtype=dtype)).gather(pl.col(name)).alias(name)
    return pl.col(name) if dtype_of(written) == dtype else pl.col(name).cast(dtype)


def _default(name: str, value: Any, wanted: Any) -> pl.Expr:
    """The column of a field that the writer did not know."""
    return pl.repeat(pl.Series([value], dtype=dtype_of(wanted)).first(), pl.len(), dtype=dtype_of(wanted)).alias(name)


def _strange(written: Any, wanted: Any) -> list[int]:
    """Indexes of the writer's symbols that the reader does not know."""
    if written is None or not isinstance(dtype_of(wanted), pl.Enum):
        return []
    known = _not_null(wanted)["symbols"]
    return [index for index, symbol in enumerate(_not_null(written)["symbols"]) if symbol not in known]


def _not_null(avro: Any) -> Any:
    return next(one for one in avro if one != "null") if isinstance(avro, list) else avro


def _header(plain: Mapping[str, Any], prefix: bytes) -> bytes:
    """Start of an Avro file whose records are whole messages: the prefix is read as two numbers and dropped."""
    rest = "float" if prefix.startswith(CONFLUENT) else "double"
    fields = [{"name": "", "type": "long"}, {"name": " ", "type": rest}]
    fields += [{"name": f["name"], "type": _enum_as_int(f["type"])} for f in plain["fields"]]
    schema = json.dumps({"type": "record", "name": plain["name"], "fields": fields}).encode()
    meta = b"".join(long(len(part)) + part for part in (b"avro.codec", b"null", b"avro.schema", schema))
    return b"Obj\x01" + long(2) + meta + long(0) + SYNC


def _enum_as_int(avro: Any) -> Any:
    if isinstance(avro, list):
        return [_enum_as_int(one) for one in avro]
    return "int" if isinstance(avro, Mapping) and avro["type"] == "enum" else avro
