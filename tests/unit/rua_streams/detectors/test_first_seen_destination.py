"""first-seen-destination: data goes where this subject has sent nothing before."""

from __future__ import annotations

from typing import Any

import pytest
from rua_streams.alerts import alert_of
from rua_streams.detectors.first_seen_destination import FirstSeenDestination
from rua_streams.testing import at, event, findings, workdays

DETECTOR = FirstSeenDestination()
OFFICE, HOME, BUCKET = "client:10.1.2.0/24", "client:203.0.113.0/24", "bucket:9f"
HISTORY = workdays("2026-03-02", 15, destination=OFFICE)  # about 220 rows a day


def test_fires_when_data_goes_to_a_bucket_never_used() -> None:
    """High, since it is known to be outside."""
    sent = event("2026-03-24 10:00", rows=2_000, destination=BUCKET, destination_external=True)
    (found,) = findings(DETECTOR, *HISTORY, sent)
    alert = alert_of(found, "rua.events.lazada", 0)
    assert alert.severity == "high"
    assert alert.reason.startswith("Sent 2,000 rows (limit 500) to a destination first used 0 s before")


def test_is_medium_when_nobody_knows_whether_it_is_outside() -> None:
    """Unknown is not outside."""
    (found,) = findings(DETECTOR, *HISTORY, event("2026-03-24 10:00", rows=2_000, destination=BUCKET))
    assert found.level == 1


def test_fires_when_the_first_hour_adds_up() -> None:
    """A destination is new for an hour, not for one event."""
    pieces = [event(at("2026-03-24 10:00") + n * 600_000, rows=120, destination=BUCKET) for n in range(7)]
    (found,) = findings(DETECTOR, *HISTORY, *pieces)
    assert found.deciding.event_id == pieces[4].event_id


def test_stays_quiet_when_the_destination_was_used_within_30_days() -> None:
    """A weekly upload."""
    before = event("2026-03-10 10:00", rows=20, destination=BUCKET)
    assert not findings(
        DETECTOR, *HISTORY[:24], before, *HISTORY[24:], event("2026-03-24 10:00", rows=2_000, destination=BUCKET)
    )


def test_stays_quiet_when_the_history_is_unknown() -> None:
    """A new joiner, and a network by somebody whose networks no source tells."""
    assert not findings(DETECTOR, event("2026-03-24 10:00", rows=2_000, destination=BUCKET))
    assert not findings(DETECTOR, *workdays("2026-03-02", 15), event("2026-03-24 10:00", rows=2_000, destination=HOME))


@pytest.mark.parametrize("place", ["file:1", BUCKET])
def test_fires_when_somebody_who_never_sent_anything_sends_a_first_time(place: str) -> None:
    """Days of reading are a history, too. Four are not enough."""
    reads = workdays("2026-03-02", 15, action="read", kind="data_access", rows=5)
    (found,) = findings(DETECTOR, *reads, event("2026-03-24 10:00", destination=place))
    assert found.level == 1
    assert not findings(DETECTOR, *reads[:16], event("2026-03-24 10:00", destination=place))


def test_fires_when_reads_go_to_a_network_never_seen() -> None:
    """Four times 1,800 rows; which of the reads before a source calls bulk does not matter."""
    read: dict[str, Any] = {"action": "read", "kind": "data_access"}
    usual = workdays("2026-03-02", 10, rows=300, source_network="10.20.1.0/24", **read)
    bulk: dict[str, Any] = {"action": "query", "kind": "bulk_query", "rows": 1_800, "source_network": "203.0.113.0/24"}
    told = [event(at("2026-03-24 10:00") + n * 60_000, destination=HOME, **bulk) for n in range(4)]
    untold = [event(at("2026-03-24 10:00") + n * 60_000, **bulk) for n in range(4)]
    assert findings(DETECTOR, *usual, *told)
    assert findings(DETECTOR, *usual, *untold)
    at_home = workdays("2026-03-24", 1, rows=300, source_network="203.0.113.0/24", **read)
    assert not findings(DETECTOR, *usual, *at_home)


def test_a_new_destination_is_never_taken_for_a_known_one() -> None:
    """Whichever of 400 names it has: one in 64 shared a place with the office."""
    drops = [event("2026-03-24 10:00", destination=f"program:{n}", actor=f"a{n}") for n in range(400)]
    office = [event("2026-03-23 10:00", destination=OFFICE, actor=f"a{n}", rows=1) for n in range(400)]
    assert len(findings(DETECTOR, *office, *drops)) == 400


def test_a_known_destination_stays_known_beside_another_in_its_place() -> None:
    """Office and home in turn, whatever their hashes."""
    turns = [
        event(
            f"2026-03-{day:02} {9 + n:02}:00",
            rows=30 if day < 23 else 3_000,
            destination=f"bucket:{2 * k + n}",
            actor=f"a{k}",
        )
        for day in range(9, 25)
        for k in range(40)
        for n in range(2)
    ]
    assert not findings(DETECTOR, *turns)


def test_stays_quiet_when_somebody_works_from_another_network() -> None:
    """NAT, DHCP, travel, home: an ordinary day from a new place."""
    assert not findings(DETECTOR, *HISTORY, *workdays("2026-03-24", 1, destination=HOME))
    assert not findings(DETECTOR, *HISTORY, event("2026-03-24 10:00", rows=400, destination=HOME))


def test_fires_when_days_of_work_leave_for_a_new_network_within_an_hour() -> None:
    """That is no ordinary day."""
    assert findings(DETECTOR, *HISTORY, event("2026-03-24 10:00", rows=900, destination=HOME))
    busy = workdays("2026-03-02", 15, rows=400, destination=OFFICE)
    assert findings(DETECTOR, *busy, event("2026-03-24 10:00", rows=2_000, destination=HOME))
    assert not findings(DETECTOR, *busy, event("2026-03-24 10:00", rows=2_000, destination="client:10.7.7.0/24"))


def test_fires_on_a_first_export_of_unknown_size_from_a_new_network() -> None:
    """COPY by somebody who never used it; quiet for those who use it daily."""
    strange = event("2026-03-24 10:00", destination=HOME)
    assert findings(DETECTOR, *HISTORY, strange)
    assert not findings(DETECTOR, *workdays("2026-03-02", 15, rows=None, destination=OFFICE), strange)


def test_stays_quiet_when_a_file_has_another_name_each_day() -> None:
    """Files count as one destination."""
    usual = [event(f"2026-03-{day:02} 10:00", rows=900, destination=f"file:{day}") for day in range(9, 20)]
    assert not findings(DETECTOR, *usual, event("2026-03-24 10:00", rows=900, destination="file:new"))


def test_fires_on_a_first_program_though_the_size_is_unknown() -> None:
    """COPY … TO PROGRAM tells neither rows nor bytes. High, history or not; the second time it is known."""
    piped = event("2026-03-24 10:00", destination="program:77")
    for history in (HISTORY, []):
        (found,) = findings(DETECTOR, *history, piped)
        assert alert_of(found, "rua.events.lazada", 0).severity == "high"
    assert not findings(
        DETECTOR, event("2026-03-02 10:00"), *HISTORY, piped, event("2026-03-25 10:00", destination="program:77")
    )[1:]


def test_stays_quiet_when_a_migrated_job_sends_the_usual_from_a_new_network() -> None:
    """Machines move, too."""
    usual = workdays("2026-03-02", 15, hours=(1,), rows=200_000, actor_type="service", destination=OFFICE)
    moved = event("2026-03-24 01:05", rows=210_000, actor_type="service", destination="client:10.9.9.0/24")
    assert not findings(DETECTOR, *usual, moved)
