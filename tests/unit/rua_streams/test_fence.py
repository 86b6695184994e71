"""What was sent before is not counted again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from rua_common.errors import Refused
from rua_streams.fence import CLOCK, Fence, Source
from rua_streams.watermark import DAY_MS

SENT = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12) | st.integers(2**62, 2**62 + 3)), max_size=40)


SCHEMA = {"source_id": pl.String, "source_position": pl.Int64, "occurred_at": pl.Int64, "observed_at": pl.Int64}
Timed = tuple[str, int, int, int]  # source, position, days of occurrence and observation


def frame(sent: Sequence[tuple[str, int]]) -> pl.DataFrame:
    """Sources and positions, in log order, all of the first day."""
    return pl.DataFrame([(*one, 1, 1) for one in sent], schema=SCHEMA, orient="row")


def timed(sent: Sequence[Timed]) -> pl.DataFrame:
    """The same with times."""
    rows = [(source, position, own * DAY_MS, observed * DAY_MS) for source, position, own, observed in sent]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


class Naive:
    """The fence, one record at a time."""

    def __init__(self, keep: int, votes: int) -> None:
        self.keep, self.votes = keep, votes
        self.day, self.voted, self.lowest, self.untold = 0, 0, 0, 0
        self.sources: dict[str, Source] = {}

    def fresh(self, source: str, position: int, own: int, observed: int) -> bool:
        """Whether this record counts."""
        if observed <= self.day:
            self.voted = max(self.voted - 1, 0)
        else:
            self.voted += 1
            self.lowest = self.lowest if self.day else min(self.lowest or observed, observed)
            if self.voted == self.votes:
                self.day, self.voted = self.day + 1 if self.day else self.lowest, 0
                self.sources = {k: s for k, s in self.sources.items() if s.seen >= self.day - self.keep}
        known = self.sources.get(source)
        if known is None and self.day and own < self.day - self.keep:
            self.untold += 1
            return False
        highest, seen = known or (-1, 0)
        latest = max(own, observed)
        stamp = min(max(latest, self.day), self.day + 366) if self.day else latest
        self.sources[source] = Source(max(highest, position), max(seen, stamp))
        return position > highest


@st.composite
def resent(draw: st.DrawFn) -> list[Timed]:
    """Files that are written, and read again from an earlier place on, sooner or much later."""
    written: dict[str, list[tuple[int, int]]] = {"a": [], "b": [], "c": []}
    log: list[Timed] = []
    today = 20_000
    for _ in range(draw(st.integers(1, 30))):
        today += draw(st.sampled_from((0, 0, 0, 1, 1, 2, 4)))
        source = draw(st.sampled_from("abc"))
        if draw(st.booleans()):
            own = today - draw(st.sampled_from((0, 0, 0, 1, 3, 9)))
            written[source].append((len(written[source]), own))
            log.append((source, *written[source][-1], today))
        else:
            again = written[source][draw(st.integers(0, len(written[source]))) :]
            log += [(source, position, own, today) for position, own in again]
    return log


def naive(sent: Sequence[tuple[str, int]]) -> list[bool]:
    """One at a time."""
    highest: dict[str, int] = {}
    fresh = []
    for source, position in sent:
        fresh.append(position > highest.get(source, -1))
        highest[source] = max(position, highest.get(source, -1))
    return fresh


def test_lets_through_what_is_new_and_counts_what_is_not() -> None:
    """Within a batch as between batches."""
    fence = Fence()
    assert fence.admit(frame([("a", 5), ("a", 5), ("b", 5), ("a", 4), ("a", 6)])).tolist() == [
        True,
        False,
        True,
        False,
        True,
    ]
    assert fence.admit(frame([("b", 5), ("b", 6)])).tolist() == [False, True]
    assert fence.duplicates == 3


def test_a_source_may_begin_at_position_zero() -> None:
    """The first record of a file."""
    assert Fence().admit(frame([("a", 0), ("a", 0)])).tolist() == [True, False]


def test_a_replay_passes_and_moves_nothing() -> None:
    """Dead letters sent again on purpose."""
    fence = Fence()
    fence.admit(frame([("a", 5)]))
    fence.take_dirty()
    assert fence.admit(frame([("a", 3), ("a", 9)]), np.array([True, True])).tolist() == [True, True]
    assert fence.take_dirty() == {}
    assert fence.admit(frame([("a", 9), ("a", 3)]), np.array([False, True])).tolist() == [True, True]
    assert fence.admit(frame([("a", 6)])).tolist() == [False]


def test_only_sources_that_moved_are_dirty_and_once() -> None:
    """A duplicate costs no checkpoint."""
    fence = Fence()
    fence.admit(frame([("a", 5), ("b", 1)]))
    assert set(fence.take_dirty()) == {b"a", b"b"}
    fence.admit(frame([("a", 5), ("b", 2)]))
    assert fence.take_dirty() == {b"b": (2).to_bytes(8, "little") + bytes(4)}


def test_refuses_rows_of_another_version() -> None:
    """And says what to do."""
    with pytest.raises(Refused, match="run the version that wrote it, or a newer one"):
        Fence().load({b"a": b"123"})
    with pytest.raises(Refused, match="run the version that wrote it, or a newer one"):
        Fence().load({CLOCK.encode(): bytes(8)})


def test_rows_of_the_release_that_kept_no_days_are_as_old_as_the_first_day_after_the_upgrade() -> None:
    """Their sources are neither unknown nor remembered for ever."""
    fence = Fence(keep_days=2, votes=1)
    fence.load({b"a": (5).to_bytes(8, "little"), b"b": (7).to_bytes(8, "little")})
    assert fence.admit(timed([("b", 7, 100, 100)])).tolist() == [False]
    assert {name: one.seen for name, one in fence.sources.items()} == {"a": 0, "b": 100}
    assert fence.admit(timed([("b", 8, day, day) for day in (101, 102, 103)])).tolist() == [True, False, False]
    assert set(fence.sources) == {"b"}
    assert fence.take_dirty()[b"a"] is None


def test_a_copy_of_a_forgotten_source_is_told_by_its_age_and_a_new_file_is_read() -> None:
    """The old one is not counted again, and said to be too old to tell; the young one counts."""
    fence = Fence(keep_days=2, votes=1)
    days = [("a", 1, 100, 100), ("b", 1, 103, 103), ("b", 2, 104, 104), ("b", 3, 105, 105)]
    assert fence.admit(timed(days)).all()
    assert fence.admit(timed([("a", 1, 100, 105), ("a", 2, 104, 105), ("a", 3, 100, 105)])).tolist() == [
        False,
        True,
        True,
    ]
    assert (fence.untold, fence.duplicates, fence.forgotten) == (1, 0, 1)


def test_a_replay_of_what_is_too_old_to_tell_does_not_pass() -> None:
    """Or the same letters would count again once their notices are forgotten."""
    fence = Fence(keep_days=2, votes=1)
    fence.admit(timed([("b", n, 100 + n, 100 + n) for n in range(5)]))
    assert fence.admit(timed([("a", 1, 100, 104), ("a", 2, 104, 104)]), np.array([True, True])).tolist() == [
        False,
        True,
    ]
    assert fence.untold == 1


@settings(max_examples=200, deadline=None)
@given(resent(), st.sampled_from((1, 2)), st.sampled_from((1, 3)), st.lists(st.integers(0, 60), max_size=4))
def test_no_copy_counts_twice_whatever_is_forgotten(log: list[Timed], keep: int, votes: int, cuts: list[int]) -> None:
    """Any cut and any restart agree with one at a time, and no record is fresh twice."""
    places = sorted({0, len(log), *(cut for cut in cuts if cut < len(log))})
    fence, rows, fresh, untold = Fence(keep, votes), dict[bytes, bytes | None](), list[bool](), 0
    for start, stop in pairwise(places):
        fresh += fence.admit(timed(log[start:stop])).tolist()
        untold += fence.untold
        rows.update(fence.take_dirty())
        saved = {key: row for key, row in rows.items() if row is not None}
        assert saved == fence.dump()
        fence = Fence(keep, votes)
        fence.load(saved)
    naive = Naive(keep, votes)
    assert fresh == [naive.fresh(*one) for one in log]
    assert (untold, fence.sources) == (naive.untold, naive.sources)
    counted = [one[:2] for one, new in zip(log, fresh, strict=True) if new]
    assert len(counted) == len(set(counted))


@settings(max_examples=150, deadline=None)
@given(SENT, st.lists(st.integers(0, 40), max_size=4))
def test_any_cut_and_any_restart_agree_with_one_at_a_time(sent: list[tuple[str, int]], cuts: list[int]) -> None:
    """The same rows are fresh, and the same highest positions remain."""
    places = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    fence, rows, fresh, duplicates = Fence(), dict[bytes, bytes | None](), list[bool](), 0
    for start, stop in pairwise(places):
        fresh += fence.admit(frame(sent[start:stop])).tolist()
        duplicates += fence.duplicates
        rows.update(fence.take_dirty())
        saved = {key: row for key, row in rows.items() if row is not None}
        assert saved == fence.dump()
        fence = Fence()
        fence.load(saved)
    assert fresh == naive(sent)
    assert duplicates == fresh.count(False)
