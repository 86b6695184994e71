"""A checkpoint that does not fit its source is refused, and the text names the cure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
import pytest
from faust.types import TP
from rua_common.errors import Refused
from rua_streams.checkpoint import CHECKPOINT, Bounds, Checkpoint, Progress, Restore, Restored, TopicFacts
from rua_streams.partition import Cursor

SOURCE = TP("rua.events.shop", 3)
HUNDRED = Bounds(0, 100, 100)


class NullWriter:
    """Writes nothing, and knows whether it was closed."""

    closed = False

    def write(self, rows: Mapping[bytes, bytes | None]) -> bool:
        """Not used here."""
        raise AssertionError

    def close(self) -> None:
        """See `Writer`."""
        self.closed = True


@dataclass
class Still:
    """A log that stands still. `rows` is the state topic."""

    rows: dict[bytes, bytes | None]
    topic_id: str = "T1"
    partitions: int = 4
    source: Bounds = HUNDRED
    offset: int = 40
    stable: int = 9
    writer: NullWriter = field(default_factory=NullWriter)

    def fence(self, tp: TP) -> NullWriter:
        """See `Log`."""
        return self.writer

    def describe(self, topic: str) -> TopicFacts:
        """See `Log`."""
        return TopicFacts(self.topic_id, self.partitions if topic == SOURCE.topic else 4)

    def bounds(self, tp: TP) -> Bounds:
        """See `Log`."""
        return self.source if tp == SOURCE else Bounds(0, self.stable, 9)

    def read(self, tp: TP, first: int, end: int) -> Iterator[tuple[int, bytes, bytes | None]]:
        """See `Log`."""
        return ((place, *row) for place, row in enumerate(self.rows.items()))

    def committed(self, tp: TP) -> int:
        """See `Log`."""
        return self.offset


def saved(**facts: object) -> dict[bytes, bytes | None]:
    """A state topic whose checkpoint fits, except for these facts."""
    fits = {"group": "g", "topic_id": "T1", "partitions": 4, "next": 50, **facts}
    return {CHECKPOINT: msgspec.json.encode(msgspec.convert(fits, Checkpoint)), b"aann": b"1"}


def restored(log: Still) -> Restored:
    """Takes the partition over."""
    return Restore(log, "g", lambda _: "rua.state.shop", wait_seconds=1, sleep=lambda _: None).acquire(SOURCE)


def looked(log: Still) -> str:
    """Only looks, whether it could be taken over."""
    return Restore(log, "g", lambda _: "rua.state.shop", wait_seconds=1, sleep=lambda _: None).refusal(SOURCE)


def test_goes_on_at_the_checkpoint_and_not_at_the_committed_offset() -> None:
    """The row says 50, the group 40."""
    found = restored(Still(saved()))
    assert (found.next, found.saved, dict(found.rows), found.skipped) == (50, 50, {b"aann": b"1"}, 0)


def test_begins_at_the_beginning_when_nothing_was_ever_saved() -> None:
    """No checkpoint and no committed offset: a new platform."""
    found = restored(Still({}, source=Bounds(7, 100, 100), offset=-1))
    assert (found.next, found.saved) == (7, None)


def test_a_restore_says_how_far_it_is() -> None:
    """Rows so far, the share of the offsets, and how long the rest will take; tombstones are no rows."""
    told: list[Progress] = []
    rows = {**saved(), **{b"a%d" % n: b"1" for n in range(5)}, b"aann": None}
    restore = Restore(Still(rows), "g", lambda _: "rua.state.shop", tell_seconds=0)
    found = restore.acquire(SOURCE, told.append)
    assert len(told) == len(rows)
    assert (told[-1].tp, told[-1].rows, told[-1].share) == (SOURCE, len(found.rows) + 1, len(rows) / 9)
    assert Progress(SOURCE, 9, 0.25, 2.0).left_seconds == 6.0
    assert Progress(SOURCE, 0, 0.0, 2.0).left_seconds == 0.0


def test_counts_what_retention_took_before_it_was_applied() -> None:
    """The topic begins behind the checkpoint: the hole is known, not silent."""
    found = restored(Still(saved(), source=Bounds(60, 100, 100)))
    assert (found.next, found.skipped) == (60, 10)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (Still(saved(topic_id="T0")), "re-created.*delete and re-create rua.state.shop"),
        (Still(saved(partitions=2)), "had 2 partitions.*has 4"),
        (Still(saved(), offset=51), "checkpoint 50 lies below the committed offset 51"),
        (Still({}), "no checkpoint, yet offset 40 is committed"),
        (Still(saved(next=101)), "lies above the topic's end 100"),
        (Still(saved(version=2)), "version 2.*run the version of Rua that wrote it, or a newer one"),
        (Still(saved(group="other")), "RUA_WORKER_GROUP"),
        (Still(saved(), stable=3), "kafka-transactions.sh find-hanging"),
        (Still(saved(), partitions=8), "rua topics apply"),
    ],
)
def test_refuses_and_names_the_cure(log: Still, words: str) -> None:
    """Nothing is guessed: a person must look. The writer is given back."""
    with pytest.raises(Refused, match=words):
        restored(log)
    assert log.writer.closed
    assert re.search(words, looked(log), re.DOTALL)


def test_who_only_looks_fences_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that could be taken over is another worker's, perhaps."""
    log = Still(saved())
    monkeypatch.setattr(log, "fence", None)
    assert looked(log) == ""


def test_a_batch_that_leaves_a_gap_is_read_again_once() -> None:
    """The same gap twice is the topic's own; going back is always a mistake of the fetch."""
    cursor = Cursor(10)
    assert [cursor.accepts(at) for at in (10, 12, 12, 8, 8)] == [True, False, True, False, False]
