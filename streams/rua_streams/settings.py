"""Settings of a worker, from `RUA_WORKER_…` variables. Units are in the names; an unknown name is an error."""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec import ValidationError, convert
from rua_common.errors import BadConfiguration
from rua_common.kafka import KafkaOptions, from_environment as kafka_from_environment
from rua_common.settings import Struct

PREFIX = "RUA_WORKER_"


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """One worker process.

    Attributes:
        kafka: Brokers and login.
        group: Prefix of the consumer groups and of the transactional ids: `<group>-detect`, `<group>-store`.
        platforms: Comma-separated; empty: every platform whose topic exists, those that come later included.
        platform_scan_seconds: How often the worker looks for platforms that have come or gone; 0: only at its start.
        instance_id: Names this worker across its restarts (static membership): one that is back within the session
            timeout gets its partitions back and nobody else's move. Unique among the workers of a role; empty: none.
        max_batch_records: Largest record batch that is decoded at once.
        checkpoint_seconds: Usual time between checkpoints; up to six times as much when they are slow.
        transaction_timeout_seconds: After it the broker aborts the transaction of a worker that vanished.
        foreign_transaction_wait_seconds: How long a restore waits for somebody else's open transaction.
        store_rows: Rows of one insert at most.
        store_linger_seconds: Longest wait of an event for its insert.
        alert_linger_seconds: Longest wait of an alert for its insert.
        dead_letter_ratio: Share of undecodable messages, in a window, past which a topic's partition is paused.
        dead_letter_window_records: The length of that window, in offsets.
        late_seconds: An event that comes so long after it occurred is counted as late.
        stall_seconds: Lag without progress or declared back-off for so long ends the process.
        drain_seconds: How long a stop waits for a store that is away.
        http_port: Serves `/ready` and `/metrics`, if given; with the role `all`, detect on it and store on the next.
        status_file: Rewritten twice a second, if given; `{role}` in it stands for the role.
        log_level: Of the process's log on stderr.
        log_json: Whether log lines are JSON.
    """

    kafka: KafkaOptions
    group: str = "rua"
    platforms: str = ""
    platform_scan_seconds: float = 30.0
    instance_id: str = ""
    max_batch_records: int = 5_000
    checkpoint_seconds: float = 5.0
    transaction_timeout_seconds: float = 10.0
    foreign_transaction_wait_seconds: float = 75.0
    store_rows: int = 10_000
    store_linger_seconds: float = 1.0
    alert_linger_seconds: float = 0.1
    dead_letter_ratio: float = 0.5
    dead_letter_window_records: int = 1_000
    late_seconds: float = 86_400.0
    stall_seconds: float = 120.0
    drain_seconds: float = 20.0
    http_port: int | None = None
    status_file: str | None = None
    log_level: str = "INFO"
    log_json: bool = False


def from_environment(environ: Mapping[str, str] = os.environ) -> WorkerSettings:
    """Reads the settings.

    Raises:
        BadConfiguration: an unknown name, a value of the wrong kind, or no brokers.
    """
    names = [f for f in WorkerSettings.__struct_fields__ if f != "kafka"]
    given = {key.removeprefix(PREFIX).lower(): (key, value) for key, value in environ.items() if key.startswith(PREFIX)}
    for name, (key, _) in given.items():
        if name not in names:
            allowed = [PREFIX + n.upper() for n in names]
            raise BadConfiguration("unknown setting", key=key, allowed=allowed)
    kafka = kafka_from_environment(environ)
    for name, (key, value) in given.items():
        try:
            convert({"kafka": kafka, name: value}, WorkerSettings, strict=False)
        except ValidationError as why:
            raise BadConfiguration(f"{value!r} is not allowed: {why}", key=key) from why
    return convert({"kafka": kafka, **{n: v for n, (_, v) in given.items()}}, WorkerSettings, strict=False)
