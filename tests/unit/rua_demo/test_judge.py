"""The judge: the right alert counts, the wrong one does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from rua_demo import judge, world
from rua_demo.judge import SLACK_MS, ClearNames, JudgedAlert, Pseudonym, Verdict
from rua_demo.world import Label

T = 1_790_000_000
ATTACK = Label(id="a-1", pattern="off-hours", platform="jd", entities=["malee.t"], first=T, last=T + 600)
NAMES = ClearNames(
    [
        Pseudonym(platform="jd", clear="malee.t", pseudonym="p1"),
        Pseudonym(platform="jd", clear="suda.k", pseudonym="p2"),
        Pseudonym(platform="lazada", clear="malee.t", pseudonym="p3"),
    ]
)
RIGHT: dict[str, Any] = {
    "alert_id": "x",
    "detector": "off-hours",
    "severity": "high",
    "platform": "jd",
    "subject": "p1",
    "window_start": (T + 10) * 1_000,
    "window_end": (T + 20) * 1_000,
    "raised_at": (T + 20) * 1_000,
}


def judged(*changes: dict[str, Any], labels: tuple[Label, ...] = (ATTACK,)) -> Verdict:
    """The verdict on alerts that differ from the right one."""
    alerts = [JudgedAlert(**{**RIGHT, "alert_id": str(k), **change}) for k, change in enumerate(changes)]
    return judge.judge(labels, alerts, NAMES, detectors=["off-hours", "x"], actors=100, days=10)


def test_an_attack_is_found_by_its_own_pattern_and_person() -> None:
    """With the time that it took."""
    verdict = judged({})
    assert verdict.all_found
    assert verdict.false_alerts == []
    assert verdict.outcomes[0].seconds == 20
    assert verdict.by_pattern == {"off-hours": (1, 1)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": "p2"},  # another person
        {"platform": "lazada"},  # another platform, where that pseudonym means nobody
        {"platform": "lazada", "subject": "p3"},  # somebody of the same name elsewhere
        {"window_start": T * 1_000 - 9 * SLACK_MS, "window_end": T * 1_000 - SLACK_MS - 1},  # long before
        {"window_start": (T + 600) * 1_000 + SLACK_MS + 1, "window_end": T * 1_000 + 9 * SLACK_MS},  # long after
    ],
)
def test_an_alert_about_somebody_or_some_time_else_is_false(wrong: dict[str, Any]) -> None:
    """The broken twins: it must not count as found, and it is a false accusation."""
    verdict = judged(wrong)
    assert not verdict.all_found
    assert len(verdict.false_alerts) == 1
    assert verdict.outcomes[0].why == "no alert speaks of it"


def test_another_pattern_about_the_attack_is_neither_a_hit_nor_false() -> None:
    """It says something true, but its detector is not the one that is judged."""
    verdict = judged({"detector": "x"})
    assert not verdict.all_found
    assert verdict.false_alerts == []
    assert verdict.outcomes[0].why == "only x spoke of it"


def test_a_pattern_without_detector_is_not_found_and_says_so() -> None:
    """Attacks of later catalogues."""
    label = msgspec.structs.replace(ATTACK, pattern="canary-touched")
    verdict = judged({}, labels=(label,))
    assert not verdict.all_found
    assert verdict.outcomes[0].why == "no detector for this pattern yet"


@pytest.mark.parametrize("field", ["actor", "app", "merchant"])
def test_an_alert_may_name_the_culprit_in_any_of_its_fields(field: str) -> None:
    """Companies are in clear, people behind pseudonyms."""
    label = msgspec.structs.replace(ATTACK, entities=["app-x", "malee.t"])
    assert judged({"subject": "p2", field: "app-x"}, labels=(label,)).all_found
    assert judged({"subject": "p2", field: "p1"}, labels=(label,)).all_found


def test_names_are_compared_as_agents_take_them() -> None:
    """Case, blanks and Unicode composition do not matter."""
    label = msgspec.structs.replace(ATTACK, entities=[" Malee.T"])
    assert judged({}, labels=(label,)).all_found


def test_a_label_may_give_its_times_in_iso_form() -> None:
    """With an offset."""
    label = msgspec.structs.replace(ATTACK, first="2026-09-21T21:13:20+07:00", last="2026-09-21T21:23:20+07:00")
    assert (label.first_ms, label.last_ms) == (T * 1_000, (T + 600) * 1_000)
    assert judged({}, labels=(label,)).all_found


def test_a_condition_excuses_an_alert_and_needs_none() -> None:
    """It is neither hit nor false."""
    condition = msgspec.structs.replace(ATTACK, kind="condition")
    assert judged(labels=(condition,)).all_found
    assert judged({}, labels=(condition,)).false_alerts == []
    assert judged({}, labels=(condition,)).attacks == []


def test_an_alert_just_within_the_slack_counts() -> None:
    """An hour on both sides."""
    early = {"window_start": 0, "window_end": T * 1_000 - SLACK_MS}
    late = {"window_start": (T + 600) * 1_000 + SLACK_MS, "window_end": (T + 600) * 1_000 + SLACK_MS}
    assert judged(early).all_found
    assert judged(late).all_found


def test_false_alerts_are_a_rate() -> None:
    """For each 1,000 actors and day: 2 in 100 x 10 are 2."""
    assert judged({}, {"subject": "p2"}, {"subject": "p2"}).false_rate == 2


def test_the_rate_among_accounts_is_not_diluted_by_addresses() -> None:
    """Alerts about bare addresses count for the other rate only."""
    names = ClearNames(
        [
            Pseudonym(platform="jd", clear="suda.k", pseudonym="p2"),
            Pseudonym(platform="jd", clear="171.96.1.1", pseudonym="p4"),
        ]
    )
    alerts = [JudgedAlert(**{**RIGHT, "alert_id": who, "subject": who}) for who in ("p2", "p4", "2001:db8::/48")]
    verdict = judge.judge([], alerts, names, detectors=[], actors=1_000, days=3, accounts=10)
    assert verdict.false_rate == 1
    assert verdict.false_rate_of_accounts == pytest.approx(1_000 * 1 / 30)


def test_a_run_can_be_judged_from_the_files_that_it_left(tmp_path: Path) -> None:
    """By anyone."""
    world.write_lines(tmp_path / "w" / "labels.jsonl", [ATTACK])
    world.write_lines(tmp_path / "k" / "alerts.jsonl", [JudgedAlert(**RIGHT)])
    world.write_lines(tmp_path / "k" / "pseudonyms.jsonl", [Pseudonym(platform="jd", clear="malee.t", pseudonym="p1")])
    verdict, names = judge.judge_folder(tmp_path / "w", tmp_path / "k", detectors=["off-hours"], actors=1, days=1)
    assert verdict.all_found
    assert names.one("jd", "p1") == "malee.t"
    assert names.one("jd", "nobody") == "nobody"
