"""Frozen types that mirror the Avro records of `avro/`, field by field and in the same order.

Times are milliseconds since the epoch. What each field means is written in the schema.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Kind = Literal[
    "unknown",
    "data_export",
    "bulk_query",
    "data_access",
    "data_change",
    "data_transfer",
    "privileged_access",
    "privilege_change",
    "authentication",
    "administration",
]
Action = Literal["unknown", "read", "query", "export", "alter", "delete", "transfer"]
Outcome = Literal["unknown", "ok", "denied", "failed", "aborted"]
ActorType = Literal["unknown", "interactive", "service", "app", "merchant", "network"]
Privilege = Literal["unknown", "standard", "elevated", "superuser"]
Quality = Literal["unknown", "exact", "estimated", "lower_bound", "upper_bound"]
Severity = Literal["unknown", "info", "low", "medium", "high", "critical"]
SubjectType = Literal["unknown", "actor", "app", "merchant", "network", "platform", "agent"]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)

MIN_TIME_MS = 0
MAX_TIME_MS = 4_102_444_800_000  # 2100-01-01: ClickHouse's TTL arithmetic wraps after 2106
POSITIONS_PER_RECORD = 1024


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A named extra."""

    key: str
    value: str


class TelemetryEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that somebody did with personal data at one platform."""

    event_id: str
    source_id: str
    source_position: int
    source: str
    agent_id: str
    agent_epoch: int
    agent_seq: int
    platform: str
    host: str | None = None
    merchant: str | None = None
    app: str | None = None
    channel: str | None = None
    kind: Kind = "unknown"
    action: Action = "unknown"
    outcome: Outcome = "unknown"
    actor: str | None = None
    actor_type: ActorType = "unknown"
    privilege: Privilege = "unknown"
    ticket: str | None = None
    session: str | None = None
    dataset: str | None = None
    pii_categories: tuple[str, ...] = ()
    rows: int | None = None
    rows_quality: Quality = "unknown"
    bytes: int | None = None
    bytes_quality: Quality = "unknown"
    subjects: int | None = None
    subjects_quality: Quality = "unknown"
    statement_fingerprint: str | None = None
    tool: str | None = None
    truncated: bool = False
    destination: str | None = None
    destination_external: bool | None = None
    source_ip: str | None = None
    source_network: str | None = None
    key_epoch: int = 0
    occurred_at: int
    observed_at: int
    clock_offset_ms: int | None = None
    clock_error_ms: int | None = None
    labels: tuple[Label, ...] = ()
    chain: str | None = None


class Number(msgspec.Struct, frozen=True, kw_only=True):
    """A number that decided, and what it was compared with."""

    name: str
    value: float
    limit: float | None = None


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """An event that decided, and where it stands in Kafka."""

    event_id: str
    topic: str
    partition: int
    offset: int


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One incident. A later message with the same `alert_id` and a higher `revision` replaces it."""

    alert_id: str
    revision: int
    detector: str
    severity: Severity
    platform: str
    subject: str
    subject_type: SubjectType
    actor: str | None = None
    app: str | None = None
    merchant: str | None = None
    title: str
    reason: str
    attack: tuple[str, ...] = ()
    runbook: str
    window_start: int
    window_end: int
    raised_at: int
    numbers: tuple[Number, ...] = ()
    evidence: tuple[Evidence, ...] = ()


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many, and why."""

    reason: str
    count: int


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """An agent says that it lives and up to where its numbering goes."""

    agent_id: str
    agent_epoch: int
    agent_version: str
    platform: str
    host: str | None = None
    sent_at: int
    last_seq: int
    events_acked: int
    records_failed: int
    lag_bytes: int
    files: int
    clock_offset_ms: int | None = None
    clock_error_ms: int | None = None
    beat_seq: int | None = None
    interval_ms: int | None = None
    quiet_until: int | None = None
    chain_seq: int | None = None
    chain_head: str | None = None
    previous_epoch: int | None = None
    previous_seq: int | None = None
    previous_head: str | None = None
    events_dead: int | None = None
    records_read: int | None = None
    records_merged: int | None = None
    records_ignored: int | None = None
    dropped: tuple[Count, ...] = ()
    spool_records: int | None = None
    spool_bytes: int | None = None
    sources: tuple[str, ...] = ()
    config_digest: str | None = None
    signing_key_id: str | None = None
    signature_version: int | None = None
    signature: str | None = None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be used, kept whole."""

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    stage: str
    failed_at: int
    key: bytes | None = None
    value: bytes | None = None


Record = TelemetryEvent | Alert | Heartbeat | DeadLetter
