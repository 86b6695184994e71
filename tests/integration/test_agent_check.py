"""`rua agent check` proves that `run` would work."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from rua_agents.__main__ import main
from rua_agents.check import problems
from rua_agents.settings import load
from rua_common.clock import ManualClock, SystemClock
from rua_schemas import topics
from rua_schemas.codec import encode
from rua_schemas.events import Heartbeat

from tests.agent_rig import KEY, START_MS, web_line


def configure(folder: Path, bootstrap: str, platform: str) -> Path:
    """A configuration with which all is well."""
    (folder / "a.log").write_bytes(web_line(START_MS))
    (folder / "key").write_bytes(KEY)
    (folder / "key").chmod(0o400)
    path = folder / "agent.yaml"
    path.write_text(f"""
platform: {platform}
key_file: {folder}/key
state_dir: {folder}/state
kafka: {{bootstrap: "{bootstrap}"}}
sources: [{{source: nginx-json, paths: ["{folder}/*.log"]}}]
""")
    return path


@pytest.mark.kafka
def test_check_stays_quiet_when_all_is_well(
    tmp_path: Path, kafka_bootstrap: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line, and exit 0."""
    platform = f"check{uuid.uuid4().hex[:8]}"
    topics.apply(AdminClient({"bootstrap.servers": kafka_bootstrap}), [platform], replication=1)
    assert main(["check", "-c", str(configure(tmp_path, kafka_bootstrap, platform))]) == 0
    assert capfd.readouterr().out.startswith("ok ")


@pytest.mark.kafka
def test_check_names_everything_that_is_wrong_with_its_cure(
    tmp_path: Path, kafka_bootstrap: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not only the first fault."""
    path = configure(tmp_path, kafka_bootstrap, f"none{uuid.uuid4().hex[:8]}")
    (tmp_path / "key").chmod(0o644)
    (tmp_path / "b.log").write_bytes(b"\xff\xfe{\0")

    assert main(["check", "-c", str(path)]) == 1
    said = capfd.readouterr().err
    for cure in ("chmod 0400", "unsupported encoding", "rua topics apply"):
        assert cure in said


def test_check_says_that_nothing_listens(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Also that a pattern finds nothing, and that the configuration is wrong."""
    path = configure(tmp_path, "127.0.0.1:1", "lazada")
    (tmp_path / "a.log").unlink()
    assert main(["check", "-c", str(path)]) == 1
    said = capfd.readouterr().err
    assert "nothing listens" in said
    assert "matches no file" in said
    path.write_text("platform: lazada\n")
    assert main(["check", "-c", str(path)]) == 1
    assert "agent.yaml" in capfd.readouterr().err


@pytest.mark.kafka
def test_a_clock_that_is_behind_shows_by_the_newest_heartbeat(tmp_path: Path, kafka_bootstrap: str) -> None:
    """The broker stamps it; a clock that is right stays quiet."""
    platform = f"check{uuid.uuid4().hex[:8]}"
    topics.apply(AdminClient({"bootstrap.servers": kafka_bootstrap}), [platform], replication=1)
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    beat = Heartbeat(
        agent_id="a", agent_epoch=1, agent_version="0", platform=platform, sent_at=0, last_seq=0, events_acked=0,
        records_failed=0, lag_bytes=0, files=0,
    )  # fmt: skip
    producer.produce(topics.HEARTBEATS, encode(beat))
    assert producer.flush(10) == 0
    settings = load(configure(tmp_path, kafka_bootstrap, platform))
    late = ManualClock(SystemClock().now_ms() - 3_600_000)
    assert "behind the broker's" in "".join(problems(settings, late))
    assert list(problems(settings, SystemClock())) == []
