"""Any cut of the log gives the same findings and the same state, which are those of a naive reader of single events."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from msgspec.structs import replace
from rua_schemas.events import MAX_TIME_MS, TelemetryEvent
from rua_streams.detectors.baseline_deviation import BaselineDeviation
from rua_streams.detectors.bulk_export_volume import BulkExportVolume
from rua_streams.detectors.first_seen_destination import FirstSeenDestination
from rua_streams.detectors.off_hours import OffHours
from rua_streams.detectors.privilege_then_export import PrivilegeThenExport
from rua_streams.engine import Detector, Engine, Finding
from rua_streams.runs import DAY, HOUR
from rua_streams.state import PARTITION, State
from rua_streams.testing import event, frame, replay

from tests.unit.rua_streams.oracle import Oracle

# Thresholds that short random logs reach now and then; the rules are the shipped ones.
SMALL: tuple[Detector, ...] = (
    BulkExportVolume(
        rows=(300, 900, 2_000), bytes=(5_000, 9_000), subjects=(60, 120), min_days=1, learning=DAY, season=3
    ),
    BaselineDeviation(floor=50, floor_bytes=2_000, min_days=2, score=1.0, unsized=2, season=3, twice_peak=1.2, worse=2),
    OffHours(min_days=2, min_rows=50, min_weeks_days=3, share=0.4),
    PrivilegeThenExport(min_rows=50, cold_rows=400, min_days=2, routine=2),
    FirstSeenDestination(min_rows=50, min_days=1),
)
THOROUGH, MUTANT = "RUA_THOROUGH" in os.environ, "RUA_MUTANT" in os.environ  # set by hand; by test_mutants.py
PHASES = (Phase.generate,) if MUTANT else (Phase.generate, Phase.shrink)
QUICK = settings(
    max_examples=1_000 if THOROUGH else 60,
    deadline=None,
    phases=PHASES,
    database=None,
    derandomize=MUTANT,
    suppress_health_check=[HealthCheck.too_slow],
)
JUMPS = (0, 5, 60, 300, HOUR, HOUR + 300, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, DAY, DAY, 3 * DAY, 7 * DAY, 14 * DAY)
ODD = (-60, -HOUR, -3 * HOUR, -DAY, -2 * DAY, -7 * DAY, -29 * DAY, -30 * DAY, -31 * DAY, 40 * DAY, 100 * DAY)
CHANGES = (1_772_953_200, 1_793_509_200)  # around clock changes of 2026 in New York: 8 March and 1 November
INSIDE = "client:172.20.1.0/24"
PLACES = ("bucket:30", "bucket:46", "bucket:47", "program:1", "b4")  # the buckets share a set
ZONES = ("Asia/Bangkok", "America/New_York")
# How long the silent are remembered, in days, and how many events make a day: so short that random logs forget.
MEMORIES = ((100, 1), (20, 2), (3, 1), (1, 3))


def log_of(rng: random.Random, length: int) -> list[TelemetryEvent]:
    """A log in which time jumps both ways and a few subjects do everything."""
    now, events = rng.choice((1_772_000_000, 1_790_000_000, *CHANGES)) + rng.randrange(7 * DAY), []
    actors = rng.choice((("a", "a", "a", "a", "a", "b", "", None), ("a", "b", "c", "d")))
    habit, calm = rng.choice((1, 3, 10, 40)), rng.random() < 0.5
    for number in range(length):
        odd = rng.random() < 0.08
        seconds = now + rng.choice(ODD if odd else JUMPS) + rng.choice((0, 0, rng.randrange(HOUR)))
        now = max(now, seconds) if not odd or rng.random() < 0.3 else now
        late = rng.random() < 0.1
        observed = now * 1_000 if late or rng.random() < 0.5 else seconds * 1_000 + rng.randrange(1_000)
        rows = rng.choice(
            (None, habit, habit, 3 * habit, 100, 400, 1_500) if not calm else (habit, habit, 2 * habit, 500)
        )
        kind = "privilege_change" if rng.random() < 0.12 else "data_export"
        broken = rng.random() < 0.02
        events.append(
            event(
                rng.choice((0, -5, MAX_TIME_MS + 1, 1 << 62)) if broken else seconds * 1_000 + rng.randrange(1_000),
                observed=rng.choice((0, -1, 1 << 62)) if rng.random() < 0.01 else max(observed, 1),
                event_id=f"{number + 1:032x}",
                kind=kind,
                action="alter" if kind == "privilege_change" else rng.choice(("export", "export", "read", "delete")),
                outcome=rng.choice(("ok", "ok", "ok", "ok", "denied")),
                actor=rng.choice(actors),
                merchant=rng.choice((None, "m", "a")),
                source_ip=rng.choice((None, "a")),
                actor_type=rng.choice(("interactive", "interactive", "service")),
                ticket=rng.choice((None, None, None, "CHG-1")),
                rows=rows,
                bytes=rng.choice((None, None, 100, 3_000, 40_000)),
                subjects=rng.choice((None, 1, 30, 70)),
                destination=rng.choice(
                    (None, None, INSIDE, INSIDE, "client:203.0.113.0/24", "file:1", "file:2", *PLACES)
                ),
                source_network=rng.choice((None, None, "172.20.1.0/24", "198.51.100.0/24")),
                destination_external=rng.choice((None, False, True)),
            )
        )
    return events


LOGS = st.builds(lambda seed, length: log_of(random.Random(seed), length), st.integers(0, 1 << 32), st.integers(1, 60))


def told(finding: Finding) -> tuple[object, ...]:
    """A finding as the oracle tells it."""
    numbers = {n.name: (n.value, n.limit) for n in finding.numbers}
    window = (finding.window_start, finding.window_end)
    evidence = tuple(seen and seen.offset for seen in (finding.cause, finding.first, finding.opener))
    return finding.deciding.offset, finding.rule.id, finding.level, numbers, finding.alert_id, evidence, window


def agree(events: Sequence[TelemetryEvent], zone: str, keep_days: int, votes: int) -> set[str]:
    """Asserts that engine and oracle say the same; the ids of the detectors that fired."""
    found, state = replay(SMALL, events, zone=zone, keep_days=keep_days, votes=votes)
    oracle = Oracle(SMALL, zone, keep_days, votes)
    assert [told(finding) for finding in found] == oracle.read(events)
    assert set(state) - {PARTITION.encode()} == {name.encode() for name in oracle.last}
    return {finding.rule.id for finding in found}


def test_every_detector_fires_on_long_logs_and_agrees_with_the_naive_reader() -> None:
    """A property test that never sees a finding proves nothing."""
    fired: set[str] = set()
    for seed in range(12):
        fired |= agree(log_of(random.Random(seed), 200), ZONES[seed % 2], *MEMORIES[seed % 4])
    assert fired == {d.rule.id for d in SMALL}


@pytest.mark.parametrize("seed", range(60 if THOROUGH else 6))
def test_event_by_event_gives_the_same_findings_and_state(seed: int) -> None:
    """The finest of all cuts, restored from bytes after each event."""
    events = log_of(random.Random(seed), 60)
    days, votes = MEMORIES[seed % 4]
    whole = replay(SMALL, events, keep_days=days, votes=votes)
    cuts = range(1, len(events))
    assert replay(SMALL, events, cuts, restart=True, keep_days=days, votes=votes) == whole


@pytest.mark.parametrize("seed", range(6))
def test_the_rows_saved_at_checkpoints_are_the_whole_state(seed: int) -> None:
    """Every row that a batch changes is dirty after it, and every row that it forgets has a tombstone."""
    days, votes = MEMORIES[seed % 4]
    events, engine = log_of(random.Random(seed), 60), Engine(SMALL, keep_days=days, votes=votes)
    state, log = State(engine.layout), dict[bytes, bytes | None]()
    for start in range(0, len(events), 7):
        engine.apply(frame(events[start : start + 7], start), state)
        log.update(state.take_dirty())
        assert {key: row for key, row in log.items() if row is not None} == state.dump()


@QUICK
@given(LOGS, st.sampled_from(ZONES), st.sampled_from(MEMORIES))
def test_the_findings_are_those_of_a_naive_reader(
    events: list[TelemetryEvent], zone: str, memory: tuple[int, int]
) -> None:
    """Same events, same levels, same numbers and limits, same alert ids, same windows; the same subjects remain."""
    agree(events, zone, *memory)


@QUICK
@given(LOGS, st.data(), st.sampled_from(ZONES), st.sampled_from(MEMORIES))
def test_any_cut_gives_the_same_findings_and_state(
    events: list[TelemetryEvent], data: st.DataObject, zone: str, memory: tuple[int, int]
) -> None:
    """In pieces, and restored from bytes between pieces, as in one, whatever is forgotten on the way."""
    days, votes = memory
    whole = replay(SMALL, events, zone=zone, keep_days=days, votes=votes)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=5)))
    assert replay(SMALL, events, cuts, zone=zone, keep_days=days, votes=votes) == whole
    assert replay(SMALL, events, cuts, zone=zone, restart=True, keep_days=days, votes=votes) == whole


def after_a_silence(rng: random.Random, days: int) -> list[TelemetryEvent]:
    """A log whose subjects are all silent for so many days, while somebody else is not; nothing is a week late."""
    events = [e for e in log_of(rng, 80) if 0 < e.occurred_at <= e.observed_at < e.occurred_at + 7 * DAY * 1_000]
    before, after = events[: len(events) // 2], events[len(events) // 2 :]
    last = max(e.observed_at for e in before)
    gap = days * DAY * 1_000
    steps = 400  # enough for a day each, however far the clock lags behind the jumps before
    ticks = [event(last + gap * n // steps, actor="tick", action="alter", kind="data_change") for n in range(steps)]
    moved = [replace(e, occurred_at=e.occurred_at + gap, observed_at=e.observed_at + gap) for e in after]
    return [*before, *ticks, *moved]


def differs(seed: int, days: int, keep_days: int | None) -> bool:
    """Whether forgetting, after so many days of silence, changes what is found."""
    events = after_a_silence(random.Random(seed), days)
    found, _ = replay(SMALL, events, keep_days=keep_days, votes=1)
    everything, _ = replay(SMALL, events, keep_days=10_000, votes=1)
    return [told(one) for one in found] != [told(one) for one in everything]


def test_what_is_forgotten_could_not_have_mattered() -> None:
    """After a hundred days of silence nobody is judged otherwise; after ten some would be."""
    assert not any(differs(seed, 110, None) for seed in range(4))
    assert any(differs(seed, 15, 10) for seed in (2, 3))
