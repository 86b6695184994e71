-- Messages that could not be used, kept whole: key and value are bytes.
CREATE TABLE IF NOT EXISTS ${database}.dead_letters ${on_cluster} (
    topic LowCardinality(String),
    partition Int32,
    offset Int64,
    reason LowCardinality(String),
    detail String,
    stage LowCardinality(String),
    failed_at DateTime64(3, 'UTC'),
    key Nullable(String),
    value Nullable(String),
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ${engine_prefix}ReplacingMergeTree
ORDER BY (topic, partition, offset, stage)
TTL toDateTime(ingested_at) + INTERVAL 25 MONTH DELETE
SETTINGS non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;
