"""Every metric that Rua exposes: name, type, help, labels; and a small text exposition of them.

The agent must stay small, so there is no client library behind this (prometheus-client costs about 14 MB).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the catalogue. Units are in the name."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


CATALOGUE: tuple[Metric, ...] = (
    Metric("rua_agent_records_total", "counter", "Records read from sources, by outcome", ("source", "outcome")),
    Metric("rua_agent_open_records", "gauge", "Records whose event is not complete yet", ("source",)),
    Metric("rua_agent_read_bytes_total", "counter", "Bytes read from sources", ("source",)),
    Metric("rua_agent_ignored_total", "counter", "Records that hold no event, by reason", ("source", "reason")),
    Metric("rua_agent_failed_total", "counter", "Records that could not be parsed, by reason", ("source", "reason")),
    Metric("rua_agent_replaced_total", "counter", "Characters replaced to keep a record", ("source",)),
    Metric("rua_agent_events_total", "counter", "Events by fate", ("fate",)),
    Metric("rua_agent_dropped_total", "counter", "Events lost before they could be sent, by reason", ("reason",)),
    Metric("rua_agent_lag_bytes", "gauge", "Bytes of the source not yet acknowledged by the broker", ("file",)),
    Metric("rua_agent_lag_seconds", "gauge", "Age of the oldest byte not yet acknowledged", ("file",)),
    Metric("rua_agent_clock_offset_ms", "gauge", "This host's clock minus the broker's"),
    Metric("rua_agent_clock_error_ms", "gauge", "How wrong that offset may be"),
    Metric("rua_agent_chain_seq", "gauge", "Number of the last event sent; the hash chain reaches up to it"),
    Metric("rua_agent_checkpoint_age_seconds", "gauge", "Time since the checkpoint was written"),
    Metric("rua_agent_queue_messages", "gauge", "Messages on their way to the broker"),
    Metric("rua_agent_queue_bytes", "gauge", "Bytes on their way to the broker"),
    Metric("rua_agent_spool_records", "gauge", "Events on disk that were not sent yet"),
    Metric("rua_agent_spool_bytes", "gauge", "Bytes of the spool on disk"),
    Metric("rua_agent_disk_free_bytes", "gauge", "Free bytes on the disk of the state directory"),
    Metric("rua_agent_problems", "gauge", "Reasons why the agent is not ready; /readyz names them"),
    Metric("rua_agent_rss_bytes", "gauge", "Resident memory of the process"),
    Metric("rua_agent_cpu_seconds_total", "counter", "CPU time of the process"),
    Metric("rua_agent_start_time_seconds", "gauge", "Start of the process, seconds since the epoch"),
    Metric("rua_agent_build_info", "gauge", "Always 1; its labels say what runs", ("version", "platform")),
    Metric("rua_worker_events_total", "counter", "Events applied", ("role", "topic")),
    Metric("rua_worker_duplicates_total", "counter", "Events recognised as sent again", ("topic",)),
    Metric("rua_worker_replayed_total", "counter", "Events sent back from the dead-letter queue", ("topic",)),
    Metric("rua_worker_late_total", "counter", "Events that came long after they occurred", ("topic",)),
    Metric("rua_worker_unknown_symbols_total", "counter", "Enum symbols this release does not know", ("topic",)),
    Metric("rua_worker_dead_letters_total", "counter", "Messages sent to the dead-letter queue", ("topic", "reason")),
    Metric("rua_worker_alerts_total", "counter", "Alerts raised or raised further", ("detector", "severity")),
    Metric("rua_worker_lag_events", "gauge", "Events not yet applied", ("topic", "partition")),
    Metric("rua_worker_untold_total", "counter", "Events too old to be told from copies, not judged", ("topic",)),
    Metric("rua_worker_state_rows", "gauge", "Actors in the state of a partition", ("topic", "partition")),
    Metric("rua_worker_state_bytes", "gauge", "Their rows in the state topic, uncompressed", ("topic", "partition")),
    Metric("rua_worker_state_bytes_per_actor", "gauge", "Mean row; who is late has two", ("topic", "partition")),
    Metric("rua_worker_state_memory_bytes", "gauge", "Their columns in memory", ("topic", "partition")),
    Metric("rua_worker_state_oldest_seconds", "gauge", "Silence of whoever is silent longest", ("topic", "partition")),
    Metric("rua_worker_state_sources", "gauge", "Sources known to the fence", ("topic", "partition")),
    Metric("rua_worker_state_notices", "gauge", "Notices and replays remembered", ("topic", "partition")),
    Metric("rua_worker_state_forgotten_total", "counter", "Actors and sources silent for too long", ("topic", "kind")),
    Metric("rua_worker_restore_rows", "gauge", "Rows read by the restore, or by the last", ("topic", "partition")),
    Metric("rua_worker_restore_left_seconds", "gauge", "How long it will take; 0: over", ("topic", "partition")),
    Metric("rua_worker_checkpoint_seconds", "gauge", "Duration of the last checkpoint", ("topic", "partition")),
    Metric("rua_worker_checkpoint_rows", "gauge", "Rows that it wrote, tombstones included", ("topic", "partition")),
    Metric("rua_worker_checkpoint_bytes", "gauge", "Bytes that it wrote, uncompressed", ("topic", "partition")),
    Metric("rua_sink_rows_total", "counter", "Rows stored", ("table",)),
    Metric("rua_sink_retries_total", "counter", "Inserts that had to be repeated", ("table",)),
)
_BY_NAME: Mapping[str, Metric] = {m.name: m for m in CATALOGUE}


@dataclass(slots=True)
class Metrics:
    """Values of one process. Cheap enough for every batch; not meant for every event."""

    values: dict[tuple[str, tuple[str, ...]], float] = field(default_factory=dict)

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Raises a counter."""
        key = self._key(name, labels)
        self.values[key] = self.values.get(key, 0) + amount

    def set(self, name: str, value: float, **labels: str) -> None:
        """Sets a gauge."""
        self.values[self._key(name, labels)] = value

    def get(self, name: str, **labels: str) -> float:
        """The value, 0 if it was never set."""
        return self.values.get(self._key(name, labels), 0)

    def text(self) -> str:
        """Prometheus text format, metrics in the order of the catalogue."""
        return "".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for metric in CATALOGUE:
            rows = sorted((labels, value) for (name, labels), value in self.values.items() if name == metric.name)
            if rows:
                yield f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
            for labels, value in rows:
                pairs = ",".join(f'{k}="{_escaped(v)}"' for k, v in zip(metric.labels, labels, strict=True))
                yield f"{metric.name}{{{pairs}}} {_number(value)}\n" if pairs else f"{metric.name} {_number(value)}\n"

    @staticmethod
    def _key(name: str, labels: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
        metric = _BY_NAME[name]
        if set(labels) != set(metric.labels):
            raise KeyError(f"{name} has the labels {metric.labels}, not {tuple(labels)}")
        return name, tuple(labels[label] for label in metric.labels)


def _number(value: float) -> str:
    """In full: `:g` would round a counter of millions to six digits."""
    return str(int(value)) if value == int(value) else repr(value)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
