-- Every version of every incident, for ever on disk before the call returns (fsync): the trail of how it grew.
CREATE TABLE IF NOT EXISTS ${database}.alert_log ${on_cluster} (
    alert_id String,
    revision Int64,
    detector LowCardinality(String),
    severity LowCardinality(String),
    platform LowCardinality(String),
    subject String,
    subject_type LowCardinality(String),
    actor Nullable(String),
    app Nullable(String),
    merchant Nullable(String),
    title String,
    reason String,
    attack Array(LowCardinality(String)),
    runbook LowCardinality(String),
    window_start DateTime64(3, 'UTC'),
    window_end DateTime64(3, 'UTC'),
    raised_at DateTime64(3, 'UTC'),
    numbers Array(Tuple(name LowCardinality(String), value Float64, limit Nullable(Float64))),
    evidence Array(Tuple(event_id String, topic LowCardinality(String), partition Int32, offset Int64)),
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ${engine_prefix}ReplacingMergeTree
ORDER BY (alert_id, revision)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;

-- The highest revision of each incident. Read with FINAL.
CREATE TABLE IF NOT EXISTS ${database}.alerts ${on_cluster} AS ${database}.alert_log
ENGINE = ${engine_prefix}ReplacingMergeTree(revision)
ORDER BY alert_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800;
