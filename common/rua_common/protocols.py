"""Contracts between processes that must not import each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

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
    """Where alerts go, each as the latest version of its `alert_id`. Errors as in `EventSink`."""

    def write_alerts(self, alerts: Sequence[object], token: str) -> None:
        """Stores alerts (`rua_schemas.events.Alert`); they are readable when the call returns."""
        ...
