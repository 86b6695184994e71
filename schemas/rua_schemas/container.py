"""Events in Avro object container files: written with any Avro library, read here as columns of this release.

A block of such a file says how many records it holds, not where each begins. So behind the blocks that are decoded
together stands one record of our own with a name that nobody can know before: where that is not found as the last one,
a block does not hold what it says, and nothing of it is used.
"""

from __future__ import annotations

import io
import json
import mmap
import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from polars.exceptions import PanicException
from rua_common.errors import BadConfiguration

from rua_schemas.compat import differences
from rua_schemas.events import TelemetryEvent
from rua_schemas.plan import SYNC, Alignment, header
from rua_schemas.released import Schema, current
from rua_schemas.writing import long

MAGIC, SYNC_BYTES = b"Obj\x01", 16
CHUNK_ROWS, CHUNK_BYTES = 50_000, 64 << 20
WRITTEN_CODEC, BLOCK_BYTES = "zstandard", 1 << 20
OFFSET = "offset"
"""A field that our own files have more than an event has: where in its partition each stood."""


class Block(NamedTuple):
    """Where a block begins in its file, how many records it says it holds, and these, unpacked."""

    at: int
    records: int
    data: bytes


class Reader:
    """Reads one file, a chunk of many blocks at a time."""

    def __init__(self, path: Path, only: Collection[str] | None = None) -> None:
        """Looks at the header.

        Args:
            path: the file.
            only: columns that are wanted; what nobody wants costs little. All of them if not given.

        Raises:
            BadConfiguration: it is no such file, or holds something else.
        """
        self.path = path
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
            if start != MAGIC:
                raise self._bad("is no Avro object container file")
        with self._mapped() as data:
            meta, self._start = self._meta(data)
        self._writer = self._schema(meta)
        self._unpack = self._unpacker(meta.get("avro.codec", b"null").decode(errors="replace"))
        wanted = None if only is None else {*only, "event_id"}
        self._alignment = Alignment(self._writer, current(TelemetryEvent), wanted)
        self.has_offsets = any(f["name"] == OFFSET for f in self._writer.plain["fields"])
        self._columns = [*self._alignment.read, *([OFFSET] if self.has_offsets else [])]
        self._name = os.urandom(16).hex()
        self._mark = written(self._writer, {"event_id": self._name})
        self._header = header(self._writer.plain)

    def frames(self, rows: int = CHUNK_ROWS) -> Iterator[pl.DataFrame]:
        """The records in the file's order, about so many rows at a time, with `offset` where the file has it.

        Raises:
            BadConfiguration: a block is damaged or cut off; names the byte at which it begins.
        """
        with self._mapped() as data:
            blocks, records, size = list[Block](), 0, 0
            for block in self._blocks(data):
                blocks.append(block)
                records, size = records + block.records, size + len(block.data)
                if records >= rows or size >= CHUNK_BYTES:
                    yield self._frame(blocks)
                    blocks, records, size = [], 0, 0
            if blocks:
                yield self._frame(blocks)

    def _frame(self, blocks: list[Block]) -> pl.DataFrame:
        count = sum(block.records for block in blocks)
        body = b"".join((*(block.data for block in blocks), self._mark))
        file = b"".join((self._header, long(count + 1), long(len(body)), body, SYNC))
        try:
            read = pl.read_avro(io.BytesIO(file), columns=self._columns)
            if read.height != count + 1 or read["event_id"][-1] != self._name:
                raise ValueError("its records do not end where they should")
            aligned = self._alignment.aligned(read)
            frame = aligned.with_columns(read[OFFSET]) if self.has_offsets else aligned
        except (Exception, PanicException) as why:  # a panic is a BaseException
            if len(blocks) == 1:
                problem = f"the block at byte {blocks[0].at} is damaged ({str(why)[:80]}): export the file again"
                raise self._bad(problem) from why
            return pl.concat([self._frame([block]) for block in blocks])
        return frame.head(count)

    def _blocks(self, data: mmap.mmap) -> Iterator[Block]:
        at = self._start
        while at < len(data):
            begun = at
            try:
                records, at = read_long(data, at)
                size, at = read_long(data, at)
                body, end = data[at : at + size], at + size + SYNC_BYTES
                if records < 0 or size < 0 or data[at + size : end] != self._sync:
                    raise ValueError("no mark behind it")
                at = end
                unpacked = self._unpack(body)
            except Exception as why:  # each way of unpacking has errors of its own
                raise self._bad(f"the block at byte {begun} is damaged or cut off: export the file again") from why
            if records:
                yield Block(begun, records, unpacked)

    def _mapped(self) -> mmap.mmap:
        with self.path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _meta(self, data: mmap.mmap) -> tuple[dict[str, bytes], int]:
        meta, at = dict[str, bytes](), len(MAGIC)

        def text(start: int) -> tuple[bytes, int]:
            size, start = read_long(data, start)
            return data[start : start + size], start + size

        try:
            count, at = read_long(data, at)
            while count:
                if count < 0:  # then the size of these pairs follows
                    count, (_, at) = -count, read_long(data, at)
                for _ in range(count):
                    key, at = text(at)
                    meta[key.decode()], at = text(at)
                count, at = read_long(data, at)
        except (IndexError, ValueError) as why:
            raise self._bad("its header is cut off") from why
        self._sync = data[at : at + SYNC_BYTES]
        return meta, at + SYNC_BYTES

    def _schema(self, meta: Mapping[str, bytes]) -> Schema:
        try:
            schema = Schema.of(json.loads(meta.get("avro.schema", b"")))
        except Exception as why:  # fastavro's own errors, and whatever a strange document makes of our code
            raise self._bad("its schema cannot be read") from why
        if unreadable := differences(schema, current(TelemetryEvent)):
            raise self._bad(f"holds no telemetry events: {'; '.join(unreadable)}")
        return schema

    def _unpacker(self, codec: str) -> Callable[[bytes], bytes]:
        if codec == "null":
            return lambda data: data
        if codec == "deflate":
            return lambda data: zlib.decompress(data, -zlib.MAX_WBITS)
        if codec == "zstandard":
            import zstandard  # noqa: PLC0415 - only who reads such a file needs it

            return lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)
        raise self._bad(f"is packed with {codec}", allowed=("null", "deflate", "zstandard"))

    def _bad(self, problem: str, allowed: tuple[str, ...] = ()) -> BadConfiguration:
        return BadConfiguration(problem, file=str(self.path), allowed=allowed)


def read_long(data: mmap.mmap | bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends.

    Raises:
        IndexError: the data end before it does.
        ValueError: it is longer than 64 bits.
    """
    raw = shift = 0
    while True:
        byte = data[at]
        at += 1
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (raw >> 1) ^ -(raw & 1), at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def written(schema: Schema, given: Mapping[str, Any]) -> bytes:
    """A record with these values; of the others, nothing."""
    import fastavro  # noqa: PLC0415 - its 8 MB are only for who reads

    value = {f["name"]: given.get(f["name"], _blank(f["type"])) for f in schema.plain["fields"]}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema.parsed, value)
    return out.getvalue()


def _blank(avro: Any) -> Any:
    if isinstance(avro, list):
        return None if "null" in avro else _blank(avro[0])
    if isinstance(avro, Mapping):
        return [] if avro["type"] == "array" else avro["symbols"][0]  # `differences` lets no other nest pass
    nothing: Mapping[str, Any] = {"string": "", "bytes": b"", "boolean": False}
    return nothing.get(avro, 0)


def write(path: Path, frames: Iterable[pl.DataFrame]) -> int:
    """Writes events with their offsets; the file has its name only when it is whole.

    Args:
        path: where it will be.
        frames: all columns of an event, and `offset`.

    Returns:
        How many.
    """
    import fastavro  # noqa: PLC0415 - as above

    avro = current(TelemetryEvent).avro
    schema = {**avro, "fields": [*avro["fields"], {"name": OFFSET, "type": "long"}]}
    count = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal count
        for frame in frames:
            count += frame.height
            yield from frame.iter_rows(named=True)

    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as out:
        fastavro.writer(out, schema, rows(), codec=WRITTEN_CODEC, sync_interval=BLOCK_BYTES)
    part.replace(path)
    return count
