"""What keeps nothing itself, against a real Kafka: processes that push, and logs that go before the broker comes."""

from __future__ import annotations

import http.client
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from rua_schemas import topics
from rua_schemas.codec import decode
from rua_schemas.events import TelemetryEvent

from tests.agent_rig import KEY, web_line

ROUNDS, EXPORTS, LINES, QUERIES = 4, 4_000, 600, 80
DEADLINE_SECONDS = 60.0
PROCESS = """
import sys, time
from rua_agents.sdk import export, flush
for n in range(int(sys.argv[1])):
    with export(dataset="orders", actor=f"u{n % 9}", subjects_of=str) as e:
        for row in e.count(range(n % 50)):
            pass
    time.sleep(0.002)
sys.exit(not flush(30))
"""

pytestmark = pytest.mark.kafka


class Rig:
    """A platform with its topics, an agent's configuration, and the agent as a process of its own."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self.folder, self.bootstrap = folder, bootstrap
        self.platform = f"push{uuid.uuid4().hex[:8]}"
        self.socket, self.config = folder / "s", folder / "agent.yaml"
        self.agent: subprocess.Popen[bytes] | None = None
        self.more_sources = ""
        topics.apply(AdminClient({"bootstrap.servers": bootstrap}), [self.platform], replication=1)
        (folder / "logs").mkdir()
        key = folder / "key"
        key.write_bytes(KEY)
        key.chmod(0o400)

    def configure(self, bootstrap: str | None = None, group: int = 0) -> None:
        """Writes the configuration; another group changes what feeds the spool."""
        self.config.write_text(f"""
platform: {self.platform}
key_file: {self.folder}/key
state_dir: {self.folder}/state
kafka: {{bootstrap: "{bootstrap or self.bootstrap}"}}
sources:
  - {{source: sdk, socket: "{self.socket}", host: web-1, options: {{gids: [{group}]}}}}
  - {{source: nginx-json, paths: ["{self.folder}/logs/*.log"], host: web-1, spool: true}}
{self.more_sources}
limits: {{checkpoint_seconds: 0.1, drain_seconds: 1}}
""")

    def start(self, bootstrap: str | None = None) -> None:
        """The agent, with this broker."""
        self.configure(bootstrap)
        self.agent = subprocess.Popen([sys.executable, "-m", "rua_agents", "run", "-c", str(self.config)])

    def reload(self, group: int) -> None:
        """Tells the agent to take another configuration."""
        assert self.agent is not None
        self.configure(group=group)
        self.agent.send_signal(signal.SIGHUP)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends the agent."""
        if self.agent is not None:
            self.agent.send_signal(number)
            self.agent.wait(30)

    def events(self) -> list[TelemetryEvent]:
        """All that the broker has by now."""
        topic = topics.events_topic(self.platform)
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "x", "enable.auto.commit": False})
        partitions = consumer.list_topics(topic, 10).topics[topic].partitions
        ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in partitions}
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        values: list[bytes] = []
        while len(values) < sum(ends.values()):
            values += [one.value() or b"" for one in consumer.consume(5_000, 1) if one.error() is None]
        consumer.close()
        return [decode(value, TelemetryEvent) for value in values]

    def known(self) -> dict[str, TelemetryEvent]:
        """By id: what was sent twice is one."""
        return {event.event_id: event for event in self.events()}


@pytest.fixture
def rig(kafka_bootstrap: str) -> Iterator[Rig]:
    """In a directory whose name is short enough for a socket."""
    with TemporaryDirectory() as name:
        made = Rig(Path(name), kafka_bootstrap)
        yield made
        made.kill()


def wait_for(what: str, true: Callable[[], object]) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + DEADLINE_SECONDS
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"waited {DEADLINE_SECONDS:g} s for {what}")
        time.sleep(0.05)


def test_every_export_of_a_running_process_arrives_however_often_the_agent_is_killed_or_reloaded(rig: Rig) -> None:
    """Four times kill -9 and SIGHUP; after dedupe by event_id each export is there once, with its numbers."""
    rng = random.Random(5)
    rig.start()
    with subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(EXPORTS)], env={"RUA_SOCKET": str(rig.socket)}
    ) as process:
        for round_ in range(ROUNDS):
            time.sleep(rng.uniform(0.7, 1.5))
            rig.reload(round_)
            time.sleep(rng.uniform(0.7, 1.5))
            rig.kill()
            rig.start()
        assert process.wait(DEADLINE_SECONDS) == 0  # the agent has acknowledged everything
    wait_for("all exports", lambda: len(rig.known()) >= EXPORTS)
    rig.kill(signal.SIGTERM)
    events = sorted(rig.known().values(), key=lambda event: event.source_position)
    assert [event.rows or 0 for event in events] == [n % 50 for n in range(EXPORTS)]
    assert [event.source_position for event in events] == [(n + 1) * 1_024 for n in range(EXPORTS)]
    assert len({event.source_id for event in events}) == 1
    assert {event.subjects for event in events if event.rows} == set(range(1, 50))


def test_logs_that_are_gone_before_the_broker_is_there_are_not_lost(rig: Rig) -> None:
    """Hot rotation by truncation while the broker is away; the agent itself is killed, too."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
        rig.start(bootstrap=nobody)
        log, now = rig.folder / "logs/web.log", int(time.time() * 1_000)
        for part in range(3):
            numbers = range(part * LINES, (part + 1) * LINES)
            log.write_bytes(b"".join(web_line(now + n, body_bytes_sent=n) for n in numbers))
            wait_for("the spool to have it", lambda part=part: spooled(rig.folder) >= (part + 1) * LINES)  # type: ignore[misc]  # bound at once
            log.unlink()
        rig.kill()
    rig.start()
    wait_for("the broker to have it", lambda: len(rig.known()) >= 3 * LINES)
    assert sorted(event.bytes or 0 for event in rig.known().values()) == list(range(3 * LINES))


@pytest.fixture
def query_log(tmp_path: Path) -> Iterator[str]:
    """A real ClickHouse engine with its log; its address."""
    command = [sys.executable, "-m", "tests.query_log_server", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"127.0.0.1:{server.stdout.readline().strip()}"
        finally:
            server.kill()


def run_query(address: str, sql: str) -> None:
    """Runs a statement."""
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("POST", "/", sql.encode())
    connection.getresponse().read()
    connection.close()


@pytest.mark.chdb
def test_every_query_of_a_clickhouse_arrives_once_however_often_the_agent_is_killed(rig: Rig, query_log: str) -> None:
    """Rows, their numbers and the cursor are one write: after four times kill -9 each query is there, under one id."""
    options = f'{{url: "http://{query_log}", poll_seconds: 0.2, overlap_seconds: 10}}'
    rig.more_sources = f"  - {{source: clickhouse-query-log, host: ch-1, options: {options}}}"
    run_query(query_log, "CREATE TABLE customers (id UInt32) ENGINE = MergeTree ORDER BY id")
    run_query(query_log, "INSERT INTO customers SELECT number FROM numbers(1000)")
    run_query(query_log, "SYSTEM FLUSH LOGS")
    rig.start()
    for n in range(QUERIES):
        run_query(query_log, f"SELECT * FROM customers LIMIT {n + 1}")  # noqa: S608 - a number of this test's
        if n % 20 == 19:
            rig.kill()
            rig.start()
        time.sleep(0.03)
    wait_for("all queries", lambda: len([e for e in rig.known().values() if e.action == "read"]) >= QUERIES)
    reads = [event for event in rig.known().values() if event.action == "read"]
    assert sorted(event.rows or 0 for event in reads) == list(range(1, QUERIES + 1))
    assert len({event.source_id for event in reads}) == 1
    assert {(event.dataset, event.host) for event in reads} == {("default.customers", "ch-1")}


def spooled(folder: Path) -> int:
    """How many events are in the segments: each has its id by name."""
    segments = (folder / "state/spool").glob("*.seg")
    return sum(path.read_bytes().count(b"\xa8event_id") for path in segments)
