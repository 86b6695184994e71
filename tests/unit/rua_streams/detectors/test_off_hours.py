"""off-hours: bulk taken at an hour at which this person is hardly ever active."""

from __future__ import annotations

from rua_streams.alerts import alert_of
from rua_streams.detectors.off_hours import OffHours
from rua_streams.testing import at, event, findings, workdays

DETECTOR = OffHours()
HISTORY = workdays("2026-03-02", 15)


def test_fires_when_somebody_who_works_by_day_exports_at_night() -> None:
    """Three in the morning, Bangkok time."""
    night = event("2026-03-24 03:10", rows=900)
    (found,) = findings(DETECTOR, *HISTORY, night)
    reason = alert_of(found, "rua.events.lazada", 0).reason
    assert (
        reason == "Took 900 rows (limit 500) within an hour; was active around this hour of such a day on 0 of 15 days."
    )


def test_stays_quiet_at_the_same_hour_for_somebody_who_works_at_night() -> None:
    """Hours are each person's own."""
    assert not findings(DETECTOR, *workdays("2026-03-02", 15, hours=(1, 3, 5)), event("2026-03-24 03:10", rows=90_000))


def test_stays_quiet_within_an_hour_of_the_usual() -> None:
    """Nobody leaves on the minute."""
    assert not findings(DETECTOR, *HISTORY, event("2026-03-24 17:50", rows=900))


def test_hours_are_those_of_the_platforms_zone() -> None:
    """Nine in Bangkok is three in Berlin, and in Berlin it is summer time by then."""
    berlin = [
        event(at(f"2026-03-{day} 09:05", "Europe/Berlin"), rows=40) for day in range(10, 28) if day not in (14, 15)
    ]
    after = event(at("2026-03-31 09:30", "Europe/Berlin"), rows=900)
    assert not findings(DETECTOR, *berlin, after, zone="Europe/Berlin")
    assert findings(DETECTOR, *berlin, event(at("2026-03-31 03:30", "Europe/Berlin"), rows=900), zone="Europe/Berlin")


def test_stays_quiet_on_an_on_call_night_of_look_ups() -> None:
    """Fifty queries of twenty rows are no bulk."""
    looked = [
        event(at("2026-03-24 02:00") + n * 60_000, rows=20, action="query", kind="data_access") for n in range(50)
    ]
    assert not findings(DETECTOR, *HISTORY, *looked)


def test_stays_quiet_when_the_event_names_a_ticket() -> None:
    """On-call work with a reason; break-glass use is another detector's."""
    assert not findings(DETECTOR, *HISTORY, event("2026-03-24 03:10", rows=900, ticket="INC-1"))


def test_fires_on_an_export_of_unknown_size() -> None:
    """COPY tells neither rows nor bytes."""
    (found,) = findings(DETECTOR, *HISTORY, event("2026-03-24 03:10"))
    assert "1 exports of unknown size" in found.detector.reason({n.name: n for n in found.numbers})


def test_stays_quiet_for_machines() -> None:
    """Batch jobs keep their own hours."""
    usual = workdays("2026-03-02", 15, actor_type="service")
    assert not findings(DETECTOR, *usual, event("2026-03-24 03:10", rows=9_000, actor_type="service"))


def test_stays_quiet_in_the_first_days() -> None:
    """Four days are no working week."""
    assert not findings(DETECTOR, *workdays("2026-03-17", 4), event("2026-03-24 03:10", rows=900))


def test_a_saturday_in_the_office_is_quiet_and_a_saturday_of_theft_fires() -> None:
    """Where only the day is unusual, more than the biggest day must leave within the hour."""
    assert not findings(DETECTOR, *HISTORY, event("2026-03-21 11:00", rows=600 // 3))
    assert findings(DETECTOR, *HISTORY, event("2026-03-21 11:00", rows=600))
    busy = workdays("2026-03-02", 15, rows=300)
    assert not findings(DETECTOR, *busy, event("2026-03-21 11:00", rows=900))


def test_one_night_is_one_alert() -> None:
    """Forty exports, one incident; ten times the limit makes it worse."""
    night = [event(at("2026-03-24 02:00") + n * 60_000, rows=400) for n in range(40)]
    found = findings(DETECTOR, *HISTORY, *night)
    assert [f.level for f in found] == [1, 2]
    assert len({f.alert_id for f in found}) == 1
