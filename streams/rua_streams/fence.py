"""Which events are new: an agent that sends again what it has sent is counted once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rua_common.errors import Refused

Bools = NDArray[np.bool_]
POSITION_BYTES = 8


class Fence:
    """The highest `source_position` seen from each source, in one partition.

    Positions grow within a source, and what a source sends of one actor reaches one partition in order. So whatever
    does not lie above the highest is a copy. `duplicates` counts them.
    """

    def __init__(self) -> None:
        self.highest: dict[str, int] = {}
        self.duplicates = 0
        self._dirty: set[str] = set()

    def admit(self, frame: pl.DataFrame, bypass: Bools | None = None) -> Bools:
        """Which rows are fresh, in log order, copies within the frame told apart too.

        Args:
            frame: has `source_id` and `source_position`, in log order.
            bypass: rows of a deliberate replay of dead letters: let through, and they move nothing.
        """
        fresh = np.ones(frame.height, np.bool_)
        judged = np.arange(frame.height) if bypass is None else np.flatnonzero(~bypass)
        if not len(judged):
            return fresh
        codes = frame["source_id"].to_arrow().dictionary_encode()
        names: list[str] = codes.dictionary.to_pylist()
        source = codes.indices.to_numpy()[judged]
        order = np.argsort(source, kind="stable")
        source, position = source[order], frame["source_position"].to_numpy()[judged][order]
        starts = np.flatnonzero(np.concatenate(([True], source[1:] != source[:-1])))
        present = [names[code] for code in source[starts].tolist()]
        before = np.array([self.highest.get(name, -1) for name in present], np.int64)
        top = running_maximum(position, starts, before)
        held = np.concatenate(([0], top[:-1]))
        held[starts] = before
        fresh[judged[order]] = position > held
        self.duplicates += int(frame.height - fresh.sum())
        last = top[np.append(starts[1:], len(top)) - 1].tolist()
        moved = {name: new for name, new, old in zip(present, last, before.tolist(), strict=True) if new > old}
        self.highest.update(moved)
        self._dirty.update(moved)
        return fresh

    def take_dirty(self) -> dict[bytes, bytes]:
        """Sources that moved since the last call: source_id → highest position, 8 bytes little-endian."""
        moved = {name.encode(): self.highest[name].to_bytes(POSITION_BYTES, "little") for name in self._dirty}
        self._dirty.clear()
        return moved

    def dump(self) -> dict[bytes, bytes]:
        """Every source, for a full checkpoint or a comparison."""
        return {name.encode(): top.to_bytes(POSITION_BYTES, "little") for name, top in self.highest.items()}

    def load(self, saved: Mapping[bytes, bytes]) -> None:
        """Restores what `take_dirty` or `dump` gave.

        Raises:
            Refused: a value was written by a version that this worker cannot read.
        """
        for key, raw in saved.items():
            if len(raw) != POSITION_BYTES:
                raise Refused(f"fence row {key!r} has {len(raw)} bytes, not 8: run the version of Rua that wrote it")
            self.highest[key.decode()] = int.from_bytes(raw, "little")


def running_maximum(
    values: NDArray[np.int64], starts: NDArray[np.int64], carried: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Largest value so far within each stretch, by rank: positions are too large to be kept apart by an offset."""
    lifted = values.copy()
    lifted[starts] = np.maximum(lifted[starts], carried)
    distinct, rank = np.unique(lifted, return_inverse=True)
    stretch = np.zeros(len(values), np.int64)
    stretch[starts[1:]] = len(distinct)
    floor = np.cumsum(stretch)
    return np.asarray(distinct[np.maximum.accumulate(rank + floor) - floor])
