"""Alerts as incidents, and two versions of the rules side by side: what appears, what vanishes, what changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from rua_schemas.events import Alert, Severity

Fate = Literal["appears", "vanishes", "changes", "same"]


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """All versions of one alert: when it was first raised, and the last and highest of them."""

    raised_at: int
    alert: Alert

    @property
    def severity(self) -> Severity:
        """The highest that was reached."""
        return self.alert.severity


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an incident: `before` and `after` are the same one under the two versions."""

    fate: Fate
    before: Incident | None = None
    after: Incident | None = None

    @property
    def told(self) -> Incident:
        """The incident as it is now, or as it was."""
        found = self.after or self.before
        assert found is not None  # noqa: S101 - one of them there always is
        return found


def incidents(alerts: Iterable[Alert]) -> list[Incident]:
    """One for each alert id, the earliest raised first."""
    versions: dict[str, list[Alert]] = defaultdict(list)
    for alert in alerts:
        versions[alert.alert_id].append(alert)
    found = [
        Incident(raised_at=min(a.raised_at for a in same), alert=max(same, key=lambda a: a.revision))
        for same in versions.values()
    ]
    return sorted(found, key=when)


def when(incident: Incident) -> tuple[int, str]:
    """The order in which incidents are told."""
    return incident.raised_at, incident.alert.alert_id


def differences(before: Sequence[Incident], after: Sequence[Incident]) -> list[Difference]:
    """Every incident of either version once, in the order of time.

    With other thresholds an incident may open at another event, so that its alert has another id. Then two of the same
    detector and subject whose windows overlap are the same incident.
    """
    old, new = ({i.alert.alert_id: i for i in side} for side in (before, after))
    pairs = [(i, new[i.alert.alert_id]) for i in before if i.alert.alert_id in new]
    lost = [i for i in before if i.alert.alert_id not in new]
    gained: dict[tuple[str, str, str, str], list[Incident]] = defaultdict(list)
    for i in after:
        if i.alert.alert_id not in old:
            gained[about(i)].append(i)
    found: list[Difference] = []
    for i in lost:
        same = next((other for other in gained[about(i)] if overlap(i, other)), None)
        if same is None:
            found.append(Difference(fate="vanishes", before=i))
        else:
            gained[about(i)].remove(same)
            pairs.append((i, same))
    found += [Difference(fate="appears", after=i) for rest in gained.values() for i in rest]
    found += [Difference(fate="changes" if differ(b, a) else "same", before=b, after=a) for b, a in pairs]
    return sorted(found, key=lambda d: when(d.told))


def about(incident: Incident) -> tuple[str, str, str, str]:
    """Which detector speaks of whom."""
    alert = incident.alert
    return alert.detector, alert.platform, alert.subject_type, alert.subject


def overlap(one: Incident, other: Incident) -> bool:
    """Whether their windows do."""
    return one.alert.window_start <= other.alert.window_end and other.alert.window_start <= one.alert.window_end


def differ(before: Incident, after: Incident) -> bool:
    """Whether a person would be told something else: another severity, or at another time."""
    return (before.severity, before.raised_at) != (after.severity, after.raised_at)
