"""Two versions of the rules: how they are named, what differs, and how that is told and drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rua_common.errors import BadConfiguration
from rua_schemas.events import Alert, Severity
from rua_streams.backtest.chart import Picture, draw
from rua_streams.backtest.compare import Difference, differences, incidents
from rua_streams.backtest.judge import Told
from rua_streams.backtest.rules import Rules, shown, thresholds
from rua_streams.backtest.telling import comparison, document, listing
from rua_streams.detectors import DETECTORS
from rua_streams.detectors.bulk_export_volume import BulkExportVolume
from rua_streams.detectors.first_seen_destination import FirstSeenDestination

from tests.sink_rig import NOON, incident

BANGKOK = ZoneInfo("Asia/Bangkok")
MINUTE, DAY_MS = 60_000, 86_400_000
NAMES = ("shipped rules", "rules.py")
OWN = """
from dataclasses import dataclass, replace
from rua_streams.detectors.off_hours import OffHours
@dataclass(frozen=True)
class Mine(OffHours):
    "One of my own."
DETECTORS = (Mine(min_rows=7),)
"""


def loaded(*changes: str) -> dict[str, object]:
    """The detectors with these changes, by id."""
    return {d.rule.id: d for d in Rules("x", changes=changes).load()}


def test_the_shipped_rules_are_all_or_those_that_are_named() -> None:
    """In the order in which they stand."""
    assert Rules("x").load() == DETECTORS
    assert Rules("x", ids=("off-hours",)).load() == tuple(d for d in DETECTORS if d.rule.id == "off-hours")
    with pytest.raises(BadConfiguration, match=r"off-hour is no detector \(allowed: all, bulk-export-volume"):
        Rules("x", ids=("off-hour",)).load()


def test_a_threshold_is_changed_and_all_else_stays() -> None:
    """A number, a share of one, whole ladders, and a ladder's first step."""
    found = loaded(
        "bulk-export-volume.rows=1000",
        "bulk-export-volume.bytes=[1, 2, 3]",
        "bulk-export-volume.subjects=5,6",
        "bulk-export-volume.min_days=9",
        "bulk-export-volume.season=2",
        "first-seen-destination.client_days=0.5",
    )
    shipped = BulkExportVolume()
    assert found["bulk-export-volume"] == BulkExportVolume(
        rows=(1_000, *shipped.rows[1:]), bytes=(1, 2, 3), subjects=(5, 6), min_days=9, season=2
    )
    assert found["first-seen-destination"] == FirstSeenDestination(client_days=(0.5, 2.0))
    assert loaded()["off-hours"] == found["off-hours"]


def test_every_threshold_of_every_detector_takes_its_own_value() -> None:
    """What an error offers is what `--set` takes; features are none."""
    for detector in DETECTORS:
        changes = [f"{detector.rule.id}.{name}={shown(value)}" for name, value in thresholds(detector).items()]
        assert changes
        assert loaded(*changes)[detector.rule.id] == detector


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("bulk-export-volume.rows", r"is no change \(allowed: DETECTOR.FIELD=VALUE\)"),
        ("bulk.rows=5", r"bulk is no detector \(allowed: baseline-deviation, bulk-export-volume"),
        ("bulk-export-volume.row=5", r"has no threshold row \(allowed: bulk-export-volume.rows=10000,50000"),
        ("bulk-export-volume.hours=5", "has no threshold hours"),
        ("bulk-export-volume.rows=many", r"bulk-export-volume.rows: 'many' is not allowed.*such as 10000,50000"),
        ("bulk-export-volume.rows=60000", "there must be at least two steps, none below the one before"),
        ("bulk-export-volume.rows=9,8", "there must be at least two steps, none below the one before"),
        ("bulk-export-volume.rows=[]", "there must be at least two steps"),
        ("off-hours.min_rows=1.5", r"off-hours.min_rows: '1.5' is not allowed"),
        ("off-hours.min_rows=", r"off-hours.min_rows: '' is not allowed"),
        ("first-seen-destination.client_days=1,2,3", "client_days: '1,2,3' is not allowed"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_with_what_would(change: str, said: str) -> None:
    """Before any event is read."""
    with pytest.raises(BadConfiguration, match=said):
        loaded(change)


def test_rules_come_from_a_file_of_ones_own(tmp_path: Path) -> None:
    """Thresholds can be changed on top."""
    path = tmp_path / "rules.py"
    path.write_text(OWN)
    assert [shown(thresholds(d)["min_rows"]) for d in Rules("x", str(path)).load()] == ["7"]
    (found,) = Rules("x", str(path), changes=("off-hours.min_rows=9",)).load()
    assert thresholds(found)["min_rows"] == 9
    assert Rules("x", "rua_streams.detectors").load() == DETECTORS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("DETECTORS = ()", "it needs DETECTORS"),
        ("DETECTORS = (1,)", "it needs DETECTORS"),
        ("DETECTOR = 1", "it needs DETECTORS"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError"),
        ("def", "cannot be loaded: SyntaxError"),
    ],
)
def test_a_file_that_holds_no_rules_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """With its name and why."""
    path = tmp_path / "rules.py"
    path.write_text(text)
    with pytest.raises(BadConfiguration, match=f"{path}: .*{said}"):
        Rules("x", str(path)).load()


def test_a_module_that_is_not_there_is_refused() -> None:
    """Neither file nor name."""
    for module in ("nowhere.py", "rua_streams.nowhere"):
        with pytest.raises(BadConfiguration, match="cannot be loaded"):
            Rules("x", module).load()


def alert(number: int, minute: int, severity: Severity = "medium", **facts: object) -> Alert:
    """An alert that was raised so many minutes after noon about what happened in the ten minutes before."""
    at = NOON + minute * MINUTE
    window = {"window_start": at - 10 * MINUTE, "window_end": at, "raised_at": at}
    return incident(alert_id=f"{number:032x}", severity=severity, **window, **facts)


def compared(before: Sequence[Alert], after: Sequence[Alert]) -> list[Difference]:
    """The differences of two lists of alerts."""
    return differences(incidents(before), incidents(after))


def fates(before: Sequence[Alert], after: Sequence[Alert]) -> list[str]:
    """Only what became of each incident."""
    return [one.fate for one in compared(before, after)]


def test_revisions_of_an_alert_are_one_incident() -> None:
    """It was raised at the first and is as grave as the last."""
    (found,) = incidents([alert(1, 5, "high", revision=2), alert(1, 0)])
    assert (found.raised_at, found.severity) == (NOON, "high")


def test_what_one_version_raises_alone_appears_or_vanishes() -> None:
    """And what both raise alike is the same."""
    assert fates([alert(1, 0), alert(2, 60)], [alert(1, 0), alert(3, 120)]) == ["same", "vanishes", "appears"]


def test_another_severity_or_another_time_is_a_change() -> None:
    """Of the same alert."""
    assert fates([alert(1, 0)], [alert(1, 0), alert(1, 5, "high", revision=2)]) == ["changes"]
    assert fates([alert(1, 0)], [alert(1, 3)]) == ["changes"]


def test_an_incident_that_opens_at_another_event_is_the_same_incident() -> None:
    """Its id is another, but detector, subject and time are not: raised four minutes sooner."""
    (one,) = compared([alert(1, 4)], [alert(2, 0)])
    assert (one.fate, one.before and one.before.raised_at, one.after and one.after.raised_at) == (
        "changes",
        NOON + 4 * MINUTE,
        NOON,
    )


@pytest.mark.parametrize("other", [{"subject": "x"}, {"detector": "off-hours"}, {"platform": "x"}])
def test_incidents_of_others_or_of_another_time_are_not_the_same(other: dict[str, Any]) -> None:
    """The pair of the test above."""
    assert fates([alert(1, 4)], [alert(2, 0, **other)]) == ["appears", "vanishes"]
    assert fates([alert(1, 0)], [alert(2, 30)]) == ["vanishes", "appears"]


def test_an_incident_is_paired_once() -> None:
    """Two before, one after, all overlapping."""
    assert sorted(fates([alert(1, 0), alert(2, 1)], [alert(3, 2)])) == ["changes", "vanishes"]


BEFORE = [alert(1, 0), alert(2, 30), alert(3, 60)]
AFTER = [alert(1, 0), alert(2, 30), alert(2, 35, "high", revision=2), alert(4, 90, "critical", subject="f" * 32)]


def test_a_person_reads_only_what_differs() -> None:
    """With signs, both severities of what changed, and how many there are."""
    found = compared(BEFORE, AFTER)
    assert list(comparison(found, NAMES, BANGKOK)) == [
        "~ 2026-03-02 16:30  high      bulk-export-volume  shop  actor actor-1  120,000 rows, limit 100,000",
        "    shipped rules: medium at 2026-03-02 16:30",
        "- 2026-03-02 17:00  medium    bulk-export-volume  shop  actor actor-1  120,000 rows, limit 100,000",
        "+ 2026-03-02 17:30  critical  bulk-export-volume  shop  actor ffffffffffffffff…  120,000 rows, limit 100,000",
        "shipped rules: 3 alerts; rules.py: 3 alerts",
        "1 appear (+), 1 vanish (-), 1 change (~)",
    ]


def test_of_one_version_a_person_reads_all() -> None:
    """One line an incident, and a sum."""
    lines = list(listing(AFTER, BANGKOK))
    assert len(lines) == 4
    assert lines[-1] == "3 alerts: 3 bulk-export-volume"
    assert list(listing([], BANGKOK)) == ["0 alerts"]


def test_a_program_reads_every_revision_and_every_difference() -> None:
    """As JSON."""
    told = Told([BEFORE, AFTER], events=7)
    made = json.loads(json.dumps(document(told, NAMES, compared(BEFORE, AFTER))))
    assert [(v["name"], len(v["alerts"])) for v in made["versions"]] == [("shipped rules", 3), ("rules.py", 4)]
    assert [d["fate"] for d in made["differences"]] == ["changes", "vanishes", "appears"]
    assert "differences" not in document(Told([AFTER]), NAMES[1:], None)


@pytest.mark.parametrize("name", ["chart.png", "chart.svg"])
def test_both_versions_are_drawn(tmp_path: Path, name: str) -> None:
    """And one alone, and nothing at all."""
    for found, names in (
        (compared(BEFORE, AFTER), NAMES),
        ([Difference(fate="same", after=i) for i in incidents(AFTER)], NAMES[1:]),
        ([], NAMES),
    ):
        draw(tmp_path / name, Picture(found, names, NOON, NOON + 5 * DAY_MS, BANGKOK))
        assert (tmp_path / name).stat().st_size > 5_000
        (tmp_path / name).unlink()


def test_a_picture_says_what_it_shows(tmp_path: Path) -> None:
    """Title, detectors, versions and shapes stand in the file; a long name is cut; a short time is drawn as a day."""
    picture = Picture(compared(BEFORE, AFTER), ("old", "n" * 90), NOON, NOON + MINUTE, BANGKOK)
    draw(tmp_path / "chart.svg", picture)
    drawn = (tmp_path / "chart.svg").read_text(encoding="utf-8")
    for text in (
        picture.title,
        "bulk-export-volume",
        "old (upper marks)",
        "n" * 59 + "…",
        "vanishes",
        "alerts an hour",
    ):
        assert f"<!-- {text}" in drawn
    assert picture.title == "3 alerts, 3 before: 1 appear, 1 vanish, 1 change"
    assert picture.bounds[1] - picture.bounds[0] == pytest.approx(1.04)


def test_a_picture_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    """With those that are known."""
    with pytest.raises(BadConfiguration, match="--chart"):
        draw(tmp_path / "chart.doc", Picture([], NAMES, NOON, NOON, BANGKOK))
