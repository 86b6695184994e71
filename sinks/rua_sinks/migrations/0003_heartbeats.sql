-- Signs of life of agents, for 30 days.
CREATE TABLE IF NOT EXISTS ${database}.heartbeats ${on_cluster} (
    agent_id LowCardinality(String),
    agent_epoch Int64,
    agent_version LowCardinality(String),
    platform LowCardinality(String),
    host LowCardinality(Nullable(String)),
    sent_at DateTime64(3, 'UTC'),
    last_seq Int64,
    events_acked Int64,
    records_failed Int64,
    lag_bytes Int64,
    files Int32,
    clock_offset_ms Nullable(Int64),
    clock_error_ms Nullable(Int64),
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ${engine_prefix}ReplacingMergeTree
ORDER BY (platform, agent_id, agent_epoch, sent_at)
TTL toDateTime(ingested_at) + INTERVAL 30 DAY DELETE
SETTINGS non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;
