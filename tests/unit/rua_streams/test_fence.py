"""What was sent before is not counted again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from rua_common.errors import Refused
from rua_streams.fence import Fence

SENT = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12) | st.integers(2**62, 2**62 + 3)), max_size=40)


def frame(sent: Sequence[tuple[str, int]]) -> pl.DataFrame:
    """Sources and positions, in log order."""
    return pl.DataFrame(sent, schema={"source_id": pl.String, "source_position": pl.Int64}, orient="row")


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
    assert fence.take_dirty() == {b"b": (2).to_bytes(8, "little")}


def test_refuses_rows_of_another_version() -> None:
    """And says what to do."""
    with pytest.raises(Refused, match="run the version of Rua that wrote it"):
        Fence().load({b"a": b"123"})


@settings(max_examples=150, deadline=None)
@given(SENT, st.lists(st.integers(0, 40), max_size=4))
def test_any_cut_and_any_restart_agree_with_one_at_a_time(sent: list[tuple[str, int]], cuts: list[int]) -> None:
    """The same rows are fresh, and the same highest positions remain."""
    places = sorted({0, len(sent), *(cut for cut in cuts if cut < len(sent))})
    fence, saved, fresh, duplicates = Fence(), dict[bytes, bytes](), list[bool](), 0
    for start, stop in pairwise(places):
        fresh += fence.admit(frame(sent[start:stop])).tolist()
        duplicates += fence.duplicates
        saved.update(fence.take_dirty())
        assert saved == fence.dump()
        fence = Fence()
        fence.load(saved)
    assert fresh == naive(sent)
    assert duplicates == fresh.count(False)
