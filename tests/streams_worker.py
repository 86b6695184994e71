"""One worker process of the integration tests: `python -m tests.streams_worker detect|store`."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
from rua_schemas.codec import LocalWriters
from rua_schemas.columns import ColumnCodec
from rua_streams import detect, tables
from rua_streams.app import run
from rua_streams.settings import from_environment


class FileSink:
    """A store that hides nothing: one file for each token, so a row that two tokens carry is there twice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, frame: pl.DataFrame, token: str) -> None:
        """Stores events."""
        self._keep("events", token, frame.select("event_id", "topic", "partition", "offset").rows())

    def write_alerts(self, alerts: Sequence[Any], token: str) -> None:
        """Stores alerts."""
        self._keep("alerts", token, alerts)

    def write_heartbeats(self, heartbeats: Sequence[Any], token: str) -> None:
        """Stores heartbeats."""
        self._keep("heartbeats", token, heartbeats)

    def write_dead_letters(self, dead_letters: Sequence[Any], token: str) -> None:
        """Stores dead letters."""
        self._keep("dead_letters", token, dead_letters)

    def _keep(self, table: str, token: str, rows: Sequence[Any]) -> None:
        name = hashlib.blake2b(token.encode(), digest_size=16).hexdigest()
        new = self.folder / f".{name}.{os.getpid()}"
        new.write_bytes(msgspec.json.encode(rows))
        new.replace(self.folder / f"{table}-{name}.json")


def sink() -> Any:
    """ClickHouse if the environment names one, else the file sink."""
    if url := os.environ.get("RUA_CLICKHOUSE_URL"):
        from rua_sinks.clickhouse import ClickHouseSink  # noqa: PLC0415 - only where it is asked for

        return ClickHouseSink(url, database=os.environ.get("RUA_CLICKHOUSE_DATABASE", "rua"))
    return FileSink(Path(os.environ["RUA_TEST_SINK"]))


class OlderWriters(LocalWriters):
    """A release that knows no schema of those on the wire."""

    def by_fingerprint(self, _: bytes) -> None:
        """Unknown."""


if __name__ == "__main__":
    role: Any = sys.argv[1]
    if os.environ.get("RUA_TEST_OLDER_RELEASE"):
        for module in (detect, tables):
            setattr(module, "ColumnCodec", partial(ColumnCodec, writers=OlderWriters()))  # noqa: B010 - for mypy
    store = sink() if role == "store" else None
    sys.exit(run(from_environment(), role, store, store))
