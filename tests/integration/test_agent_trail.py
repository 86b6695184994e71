"""The trail of a real agent that is killed again and again holds, and shows it if one message is taken away."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from rua_agents.signing import create_signing_key
from rua_schemas import topics
from rua_schemas.codec import decode
from rua_schemas.events import Heartbeat, TelemetryEvent

from tests.agent_rig import KEY, START_MS, web_line
from tests.trail import alerts

pytestmark = pytest.mark.kafka
KILLS = 4
LINES = 700
DEADLINE_SECONDS = 20.0


def configured(folder: Path, bootstrap: str, platform: str) -> Path:
    """An agent that signs, and beats often."""
    (folder / "key").write_bytes(KEY)
    (folder / "key").chmod(0o400)
    path = folder / "agent.yaml"
    path.write_text(f"""
platform: {platform}
agent_id: agent-{platform}
key_file: {folder}/key
signing_key_file: {folder}/signing
state_dir: {folder}/state
kafka: {{bootstrap: "{bootstrap}"}}
sources: [{{source: nginx-json, paths: ["{folder}/a.log"]}}]
limits: {{checkpoint_seconds: 0.1, read_bytes: 60000, poll_seconds: 0.02, heartbeat_seconds: 0.2}}
""")
    return path


def received(bootstrap: str, topic: str) -> list[tuple[int, bytes]]:
    """Broker's time and value of each message of a topic."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "x", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    ends = sum(consumer.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in partitions)
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    found: list[tuple[int, bytes]] = []
    while len(found) < ends:
        found += [(m.timestamp()[1], m.value() or b"") for m in consumer.consume(5_000, 0.1) if m.error() is None]
    consumer.close()
    return found


def test_the_trail_of_an_agent_that_is_killed_holds(tmp_path: Path, kafka_bootstrap: str) -> None:
    """No alert after `kill -9`, none while it stands still until a new start; but one for each message taken away."""
    platform = f"trail{uuid.uuid4().hex[:8]}"
    topics.apply(AdminClient({"bootstrap.servers": kafka_bootstrap}), [platform], replication=1)
    public_key = bytes.fromhex(create_signing_key(tmp_path / "signing"))
    config, log = configured(tmp_path, kafka_bootstrap, platform), tmp_path / "a.log"
    command = [sys.executable, "-m", "rua_agents", "run", "-c", str(config)]
    for round_ in range(KILLS + 1):
        with log.open("ab") as file:
            for n in range(LINES):
                file.write(web_line(START_MS + round_ * LINES + n, addr=f"192.0.2.{n % 50}"))
        with subprocess.Popen(command) as process:
            if round_ < KILLS:
                time.sleep(1.0 + 0.13 * round_)
                process.kill()
                continue
            until = time.monotonic() + DEADLINE_SECONDS
            while lagging(tmp_path):
                assert time.monotonic() < until
                time.sleep(0.05)
            process.terminate()
            assert process.wait(DEADLINE_SECONDS) == 0
    messages = [value for _, value in received(kafka_bootstrap, topics.events_topic(platform))]
    told = [(at, decode(value, Heartbeat)) for at, value in received(kafka_bootstrap, topics.HEARTBEATS)]
    beats = [(at, beat) for at, beat in told if beat.platform == platform]
    epochs = {beat.agent_epoch for _, beat in beats}
    assert len(epochs) >= 3
    assert alerts(messages, beats, public_key, beats[-1][0]) == set()
    for victim in covered(messages, beats):
        assert alerts([one for one in messages if one is not victim], beats, public_key, beats[-1][0])


def lagging(folder: Path) -> bool:
    """Whether the last start has not read everything yet."""
    path = folder / "state" / "status.json"
    found = msgspec.json.decode(path.read_bytes())
    size = (folder / "a.log").stat().st_size
    return not found["files"] or int(found["files"][0]["acked_offset"]) < size


def covered(messages: list[bytes], beats: list[tuple[int, Heartbeat]]) -> list[bytes]:
    """One message from the middle of each epoch that a heartbeat vouches for."""
    last = {beat.agent_epoch: beat.chain_seq or 0 for _, beat in beats}
    events = [(decode(message, TelemetryEvent), message) for message in messages]
    found = [message for event, message in events if event.agent_seq == (last.get(event.agent_epoch, 0) + 1) // 2]
    assert found
    return found
