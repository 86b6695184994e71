-- What was published about a closed day. A day is released once and never again with fresh noise, so nothing here
-- expires, and the second insert for a day is dropped by its deduplication token.
CREATE TABLE IF NOT EXISTS ${database}.feed_releases ${on_cluster} (
    day Date,
    released_at DateTime64(3, 'UTC'),
    json String CODEC(ZSTD(3)),
    csv String CODEC(ZSTD(3))
)
ENGINE = ${engine_prefix}MergeTree
ORDER BY (day, released_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
    non_replicated_deduplication_window = 10000,
    replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 315360000;
