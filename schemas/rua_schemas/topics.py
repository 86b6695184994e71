"""Topics as data."""

from __future__ import annotations

EVENTS = "rua.events."
STATE = "rua.state."
ALERTS = "rua.alerts"
HEARTBEATS = "rua.heartbeats"
DLQ = "rua.dlq"


def events_topic(platform: str) -> str:
    """`rua.events.<platform>`."""
    return EVENTS + platform


def state_topic(platform: str) -> str:
    """`rua.state.<platform>`."""
    return STATE + platform


def platform_of(topic: str) -> str:
    """The platform whose events topic this is.

    Raises:
        ValueError: it is not an events topic.
    """
    platform = topic.removeprefix(EVENTS)
    if platform == topic or not platform:
        raise ValueError(f"{topic} is not {EVENTS}<platform>")
    return platform
