"""Kafka, ClickHouse, the workers and the agents as child processes of this one: they die with it, a crash is told."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol, TypeVar

import msgspec
import yaml
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from rua_common.errors import RuaError
from rua_common.kafka import KafkaOptions
from rua_local.gateway import EmbeddedClickHouse
from rua_local.kafka import EmbeddedKafka
from rua_local.process import Child
from rua_schemas import topics
from rua_sinks.client import connect
from rua_sinks.migrate import migrate

KAFKA, CLICKHOUSE = "RUA_KAFKA_BOOTSTRAP", "RUA_CLICKHOUSE_URL"
DATABASE = "rua"
SESSION_SECONDS = 6.0
ASK_SECONDS = 20.0
PARTITIONS = 2  # two cores
CLI = (sys.executable, "-c", "from rua_cli.main import main; main()")
AGENT = (sys.executable, "-m", "rua_agents", "run", "-c")
ROLES: tuple[Literal["detect", "store"], ...] = ("detect", "store")


class Crashed(RuaError):
    """A part of the stack ended by itself. The text holds the end of its log."""


class _Service(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One partition in a worker's hands."""

    topic: str
    partition: int
    next: int
    committed: int | None = None


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What of a worker's status file matters here."""

    ready: bool = False
    lag: int = 0
    events: int = 0
    alerts: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    partitions: list[PartitionStatus] = []


class FileStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One file in an agent's hands."""

    path: str
    source: str = ""
    source_id: str | None = None


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What of an agent's status file matters here."""

    files: list[FileStatus] = []
    records: int = 0
    merged: int = 0
    split: int = 0
    events_produced: int = 0
    events_acked: int = 0
    events_failed: int = 0
    ignored: dict[str, int] = {}
    failed: dict[str, int] = {}
    watermark_done_ms: int | None = None
    drained: bool = False


class Stack:
    """The embedded product on one data directory. A service that the environment names is used instead.

    Args:
        data: keeps Kafka's and ClickHouse's data and every log.
        environ: the environment of all children.
        ports: of Kafka and of ClickHouse; free ones when not given.
    """

    def __init__(
        self,
        data: Path,
        environ: Mapping[str, str] = os.environ,
        *,
        ports: tuple[int | None, int | None] = (None, None),
    ) -> None:
        self.data = data.absolute()
        self.logs, self.status = self.data / "logs", self.data / "status"
        self._environ, self._ports = dict(environ), ports
        self.kafka = environ.get(KAFKA, "")
        self.clickhouse = environ.get(CLICKHOUSE, "")
        self._services: list[_Service] = []
        self._admin: AdminClient | None = None
        self._children: dict[str, Child] = {}

    @property
    def fresh(self) -> bool:
        """Whether the store is one of its own."""
        return CLICKHOUSE not in self._environ

    @property
    def names(self) -> list[str]:
        """The children that should be running."""
        return list(self._children)

    def start_services(self, platforms: Sequence[str]) -> None:
        """Starts what is not given by the environment, and makes the topics and tables of this release.

        Raises:
            RuaError: one of them did not come up, or refuses.
        """
        for folder in (self.logs, self.status):
            folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(self._start_kafka, platforms), pool.submit(self._start_clickhouse)]
        for one in both:
            one.result()

    def _start_kafka(self, platforms: Sequence[str]) -> None:
        if not self.kafka:
            kafka = EmbeddedKafka(self.data / "kafka", port=self._ports[0])
            self._services.append(kafka)
            kafka.start()
            self.kafka = kafka.bootstrap
        topics.apply(self.admin(), platforms, partitions=PARTITIONS)

    def _start_clickhouse(self) -> None:
        if not self.clickhouse:
            clickhouse = EmbeddedClickHouse(self.data / "clickhouse", self._ports[1])
            self._services.append(clickhouse)
            clickhouse.start()
            self.clickhouse = clickhouse.url
        client = connect(self.clickhouse)
        migrate(client, database=DATABASE)
        client.close()

    def admin(self) -> AdminClient:
        """Kafka's administrator's client."""
        if self._admin is None:
            self._admin = AdminClient(quiet_client(self.kafka))
        return self._admin

    def start_workers(self, platforms: Sequence[str]) -> None:
        """One process to detect, one to store."""
        for role in ROLES:
            self.run(role, [*CLI, "worker", "--role", role], self._worker_environ(role, platforms))

    def start_agent(self, platform: str, config: Path) -> None:
        """One agent."""
        self.run(f"agent-{platform}", [*AGENT, str(config)], self._environ)

    def check(self) -> None:
        """Does nothing while every child lives.

        Raises:
            Crashed: one does not.
        """
        for name, child in self._children.items():
            if child.pid is None:
                raise Crashed(f"{name} ended by itself; {child.tail()}")

    def stop(self, *names: str, seconds: float = 20) -> None:
        """Drains and stops these children, at the same time; all of them if none is named."""
        chosen = [self._children.pop(name) for name in (names or self.names)]
        with ThreadPoolExecutor(max(len(chosen), 1)) as pool:
            list(pool.map(lambda child: child.stop(seconds), chosen))

    def stop_services(self) -> None:
        """Stops Kafka and ClickHouse; their data stays."""
        self._admin = None  # it would go on looking for the broker
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda one: one.stop(), self._services))
        self._services = []

    def kill(self) -> None:
        """Ends every child at once."""
        for child in self._children.values():
            child.kill()
        self._children.clear()

    def worker(self, role: str) -> WorkerStatus:
        """A worker's latest status; an empty one before it wrote any."""
        return _status(self.status / f"{role}.json", WorkerStatus)

    def agent(self, platform: str) -> AgentStatus:
        """An agent's latest status; an empty one before it wrote any."""
        return _status(self.agent_state(platform) / "status.json", AgentStatus)

    def agent_state(self, platform: str) -> Path:
        """Where an agent keeps its checkpoint."""
        return self.data / "agents" / platform

    def ends(self, names: Sequence[str]) -> dict[tuple[str, int], int]:
        """The end offset of every partition of these topics."""
        admin = self.admin()
        found = admin.list_topics(timeout=ASK_SECONDS).topics
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # not annotated there
        asked = {TopicPartition(name, p): latest for name in names for p in found[name].partitions}
        answers = admin.list_offsets(asked, request_timeout=ASK_SECONDS)
        return {(tp.topic, tp.partition): int(answer.result().offset) for tp, answer in answers.items()}

    def run(self, name: str, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Starts one more child; its output is in `logs`."""
        child = Child(name, self.logs / f"{name}.log")
        child.start(command, ready=lambda: True, environ=environ)
        self._children[name] = child

    def _worker_environ(self, role: str, platforms: Sequence[str]) -> dict[str, str]:
        given = {
            KAFKA: self.kafka,
            CLICKHOUSE: self.clickhouse,
            "RUA_KAFKA_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
            "RUA_WORKER_PLATFORMS": ",".join(platforms),
            "RUA_WORKER_STATUS_FILE": str(self.status / f"{role}.json"),
        }
        return self._environ | given


@contextmanager
def handled(handler: Callable[[int, FrameType | None], object], *numbers: signal.Signals) -> Iterator[None]:
    """Handles these signals, except one that is ignored on purpose, as `nohup` does with SIGHUP."""
    before = {n: signal.signal(n, handler) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def quiet_client(bootstrap: str) -> dict[str, Any]:
    """Options of a client of this process: it writes no lines of its own between those that people read.

    What fails is raised where it is asked for, and the parts log for themselves.
    """
    return KafkaOptions(bootstrap=bootstrap).librdkafka() | {"log_level": 0}


S = TypeVar("S", WorkerStatus, AgentStatus)


def _status(path: Path, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return kind()


def write_key(path: Path) -> Path:
    """A pseudonymisation key, made for this directory once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32), encoding="ascii")
    return path


def write_config(path: Path, config: Mapping[str, Any]) -> Path:
    """An agent's configuration file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(config), allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path
