"""Decoded columns become rows, and rows become inserts: the same ones each time."""

from __future__ import annotations

import polars as pl
from hypothesis import given, strategies as st
from rua_schemas.events import MAX_TIME_MS
from rua_sinks.rows import MONTHS_PER_INSERT, event_rows, inserts

from tests.records import event
from tests.sink_rig import frame_of

TIMES = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2) | st.integers(MAX_TIME_MS - 2, MAX_TIME_MS + 2)


@given(st.lists(TIMES, max_size=20))
def test_no_time_is_lost(times: list[int]) -> None:
    """Either the column holds it, or the original is beside the sentinel."""
    rows = event_rows(frame_of(*(event(occurred_at=at) for at in times)))
    stored = rows.get_column("occurred_at").cast(pl.Int64).to_list()
    kept = rows.get_column("occurred_at_original").to_list()
    assert [at if original is None else original for at, original in zip(stored, kept, strict=True)] == times
    assert all(0 <= at < MAX_TIME_MS for at in stored)


@given(st.lists(st.integers(0, MAX_TIME_MS - 1), min_size=1, max_size=300))
def test_each_insert_spans_few_months_and_none_is_lost(times: list[int]) -> None:
    """And a repetition cuts in the same places, with the same tokens."""
    rows = event_rows(frame_of(*(event(occurred_at=at) for at in times)))
    parts = list(inserts(rows, "t"))
    assert pl.concat([part for part, _ in parts]).sort("offset").equals(rows)
    assert len({token for _, token in parts}) == len(parts)
    for part, _ in parts:
        assert part.get_column("occurred_at").dt.strftime("%Y%m").n_unique() <= MONTHS_PER_INSERT
    again = list(inserts(rows.clone(), "t"))
    assert all(a.equals(b) and x == y for (a, x), (b, y) in zip(parts, again, strict=True))
