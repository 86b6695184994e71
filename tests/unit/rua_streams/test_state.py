"""Rows, their bytes, and what an upgrade makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from rua_common.errors import Refused
from rua_streams.detectors import DETECTORS
from rua_streams.engine import Engine
from rua_streams.runs import DAY
from rua_streams.state import PARTITION, SUBJECT, Ints, Layout, State, decode_layout, encode_layout
from rua_streams.testing import at, event, frame

CLOCKS: Layout = ((SUBJECT, "seen", "<i4", ()), ("actor", "clock", "<i8", ()), ("lane", "clock", "<i8", ()))
WIDE: Layout = (*CLOCKS, ("x", "ring", "<i8", (30,)), ("x", "hours", "<u2", (168,)), ("y", "mean", "<f8", ()))


def made(layout: Layout, *names: str) -> State:
    """A state in which every number of these subjects counts from 1."""
    state = State(layout)
    for row, name in enumerate(names):
        state.intern([name])
        for columns in state.columns.values():
            for column in columns.values():
                column[row] = row + 1
    state.touch(np.arange(len(names)))
    return state


def test_only_touched_rows_are_dirty_and_once() -> None:
    """A checkpoint writes what changed."""
    state = made(CLOCKS, "a", "b")
    assert set(state.take_dirty()) == {b"a", b"b"}
    assert state.take_dirty() == {}
    state.touch(np.array([1]))
    assert set(state.take_dirty()) == {b"b"}


@settings(max_examples=60, deadline=None)
@given(hnp.arrays("<i8", (3, 30)), hnp.arrays("<u2", (3, 168), elements=st.integers(0, 2)))
def test_packed_rows_come_back_bit_by_bit(ring: Ints, hours: NDArray[np.uint16]) -> None:
    """Whatever is in them, zeros included."""
    state = State(WIDE)
    rows = state.intern(["a", "ข", "\0merchant:m-1"])
    state.columns["x"]["ring"][rows], state.columns["x"]["hours"][rows] = ring, hours
    again = State(WIDE)
    again.load(state.dump(), [WIDE])
    assert again.dump() == state.dump()
    assert (again.columns["x"]["ring"][rows] == ring).all()


def test_a_new_column_starts_at_zero_and_a_dropped_one_is_forgotten() -> None:
    """An upgrade reads the rows of the version before."""
    old: Layout = (*CLOCKS, ("gone", "n", "<i4", (2,)))
    new: Layout = (CLOCKS[0], CLOCKS[1], ("fresh", "n", "<i8", ()), CLOCKS[2])
    state = State(new)
    state.load(made(old, "a", "b").dump(), [decode_layout(encode_layout(old)), new])
    assert state.columns["actor"]["clock"][:2].tolist() == [1, 2]
    assert state.columns["lane"]["clock"][:2].tolist() == [1, 2]
    assert state.columns["fresh"]["n"][:2].tolist() == [0, 0]


def test_rows_of_an_unknown_layout_are_refused_with_the_cure() -> None:
    """Rather than read as something else."""
    with pytest.raises(Refused, match="run the version that wrote it, or a newer one"):
        State(CLOCKS).load(made(WIDE, "a").dump(), [CLOCKS])


def test_a_thousand_subjects_fit() -> None:
    """Rows grow without losing any."""
    state = State(CLOCKS, capacity=2)
    for number in range(1_000):
        (row,) = state.intern([f"actor-{number}"])
        state.columns["actor"]["clock"][row] = number + 1
        state.touch(np.array([row]))
    assert len(state) == 1_000
    assert state.columns["actor"]["clock"][:1_000].tolist() == list(range(1, 1_001))
    assert len(state.take_dirty()) == 1_000


def test_subjects_without_events_for_long_become_tombstones() -> None:
    """The rest stays as it was, the partition's own row too."""
    engine = Engine(DETECTORS)
    state = State(engine.layout)
    old, new = event("2026-01-05 10:00", actor="old", rows=5), event("2026-03-05 10:00", actor="new", rows=5)
    engine.apply(frame([old, new]), state)
    before = state.dump()
    state.forget(at("2026-03-05 10:00") // 1_000 // DAY - 30)
    assert state.dump() == {key: row for key, row in before.items() if key != b"old"}
    dirty = state.take_dirty()
    assert (set(dirty), dirty[b"old"]) == ({b"old", b"new", PARTITION.encode()}, None)
    assert (state.forgotten, state.take_dirty()) == (1, {})
    engine.apply(frame([old]), state)
    assert state.dump()[b"old"] == before[b"old"]


def test_nothing_is_forgotten_when_everybody_is_active() -> None:
    """No row moves."""
    state = made(CLOCKS, "a", "b")
    state.forget(1)
    assert (len(state), state.forgotten) == (2, 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=200), st.integers(1, 41))
def test_whoever_is_dropped_the_others_keep_their_rows(days: list[int], before: int) -> None:
    """The last rows fill the holes, and what they leave behind is empty for whoever comes next."""
    state = made(CLOCKS, *(f"actor-{row}" for row in range(len(days))))
    state.columns[SUBJECT]["seen"][: len(days)] = days
    rows, kept = state.dump(), {f"actor-{row}".encode() for row, day in enumerate(days) if day >= before}
    state.forget(before)
    assert state.dump() == {key: row for key, row in rows.items() if key in kept}
    (row,) = state.intern(["new"])
    assert not any(column[row].any() for columns in state.columns.values() for column in columns.values())
    assert all(state.names[row] == name for name, row in state.rows.items())


def test_a_row_of_a_release_that_kept_no_days_is_as_old_as_its_clocks() -> None:
    """An upgrade must not forget everybody at its first midnight."""
    state = made(CLOCKS, "a", "b")
    state.columns[SUBJECT]["seen"][:2] = 0
    state.columns["actor"]["clock"][:2] = (40 * DAY, 60 * DAY)
    state.forget(50)
    assert state.names == ["b"]
