-- Each event names the message before it, and a heartbeat says under a signature where that chain stands and what was
-- lost before it could be numbered. Rows from before hold nulls and empty arrays.
ALTER TABLE ${database}.events ${on_cluster}
    ADD COLUMN IF NOT EXISTS chain Nullable(String) CODEC(ZSTD(1)) AFTER labels;
ALTER TABLE ${database}.heartbeats ${on_cluster}
    ADD COLUMN IF NOT EXISTS beat_seq Nullable(Int64),
    ADD COLUMN IF NOT EXISTS interval_ms Nullable(Int64),
    ADD COLUMN IF NOT EXISTS quiet_until Nullable(DateTime64(3, 'UTC')),
    ADD COLUMN IF NOT EXISTS chain_seq Nullable(Int64),
    ADD COLUMN IF NOT EXISTS chain_head Nullable(String),
    ADD COLUMN IF NOT EXISTS previous_epoch Nullable(Int64),
    ADD COLUMN IF NOT EXISTS previous_seq Nullable(Int64),
    ADD COLUMN IF NOT EXISTS previous_head Nullable(String),
    ADD COLUMN IF NOT EXISTS events_dead Nullable(Int64),
    ADD COLUMN IF NOT EXISTS records_read Nullable(Int64),
    ADD COLUMN IF NOT EXISTS records_merged Nullable(Int64),
    ADD COLUMN IF NOT EXISTS records_ignored Nullable(Int64),
    ADD COLUMN IF NOT EXISTS dropped Array(Tuple(reason LowCardinality(String), count Int64)),
    ADD COLUMN IF NOT EXISTS spool_records Nullable(Int64),
    ADD COLUMN IF NOT EXISTS spool_bytes Nullable(Int64),
    ADD COLUMN IF NOT EXISTS sources Array(LowCardinality(String)),
    ADD COLUMN IF NOT EXISTS config_digest Nullable(String),
    ADD COLUMN IF NOT EXISTS signing_key_id LowCardinality(Nullable(String)),
    ADD COLUMN IF NOT EXISTS signature_version Nullable(Int32),
    ADD COLUMN IF NOT EXISTS signature Nullable(String);
