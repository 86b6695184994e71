"""A new version of the rules starts from what the old one wrote.

`tests/data/streams/state-0.1.0.jsonl` holds the state rows that the release wrote for `history()`, its checkpoint row
included. `save` makes such a file: run it with the release's own code, and never again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from rua_common.errors import Refused
from rua_schemas.events import TelemetryEvent
from rua_streams.checkpoint import CHECKPOINT, Checkpoint, decoded
from rua_streams.dead_letters import Notices
from rua_streams.detect import ACTORS, NOTICES, SOURCES, known_layouts
from rua_streams.detectors import DETECTORS
from rua_streams.detectors.bulk_export_volume import BulkExportVolume
from rua_streams.engine import Detector, Engine, Finding
from rua_streams.fence import Fence
from rua_streams.partition import table
from rua_streams.state import PARTITION, Layout, State, in_use, inherited
from rua_streams.testing import at, event, frame, replay, workdays
from rua_streams.watermark import DAY_MS

RELEASED = Path(__file__).parents[2] / "data" / "streams" / "state-0.1.0.jsonl"


def history() -> list[TelemetryEvent]:
    """Three weeks of ordinary work by three people, and of a job at night. Ids and positions are those of the place."""
    events = [e for actor in ("a", "b", "ค") for e in workdays("2026-03-02", 15, actor=actor)]
    events += workdays(
        "2026-03-02", 15, hours=(2,), actor="job", actor_type="service", rows=9_000, destination="bucket:1"
    )
    events.sort(key=lambda e: e.occurred_at)
    return [named(e, number) for number, e in enumerate(events)]


def named(one: TelemetryEvent, number: int) -> TelemetryEvent:
    """The event with an id and a position that every run gives it."""
    return msgspec.structs.replace(one, event_id=f"{number + 1:032x}", source_position=1_024 * number, agent_seq=number)


def incident() -> list[TelemetryEvent]:
    """What everybody should be asked about afterwards, whoever kept the history."""
    night = [event("2026-03-24 03:00", actor="a", rows=60_000), event("2026-03-24 03:10", actor="b", rows=9_000)]
    place = event("2026-03-24 10:00", actor="ค", rows=4_000, destination="bucket:9")
    return [named(one, 10_000 + number) for number, one in enumerate([*night, place])]


def rows_of(detectors: Sequence[Detector], events: Sequence[TelemetryEvent]) -> dict[bytes, bytes]:
    """The rows of a state topic after these events."""
    engine, fence, notices = Engine(detectors), Fence(), Notices()
    state, taken = State(engine.layout), frame(events)
    engine.apply(taken.filter(fence.admit(taken)), state)
    notices.first("wrong_platform other", 5)
    checkpoint = Checkpoint(group="rua-detect", topic_id="T", partitions=1, next=len(events), layouts=(engine.layout,))
    tables: dict[bytes, Mapping[bytes, bytes | None]]
    tables = {ACTORS: state.dump(), SOURCES: fence.dump(), NOTICES: notices.take_dirty()}
    rows = {letter + key: row for letter, saved in tables.items() for key, row in saved.items() if row is not None}
    return {**rows, CHECKPOINT: msgspec.json.encode(checkpoint)}


def save(path: Path) -> None:
    """Writes the rows as lines of JSON: key and row in base64."""
    rows = sorted(rows_of(DETECTORS, history()).items())
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def saved(path: Path = RELEASED) -> dict[bytes, bytes]:
    """The rows of such a file."""
    lines: Iterator[tuple[bytes, bytes]] = (
        msgspec.json.decode(line, type=tuple[bytes, bytes]) for line in path.read_bytes().splitlines()
    )
    return dict(lines)


def upgraded(rows: dict[bytes, bytes], detectors: Sequence[Detector]) -> tuple[Engine, State]:
    """Engine and state of a worker that starts on these rows."""
    layouts = msgspec.json.decode(rows[CHECKPOINT], type=Checkpoint).layouts
    engine, subjects = Engine(detectors), table(rows, ACTORS)
    state = State(engine.layout)
    state.load(subjects, known_layouts(in_use(subjects.values(), layouts), engine))
    return engine, state


def told(found: Sequence[Finding]) -> list[tuple[object, ...]]:
    """What a finding says, whatever offset it was found at."""
    return [(f.rule.id, f.subject, f.level, f.numbers, f.alert_id, f.window_start) for f in found]


def test_this_release_goes_on_from_the_state_of_the_one_before() -> None:
    """The same findings as if it had read the whole log itself; nobody counts as silent since 1970."""
    engine, state = upgraded(saved(), DETECTORS)
    found = engine.apply(frame(incident(), 10_000), state)
    whole, _ = replay(DETECTORS, [*history(), *incident()])
    assert {f.rule.id for f in found} >= {"bulk-export-volume", "off-hours", "first-seen-destination"}
    assert told(found) == told(whole[-len(found) :])
    state.forget(at("2026-03-24 03:00") // DAY_MS - engine.keep_days)
    assert set(state.rows) == {PARTITION, "a", "b", "ค", "job"}


def test_the_fence_and_the_notices_of_the_one_before_hold() -> None:
    """What it counted is not counted again."""
    fence, notices = Fence(), Notices(table(saved(), NOTICES))
    fence.load(table(saved(), SOURCES))
    assert not fence.admit(frame(history())).any()
    assert fence.admit(frame(incident())).all()
    assert not notices.first("wrong_platform other", 99)


@pytest.mark.parametrize("removed", range(len(DETECTORS)))
def test_a_detector_removed_and_another_added_touch_no_other(removed: int) -> None:
    """The kept ones say what they would have said; the added one says what it would say of a log that begins here."""
    old = [d for d in DETECTORS if d is not DETECTORS[removed]]
    gone, kept = old[0], old[1:]
    rows = rows_of(old, history())
    engine, state = upgraded(rows, [*kept, DETECTORS[removed]])
    found = engine.apply(frame(incident(), 10_000), state)
    whole, _ = replay(old, [*history(), *incident()])
    later = [f for f in whole if f.deciding.offset >= len(history()) and f.rule.id != gone.rule.id]
    assert told([f for f in found if f.rule.id != DETECTORS[removed].rule.id]) == told(later)


def test_a_feature_of_another_shape_begins_anew_and_as_a_whole() -> None:
    """Half of what it remembers could be worse than nothing; what the engine keeps of a subject is taken over."""
    old: Layout = (
        ("actor", "clock", "<i8", ()),
        ("f", "day", "<i4", ()),
        ("f", "ring", "<i8", (3,)),
        ("g", "n", "<i8", ()),
    )
    new: Layout = (
        ("actor", "clock", "<i8", ()),
        ("actor", "x", "<i8", ()),
        ("f", "day", "<i4", ()),
        ("f", "ring", "<i8", (4,)),
        ("g", "n", "<i8", ()),
    )
    assert inherited(old, new) == {("actor", "clock", "<i8", ()), ("g", "n", "<i8", ())}


def test_other_thresholds_keep_what_was_remembered() -> None:
    """Features are named by what they measure, not by who asks."""
    changed = replace(BulkExportVolume(), rows=(1_000, 2_000))
    _, state = upgraded(saved(), [changed])
    assert state.columns[str(changed.day_rows)]["rank"][state.rows["a"]].any()


def test_layouts_of_rows_long_gone_are_forgotten() -> None:
    """Or each release would make every checkpoint longer."""
    rows = rows_of(DETECTORS, history())
    old = Engine(DETECTORS[:1]).layout
    assert in_use(table(rows, ACTORS).values(), (old, Engine(DETECTORS).layout)) == (Engine(DETECTORS).layout,)


@pytest.mark.parametrize("change", [{"version": 2}, {"later": 1}, {"next": "many"}])
def test_a_checkpoint_of_another_version_is_refused_with_the_cure(change: dict[str, object]) -> None:
    """Whatever else it holds; never as a failure of the decoder."""
    row = msgspec.json.decode(saved()[CHECKPOINT])
    with pytest.raises(
        Refused, match=r"shop-0: the checkpoint .*: run the version of Rua that wrote it, or a newer one"
    ):
        decoded(msgspec.json.encode({**row, **change}), "shop-0")
