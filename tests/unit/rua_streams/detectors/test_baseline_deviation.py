"""baseline-deviation: a day far above the subject's own days."""

from __future__ import annotations

from typing import Any

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


def test_stays_quiet_when_a_jobs_month_end_report_is_ten_fold_and_a_little() -> None:
    """On the last three and first three days of a month; "ten-fold" is no measure. The peak is 240 rows."""
    usual = workdays("2026-03-02", 19, actor_type="unknown")
    report: dict[str, Any] = {"rows": 10 * 240 + 15, "actor_type": "unknown"}
    assert not findings(DETECTOR, *usual, event("2026-03-31 10:00", **report))
    assert not findings(DETECTOR, *usual, event("2026-04-01 10:00", **report))
    assert findings(DETECTOR, *usual, event("2026-03-27 10:00", **report))


def test_stays_quiet_when_a_person_makes_the_month_end_report_by_ticket() -> None:
    """Nor does the ordinary work of that day raise anything. Without the ticket it is asked about, at medium."""
    usual, after = workdays("2026-03-02", 19), event("2026-03-31 15:00", rows=40)
    assert not findings(DETECTOR, *usual, event("2026-03-31 10:00", rows=2_400, ticket="CHG-7"), after)
    assert [f.level for f in findings(DETECTOR, *usual, event("2026-03-31 10:00", rows=2_400))] == [1]


def test_fires_on_a_person_at_month_end_as_on_any_day() -> None:
    """The calendar hides nobody: high beyond what the calendar explains."""
    assert [f.level for f in findings(DETECTOR, *HISTORY, event("2026-03-31 10:00", rows=3_000))] == [2]


def test_fires_on_a_person_who_uses_the_tool_of_a_job_at_month_end() -> None:
    """A name of an application can be chosen; that this actor works by hand is known."""
    assert findings(DETECTOR, *HISTORY, event("2026-03-31 10:00", rows=2_100, actor_type="unknown"))


def test_fires_on_who_keeps_a_persons_hours_at_month_end_whatever_the_tool() -> None:
    """Database logs do not tell people from jobs: eight hours a day is neither a nightly job nor a service."""
    given: dict[str, Any] = {"actor_type": "unknown", "rows": 40}
    hours = range(9, 17)
    person, service = (workdays("2026-03-02", 19, hours=h, **given) for h in (hours, range(24)))
    assert findings(DETECTOR, *person, event("2026-03-31 10:00", rows=3_000, actor_type="unknown"))
    assert not findings(DETECTOR, *service, event("2026-03-31 10:00", rows=9_000, actor_type="unknown"))


def test_fires_at_month_end_when_a_job_is_fifty_fold() -> None:
    """The allowance is not a hole."""
    usual = workdays("2026-03-02", 19, actor_type="service")
    assert findings(DETECTOR, *usual, event("2026-03-31 10:00", rows=11_000, actor_type="service"))


def test_stays_quiet_on_the_day_of_the_double_date_sale() -> None:
    """11.11 multiplies every merchant's orders, and the cases of everybody in support: nobody wants 65 alerts."""
    for kind in ("merchant", "interactive"):
        usual = workdays("2026-10-19", 14, actor_type=kind)
        assert not findings(DETECTOR, *usual, event("2026-11-11 10:00", rows=2_000, actor_type=kind))
        assert findings(DETECTOR, *usual, event("2026-11-17 10:00", rows=2_000, actor_type=kind))


def test_fires_in_the_week_after_a_sale_whatever_was_forgiven_then() -> None:
    """One 11.11 must not blind the detector for a month; without it the same day fires as well."""
    usual = workdays("2026-10-19", 14)
    theft = event("2026-11-17 10:00", rows=1_800)
    assert findings(DETECTOR, *usual, theft)
    assert findings(DETECTOR, *usual, event("2026-11-11 10:00", rows=1_600), theft)


def test_fires_on_the_day_of_a_sale_when_a_person_is_fifty_fold() -> None:
    """The sale is no hole either."""
    usual = workdays("2026-10-19", 14)
    assert findings(DETECTOR, *usual, event("2026-11-11 10:00", rows=11_000))


def test_says_that_rows_are_estimated_where_only_bytes_are_known() -> None:
    """No log holds 750,000 rows: the number that goes into a notice must not look counted."""
    (found,) = findings(DETECTOR, *HISTORY, event("2026-03-24 10:00", rows=None, bytes=150_000_000))
    alert = alert_of(found, "rua.events.lazada", 0)
    assert alert.reason.startswith(
        "Took about 750,000 rows (limit 25,000, estimated from 150 MB) in one day; on its 15 "
    )
    numbers = {n.name: n.value for n in alert.numbers}
    assert "rows" not in numbers
    assert (numbers["rows_estimated"], numbers["told_as_bytes"]) == (750_000, 150_000_000)


def test_stays_quiet_when_a_few_hundred_rows_are_only_estimated() -> None:
    """A CSV of 244 kB holds perhaps 1,200 rows; Panther's floor is 1 MB. Rows that were counted need no such floor."""
    usual = workdays("2026-03-02", 14, rows=None, bytes=60_000)
    assert not findings(DETECTOR, *usual, event("2026-03-24 10:00", rows=None, bytes=300_000))
    assert findings(DETECTOR, *usual, event("2026-03-24 10:00", rows=None, bytes=1_200_000))
    counted = event("2026-03-24 10:00", rows=3_000)
    assert findings(DETECTOR, *usual, event("2026-03-24 09:00", rows=None, bytes=300), counted)


def test_the_window_is_the_day_from_its_first_export_on() -> None:
    """Whoever follows the alert sees where the day began, and the event that decided."""
    pieces = [event(f"2026-03-24 {hour:02}:00", rows=400) for hour in (9, 11)]
    (found,) = findings(DETECTOR, *HISTORY, *pieces)
    assert (found.window_start, found.window_end) == (pieces[0].occurred_at, pieces[1].occurred_at)
    evidence = [e.event_id for e in alert_of(found, "rua.events.lazada", 0).evidence]
    assert evidence == [piece.event_id for piece in pieces]


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
    page: dict[str, Any] = {"rows": None, "action": "read", "kind": "data_access"}
    usual = workdays("2026-03-02", 15, bytes=100_000, **page)
    assert findings(DETECTOR, *usual, event("2026-03-24 10:00", bytes=12_000_000, **page))
    assert not findings(DETECTOR, *usual, event("2026-03-24 10:00", bytes=700_000, **page))


def test_compares_bytes_with_bytes() -> None:
    """Pages with pages, not with rows."""
    page: dict[str, Any] = {"rows": None, "action": "read", "kind": "data_access"}
    usual = workdays("2026-03-02", 15, bytes=100_000, **page)
    (found,) = findings(DETECTOR, *usual, event("2026-03-24 10:00", bytes=3_000_000, **page))
    reason = alert_of(found, "rua.events.lazada", 0).reason
    assert "before: 400,000 bytes of pages on average, 400,000 at most." in reason
