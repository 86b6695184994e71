"""Where events, alerts, heartbeats and dead letters are stored, and the feed for regulators."""
