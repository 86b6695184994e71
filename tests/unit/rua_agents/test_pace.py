"""Limits of speed hold on average, and cost nothing where there are none."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from rua_agents.pace import BURST_SECONDS, Bucket, Pace, paced
from rua_agents.settings import Limits


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=60), st.integers(100, 10_000))
def test_whoever_waits_as_told_stays_within_the_limit(steps: list[int], per_second: int) -> None:
    """After any steps: no more than the limit allows, and a burst."""
    bucket, now, total = Bucket(per_second), 0.0, 0
    bucket.pause(0, now)
    for step in steps:
        total += step
        now += bucket.pause(total, now)
        assert total <= per_second * (now + BURST_SECONDS) * (1 + 1e-9) + 1e-6


def test_a_slow_one_never_waits_and_an_idle_hour_earns_no_more_than_a_burst() -> None:
    """Else the agent would make up for a quiet night in one go."""
    bucket = Bucket(100)
    assert [bucket.pause(50 * n, float(n)) for n in range(20)] == [0.0] * 20
    assert bucket.pause(950, 3_600.0) == 0.0
    assert bucket.pause(950 + 1_000, 3_600.0) == pytest.approx(9.0)


def test_what_was_used_before_the_first_look_is_forgiven() -> None:
    """The imports' CPU time is no debt."""
    bucket = Bucket(0.1)
    assert bucket.pause(3.0, 100.0) == 0.0


def test_without_limits_nothing_waits() -> None:
    """The default."""
    pace = Pace(Limits(), cpu_seconds=lambda: 1e9)
    assert pace.pause(0.0, read_bytes=1 << 60, events=1 << 60) == 0.0
    assert pace.pause(1.0, read_bytes=1 << 61, events=1 << 61) == 0.0


@pytest.mark.parametrize(
    ("limits", "cpu", "read_bytes", "events", "seconds"),
    [
        (Limits(cpu_percent=25), 1.0, 0, 0, 3.0),
        (Limits(bytes_per_second=1_000), 0.0, 3_000, 0, 2.0),
        (Limits(events_per_second=10), 0.0, 0, 50, 4.0),
        (Limits(cpu_percent=25, events_per_second=10), 1.0, 0, 50, 4.0),
    ],
)
def test_the_strictest_limit_counts(limits: Limits, cpu: float, read_bytes: int, events: int, seconds: float) -> None:
    """A quarter of a core: a second of CPU needs four of the clock, one of which is the burst."""
    used = [0.0]
    pace = Pace(limits, cpu_seconds=lambda: used[0])
    pace.pause(0.0, read_bytes=0, events=0)
    used[0] = cpu
    assert pace.pause(0.0, read_bytes=read_bytes, events=events) == pytest.approx(seconds)


def test_turns_are_as_small_as_a_second_allows() -> None:
    """Else a mebibyte would be read at once and then waited for."""
    assert paced(Limits(bytes_per_second=1_000)).read_bytes == 1_000
    assert paced(Limits(bytes_per_second=1 << 30)) == Limits(bytes_per_second=1 << 30)
    assert paced(Limits()) == Limits()
