"""Many messages into one polars frame, at column speed, without trusting where one message ends and the next begins.

The messages are joined into one Avro block that polars reads natively. Before that, each is proved to be exactly one
record in its canonical encoding (`walk`, and for what that doubts `codec.read_exactly`), so that no message can shift,
or forge, the row of its neighbour, and a message gives the same row whatever stands beside it. polars would not notice:
it reads a boolean of 2, a union branch of -1 or an over-long number without complaint, and panics at an enum of 9.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from rua_common.errors import PoisonEvent

from rua_schemas.codec import (
    CONFLUENT,
    LOCAL,
    SINGLE_OBJECT,
    SINGLE_OBJECT_PREFIX_BYTES,
    Writers,
    prefix_bytes,
    writer_of,
)
from rua_schemas.events import Record, TelemetryEvent
from rua_schemas.plan import Batch, Indexes, Part, Plan, Rejected, dtype_of
from rua_schemas.released import current

__all__ = ["ColumnCodec", "Decoded", "Rejected"]


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
        self._plans: dict[bytes, Plan] = {}
        self.schema = pl.Schema({f["name"]: dtype_of(f["type"]) for f in current(kind).plain["fields"]})

    def decode(self, payloads: Sequence[bytes | None]) -> Decoded:
        """One row for each message that is a record. Never raises for the sake of a message, whatever its bytes.

        Raises:
            RetryLater: by `writers`, when a schema registry is asked and is away.
        """
        rejected: list[Rejected] = []
        parts: list[Part] = []
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

    def _plan(self, prefix: bytes) -> Plan:
        if prefix not in self._plans:
            self._plans[prefix] = Plan(prefix, writer_of(prefix, self._kind, self._writers), current(self._kind))
        return self._plans[prefix]

    def _in_order(self, parts: Sequence[Part]) -> tuple[pl.DataFrame, Indexes]:
        if not parts:
            return pl.DataFrame(schema=self.schema), np.empty(0, np.int64)
        if len(parts) == 1:
            return parts[0].frame, parts[0].indexes
        places = np.concatenate([part.indexes for part in parts])
        order = np.argsort(places)
        return pl.concat([part.frame for part in parts])[order], places[order]


def _by_prefix(payloads: Sequence[bytes | None], rejected: list[Rejected]) -> Iterator[tuple[bytes, Batch]]:
    """Messages grouped by what tells their writer. Usually all have one, so that is tried first, at half the cost."""
    first = payloads[0] if payloads else None
    if first and first.startswith((SINGLE_OBJECT, CONFLUENT)) and len(first) >= SINGLE_OBJECT_PREFIX_BYTES:
        prefix = first[: prefix_bytes(first)]
        alike = [p for p in payloads if p is not None and p.startswith(prefix)]
        if len(alike) == len(payloads):
            yield prefix, Batch(alike, np.arange(len(alike)))
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
        yield prefix, Batch(members, np.array(indexes, np.int64))
