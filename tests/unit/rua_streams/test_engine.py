"""What the engine promises around its detectors."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from rua_common.errors import BadConfiguration
from rua_schemas.codec import encode
from rua_schemas.columns import ColumnCodec
from rua_schemas.events import MAX_TIME_MS
from rua_streams.detectors import DETECTORS
from rua_streams.detectors.bulk_export_volume import BulkExportVolume
from rua_streams.engine import BEHIND, Engine
from rua_streams.facts import wall_clock, zone_named
from rua_streams.runs import DAY, HOUR
from rua_streams.state import PARTITION, State
from rua_streams.testing import at, event, findings, frame, replay, workdays

BULK = BulkExportVolume()


def test_frames_of_the_test_kit_are_those_of_the_codec() -> None:
    """Else the tests would prove nothing."""
    events = [event("2026-03-24 10:00", rows=5), event("2026-03-24 10:01", pii_categories=("phone",))]
    decoded = ColumnCodec().decode([encode(e) for e in events]).frame
    assert frame(events).drop("offset").equals(decoded)
    assert frame(events).drop("offset").schema == decoded.schema


def test_an_unknown_zone_is_a_bad_configuration() -> None:
    """Named with what would be right."""
    with pytest.raises(BadConfiguration, match="no IANA time zone"):
        zone_named("Asia/Bankok")
    with pytest.raises(BadConfiguration):
        Engine(DETECTORS, zone="../etc/passwd")


@pytest.mark.parametrize("zone", ["Asia/Bangkok", "Asia/Kolkata", "America/New_York", "Europe/Berlin"])
def test_local_time_follows_the_zones_calendar(zone: str) -> None:
    """Bangkok by addition, New York through both its clock changes."""
    times = [at("2026-01-01 00:00", "UTC") // 1_000 + hour * HOUR for hour in range(0, 365 * 24, 5)]
    walls = frame([event(time * 1_000) for time in times]).select(wall_clock(zone)).to_series().to_list()
    for time, wall in zip(times, walls, strict=True):
        local = datetime.fromtimestamp(time, ZoneInfo(zone))
        assert datetime.fromtimestamp(wall, UTC).replace(tzinfo=None) == local.replace(tzinfo=None)


def test_times_out_of_range_are_harmless() -> None:
    """They neither move a clock nor hide what follows; without any usable time the event is passed over."""
    absurd = [event(when, observed=at("2026-03-24 10:00"), rows=1) for when in (-1, 0, MAX_TIME_MS + 1, 1 << 62)]
    unseen = [event("2026-03-24 10:00", observed=seen, rows=90_000) for seen in (-1, 0, 1 << 62)]
    history, theft = workdays("2026-03-02", 15), event("2026-03-24 10:10", rows=30_000)
    (found,) = findings(BULK, *history, *absurd, *unseen, theft)
    assert found.deciding.event_id == theft.event_id


def test_a_clock_far_ahead_counts_as_five_minutes_ahead() -> None:
    """A source a year ahead must not hide its actor's next events."""
    ahead = event("2027-03-24 10:00", observed=at("2026-03-24 10:00"), rows=9_000)
    theft = event("2026-03-24 10:20", rows=30_000)
    assert len(findings(BULK, *workdays("2026-03-02", 15), ahead, theft)) == 1


def test_subjects_of_different_types_never_share_a_row() -> None:
    """An actor called m-1 is not the merchant m-1."""
    nobody = {"actor": None, "rows": 1}
    events = [
        event("2026-03-24 10:00", actor="m-1"),
        event("2026-03-24 10:00", **nobody, merchant="m-1"),
        event("2026-03-24 10:00", **nobody, app="m-1"),
        event("2026-03-24 10:00", **nobody, source_ip="m-1"),
        event("2026-03-24 10:00", **nobody, source_network="m-1"),
        event("2026-03-24 10:00", **nobody, source_id="m-1"),
        event("2026-03-24 10:00", observed=at("2026-03-25 10:00"), actor="m-1"),
        event("2026-03-24 10:00", actor="", merchant="", app="a"),
    ]
    _, rows = replay([BULK], events)
    kinds = ("", "\0merchant:", "\0app:", "\0address:", "\0network:", "\0source:")
    names = {f"{kind}m-1" for kind in kinds} | {f"m-1{BEHIND}", "\0app:a", PARTITION}
    assert set(rows) == {name.encode() for name in names}


@pytest.mark.parametrize("event_id", ["no hex ฮ", "abcd", ""])
def test_an_event_id_that_is_none_cannot_stop_the_worker(event_id: str) -> None:
    """It is hashed where the state has room for 16 bytes only."""
    (found,) = findings(BULK, event("2026-03-24 10:00", rows=60_000, event_id=event_id))
    assert found.deciding.event_id == event_id
    assert len(found.opener.event_id) == 32


def test_an_absurd_count_cannot_make_a_sum_wrap() -> None:
    """Neither upwards nor downwards."""
    counts = [event("2026-03-24 10:00", rows=n) for n in (2**63 - 1, 2**63 - 1, -(2**63))]
    assert findings(BULK, *counts)[0].numbers[0].value == 1 << 40


def test_an_incident_after_a_quiet_period_is_another_alert() -> None:
    """Six hours without a hit end the episode."""
    history = workdays("2026-03-02", 15)
    times = ("08:00", "10:00", "15:30", "22:30")
    found = findings(BULK, *history, *[event(f"2026-03-24 {time}", rows=20_000) for time in times])
    assert len(found) == 2
    assert found[0].alert_id != found[1].alert_id


def test_an_empty_frame_changes_nothing() -> None:
    """Not even the time of the first event."""
    engine = Engine(DETECTORS)
    state = State(engine.layout)
    assert engine.apply(frame([]), state) == []
    assert engine.apply(frame([event(DAY * 1_000, observed=0)]), state) == []
    assert state.dump() == {}


def test_the_same_event_twice_over_two_platforms_has_two_alert_ids() -> None:
    """The platform is part of the id."""
    one, other = (
        findings(BULK, event("2026-03-24 10:00", rows=60_000, event_id="1" * 32, platform=platform))[0]
        for platform in ("lazada", "shopee")
    )
    assert one.opener == other.opener
    assert one.alert_id != other.alert_id


def test_an_episode_carried_over_keeps_its_opener_though_another_subjects_begins_before_it() -> None:
    """In the second batch `a` opens an episode, and `b`, sorted after `a`, goes on with one of its own."""
    events = [
        event("2026-03-24 10:00", actor="a", rows=10),
        event("2026-03-24 10:00", actor="b", rows=60_000),
        event("2026-03-24 10:10", actor="a", rows=60_000),
        event("2026-03-24 10:20", actor="b", rows=60_000),
    ]
    found, _ = replay([BULK], events, [2])
    assert [(f.subject, f.opener.offset) for f in found] == [("b", 1), ("a", 2), ("b", 1)]


def test_an_episode_remembers_its_highest_level_not_its_latest() -> None:
    """High, then medium, then, in another batch, high again: one finding."""
    times, rows = ("08:00", "10:00", "12:00"), (60_000, 20_000, 60_000)
    history = workdays("2026-03-02", 15)
    events = [*history, *(event(f"2026-03-24 {t}", rows=r) for t, r in zip(times, rows, strict=True))]
    found, _ = replay([BULK], events, [len(events) - 1])
    assert [f.level for f in found] == [2]


def test_a_late_event_does_not_move_the_clock_of_those_that_come_in_time() -> None:
    """Nor in a batch that holds no late event itself."""
    history = workdays("2026-03-02", 15)
    late = event("2026-03-24 12:00", observed=at("2026-03-24 15:00"), rows=1)
    events = [*history, event("2026-03-24 10:00", rows=9_000), late, event("2026-03-24 10:30", rows=2_000)]
    found, _ = replay([BULK], events, [len(events) - 1])
    assert [f.deciding.offset for f in found] == [len(events) - 1]
