"""How long ago that was written which is not acknowledged."""

from __future__ import annotations

from hypothesis import given, strategies as st
from rua_agents.lag import KEPT, Lag, Lags


def test_the_lag_is_the_age_of_the_first_byte_that_waits() -> None:
    """Not of the last one, and not of the file."""
    lag = Lag()
    assert lag.observe(1_000, 10, 10) == 0
    assert lag.observe(2_000, 20, 10) == 0  # first seen now
    assert lag.observe(5_000, 30, 10) == 3_000
    assert lag.observe(6_000, 30, 20) == 1_000  # what came at 5,000 still waits
    assert lag.observe(7_000, 30, 30) == 0
    assert lag.observe(99_000, 30, 30) == 0


def test_a_file_that_shrinks_begins_anew() -> None:
    """After copytruncate nothing old waits."""
    lag = Lag()
    lag.observe(0, 100, 0)
    assert lag.observe(9_000, 5, 0) == 0
    assert lag.observe(10_000, 5, 0) == 1_000


def test_what_was_there_before_the_start_is_at_least_as_old_as_its_last_change() -> None:
    """If that is known."""
    assert Lag(written_ms=400).observe(1_000, 10, 0) == 600
    assert Lag(written_ms=4_000).observe(1_000, 10, 0) == 0


@given(st.lists(st.integers(1, 50), min_size=1, max_size=600), st.integers(0, 100))
def test_it_stays_small_and_never_tells_more_than_is_true(grown: list[int], share: int) -> None:
    """An agent that stands still for days keeps a bounded history; of an acknowledged file the lag is 0."""
    lag, size, written = Lag(), 0, list[int]()
    for second, step in enumerate(grown):
        size += step
        written += [second * 1_000] * step
        acked = size * share // 101
        told = lag.observe(second * 1_000, size, acked)
        assert len(lag._seen) <= KEPT
        assert 0 <= told <= second * 1_000 - written[acked]
    assert lag.observe(len(grown) * 1_000, size, size) == 0


def test_files_that_are_gone_are_forgotten() -> None:
    """One that comes back begins anew."""
    lags = Lags()
    lags.observe("a", 0, 10, 0)
    assert lags.observe("a", 5_000, 10, 0) == 5_000
    lags.forget_but(set())
    assert lags.observe("a", 6_000, 10, 0) == 0
