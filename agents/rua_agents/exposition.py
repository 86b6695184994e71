"""The status as metrics, in Prometheus' text format. Labels are sources, reasons, files: nothing that users write."""

from __future__ import annotations

from rua_common.metrics import Metrics

from rua_agents.status import SourceStatus, Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text(status: Status) -> str:
    """All metrics of an agent."""
    metrics = Metrics()
    for name, source in status.sources.items():
        _source(metrics, name, source)
    for file in status.files:  # one path may stand for several: rotated ones, two sources
        metrics.add("rua_agent_lag_bytes", max(0, file.size - file.acked_offset), file=file.path)
        seconds = max(file.lag_ms / 1_000, metrics.get("rua_agent_lag_seconds", file=file.path))
        metrics.set("rua_agent_lag_seconds", seconds, file=file.path)
    for reason, count in status.dropped.items():
        metrics.add("rua_agent_dropped_total", count, reason=reason)
    _events(metrics, status)
    _process(metrics, status)
    return metrics.text()


def _source(metrics: Metrics, name: str, source: SourceStatus) -> None:
    ignored, failed = sum(source.ignored.values()), sum(source.failed.values())
    waiting = source.records - source.events - source.merged - ignored - failed
    fates = {"event": source.events, "merged": source.merged, "ignored": ignored, "failed": failed}
    for outcome, count in fates.items():
        metrics.add("rua_agent_records_total", count, source=name, outcome=outcome)
    metrics.set("rua_agent_open_records", waiting, source=name)
    metrics.add("rua_agent_read_bytes_total", source.read_bytes, source=name)
    metrics.add("rua_agent_replaced_total", source.replaced, source=name)
    for reason, count in source.ignored.items():
        metrics.add("rua_agent_ignored_total", count, source=name, reason=reason)
    for reason, count in source.failed.items():
        metrics.add("rua_agent_failed_total", count, source=name, reason=reason)


def _events(metrics: Metrics, status: Status) -> None:
    fates = {"produced": status.events_produced, "acked": status.events_acked, "dead": status.events_failed}
    for fate, count in fates.items():
        metrics.add("rua_agent_events_total", count, fate=fate)
    metrics.set("rua_agent_chain_seq", status.chain_seq)
    metrics.set("rua_agent_queue_messages", status.queue_messages)
    metrics.set("rua_agent_queue_bytes", status.queue_bytes)
    metrics.set("rua_agent_spool_records", status.spool_records)
    metrics.set("rua_agent_spool_bytes", status.spool_bytes)
    if status.clock_offset_ms is not None:
        metrics.set("rua_agent_clock_offset_ms", status.clock_offset_ms)
        metrics.set("rua_agent_clock_error_ms", status.clock_error_ms or 0)
    if status.checkpoint_ms is not None:
        metrics.set("rua_agent_checkpoint_age_seconds", max(0, status.at_ms - status.checkpoint_ms) / 1_000)


def _process(metrics: Metrics, status: Status) -> None:
    metrics.set("rua_agent_problems", len(status.wrong))
    metrics.set("rua_agent_disk_free_bytes", status.disk_free_bytes)
    metrics.set("rua_agent_rss_bytes", status.rss_bytes)
    metrics.add("rua_agent_cpu_seconds_total", status.cpu_seconds)
    metrics.set("rua_agent_start_time_seconds", status.started_ms / 1_000)
    metrics.set("rua_agent_build_info", 1, version=status.version, platform=status.platform)
