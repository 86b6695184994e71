"""The clock by which a partition forgets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, strategies as st
from rua_schemas.events import MAX_TIME_MS
from rua_streams.watermark import AHEAD_DAYS, DAY_MS, VOTES, Turn, Watermark, days_of, stamped, turns

SAID = st.lists(st.integers(0, 6), max_size=60)


@given(SAID, st.lists(st.integers(0, 60), max_size=4), st.integers(1, 4))
def test_any_cut_turns_the_day_at_the_same_events(said: list[int], cuts: list[int], needed: int) -> None:
    """As one event at a time does, and the clock is the same afterwards."""
    mark, found = Watermark(), list[Turn]()
    for start, end in pairwise(sorted({0, len(said), *(cut for cut in cuts if cut < len(said))})):
        part, mark = turns(np.array(said[start:end], np.int64), mark, needed)
        found += [Turn(start + turn.place, turn.day) for turn in part]
    singly, alone = Watermark(), list[Turn]()
    for place, one in enumerate(said):
        part, singly = turns(np.array([one]), singly, needed)
        alone += [Turn(place, turn.day) for turn in part]
    assert (found, mark) == (alone, singly)


def test_the_first_day_is_the_lowest_of_the_first_votes() -> None:
    """Whatever a clock that runs wild says among them."""
    said = np.array([40_000, 19_999, *[20_000] * (VOTES - 2)])
    assert turns(said, Watermark()) == ([Turn(VOTES - 1, 19_999)], Watermark(19_999, 0, 19_999))


def test_a_clock_that_runs_wild_moves_nothing_while_most_events_are_of_others() -> None:
    """Two of five events, for ever."""
    said = np.array([20_000, 40_000, 20_000, 40_000, 20_000] * 1_000)
    found, after = turns(said, Watermark(20_000, 0, 20_000))
    assert (found, after.day) == ([], 20_000)


def test_most_of_the_events_bring_the_next_day() -> None:
    """A day at a time, so that a wrong majority must last to do harm."""
    found, after = turns(np.full(3 * VOTES, 20_009), Watermark(20_000, 0, 20_000))
    assert [turn.day for turn in found] == [20_001, 20_002, 20_003]
    assert after.day == 20_003


def test_times_that_cannot_be_speak_for_no_day() -> None:
    """Before 1970 or after 2100."""
    assert days_of(np.array([-1, 0, 5 * DAY_MS, MAX_TIME_MS + 1])).tolist() == [0, 0, 5, 0]


def test_a_trace_is_as_fresh_as_the_partition_or_as_itself_within_a_year() -> None:
    """A lagging partition must not forget early; a wild clock must not be remembered for ever."""
    assert stamped(np.array([90, 110, 40_000]), 100).tolist() == [100, 110, 100 + AHEAD_DAYS]
    assert stamped(np.array([90]), 0).tolist() == [90]
