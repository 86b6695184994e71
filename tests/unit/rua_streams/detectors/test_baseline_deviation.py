"""baseline-deviation: a day far above the subject's own days."""

from __future__ import annotations

from rua_streams.alerts import alert_of
from rua_streams.detectors.baseline_deviation import BaselineDeviation
from rua_streams.testing import at, event, findings, workdays

DETECTOR = BaselineDeviation()
HISTORY = workdays("2026-03-02", 15)  # about 220 rows a day


def test_fires_when_a_day_is_far_above_all_days_before() -> None:
    """In pieces over the day, none of which is large."""
    pieces = [event(f"2026-03-24 {hour:02}:00", rows=400) for hour in (9, 11, 13, 15)]
    found = findings(DETECTOR, *HISTORY, *pieces)
    assert [f.deciding.event_id for f in found] == [pieces[1].event_id]
    alert = alert_of(found[0], "rua.events.lazada", 0)
    assert alert.severity == "medium"
    assert alert.reason.startswith("Took 800 rows (limit 501) in one day; on its 15 active days before: ")


def test_stays_quiet_when_a_day_is_somewhat_above() -> None:
    """Twice as much happens."""
    assert not findings(DETECTOR, *HISTORY, event("2026-03-24 10:00", rows=440))


def test_stays_quiet_below_the_floor() -> None:
    """Five times nearly nothing is nearly nothing."""
    assert not findings(DETECTOR, *workdays("2026-03-02", 15, rows=3), event("2026-03-24 10:00", rows=400))


def test_stays_quiet_when_a_new_joiner_has_no_baseline() -> None:
    """Nine days are not ten."""
    assert not findings(DETECTOR, *workdays("2026-03-10", 9), event("2026-03-24 10:00", rows=9_000))
    assert findings(DETECTOR, *workdays("2026-03-10", 10), event("2026-03-25 10:00", rows=9_000))


def test_stays_quiet_when_a_month_end_report_is_ten_fold() -> None:
    """On the last three and first three days of a month."""
    usual = workdays("2026-03-02", 19)
    assert not findings(DETECTOR, *usual, event("2026-03-31 10:00", rows=2_100))
    assert not findings(DETECTOR, *usual, event("2026-04-01 10:00", rows=2_100))
    assert findings(DETECTOR, *usual, event("2026-03-27 10:00", rows=2_100))


def test_fires_at_month_end_when_it_is_fifty_fold() -> None:
    """The allowance is not a hole."""
    assert findings(DETECTOR, *HISTORY, event("2026-03-31 10:00", rows=11_000))


def test_stays_quiet_on_the_day_of_the_double_date_sale() -> None:
    """11.11 multiplies every merchant's orders."""
    usual = workdays("2026-10-19", 14)
    assert not findings(DETECTOR, *usual, event("2026-11-11 10:00", rows=2_000))
    assert findings(DETECTOR, *usual, event("2026-11-17 10:00", rows=2_000))


def test_stays_quiet_when_a_job_of_constant_size_is_one_row_longer() -> None:
    """No deviation at all must not make a row an anomaly."""
    usual = workdays("2026-03-02", 15, hours=(2,), rows=20_000)
    assert not findings(DETECTOR, *usual, event("2026-03-24 02:05", rows=20_050))


def test_fires_on_exports_of_unknown_size_by_somebody_who_makes_none() -> None:
    """A dump of three tables: neither rows nor bytes are known."""
    dump = [event(f"2026-03-24 10:0{n}") for n in range(3)]
    (found,) = findings(DETECTOR, *HISTORY, *dump)
    assert "3 exports of unknown size" in found.detector.reason({n.name: n for n in found.numbers})


def test_stays_quiet_on_exports_of_unknown_size_by_somebody_who_makes_them_daily() -> None:
    """A nightly pg_dump."""
    usual = workdays("2026-03-02", 15, rows=None)
    assert not findings(DETECTOR, *usual, *[event(f"2026-03-24 10:0{n}") for n in range(5)])


def test_fires_on_a_late_day_though_today_is_quiet() -> None:
    """What comes a day late counts for its own day."""
    late = event(at("2026-03-23 10:00"), observed=at("2026-03-24 13:00"), rows=9_000)
    (found,) = findings(DETECTOR, *HISTORY, event("2026-03-24 09:00", rows=10), late)
    assert found.deciding.event_id == late.event_id


def test_fires_on_bytes_of_pages_where_a_source_tells_no_rows() -> None:
    """An API client that reads thirty times as much; a page more is nothing."""
    page = {"rows": None, "action": "read", "kind": "data_access"}
    usual = workdays("2026-03-02", 15, bytes=100_000, **page)
    assert findings(DETECTOR, *usual, event("2026-03-24 10:00", bytes=12_000_000, **page))
    assert not findings(DETECTOR, *usual, event("2026-03-24 10:00", bytes=700_000, **page))
