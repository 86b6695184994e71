"""How records of one writer's schema become columns of this release's. Used by `columns` and `container`."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PanicException
from rua_common.errors import PoisonEvent

from rua_schemas.codec import CONFLUENT, UNDECODABLE, Schema, read_exactly
from rua_schemas.compat import defaults, enum_default
from rua_schemas.walk import Data, compiled, doubtful
from rua_schemas.writing import long

Indexes = NDArray[np.int64]
SYNC = bytes(16)
FEW = 128  # as many are read one by one, after polars refused them, rather than halved again
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
class Batch:
    """Messages with the same prefix, and where each stands in the input."""

    payloads: Sequence[bytes]
    indexes: Indexes

    def without(self, rows: Sequence[int]) -> Batch:
        """The batch but for these rows."""
        kept = np.delete(np.arange(len(self.indexes)), rows)
        return Batch([self.payloads[row] for row in kept.tolist()], self.indexes[kept])

    def halves(self) -> tuple[Batch, Batch]:
        """The first half and the rest."""
        middle = len(self.indexes) // 2
        return (
            Batch(self.payloads[:middle], self.indexes[:middle]),
            Batch(self.payloads[middle:], self.indexes[middle:]),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Rows as read, where the message of each stands in the input, and how many enum symbols were unknown."""

    frame: pl.DataFrame
    indexes: Indexes
    unknown_symbols: int


class Alignment:
    """The writer's columns, read with enums as their indexes, as columns of the reader's; of these only some, if told.

    `read` names the writer's columns that are needed.
    """

    def __init__(self, writer: Schema, reader: Schema, only: Collection[str] | None = None) -> None:
        written = {f["name"]: f["type"] for f in writer.plain["fields"]}
        wanted = {f["name"]: f["type"] for f in reader.plain["fields"] if only is None or f["name"] in only}
        known = defaults(reader)
        self.read = [name for name in written if name in wanted]
        self._columns = [
            _column(name, written[name], avro, reader) if name in written else _default(name, known[name], avro)
            for name, avro in wanted.items()
        ]
        self._unknown = [
            pl.col(name).is_in(strange).sum()
            for name, avro in wanted.items()
            if (strange := _strange(written.get(name), avro))
        ]

    def aligned(self, written: pl.DataFrame) -> pl.DataFrame:
        """The reader's columns."""
        return written.select(self._columns)

    def unknown_symbols(self, written: pl.DataFrame) -> int:
        """How many enum symbols the reader does not know."""
        return sum(written.select(self._unknown).row(0)) if self._unknown else 0


class Plan:
    """How messages of one writer's schema become columns of the reader's."""

    def __init__(self, prefix: bytes, writer: Schema, reader: Schema) -> None:
        self._writer, self._prefix_bytes = writer, len(prefix)
        self._step = compiled(writer.plain)
        self._header = header(writer.plain, prefix)
        self._alignment = Alignment(writer, reader)

    def parts(self, batch: Batch, rejected: list[Rejected]) -> list[Part]:
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

    def _sound(self, batch: Batch, rows: Iterable[int], rejected: list[Rejected]) -> Batch:
        """The batch without those of `rows` that are, looked at one by one, no canonical record."""
        bad: list[int] = []
        for row in rows:
            try:
                read_exactly(batch.payloads[row][self._prefix_bytes :], self._writer)
            except PoisonEvent as why:
                rejected.append(Rejected(int(batch.indexes[row]), why.reason, why.detail))
                bad.append(row)
        return batch.without(bad) if bad else batch

    def _read(self, batch: Batch, rejected: list[Rejected], file: bytes | None = None) -> list[Part]:
        if not len(batch.indexes):
            return []
        try:
            written = pl.read_avro(io.BytesIO(file or self._file(batch.payloads)[0]))
            if written.height != len(batch.indexes):
                raise ValueError(f"{written.height} rows in {len(batch.indexes)} messages")
        except (Exception, PanicException):  # a panic is a BaseException; this is the only place that may meet one
            return self._read_with_care(batch, rejected)
        alignment = self._alignment
        return [Part(alignment.aligned(written), batch.indexes, alignment.unknown_symbols(written))]

    def _read_with_care(self, batch: Batch, rejected: list[Rejected]) -> list[Part]:
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


def header(plain: Mapping[str, Any], prefix: bytes = b"") -> bytes:
    """Start of an Avro file whose records are whole messages: the prefix is read as two numbers and dropped."""
    rest = "float" if prefix.startswith(CONFLUENT) else "double"
    fields = [{"name": "", "type": "long"}, {"name": " ", "type": rest}] if prefix else []
    fields += [{"name": f["name"], "type": _enum_as_int(f["type"])} for f in plain["fields"]]
    schema = json.dumps({"type": "record", "name": plain["name"], "fields": fields}).encode()
    meta = b"".join(long(len(part)) + part for part in (b"avro.codec", b"null", b"avro.schema", schema))
    return b"Obj\x01" + long(2) + meta + long(0) + SYNC


def _enum_as_int(avro: Any) -> Any:
    if isinstance(avro, list):
        return [_enum_as_int(one) for one in avro]
    return "int" if isinstance(avro, Mapping) and avro["type"] == "enum" else avro


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
