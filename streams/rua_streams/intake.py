"""A record batch into the frame of events that may be used, and what is wrong with the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rua_schemas.columns import ColumnCodec, Rejected
from rua_schemas.topics import platform_of

from rua_streams.transport import Batch

WRONG_PLATFORM = "wrong_platform"
REPLAY_HEADER = "rua-replay"  # on what `rua dlq replay` sends: it passes the fence of source positions


@dataclass(frozen=True, slots=True)
class Intake:
    """`frame`: one row per usable event, with `topic`, `partition` and `offset`. `rejected` holds batch indices."""

    frame: pl.DataFrame
    rejected: list[Rejected]
    tombstones: int
    unknown_symbols: int
    replayed: NDArray[np.bool_] | None = None


def take_in(codec: ColumnCodec, batch: Batch) -> Intake:
    """Decodes a batch and refuses what names another platform than its topic.

    Only the topic proves who wrote a record: its write ACL is literal.
    """
    first, platform = batch[0], platform_of(batch[0].topic)
    decoded = codec.decode([record.value for record in batch])
    places, frame = decoded.places, decoded.frame
    rejected = decoded.rejected
    foreign = (frame["platform"] != platform).to_numpy()
    if foreign.any():
        claims = frame["platform"].to_list()
        wrong = [Rejected(int(places[row]), WRONG_PLATFORM, claims[row]) for row in np.flatnonzero(foreign).tolist()]
        rejected = sorted([*rejected, *wrong], key=lambda one: one.index)
        frame, places = frame.filter(~foreign), places[~foreign]
    offsets = np.fromiter((record.offset for record in batch), np.int64, len(batch))[places]
    placed = frame.with_columns(
        pl.lit(first.topic).alias("topic"),
        pl.lit(first.partition, pl.Int32).alias("partition"),
        pl.Series("offset", offsets, pl.Int64),
    )
    return Intake(placed, rejected, decoded.tombstones, decoded.unknown_symbols, replayed(batch, places))


def replayed(batch: Batch, places: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Which rows were taken from the dead-letter queue on purpose; None: none, as nearly always."""
    marked = [i for i, record in enumerate(batch) if record.headers and REPLAY_HEADER in dict(record.headers)]
    return np.isin(places, marked) if marked else None
