"""bulk-export-volume: much leaves within an hour."""

from __future__ import annotations

from rua_schemas.events import TelemetryEvent
from rua_streams.alerts import alert_of
from rua_streams.detectors.bulk_export_volume import BulkExportVolume
from rua_streams.runs import DAY
from rua_streams.testing import at, event, findings, workdays

DETECTOR = BulkExportVolume()
HISTORY = workdays("2026-03-02", 15)
LONG_AGO = event("2026-01-05 09:00", actor="somebody-else", rows=1)  # the partition has been watched since


def nightly(days: int, rows: int, actor_type: str = "service") -> list[TelemetryEvent]:
    """A service account that exports at 01:05 each night."""
    return [
        event(at("2026-03-02 01:05") + day * DAY * 1_000, actor="svc_etl", actor_type=actor_type, rows=rows)
        for day in range(days)
    ]


def test_fires_at_the_event_that_brings_the_hour_over_the_limit() -> None:
    """Medium at 10,000, high at 50,000: one alert that gets worse."""
    first, second = event("2026-03-24 10:00", rows=9_000), event("2026-03-24 10:20", rows=2_000)
    third = event("2026-03-24 10:50", rows=41_300)
    medium, high = findings(DETECTOR, *HISTORY, first, second, third)
    assert medium.deciding.event_id == second.event_id
    assert high.deciding.event_id == third.event_id
    assert medium.alert_id == high.alert_id
    alert = alert_of(high, "rua.events.lazada", 3)
    assert (alert.severity, alert.revision) == ("high", 2)
    assert "52,300 rows (limit 50,000) in one hour" in alert.reason
    assert [e.event_id for e in alert.evidence] == [first.event_id, second.event_id, third.event_id]
    assert (high.window_start, high.window_end) == (first.occurred_at, third.occurred_at)


def test_stays_quiet_when_the_same_rows_fall_into_different_hours() -> None:
    """9,000 in the morning and 9,000 in the afternoon."""
    morning, noon = event("2026-03-24 10:00", rows=9_000), event("2026-03-24 13:00", rows=9_000)
    assert not findings(DETECTOR, *HISTORY, morning, noon)


def test_fires_on_bytes_where_rows_are_unknown() -> None:
    """A download says how much, not how many."""
    (found,) = findings(DETECTOR, *HISTORY, event("2026-03-24 10:00", bytes=60_000_000))
    assert "60,000,000 bytes" in found.detector.reason({n.name: n for n in found.numbers})


def test_fires_on_data_subjects() -> None:
    """Few rows may speak of many people."""
    assert findings(DETECTOR, *HISTORY, event("2026-03-24 10:00", rows=10, subjects=6_000))


def test_stays_quiet_when_the_export_was_denied() -> None:
    """Nothing left."""
    assert not findings(DETECTOR, *HISTORY, event("2026-03-24 10:00", rows=90_000, outcome="denied"))


def test_stays_quiet_when_a_nightly_job_exports_what_it_always_does() -> None:
    """200,000 rows a night, from the partition's first night on."""
    assert not findings(DETECTOR, *nightly(20, 200_000))
    assert not findings(DETECTOR, *nightly(20, 200_000, actor_type="unknown"))


def test_fires_when_a_nightly_job_exports_twice_as_much() -> None:
    """Its own biggest day is the limit, half as much again allowed."""
    grown = event("2026-03-22 01:05", actor="svc_etl", actor_type="service", rows=400_000)
    (found,) = findings(DETECTOR, *nightly(20, 200_000), grown)
    assert found.deciding.event_id == grown.event_id


def test_fires_when_an_unknown_job_appears_in_a_partition_long_watched() -> None:
    """The week of learning is the partition's, not each job's."""
    assert findings(DETECTOR, LONG_AGO, *nightly(1, 200_000))


def test_stays_quiet_when_a_new_joiner_takes_what_others_take() -> None:
    """Without history the second step is the lowest."""
    assert not findings(DETECTOR, LONG_AGO, event("2026-03-24 10:00", actor="new", rows=12_000))


def test_fires_when_a_new_joiner_takes_very_much() -> None:
    """The second step holds for everybody."""
    assert findings(DETECTOR, LONG_AGO, event("2026-03-24 10:00", actor="new", rows=50_000))


def test_stays_quiet_at_month_end_when_the_report_is_ten_fold() -> None:
    """Finance, 4,000 rows a day, 41,000 on the last day of March: by a job, or by ticket."""
    usual = workdays("2026-03-02", 20, rows=1_000)
    report = event("2026-03-31 10:00", rows=41_000, ticket="CHG-7")
    assert not findings(DETECTOR, *usual, report, event("2026-03-31 10:40", rows=50))
    assert findings(DETECTOR, *usual, event("2026-03-28 10:00", rows=41_000, ticket="CHG-7"))
    job = workdays("2026-03-02", 20, rows=1_000, actor_type="unknown")
    assert not findings(DETECTOR, *job, event("2026-03-31 10:00", rows=41_000, actor_type="unknown"))


def test_fires_at_month_end_on_a_person_without_a_ticket() -> None:
    """As on any other day."""
    usual = workdays("2026-03-02", 20, rows=1_000)
    assert findings(DETECTOR, *usual, event("2026-03-31 10:00", rows=41_000))


def test_the_window_begins_no_earlier_than_what_is_counted() -> None:
    """Ten minutes apart all morning: the first hours are no part of it, and no evidence."""
    calm = [event(at("2026-03-24 08:00") + n * 600_000, rows=10) for n in range(18)]
    (found,) = findings(DETECTOR, *HISTORY, *calm, event("2026-03-24 10:58", rows=12_000))
    assert found.window_start == at("2026-03-24 10:00")
    assert found.first is None


def test_a_count_that_was_cut_off_is_not_told_as_a_count() -> None:
    """A line may claim a million gigabytes."""
    (found,) = findings(DETECTOR, *HISTORY, event("2026-03-24 10:00", bytes=10**15))
    assert "more than 1,000,000,000,000 bytes" in alert_of(found, "rua.events.lazada", 0).reason


def test_compares_bytes_with_bytes() -> None:
    """The biggest day is told in what decided."""
    usual = workdays("2026-03-02", 15, rows=None, bytes=1_000_000)
    (found,) = findings(DETECTOR, *usual, event("2026-03-24 10:00", bytes=60_000_000))
    assert alert_of(found, "rua.events.lazada", 0).reason.endswith("of its last 30 days had 4,000,000 bytes.")


def test_fires_on_a_source_that_comes_27_hours_late() -> None:
    """Though the same actor is seen elsewhere meanwhile."""
    seen = at("2026-03-25 13:00")
    late = [event(at("2026-03-24 10:00"), observed=seen, rows=30_000, source_id="6" * 32) for _ in range(2)]
    now = event(seen, rows=10)
    assert findings(DETECTOR, *HISTORY, late[0], now, late[1])


def test_merchants_without_an_actor_are_two_alerts() -> None:
    """An unknown actor must not merge those who have nothing in common (panther-analysis #417)."""
    events = [
        event("2026-03-02 10:00", actor=None, merchant=merchant, rows=50_000)
        for _ in range(4)
        for merchant in ("m-001", "m-002")
    ]
    found = findings(DETECTOR, *events)
    last = {f.alert_id: f for f in found}
    assert {(f.subject, f.subject_type, f.merchant) for f in found} == {
        ("m-001", "merchant", "m-001"),
        ("m-002", "merchant", "m-002"),
    }
    assert [{n.name: n.value for n in f.numbers}["rows"] for f in last.values()] == [200_000, 200_000]
