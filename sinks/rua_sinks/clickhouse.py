"""Events, alerts, heartbeats and dead letters in ClickHouse, each once.

Two lines of defence: the deduplication token drops a repeated insert at once; Replacing tables, read with FINAL, fold
what arrives again in other batches.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from clickhouse_connect.driver.client import Client
from rua_schemas.events import Alert, DeadLetter, Heartbeat

from rua_sinks.client import connect, meaning
from rua_sinks.rows import ALERTS, DEAD_LETTERS, HEARTBEATS, event_rows, inserts, record_rows

SETTINGS = {
    "async_insert": 0,  # on by default since 26.2; a batch is a batch already, and must be stored when the call returns
    "optimize_on_insert": 0,  # merging a batch with itself costs more than the insert
}


class ClickHouseSink:
    """An `EventSink` and `AlertSink`. Safe to call from several threads; connects at the first call.

    Raises from every `write…`:
        RetryLater: the store is away, busy or not migrated. Repeat with the same token.
        PoisonEvent: a value does not fit its column.
    """

    def __init__(
        self, url: str, *, database: str = "rua", user: str | None = None, password_file: str | Path | None = None
    ) -> None:
        self.database = database
        self._url, self._user, self._password_file = url, user, password_file
        self._lock = threading.Lock()
        self._connected: Client | None = None

    @property
    def client(self) -> Client:
        """The one connection, made when it is first asked for. Errors as in `rua_sinks.client.connect`."""
        with self._lock:
            if self._connected is None:
                self._connected = connect(self._url, user=self._user, password_file=self._password_file)
            return self._connected

    def write(self, frame: pl.DataFrame, token: str) -> None:
        """Stores decoded events with their topic, partition and offset. The same token again adds nothing."""
        for rows, part_token in inserts(event_rows(frame), token):
            self._insert("events", rows, part_token)

    def write_alerts(self, alerts: Sequence[Alert], token: str) -> None:
        """Stores versions of alerts: on disk, and readable, when the call returns."""
        rows = record_rows(alerts, ALERTS)
        self._insert("alert_log", rows, token)
        self._insert("alerts", rows, token)

    def write_heartbeats(self, heartbeats: Sequence[Heartbeat], token: str) -> None:
        """Stores signs of life."""
        self._insert("heartbeats", record_rows(heartbeats, HEARTBEATS), token)

    def write_dead_letters(self, dead_letters: Sequence[DeadLetter], token: str) -> None:
        """Stores messages that could not be used."""
        self._insert("dead_letters", record_rows(dead_letters, DEAD_LETTERS), token)

    def close(self) -> None:
        """Closes the connections."""
        with self._lock:
            if self._connected is not None:
                self._connected.close()
                self._connected = None

    def _insert(self, table: str, rows: pl.DataFrame, token: str) -> None:
        if rows.is_empty():
            return
        settings = self._settings(token)
        with meaning():
            # one Arrow batch, so that the same rows are the same block whatever pieces they were put together from
            self.client.insert_df_arrow(table, rows.rechunk(), database=self.database, settings=settings)

    def _settings(self, token: str) -> dict[str, int | str]:
        return {**SETTINGS, "insert_deduplication_token": token}
