"""The agent against a real Kafka: killed in the middle, again and again, while files grow and rotate."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from rua_agents.__main__ import main
from rua_schemas import topics
from rua_schemas.codec import decode
from rua_schemas.events import Heartbeat, TelemetryEvent

from tests.agent_rig import KEY, audit, web_line

ROUNDS = 4
BATCHES, BATCH = 60, 100
DEADLINE_SECONDS = 60.0
ABSURD = {7: 1 << 70, 8: -5, 9: 1 << 63}
"""Numbers that cannot be true, by the line's place: they must end nothing."""


class Writer(threading.Thread):
    """Writes two logs, rotates one by rename and create, and leaves some lines half-written for a moment."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.pg, self.web = folder / "pg.json", folder / "web.log"
        self._now = int(time.time() * 1_000)

    def run(self) -> None:
        """All batches."""
        for batch in range(BATCHES):
            lines = []
            for n in range(batch * BATCH, (batch + 1) * BATCH):
                at = self._now + n * 7
                kinds, rows = ("OBJECT", "SESSION"), ABSURD.get(n % 50, n)
                lines += [audit(at, n, "SELECT 1 FROM t", rows=rows, kind=k, session_id=f"s{n % 5}") for k in kinds]
            self._append(self.pg, b"".join(lines))
            data = b"".join(
                web_line(self._now + n * 7, addr=f"192.0.2.{n % 50}", body_bytes_sent=ABSURD.get(n % 50, n))
                for n in range(BATCH)
            )
            self._append(self.web, data[:-30])
            time.sleep(0.07)
            self._append(self.web, data[-30:])
            if batch % 20 == 19:
                self.pg.rename(self.pg.with_suffix(f".json.{batch}"))

    @staticmethod
    def _append(path: Path, data: bytes) -> None:
        with path.open("ab") as file:
            file.write(data)


@pytest.fixture
def config(tmp_path: Path, kafka_bootstrap: str) -> Path:
    """A platform of its own, its topics, its agent's configuration."""
    platform = f"kill{uuid.uuid4().hex[:8]}"
    topics.apply(AdminClient({"bootstrap.servers": kafka_bootstrap}), [platform], replication=1)
    (tmp_path / "logs").mkdir()
    key = tmp_path / "key"
    key.write_bytes(KEY)
    key.chmod(0o400)
    path = tmp_path / "agent.yaml"
    path.write_text(f"""
platform: {platform}
agent_id: agent-{platform}
key_file: {key}
state_dir: {tmp_path}/state
kafka: {{bootstrap: "{kafka_bootstrap}"}}
sources:
  - {{source: pgaudit-jsonlog, paths: ["{tmp_path}/logs/pg.json*"], host: db-1}}
  - {{source: nginx-json, paths: ["{tmp_path}/logs/web.log"], host: db-1}}
limits: {{checkpoint_seconds: 0.1, read_bytes: 60000, poll_seconds: 0.05, heartbeat_seconds: 0.5}}
""")
    return path


def start(config: Path) -> subprocess.Popen[bytes]:
    """The agent as a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "rua_agents", "run", "-c", str(config)])


def offsets(config: Path) -> int:
    """How far the checkpoint has come, as a sum that grows; 0 before the first."""
    path = config.parent / "state/checkpoint.json"
    if not path.exists():
        return 0
    found = msgspec.json.decode(path.read_bytes())
    return sum(int(file["offset"]) for file in found["files"])


def waiting(config: Path) -> bool:
    """Whether the checkpoint holds statements that are not complete."""
    found = msgspec.json.decode((config.parent / "state/checkpoint.json").read_bytes())
    parsers = [file["stream"].get("parser", {}) for file in found["files"]]
    return any(parser.get("statements", {}).get("open") for parser in parsers)


def wait_for(what: str, true: object, seconds: float = DEADLINE_SECONDS) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]  # a callable
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)


def received(bootstrap: str, topic: str) -> list[bytes]:
    """Every message of a topic."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "x", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in partitions}
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    values: list[bytes] = []
    while len(values) < sum(ends.values()):
        values += [message.value() or b"" for message in consumer.consume(5_000, 1) if message.error() is None]
    consumer.close()
    return values


def parsed(config: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> set[str]:
    """What `parse` says of the files as they are now."""
    platform = config.read_text().split()[1]
    ids: set[str] = set()
    capfdbinary.readouterr()
    for path in (config.parent / "logs").iterdir():
        source = "nginx-json" if path.name == "web.log" else "pgaudit-jsonlog"
        key = str(config.parent / "key")
        command = ["parse", "--source", source, "--platform", platform, "--host", "db-1", "--key-file", key]
        assert main([*command, str(path)]) == 0
        ids |= {msgspec.json.decode(line)["event_id"] for line in capfdbinary.readouterr().out.splitlines()}
    return ids


@pytest.mark.kafka
def test_kill_9_loses_nothing_and_every_double_is_recognisable(
    config: Path, kafka_bootstrap: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """After dedupe by event_id exactly the events of `parse`, in increasing positions, and a measured clock."""
    rng, writer = random.Random(7), Writer(config.parent / "logs")
    agent = start(config)
    writer.start()
    try:
        for _ in range(ROUNDS):
            before = offsets(config)
            wait_for("the checkpoint to move", lambda before=before: offsets(config) > before or not writer.is_alive())
            time.sleep(rng.uniform(0, 0.3))
            agent.send_signal(signal.SIGKILL)
            agent.wait()
            agent = start(config)
        writer.join()
        size = sum(path.stat().st_size for path in (config.parent / "logs").iterdir())
        wait_for("all files to be acknowledged", lambda: offsets(config) >= size)
        wait_for("silence to complete the last statements", lambda: not waiting(config))
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(20) == 0
    finally:
        agent.kill()
        agent.wait()
        writer.join()
    platform = config.read_text().split()[1]
    events = [decode(value, TelemetryEvent) for value in received(kafka_bootstrap, topics.events_topic(platform))]
    expected = parsed(config, capfdbinary)
    assert {event.event_id for event in events} == expected
    assert len(expected) == BATCHES * BATCH * 2
    assert all(event.platform == platform for event in events)
    beats = [decode(value, Heartbeat) for value in received(kafka_bootstrap, topics.HEARTBEATS)]
    mine = [beat for beat in beats if beat.platform == platform]
    assert max(beat.last_seq for beat in mine) > 0
    measured = [beat for beat in mine if beat.clock_offset_ms is not None]
    assert measured
    # agent and broker share this machine's clock
    assert all(abs(beat.clock_offset_ms or 0) <= (beat.clock_error_ms or 0) for beat in measured)


@pytest.mark.kafka
def test_a_missing_topic_ends_the_agent_with_its_cure(config: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """It does not run on as if all were well; the log keeps what was not sent."""
    config.write_text(config.read_text().replace("platform: kill", "platform: nope"))
    (config.parent / "logs/web.log").write_bytes(web_line(int(time.time() * 1_000)))
    done = subprocess.run(
        [sys.executable, "-m", "rua_agents", "run", "-c", str(config)],
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        env=os.environ,
        check=False,
    )
    assert done.returncode == 1
    assert b"rua topics apply" in done.stderr
    assert b"Traceback" not in done.stderr
