"""Contracts between processes that must not import each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import polars as pl


class EventSink(Protocol):
    """Where events go. Knows neither Kafka nor Faust; blocks, so it belongs in a thread.

    Raises:
        RetryLater: the store is slow or away. The caller keeps the batch and repeats it with the same token.
        PoisonEvent: the store will never take this batch. The caller narrows it down and dead-letters what is bad.
    """

    def write(self, frame: pl.DataFrame, token: str) -> None:
        """Stores the rows once: a second call with the same token and frame adds nothing."""
        ...


class AlertSink(Protocol):
    """Where small records go, one by one: they are readable when a call returns. Errors as in `EventSink`.

    The types are `Alert`, `Heartbeat` and `DeadLetter` of `rua_schemas.events`, which nothing here may import.
    """

    def write_alerts(self, alerts: Sequence[Any], token: str) -> None:
        """Stores alerts, each as the latest version of its `alert_id`."""
        ...

    def write_heartbeats(self, heartbeats: Sequence[Any], token: str) -> None:
        """Stores signs of life of agents."""
        ...

    def write_dead_letters(self, dead_letters: Sequence[Any], token: str) -> None:
        """Stores messages that could not be used, one for each topic, partition, offset and stage."""
        ...
