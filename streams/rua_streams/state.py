"""One partition's state: a row per subject, a column per number; carry-in is a gather, carry-out a scatter."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from rua_common.errors import Refused

Ints = NDArray[np.int64]
Columns = dict[str, NDArray[Any]]
Column = tuple[str, str, str, tuple[int, ...]]  # owner, name, numpy dtype, shape
Layout = tuple[Column, ...]

ROW_VERSION = b"\x01"
WORD, BLOCK = 8, 64  # bytes of a word; bytes that one byte of a bitmap speaks for
SUBJECT = "\0subject"
DAY = 86_400  # seconds
ENGINES_OWN = {SUBJECT, "\0partition", "actor", "lane"}  # owners of what is known of a row whatever the detectors are
PARTITION = "\0partition"  # the row of the partition itself; no subject's name begins with NUL and lacks a colon


def fingerprint(layout: Layout) -> bytes:
    """Names a layout in four bytes. Each packed row carries them; the checkpoint row carries the layout itself."""
    return hashlib.blake2b(repr(layout).encode(), digest_size=4).digest()


def encode_layout(layout: Layout) -> bytes:
    """JSON, for the checkpoint row."""
    return msgspec.json.encode(layout)


def decode_layout(raw: bytes) -> Layout:
    """What `encode_layout` wrote."""
    return msgspec.json.decode(raw, type=Layout)


def inherited(old: Layout, new: Layout) -> set[Column]:
    """The columns that a new version takes over from an old one.

    Features and episodes begin anew, as a whole, if any column of theirs is another: half of what a feature remembers
    may be worse than nothing. What the engine itself keeps is taken over column by column.
    """

    def owned(layout: Layout) -> dict[str, set[Column]]:
        found: dict[str, set[Column]] = {}
        for column in layout:
            found.setdefault(column[0], set()).add(column)
        return found

    before, after = owned(old), owned(new)
    whole = {owner for owner in before if before[owner] == after.get(owner)}
    return {c for c in set(old) & set(new) if c[0] in whole or c[0] in ENGINES_OWN}


def in_use(rows: Iterable[bytes], layouts: Iterable[Layout]) -> tuple[Layout, ...]:
    """The layouts under which the packed rows were written. The others are of rows that are long gone."""
    used = {packed[1:5] for packed in rows}
    return tuple(layout for layout in layouts if fingerprint(layout) in used)


class State:
    """Struct of arrays. Every column is zero for a subject never seen, so a new column needs no migration.

    `touched` marks the rows that changed since the last `take_dirty`, `gone` names those forgotten since; `forgotten`
    counts them until somebody sets it back. `sizes` are the bytes of each row, key included, when it was last packed.
    """

    def __init__(self, layout: Layout, capacity: int = 64) -> None:
        self.layout, self.capacity = layout, capacity
        self.names: list[str] = []
        self.rows: dict[str, int] = {}
        self.touched = np.zeros(capacity, np.bool_)
        self.sizes = np.zeros(capacity, np.int32)
        self.gone: set[bytes] = set()
        self.forgotten = 0
        self.columns: dict[str, Columns] = {}
        for owner, name, dtype, shape in layout:
            self.columns.setdefault(owner, {})[name] = np.zeros((capacity, *shape), dtype)

    def __len__(self) -> int:
        return len(self.names)

    def intern(self, names: Sequence[str]) -> Ints:
        """Gives each of the distinct names its row, making rows for new ones. The only Python loop over subjects."""
        known, count = self.rows, len(self.names)
        found = [known.setdefault(name, len(known)) for name in names]
        self.names += [name for name, row in zip(names, found, strict=True) if row >= count]
        if len(known) > self.capacity:
            self._rebuild(np.arange(count), 2 * len(known))
        return np.array(found, np.int64)

    def touch(self, rows: Ints) -> None:
        """Marks rows as changed."""
        self.touched[rows] = True

    def take_dirty(self) -> dict[bytes, bytes | None]:
        """The rows that changed since the last call, packed, by key, None if forgotten; from now on they are clean."""
        rows = np.flatnonzero(self.touched[: len(self.names)])
        self.touched[rows] = False
        gone, self.gone = dict.fromkeys(self.gone), set()
        packed = self._packed(rows)
        self.sizes[rows] = [len(key) + len(row) for key, row in packed.items()]
        return {**gone, **packed}

    @property
    def saved_bytes(self) -> int:
        """What the rows take in the state topic, before compression, as far as they were packed or loaded."""
        return int(self.sizes[: len(self.names)].sum())

    @property
    def memory_bytes(self) -> int:
        """What the rows' columns take in memory; names and the dictionary of rows come on top."""
        return sum(array.nbytes for array in self._arrays()) // self.capacity * len(self.names)

    def dump(self) -> dict[bytes, bytes]:
        """Every row, for a full checkpoint or a comparison. Changes nothing."""
        return self._packed(np.arange(len(self.names)))

    def load(self, saved: Mapping[bytes, bytes], layouts: Iterable[Layout]) -> None:
        """Restores rows written under any of the layouts; `inherited` says what of them is taken.

        Raises:
            Refused: a row was written under a layout that is not among `layouts`.
        """
        known = {fingerprint(layout): (layout, inherited(layout, self.layout)) for layout in layouts}
        for key, packed in saved.items():
            if packed[:1] != ROW_VERSION or packed[1:5] not in known:
                problem = f"state row {key!r} was written by another version of Rua, which this worker cannot read"
                raise Refused(f"{problem}: run the version that wrote it, or a newer one")
            (row,) = self.intern([key.decode()])
            self.sizes[row] = len(key) + len(packed)
            layout, mine = known[packed[1:5]]
            for column, value in unpack(packed[5:], layout).items():
                if column in mine:
                    self.columns[column[0]][column[1]][row] = value

    @property
    def silent(self) -> Ints:
        """The day of each subject's last trace. A row of a release that kept no days tells it by its clocks."""
        rows = slice(len(self.names))
        latest = np.maximum(self.columns["actor"]["clock"][rows], self.columns["lane"]["clock"][rows])
        seen = self.columns[SUBJECT]["seen"][rows]
        return np.where(seen > 0, seen, latest // DAY)

    def forget(self, before_day: int) -> None:
        """Drops the subjects whose last trace lies before a day; the next `take_dirty` has their tombstones.

        Call it with a day taken from the log, at places that the log decides, or two runs may differ.
        """
        gone = self.silent < before_day
        if PARTITION in self.rows:
            gone[self.rows[PARTITION]] = False
        if gone.any():
            self._drop(np.flatnonzero(gone), np.flatnonzero(~gone))

    def _drop(self, gone: Ints, kept: Ints) -> None:
        """Fills the holes with the last rows: the work is that of the dropped rows, however many there are."""
        for row in gone.tolist():
            del self.rows[self.names[row]]
            self.gone.add(self.names[row].encode())
        self.forgotten += len(gone)
        count = len(kept)
        holes, movers = gone[gone < count], kept[kept >= count]
        for hole, mover in zip(holes.tolist(), movers.tolist(), strict=True):
            self.names[hole] = self.names[mover]
            self.rows[self.names[hole]] = hole
        end = len(self.names)
        del self.names[count:]
        for array in self._arrays():
            array[holes] = array[movers]
            array[count:end] = 0
        if self.capacity > max(64, 8 * count):
            self._rebuild(np.arange(count), max(64, 2 * count))

    def _arrays(self) -> Iterator[NDArray[Any]]:
        yield self.touched
        yield self.sizes
        for columns in self.columns.values():
            yield from columns.values()

    def _rebuild(self, keep: Ints, capacity: int) -> None:
        """Moves the kept rows to the front of larger, or smaller, arrays."""
        self.capacity = capacity

        def moved(old: NDArray[Any]) -> NDArray[Any]:
            new = np.zeros((capacity, *old.shape[1:]), old.dtype)
            new[: len(keep)] = old[keep]
            return new

        self.touched, self.sizes = moved(self.touched), moved(self.sizes)
        for columns in self.columns.values():
            for name, old in columns.items():
                columns[name] = moved(old)

    def _packed(self, rows: Ints) -> dict[bytes, bytes]:
        names = (self.names[row].encode() for row in rows.tolist())
        return dict(zip(names, self._pack(rows), strict=True))

    def _pack(self, rows: Ints) -> list[bytes]:
        """Rows as bytes: zero words, then zero bytes, are squeezed out with bitmaps, all rows at once."""
        if not len(rows):
            return []
        columns = (self.columns[owner][name][rows] for owner, name, _, _ in self.layout)
        parts = [c.reshape(len(rows), -1).view(np.uint8) for c in columns]
        width = sum(p.shape[1] for p in parts)
        matrix = np.zeros((len(rows), -(-width // BLOCK) * BLOCK), np.uint8)
        np.concatenate(parts, axis=1, out=matrix[:, :width])
        used = matrix.view(np.uint64) != 0
        words = matrix.reshape(len(rows), -1, WORD)[used]
        kept = words != 0
        maps, masks, data = np.packbits(used, axis=1), np.packbits(kept, axis=1).tobytes(), words[kept].tobytes()
        word_ends = np.cumsum(used.sum(1)).tolist()
        data_ends = np.concatenate(([0], np.cumsum(kept.sum(1))))[word_ends].tolist()
        head, packed, w, d = ROW_VERSION + fingerprint(self.layout), [], 0, 0
        for i, (word_end, data_end) in enumerate(zip(word_ends, data_ends, strict=True)):
            packed.append(b"".join((head, maps[i].tobytes(), masks[w:word_end], data[d:data_end])))
            w, d = word_end, data_end
        return packed


def unpack(body: bytes, layout: Layout) -> dict[Column, NDArray[Any]]:
    """The columns of one packed row."""
    sizes = [np.dtype(dtype).itemsize * int(np.prod(shape, dtype=int)) for _, _, dtype, shape in layout]
    row = np.zeros(-(-sum(sizes) // BLOCK) * BLOCK, np.uint8)
    raw = np.frombuffer(body, np.uint8)
    maps, rest = raw[: len(row) // BLOCK], raw[len(row) // BLOCK :]
    used = np.unpackbits(maps).astype(bool)
    kept = np.unpackbits(rest[: used.sum()]).astype(bool)
    words = np.zeros(len(kept), np.uint8)
    words[kept] = rest[used.sum() :]
    row.reshape(-1, WORD)[used] = words.reshape(-1, WORD)
    ends = np.cumsum([0, *sizes]).tolist()
    return {
        column: row[start:end].copy().view(column[2]).reshape(column[3])
        for column, start, end in zip(layout, ends[:-1], ends[1:], strict=True)
    }
