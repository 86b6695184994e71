"""One owned source partition: its cursor, and the rows that changed since the last checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from faust.types import TP

from rua_streams.checkpoint import CHECKPOINT, Checkpoint, Restored
from rua_streams.state import Layout


@dataclass(slots=True)
class Cursor:
    """The offset at which a partition goes on."""

    next: int
    gap: tuple[int, int] | None = None  # (expected, found) of the last rewind

    def accepts(self, first: int) -> bool:
        """Whether a batch that starts at `first` may be applied. If not, rewind to `next`.

        The same gap after a rewind is the topic's own: retention, compaction, control records.
        """
        if first == self.next:
            return True
        found = (self.next, first)
        if first > self.next and self.gap == found:
            return True
        self.gap = found
        return False


class Rows(Protocol):
    """Keyed rows that know which of them changed."""

    def take_dirty(self) -> Mapping[bytes, bytes | None]:
        """The rows that changed since the last call, None if they are gone."""
        ...


@dataclass(slots=True)
class Snapshot:
    """What one checkpoint writes, taken between two batches."""

    rows: dict[bytes, bytes | None]
    next: int


@dataclass(slots=True)
class Partition:
    """State of one partition between restore and release. `tables` maps the letter before a row's key to its rows."""

    tp: TP
    group: str
    restored: Restored
    tables: Mapping[bytes, Rows]
    layouts: tuple[Layout, ...] = ()
    saved: int | None = None
    cursor: Cursor = field(init=False)
    unsaved: dict[bytes, bytes | None] = field(default_factory=dict)  # of a checkpoint that was aborted

    def __post_init__(self) -> None:
        self.cursor, self.saved = Cursor(self.restored.next), self.restored.saved

    @property
    def changed(self) -> bool:
        """Whether a checkpoint would say anything new."""
        return bool(self.unsaved) or self.cursor.next != (self.saved or 0)

    def snapshot(self) -> Snapshot:
        """Collects the changed rows. The next batches may be applied while they are written."""
        for letter, rows in self.tables.items():
            self.unsaved.update((letter + key, value) for key, value in rows.take_dirty().items())
        return Snapshot(dict(self.unsaved), self.cursor.next)

    def write(self, snapshot: Snapshot) -> bool:
        """Rows and checkpoint in one transaction; blocks. False: aborted cleanly.

        Raises:
            Lost: the partition is another's.
        """
        facts = self.restored.facts
        row = Checkpoint(
            group=self.group,
            topic_id=facts.topic_id,
            partitions=facts.partitions,
            next=snapshot.next,
            layouts=self.layouts,
        )
        return self.restored.writer.write({**snapshot.rows, CHECKPOINT: msgspec.json.encode(row)})

    def wrote(self, snapshot: Snapshot) -> None:
        """The snapshot is committed."""
        self.saved, self.unsaved = snapshot.next, {}


def table(rows: Mapping[bytes, bytes], letter: bytes) -> dict[bytes, bytes]:
    """The restored rows of one table, without its letter."""
    return {key[1:]: value for key, value in rows.items() if key[:1] == letter}
