"""privilege-then-export: more rights, then bulk, within 24 hours."""

from __future__ import annotations

from typing import Any

from rua_schemas.events import TelemetryEvent
from rua_streams.alerts import alert_of
from rua_streams.detectors.privilege_then_export import PrivilegeThenExport
from rua_streams.engine import Seen
from rua_streams.testing import event, findings, replay, workdays

DETECTOR = PrivilegeThenExport()
HISTORY = workdays("2026-03-02", 15)


def grant(when: str, **given: Any) -> TelemetryEvent:
    """A privilege change in favour of `somchai`."""
    return event(when, kind="privilege_change", action="alter", **given)


def test_fires_when_bulk_follows_a_grant() -> None:
    """Within the day."""
    (found,) = findings(DETECTOR, *HISTORY, grant("2026-03-24 10:00"), event("2026-03-24 13:20", rows=4_000))
    reason = alert_of(found, "rua.events.lazada", 0).reason
    assert reason == "Took 4,000 rows (limit 500) within an hour, 3 h 20 min after its privileges changed."


def test_the_grant_is_part_of_the_window_and_of_the_evidence() -> None:
    """Whoever follows the alert must see who granted what."""
    given, first = grant("2026-03-24 10:00"), event("2026-03-24 13:00", rows=200)
    export = event("2026-03-24 13:20", rows=4_000)
    (found,) = findings(DETECTOR, *HISTORY, grant("2026-03-23 18:00"), given, first, export)
    assert (found.window_start, found.window_end) == (given.occurred_at, export.occurred_at)
    evidence = alert_of(found, "rua.events.lazada", 0).evidence
    assert [e.event_id for e in evidence] == [given.event_id, first.event_id, export.event_id]
    assert [e.offset for e in evidence] == [61, 62, 63]


def test_evidence_is_the_same_however_the_log_is_cut() -> None:
    """Neither a look-up nor an export before the hour replaces the grant or the first event that counts."""
    given, theft = grant("2026-03-24 10:00"), event("2026-03-24 12:00", rows=4_000)
    between = [event("2026-03-24 10:10", rows=10), event("2026-03-24 11:30", rows=5, action="read")]
    events = [*HISTORY, given, *between, theft]
    for cuts in ((), range(len(events) - 4, len(events))):
        (found,), _ = replay([DETECTOR], events, cuts)
        assert (found.cause, found.first) == (Seen(given.event_id, 60), Seen(theft.event_id, 63))


def test_stays_quiet_when_the_grant_is_older_than_a_day() -> None:
    """24 hours and five minutes."""
    assert not findings(DETECTOR, *HISTORY, grant("2026-03-23 10:00"), event("2026-03-24 10:05", rows=4_000))


def test_stays_quiet_when_the_grant_was_somebody_elses() -> None:
    """Rights are one actor's."""
    other = grant("2026-03-24 10:00", actor="malee")
    assert not findings(DETECTOR, *HISTORY, other, event("2026-03-24 11:00", rows=4_000))


def test_stays_quiet_when_the_grant_was_refused() -> None:
    """No rights, no change."""
    refused = grant("2026-03-24 10:00", outcome="denied")
    assert not findings(DETECTOR, *HISTORY, refused, event("2026-03-24 11:00", rows=4_000))


def test_stays_quiet_when_a_role_change_is_followed_by_ordinary_work() -> None:
    """The published false positive."""
    assert not findings(DETECTOR, *HISTORY, grant("2026-03-24 08:00"), *workdays("2026-03-24", 2))


def test_stays_quiet_when_a_new_joiner_gets_rights_and_begins_to_work() -> None:
    """Onboarding: no history, so the floor is higher."""
    assert not findings(DETECTOR, grant("2026-03-24 08:00"), event("2026-03-24 11:00", rows=1_500))


def test_fires_when_a_new_account_gets_rights_and_takes_very_much() -> None:
    """An account made for the purpose."""
    assert findings(DETECTOR, grant("2026-03-24 08:00"), event("2026-03-24 11:00", rows=6_000))


def test_stays_quiet_when_changing_roles_is_the_daily_work() -> None:
    """A database administrator who takes another role each day."""
    often = [grant(f"2026-03-{day} 08:00") for day in (18, 19, 20, 23)]
    assert not findings(
        DETECTOR, *HISTORY[:40], *often, grant("2026-03-24 08:00"), event("2026-03-24 11:00", rows=4_000)
    )


def test_fires_on_a_first_export_of_unknown_size() -> None:
    """COPY after a grant, by somebody who never used it."""
    assert findings(DETECTOR, *HISTORY, grant("2026-03-24 10:00"), event("2026-03-24 11:00"))


def test_stays_quiet_when_the_export_names_a_ticket() -> None:
    """A change that was asked for."""
    asked = event("2026-03-24 11:00", rows=4_000, ticket="CHG-7")
    assert not findings(DETECTOR, *HISTORY, grant("2026-03-24 10:00"), asked)
