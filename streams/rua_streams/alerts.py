"""A finding as the alert that people read."""

from __future__ import annotations

from rua_schemas.events import Alert, Evidence

from rua_streams.engine import Finding


def alert_of(finding: Finding, topic: str, partition: int) -> Alert:
    """The alert for a finding among the events of a topic's partition. A higher level is a higher revision."""
    rule, numbers = finding.rule, {number.name: number for number in finding.numbers}
    told = (finding.cause, finding.first, finding.opener, finding.deciding)
    evidence = dict.fromkeys(event for event in told if event is not None)  # one event may be several of them
    return Alert(
        alert_id=finding.alert_id,
        revision=finding.level,
        detector=rule.id,
        severity=rule.severities[min(finding.level, len(rule.severities)) - 1],
        platform=finding.platform,
        subject=finding.subject,
        subject_type=finding.subject_type,
        actor=finding.actor,
        app=finding.app,
        merchant=finding.merchant,
        title=rule.title,
        reason=finding.detector.reason(numbers),
        attack=rule.attack,
        runbook=rule.runbook,
        window_start=finding.window_start,
        window_end=finding.window_end,
        raised_at=finding.raised_at,
        numbers=finding.numbers,
        evidence=tuple(
            Evidence(event_id=seen.event_id, topic=topic, partition=partition, offset=seen.offset) for seen in evidence
        ),
    )
