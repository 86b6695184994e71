"""The fake: the same promises as the real sink, in memory. For tests of whatever writes to a sink."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from rua_schemas.events import Alert, DeadLetter, Heartbeat

from rua_sinks.rows import event_rows

EVENT_KEY = ("platform", "kind", "actor", "occurred_at", "event_id")


class MemorySink:
    """An `EventSink` and `AlertSink` that keeps everything it was given."""

    def __init__(self) -> None:
        self.tokens: set[tuple[str, str]] = set()
        self.batches: list[pl.DataFrame] = []
        self.alert_log: list[Alert] = []
        self.heartbeats: dict[tuple[object, ...], Heartbeat] = {}
        self.dead_letters: dict[tuple[object, ...], DeadLetter] = {}

    def write(self, frame: pl.DataFrame, token: str) -> None:
        """Stores the rows, unless the token was seen."""
        if self._new("events", token) and not frame.is_empty():
            self.batches.append(event_rows(frame))

    def write_alerts(self, alerts: Sequence[Alert], token: str) -> None:
        """Stores versions of alerts, unless the token was seen."""
        if self._new("alerts", token):
            self.alert_log += alerts

    def write_heartbeats(self, heartbeats: Sequence[Heartbeat], token: str) -> None:
        """Stores signs of life, unless the token was seen."""
        if self._new("heartbeats", token):
            self.heartbeats |= {(h.platform, h.agent_id, h.agent_epoch, h.sent_at): h for h in heartbeats}

    def write_dead_letters(self, dead_letters: Sequence[DeadLetter], token: str) -> None:
        """Stores messages that could not be used, unless the token was seen."""
        if self._new("dead_letters", token):
            self.dead_letters |= {(d.topic, d.partition, d.offset, d.stage): d for d in dead_letters}

    def raw_events(self) -> int:
        """Rows that were added, those of re-sent events included."""
        return sum(batch.height for batch in self.batches)

    def events(self) -> pl.DataFrame:
        """One row an event, the latest that was written, sorted by event_id."""
        if not self.batches:
            return pl.DataFrame()
        return pl.concat(self.batches).unique(EVENT_KEY, keep="last").sort("event_id")

    def alerts(self) -> list[Alert]:
        """The highest revision of each alert, sorted by alert_id."""
        latest: dict[str, Alert] = {}
        for alert in self.alert_log:
            if alert.alert_id not in latest or alert.revision >= latest[alert.alert_id].revision:
                latest[alert.alert_id] = alert
        return [latest[alert_id] for alert_id in sorted(latest)]

    def _new(self, table: str, token: str) -> bool:
        if (table, token) in self.tokens:
            return False
        self.tokens.add((table, token))
        return True
