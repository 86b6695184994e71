-- What happened, one row an event. Read with FINAL: a re-sent event is the same row.
-- Nothing in ORDER BY or PARTITION BY depends on now(), else a redelivery would be a second row.
-- An occurred_at outside 1970-2100 is stored as 1970-01-01, the original beside it in milliseconds.
-- Retention counts from ingested_at, the one clock nobody outside sets: a broken clock must not delete evidence,
-- and toDateTime() cannot wrap.
CREATE TABLE IF NOT EXISTS ${database}.events ${on_cluster} (
    event_id String CODEC(ZSTD(1)),
    source_id String CODEC(ZSTD(1)),
    source_position Int64 CODEC(Delta, ZSTD(1)),
    source LowCardinality(String),
    agent_id LowCardinality(String),
    agent_epoch Int64 CODEC(T64, ZSTD(1)),
    agent_seq Int64 CODEC(Delta, ZSTD(1)),
    platform LowCardinality(String),
    host LowCardinality(Nullable(String)),
    merchant LowCardinality(Nullable(String)),
    app LowCardinality(Nullable(String)),
    channel LowCardinality(Nullable(String)),
    kind LowCardinality(String),
    action LowCardinality(String),
    outcome LowCardinality(String),
    actor Nullable(String) CODEC(ZSTD(1)),
    actor_type LowCardinality(String),
    privilege LowCardinality(String),
    ticket Nullable(String) CODEC(ZSTD(1)),
    session Nullable(String) CODEC(ZSTD(1)),
    dataset LowCardinality(Nullable(String)),
    pii_categories Array(LowCardinality(String)),
    rows Nullable(Int64) CODEC(T64, ZSTD(1)),
    rows_quality LowCardinality(String),
    bytes Nullable(Int64) CODEC(T64, ZSTD(1)),
    bytes_quality LowCardinality(String),
    subjects Nullable(Int64) CODEC(T64, ZSTD(1)),
    subjects_quality LowCardinality(String),
    statement_fingerprint Nullable(String) CODEC(ZSTD(1)),
    tool LowCardinality(Nullable(String)),
    truncated Bool,
    destination Nullable(String) CODEC(ZSTD(1)),
    destination_external Nullable(Bool),
    source_ip Nullable(String) CODEC(ZSTD(1)),
    source_network LowCardinality(Nullable(String)),
    key_epoch Int32 CODEC(T64, ZSTD(1)),
    occurred_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    observed_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    clock_offset_ms Nullable(Int64) CODEC(T64, ZSTD(1)),
    clock_error_ms Nullable(Int64) CODEC(T64, ZSTD(1)),
    labels Array(Tuple(key LowCardinality(String), value String)),
    topic LowCardinality(String),
    partition Int32 CODEC(T64, ZSTD(1)),
    offset Int64 CODEC(Delta, ZSTD(1)),
    occurred_at_original Nullable(Int64),
    observed_at_original Nullable(Int64),
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX by_event_id event_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_ingested_at ingested_at TYPE minmax GRANULARITY 1
)
ENGINE = ${engine_prefix}ReplacingMergeTree
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (platform, kind, toDate(occurred_at), actor, occurred_at, event_id)
TTL toDateTime(ingested_at) + INTERVAL 25 MONTH DELETE
SETTINGS ttl_only_drop_parts = 1, allow_nullable_key = 1,
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;
