"""The agent's configuration file."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
import yaml
from rua_common import settings
from rua_common.errors import BadConfiguration
from rua_common.kafka import KafkaOptions
from rua_common.settings import Struct

from rua_agents.collectors import COLLECTORS, Collector
from rua_agents.records import DEFAULT_LIMIT_BYTES, LEAST_LIMIT_BYTES, MOST_LIMIT_BYTES
from rua_agents.spool.settings import SpoolSettings

PLATFORM = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
LISTEN = re.compile(r"(?P<host>[0-9.]+|\[[0-9a-fA-F:]+\]|localhost):(?P<port>[0-9]{1,5})")
Positive = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


class SourceSettings(Struct, frozen=True):
    """One kind of source to read.

    Attributes:
        source: Its name: a page of docs/sources.
        paths: Patterns of its files; none for a source that is asked (polled) or that pushes.
        zone: IANA zone of stamps that name none.
        host: Who writes there, as detectors know it; the agent's id unless given.
        socket: Where those who push find the agent: a Unix socket.
        spool: Whether its events are kept on disk at once: for files that rotate away faster than they can leave.
        envelope: `cri` (containerd, CRI-O) or `docker` (json-file): what a container runtime writes around each line.
        lane: Where in an envelope its records are.
        options: The source's own, see its page.
    """

    source: str
    paths: list[str] = msgspec.field(default_factory=list)
    zone: str | None = None
    host: str | None = None
    socket: str | None = None
    spool: bool = False
    envelope: Literal["none", "cri", "docker"] = "none"
    lane: Literal["both", "stdout", "stderr"] = "both"
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class ReplaySettings(Struct, frozen=True):
    """An injected clock: only for worlds of simulated logs."""

    start_ms: int
    watermark_file: str
    logs_root: str
    arrivals_root: str | None = None
    pseudonyms_file: str | None = None


class Limits(Struct, frozen=True):
    """What the agent may use. Where 0 is allowed, it means: no limit.

    Attributes:
        record_bytes: Longer records are cut; their event says `truncated`.
        read_bytes: Of one file in one turn.
        queue_messages: On their way to the broker; then reading waits.
        queue_bytes: Likewise.
        message_bytes: Of one event; below the topic's max.message.bytes.
        poll_seconds: Between two looks at files that did not grow.
        checkpoint_seconds: Between two checkpoints.
        heartbeat_seconds: Between two signs of life; after three without one, silence is an alert. The first six come
            every 10 s.
        drain_seconds: How long a stop waits for the broker; below terminationGracePeriodSeconds.
        cpu_percent: Of one core, on average over seconds; all threads count.
        bytes_per_second: Read from sources, on average.
        events_per_second: Sent, on average.
        nice: How far the process steps back behind others, 0 to 19.
    """

    record_bytes: Annotated[int, msgspec.Meta(ge=LEAST_LIMIT_BYTES, le=MOST_LIMIT_BYTES)] = DEFAULT_LIMIT_BYTES
    read_bytes: Positive = 1 << 18
    queue_messages: Positive = 20_000
    queue_bytes: Positive = 4 << 20
    message_bytes: Positive = 900_000
    poll_seconds: Seconds = 0.25
    checkpoint_seconds: Seconds = 1.0
    heartbeat_seconds: Seconds = 60.0
    drain_seconds: Seconds = 10.0
    cpu_percent: Annotated[float, msgspec.Meta(ge=0, le=10_000)] = 0.0
    bytes_per_second: Count = 0
    events_per_second: Count = 0
    nice: Annotated[int, msgspec.Meta(ge=0, le=19)] = 0


class HttpSettings(Struct, frozen=True):
    """Where `/healthz`, `/readyz`, `/metrics` and `/status` answer. Anybody who reaches the address may read them."""

    listen: str


class DiskSettings(Struct, frozen=True):
    """What the agent does when the disk of `state_dir` is full.

    Attributes:
        full: `stop_reading`: files wait until there is room. `keep_reading`: they are read and sent as long as the
            reserve lasts for the checkpoint. Either way what needs the spool finds it full.
        min_free_bytes: Less free space than this counts as full.
        reserve_bytes: Held back in a file, so that the checkpoint can still be written.
    """

    full: Literal["stop_reading", "keep_reading"] = "stop_reading"
    min_free_bytes: Count = 16 << 20
    reserve_bytes: Count = 1 << 20


class AgentSettings(Struct, frozen=True):
    """The whole file."""

    platform: str
    key_file: str
    state_dir: str
    kafka: KafkaOptions
    sources: list[SourceSettings]
    agent_id: str = msgspec.field(default_factory=socket.gethostname)
    signing_key_file: str | None = None
    http: HttpSettings | None = None
    disk: DiskSettings = DiskSettings()
    spool: SpoolSettings = SpoolSettings()
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
    try:
        found.kafka.check()
        if found.http:
            address_of(found.http.listen)
    except BadConfiguration as why:
        raise place.error(why.problem, *(why.key or "").split("."), allowed=why.allowed) from why
    for i, source in enumerate(found.sources):
        try:
            collector = collector_of(source.source)
            options_of(collector, source.options)
            zone_of(source.zone)
        except BadConfiguration as why:
            raise place.error(why.problem, "sources", i, *(why.key or "").split("."), allowed=why.allowed) from why
        if reads(collector) == "files" and not source.paths:
            raise place.error("names no file; a pattern such as /var/log/pg/*.json will do", "sources", i, "paths")
        if reads(collector) != "files" and source.paths:
            raise place.error(f"{source.source} reads no files: leave the paths out", "sources", i, "paths")
        if (reads(collector) == "push") != (source.socket is not None):
            wanted = "needs a path such as /run/rua/agent.sock" if source.socket is None else "listens at no socket"
            raise place.error(f"{source.source} {wanted}", "sources", i, "socket")
    return found


def reads(collector: Collector) -> str:
    """What a source consists of: `files`, or what is asked (`poll`) or what comes by itself (`push`)."""
    return str(getattr(collector, "reads", "files"))


def address_of(listen: str) -> tuple[str, int]:
    """Host and port to listen on.

    Raises:
        BadConfiguration: it is no address and port.
    """
    found = LISTEN.fullmatch(listen)
    if not found or not int(found["port"]) < 1 << 16:
        allowed = ["127.0.0.1:9469", "0.0.0.0:9469 in a pod"]
        raise BadConfiguration(f"{listen} is no address with a port", key="http.listen", allowed=allowed)
    return found["host"].strip("[]"), int(found["port"])


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
