"""Compares alerts with what was planted. The only reader of `labels.jsonl`, and only after the run."""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from rua_demo import world
from rua_demo.world import Label

SLACK_MS = 3_600_000
"""An alert's window may miss the attack by so much: windows are cut by the hour."""

ALERTS_FILE, PSEUDONYMS_FILE, EVENTS_FILE = "alerts.jsonl", "pseudonyms.jsonl", "events.jsonl"


class JudgedAlert(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `alerts.jsonl`. Times are milliseconds of the world; evidence is event ids."""

    alert_id: str
    detector: str
    severity: str
    platform: str
    subject: str
    actor: str | None = None
    app: str | None = None
    merchant: str | None = None
    title: str = ""
    reason: str = ""
    window_start: int
    window_end: int
    raised_at: int
    evidence: list[str] = []

    @property
    def names(self) -> set[str]:
        """Every name that it speaks of, as it stands in the alert."""
        return {name for name in (self.subject, self.actor, self.app, self.merchant) if name}


class Pseudonym(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `pseudonyms.jsonl`: simulated data only."""

    platform: str
    clear: str
    pseudonym: str


class ClearNames:
    """What stands behind the pseudonyms of a run."""

    def __init__(self, pseudonyms: Iterable[Pseudonym]) -> None:
        self._clear: dict[tuple[str, str], set[str]] = {}
        for one in pseudonyms:
            self._clear.setdefault((one.platform, one.pseudonym), set()).add(one.clear)

    def of(self, alert: JudgedAlert) -> set[str]:
        """The names of an alert in clear, plain; those that were never pseudonyms as they are."""
        return {plain(clear) for name in alert.names for clear in self._clear.get((alert.platform, name), {name})}

    def one(self, platform: str, name: str) -> str:
        """A name for people to read."""
        return ", ".join(sorted(self.all(platform, name)))

    def all(self, platform: str, name: str) -> set[str]:
        """Every name that a pseudonym may be; the name itself if it is none."""
        return self._clear.get((platform, name), {name})


def plain(name: str) -> str:
    """A name as agents take it before they make a pseudonym of it: case and composition do not matter."""
    return unicodedata.normalize("NFC", name).strip().lower()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one label. `seconds` is the time from its first line to the first alert."""

    label: Label
    found: bool
    seconds: float | None
    why: str


@dataclass(slots=True)
class Verdict:
    """How well a run did.

    Attributes:
        actors: All who did anything, most of them addresses of customers.
        accounts: Those of them with a name: staff, services, apps. Only they can be accused.
        false_of_accounts: How many of the false alerts speak of one of these.
    """

    outcomes: list[Outcome]
    alerts: int
    false_alerts: list[JudgedAlert]
    actors: int
    days: float
    accounts: int = 0
    false_of_accounts: int = 0
    conditions: int = 0
    by_pattern: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def attacks(self) -> list[Outcome]:
        """Without conditions."""
        return [o for o in self.outcomes if o.label.kind == "attack"]

    @property
    def all_found(self) -> bool:
        """Whether no attack was missed."""
        return all(o.found for o in self.attacks)

    @property
    def false_rate(self) -> float:
        """False alerts for each 1,000 actors and day."""
        return _rate(len(self.false_alerts), self.actors, self.days)

    @property
    def false_rate_of_accounts(self) -> float:
        """False alerts about accounts, for each 1,000 accounts and day: customers' addresses dilute the other one."""
        return _rate(self.false_of_accounts, self.accounts, self.days)


def _rate(alerts: int, among: int, days: float) -> float:
    return 1_000 * alerts / max(among * days, 1e-9)


def judge(
    labels: Sequence[Label],
    alerts: Sequence[JudgedAlert],
    names: ClearNames,
    *,
    detectors: Collection[str],
    actors: int,
    days: float,
    accounts: int = 0,
) -> Verdict:
    """Matches alerts to labels.

    A label is found by an alert of its own pattern, at its platform, about one of its entities, whose window meets it.
    An alert that meets no label by entity and time, whatever its pattern, is a false accusation.

    Args:
        labels: What was planted.
        alerts: What was raised.
        names: Clear names of pseudonyms.
        detectors: Ids of the detectors that ran.
        actors: How many actors there are, to tell a rate.
        days: Length of the world.
        accounts: How many of the actors have a name.
    """
    meets = {a.alert_id: {x.id for x in labels if _meets(x, a, names)} for a in alerts}
    outcomes = [_outcome(label, [a for a in alerts if label.id in meets[a.alert_id]], detectors) for label in labels]
    verdict = Verdict(outcomes, len(alerts), [a for a in alerts if not meets[a.alert_id]], actors, days)
    verdict.accounts = accounts
    verdict.false_of_accounts = sum(
        not all(map(is_address, names.all(a.platform, a.subject))) for a in verdict.false_alerts
    )
    verdict.conditions = sum(x.kind == "condition" for x in labels)
    for pattern in sorted({o.label.pattern for o in verdict.attacks}):
        mine = [o for o in verdict.attacks if o.label.pattern == pattern]
        verdict.by_pattern[pattern] = sum(o.found for o in mine), len(mine)
    return verdict


def _meets(label: Label, alert: JudgedAlert, names: ClearNames) -> bool:
    return (
        alert.platform == label.platform
        and alert.window_start <= label.last_ms + SLACK_MS
        and alert.window_end >= label.first_ms - SLACK_MS
        and not names.of(alert).isdisjoint(map(plain, label.entities))
    )


def _outcome(label: Label, alerts: Sequence[JudgedAlert], detectors: Collection[str]) -> Outcome:
    own = [a for a in alerts if a.detector == label.pattern]
    if own:
        first = min(a.raised_at for a in own)
        return Outcome(label, True, (first - label.first_ms) / 1_000, "")
    if label.pattern not in detectors:
        return Outcome(label, False, None, "no detector for this pattern yet")
    others = sorted({a.detector for a in alerts})
    return Outcome(label, False, None, f"only {', '.join(others)} spoke of it" if others else "no alert speaks of it")


def is_address(name: str) -> bool:
    """Whether a name is a bare network address."""
    try:
        ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False
    return True


def judge_folder(
    world_folder: Path, kept: Path, *, detectors: Collection[str], actors: int, days: float, accounts: int = 0
) -> tuple[Verdict, ClearNames]:
    """Judges a run by the files that it left, as anyone can.

    Raises:
        BadConfiguration: a file is not what it should be.
    """
    alerts = world.read_lines(kept / ALERTS_FILE, JudgedAlert)
    names = ClearNames(world.read_lines(kept / PSEUDONYMS_FILE, Pseudonym))
    labels = world.labels(world_folder)
    verdict = judge(labels, alerts, names, detectors=detectors, actors=actors, days=days, accounts=accounts)
    return verdict, names


def by_platform(alerts: Iterable[JudgedAlert]) -> Mapping[str, int]:
    """How many alerts each platform has."""
    found: dict[str, int] = {}
    for alert in alerts:
        found[alert.platform] = found.get(alert.platform, 0) + 1
    return found
