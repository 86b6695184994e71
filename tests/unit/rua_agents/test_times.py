"""Times as logs write them."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from rua_agents.times import BadTime, common_log_ms, epoch_seconds_ms, stamp_ms

TEN = 1_772_445_600_000  # 2026-03-02T10:00:00Z


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-03-02 10:00:00.500 UTC", None, TEN + 500),
        ("2026-03-02 17:00:00.25 +07", None, TEN + 250),
        ("2026-03-02 15:45:00 +0545", None, TEN),
        ("2026-03-02 07:00:00 -03", None, TEN),
        ("2026-03-02T10:00:00+00:00", None, TEN),
        ("2026-03-02T10:00:00.123456789Z", None, TEN + 123),
        ("2026-03-02 17:00:00.000 ICT", "Asia/Bangkok", TEN),
        ("2026-03-02 17:00:00", "Asia/Bangkok", TEN),
        ("2569-03-02 17:00:00.000 +07", None, TEN),
        ("2026-10-25 02:30:00 CEST", "Europe/Berlin", 1_792_888_200_000),
        ("2026-10-25 02:30:00 CET", "Europe/Berlin", 1_792_891_800_000),
    ],
)
def test_reads_a_stamp(text: str, zone: str | None, expected: int) -> None:
    """Numeric and named zones, a configured one, Buddhist years, both hours that a clock shows twice."""
    assert stamp_ms(text, ZoneInfo(zone) if zone else None) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2026-03-02 10:00:00", "2026-13-02 10:00:00 UTC", "1900-01-01 00:00:00Z"),
        *("2100-01-01 00:00:00.001 UTC", "2026-03-02 10:00:00.5 UTC" + " " * 100),
    ],
)
def test_refuses_what_it_cannot_place(text: str) -> None:
    """Never a guess, least of all this machine's zone."""
    with pytest.raises(BadTime):
        stamp_ms(text)


def test_reads_what_web_servers_write() -> None:
    """Seconds with a fraction, as number or text, and the common log's time."""
    assert epoch_seconds_ms(1795561923.995) == epoch_seconds_ms("1795561923.995") == 1_795_561_923_995
    assert common_log_ms("02/Mar/2026:17:00:00 +0700") == TEN
    for bad in (None, "x", float("nan"), -5, 1e300):
        with pytest.raises(BadTime):
            epoch_seconds_ms(bad)
