"""The agent's configuration file."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import yaml
from rua_common import settings
from rua_common.errors import BadConfiguration
from rua_common.kafka import KafkaOptions
from rua_common.settings import Struct

from rua_agents.collectors import COLLECTORS, Collector
from rua_agents.records import DEFAULT_LIMIT_BYTES, LEAST_LIMIT_BYTES, MOST_LIMIT_BYTES

PLATFORM = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class SourceSettings(Struct, frozen=True):
    """One kind of file to read."""

    source: str
    paths: list[str] = msgspec.field(default_factory=list)
    zone: str | None = None
    host: str | None = None
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class ReplaySettings(Struct, frozen=True):
    """An injected clock: only for worlds of simulated logs."""

    start_ms: int
    watermark_file: str
    logs_root: str
    arrivals_root: str | None = None
    pseudonyms_file: str | None = None


class Limits(Struct, frozen=True):
    """What the agent may use."""

    record_bytes: int = DEFAULT_LIMIT_BYTES
    read_bytes: int = 1 << 20
    queue_messages: int = 20_000
    queue_bytes: int = 16 << 20
    message_bytes: int = 900_000
    poll_seconds: float = 0.25
    checkpoint_seconds: float = 1.0
    heartbeat_seconds: float = 10.0
    drain_seconds: float = 10.0


class AgentSettings(Struct, frozen=True):
    """The whole file."""

    platform: str
    key_file: str
    state_dir: str
    kafka: KafkaOptions
    sources: list[SourceSettings]
    agent_id: str = msgspec.field(default_factory=socket.gethostname)
    replay: ReplaySettings | None = None
    limits: Limits = Limits()


def load(path: Path) -> AgentSettings:
    """Reads and checks the file.

    Raises:
        BadConfiguration: with file, line, key and what would be allowed.
    """
    found = settings.load(path, AgentSettings)
    place = _Places(path)
    if not PLATFORM.fullmatch(found.platform):
        raise place.error("lower-case letters, digits, - and _ only", "platform")
    if not found.sources:
        raise place.error("names no source", "sources", allowed=sorted(COLLECTORS))
    if not LEAST_LIMIT_BYTES <= found.limits.record_bytes <= MOST_LIMIT_BYTES:
        allowed = [f"{LEAST_LIMIT_BYTES} to {MOST_LIMIT_BYTES}"]
        raise place.error("out of range", "limits", "record_bytes", allowed=allowed)
    for i, source in enumerate(found.sources):
        try:
            options_of(collector_of(source.source), source.options)
            zone_of(source.zone)
        except BadConfiguration as why:
            raise place.error(why.problem, "sources", i, *(why.key or "").split("."), allowed=why.allowed) from why
        if not source.paths:
            raise place.error("names no file; a pattern such as /var/log/pg/*.json will do", "sources", i, "paths")
    return found


def collector_of(source: str) -> Collector:
    """The collector of this name.

    Raises:
        BadConfiguration: there is none.
    """
    if source not in COLLECTORS:
        raise BadConfiguration(f"no source is called {source}", key="source", allowed=sorted(COLLECTORS))
    return COLLECTORS[source]


def options_of(collector: Collector, given: Mapping[str, Any]) -> msgspec.Struct:
    """The collector's options.

    Raises:
        BadConfiguration: unknown option, or a wrong type.
    """
    try:
        return msgspec.convert(dict(given), collector.options)
    except msgspec.ValidationError as why:
        named = re.search(r"unknown field `([^`]*)`", str(why)) or re.search(r"`\$\.([^`\[.]*)", str(why))
        key = f"options.{named[1]}" if named else "options"
        raise BadConfiguration(str(why), key=key, allowed=collector.options.__struct_fields__) from why


def zone_of(name: str | None) -> ZoneInfo | None:
    """The IANA zone of this name.

    Raises:
        BadConfiguration: there is none.
    """
    try:
        return None if name is None else ZoneInfo(name)
    except (KeyError, ValueError, OSError) as why:
        raise BadConfiguration(
            f"no such time zone: {name}", key="zone", allowed=["an IANA name such as Asia/Bangkok", "UTC"]
        ) from why


class _Places:
    """Where in the file a key stands."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def error(self, problem: str, *steps: str | int, allowed: Any = ()) -> BadConfiguration:
        node: yaml.Node | None = yaml.compose(self._path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        line = 1
        for step in steps:
            if isinstance(node, yaml.MappingNode):
                node = next((v for k, v in node.value if k.value == step), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
                node = node.value[step]
            if node is None:
                break
            line = node.start_mark.line + 1
        key = ".".join(str(s) for s in steps)
        return BadConfiguration(problem, file=str(self._path), line=line, key=key, allowed=allowed)
