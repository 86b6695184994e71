"""Which events are new: an agent that sends again what it has sent is counted once.

A source that stays away is forgotten, or files that were rotated away would pile up for ever. It is remembered for
`KEEP_DAYS` of the partition's clock after its last record, and after the latest time that a record of it told. What
comes of an unknown source and is older than that may be new or a copy; nobody can tell any more. It does not count: no
detector remembers so far back, and events stored twice are one in the store. So a copy is never counted twice, however
late it comes; only one that tells no usable time of its own must come within the `KEEP_DAYS`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rua_common.errors import Refused

from rua_streams.facts import AT_MS
from rua_streams.watermark import DAY_MS, VOTES, Watermark, days_of, stamped, turns

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
POSITION_BYTES, DAY_BYTES, CLOCK_BYTES = 8, 4, 24
KEEP_DAYS = 100  # 91 of the longest habit (`habits.Hours`), and a source may be a week behind
CLOCK = "\0clock"  # the row of the partition's clock; no source's id begins with NUL


class Source(NamedTuple):
    """Its highest position, and the latest day that it told; 0: none, so it is as old as the partition's first."""

    highest: int
    seen: int


class Fence:
    """The highest `source_position` seen from each source, in one partition.

    Positions grow within a source, and what a source sends of one actor reaches one partition in order. So whatever
    does not lie above the highest is a copy. `duplicates` counts them, `untold` what is too old to tell.
    """

    def __init__(self, keep_days: int = KEEP_DAYS, votes: int = VOTES) -> None:
        self.keep_days, self.votes = keep_days, votes
        self.sources: dict[str, Source] = {}
        self.clock = Watermark()
        self.days: Ints = np.zeros(1, np.int64)  # the partition's day before the last frame, and after each of its rows
        self.duplicates = self.untold = self.forgotten = 0
        self._saved = Watermark()
        self._dirty: set[str] = set()  # sources that moved or were forgotten

    def admit(self, frame: pl.DataFrame, bypass: Bools | None = None) -> Bools:
        """Which rows are fresh, in log order, copies within the frame told apart too.

        Args:
            frame: has `source_id`, `source_position`, `occurred_at` and `observed_at`, in log order.
            bypass: rows of a deliberate replay of dead letters: let through unless too old, and they move nothing.
        """
        judged = np.arange(frame.height) if bypass is None else np.flatnonzero(~bypass)
        said, before = days_of(frame["observed_at"].to_numpy()), self.clock
        found, self.clock = turns(said[judged], before, self.votes)
        places = [int(judged[turn.place]) for turn in found]
        self.days = np.full(frame.height + 1, before.day)
        for place, turn in zip(places, found, strict=True):
            self.days[place + 1 :] = turn.day
        today = self.days[1:]
        own = frame.select(AT_MS).to_series().to_numpy() // DAY_MS
        old = (today > 0) & (own < today - self.keep_days)
        fresh = ~old
        self.untold += int(old.sum()) - int(old[judged].sum())
        codes = frame["source_id"].to_arrow().dictionary_encode()
        names: list[str] = codes.dictionary.to_pylist()
        source, position = np.asarray(np.from_dlpack(codes.indices), np.int64), frame["source_position"].to_numpy()
        for start, end in pairwise(sorted({0, *places, frame.height})):
            if start in places:
                self._forget(int(today[start]))
            piece = judged[(judged >= start) & (judged < end)] if places else judged
            if len(piece):
                stamps = stamped(np.maximum(said[piece], own[piece]), int(today[start]))
                fresh[piece] = self._admit(names, source[piece], position[piece], stamps, old[piece])
        return fresh

    def clock_at(self, row: int) -> Watermark:
        """The partition's clock after so many rows of the last frame."""
        return Watermark(int(self.days[row]), lowest=self.clock.lowest)

    @property
    def turned(self) -> bool:
        """Whether a day began in the last frame."""
        return bool(self.days[0] != self.days[-1])

    def _admit(self, names: Sequence[str], source: Ints, position: Ints, stamp: Ints, old: Bools) -> Bools:
        """Rows of one day."""
        fresh, order = np.zeros(len(source), np.bool_), np.argsort(source, kind="stable")
        source = source[order]
        starts = np.flatnonzero(np.concatenate(([True], source[1:] != source[:-1])))
        present = [names[code] for code in source[starts].tolist()]
        if old.any():
            told = telling(~old[order], starts, np.array([name in self.sources for name in present]))
            if not told.all():
                self.untold += len(told) - int(told.sum())
                kept = order[told]
                if len(kept):
                    none = np.zeros(len(kept), np.bool_)
                    fresh[kept] = self._admit(names, source[told], position[kept], stamp[kept], none)
                return fresh
        known = [self.sources.get(name, Source(-1, 0)) for name in present]
        before, position = np.array([one.highest for one in known], np.int64), position[order]
        top = running_maximum(position, starts, before)
        held = np.concatenate(([0], top[:-1]))
        held[starts] = before
        fresh[order] = position > held
        self.duplicates += int(len(fresh) - fresh.sum())
        last = top[np.append(starts[1:], len(top)) - 1].tolist()
        seen = np.maximum.reduceat(stamp[order], starts).tolist()
        for name, one, highest, day in zip(present, known, last, seen, strict=True):
            if highest > one.highest or day > one.seen:
                self.sources[name] = Source(highest, max(day, one.seen))
                self._dirty.add(name)
        return fresh

    def _forget(self, day: int) -> None:
        """A day has begun."""
        gone = [name for name, one in self.sources.items() if (one.seen or self.clock.lowest) < day - self.keep_days]
        for name in gone:
            del self.sources[name]
        self._dirty.update(gone)
        self.forgotten += len(gone)

    def take_dirty(self) -> dict[bytes, bytes | None]:
        """What changed since the last call: source_id → highest position and day, None for a source forgotten."""
        rows = {name.encode(): packed(one) if (one := self.sources.get(name)) else None for name in self._dirty}
        clock, self._saved = self._clock_row() if self.clock != self._saved else {}, self.clock
        self._dirty.clear()
        return {**rows, **clock}

    def dump(self) -> dict[bytes, bytes]:
        """Every source and the clock, for a full checkpoint or a comparison."""
        clock = self._clock_row() if self.clock != Watermark() else {}
        return {**{name.encode(): packed(one) for name, one in self.sources.items()}, **clock}

    def _clock_row(self) -> dict[bytes, bytes]:
        return {CLOCK.encode(): struct.pack("<3q", *self.clock)}

    def load(self, saved: Mapping[bytes, bytes]) -> None:
        """Restores what `take_dirty` or `dump` gave, and rows of the release that kept no days.

        Raises:
            Refused: a value was written by a version that this worker cannot read.
        """
        for key, raw in saved.items():
            name = key.decode()
            if name == CLOCK and len(raw) == CLOCK_BYTES:
                self.clock = self._saved = Watermark(*struct.unpack("<3q", raw))
            elif name != CLOCK and len(raw) in {POSITION_BYTES, POSITION_BYTES + DAY_BYTES}:
                self.sources[name] = Source(
                    int.from_bytes(raw[:POSITION_BYTES], "little"), int.from_bytes(raw[POSITION_BYTES:], "little")
                )
            else:
                problem = f"fence row {key!r} has {len(raw)} bytes, which this version of Rua does not know"
                raise Refused(f"{problem}: run the version that wrote it, or a newer one")


def packed(one: Source) -> bytes:
    """Position and day, little-endian."""
    return one.highest.to_bytes(POSITION_BYTES, "little") + one.seen.to_bytes(DAY_BYTES, "little")


def telling(young: Bools, starts: Ints, known: Bools) -> Bools:
    """Which rows of each stretch can be told from copies: of a known source all, else from the first young one on."""
    stretch = np.zeros(len(young), np.int64)
    stretch[starts[1:]] = 1
    stretch = np.cumsum(stretch)
    latest = np.maximum.accumulate(np.where(young, np.arange(len(young)), -1))
    return np.asarray((latest >= starts[stretch]) | known[stretch])


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
