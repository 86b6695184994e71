"""The agent as an SRE meets it: a real process and Kafka, signals, probes, a disk that fills, a broker that is away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from rua_agents.__main__ import main
from rua_local.process import free_port
from rua_schemas import topics
from rua_schemas.codec import decode
from rua_schemas.events import TelemetryEvent

from tests.agent_rig import KEY, START_MS, web_line

pytestmark = pytest.mark.kafka
WAIT_SECONDS = 30.0
QUICK = "poll_seconds: 0.05, checkpoint_seconds: 0.1"


class Rig:
    """One agent's folder: its configuration, its logs, what it said."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        self.folder, self.bootstrap = folder, bootstrap
        self.platform = f"shell{uuid.uuid4().hex[:8]}"
        self.config, self.state, self.log = folder / "agent.yaml", folder / "state", folder / "agent.log"
        self.port, self.written = free_port(), 0
        (folder / "key").write_bytes(KEY)
        (folder / "key").chmod(0o400)

    def configure(self, *logs: str, limits: str = "", more: str = "", bootstrap: str = "") -> None:
        """Reads these files of the folder."""
        sources = "".join(f'  - {{source: nginx-json, paths: ["{self.folder}/{log}"], host: h}}\n' for log in logs)
        self.config.write_text(
            f"platform: {self.platform}\nagent_id: agent-1\nkey_file: {self.folder}/key\nstate_dir: {self.state}\n"
            f'kafka: {{bootstrap: "{bootstrap or self.bootstrap}"}}\nhttp: {{listen: "127.0.0.1:{self.port}"}}\n'
            f"sources:\n{sources}limits: {{{', '.join(filter(None, [QUICK, limits]))}}}\n{more}\n"
        )

    def append(self, log: str, lines: int = 1) -> None:
        """New lines, each of them another one."""
        with (self.folder / log).open("ab") as file:
            for _ in range(lines):
                self.written += 1
                file.write(web_line(START_MS + self.written))

    @contextmanager
    def running(self, *, stderr: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """The agent as a process of its own; killed at the end if it still runs."""
        with open(stderr or self.log, "ab") as log:
            command = [sys.executable, "-m", "rua_agents", "run", "-c", str(self.config)]
            agent = subprocess.Popen(command, stderr=log)
        try:
            yield agent
        finally:
            agent.kill()
            agent.wait()

    def ask(self, path: str) -> tuple[int, str]:
        """Code and body; 0 if nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return int(answer.status), str(answer.read().decode())
        except urllib.error.HTTPError as why:
            with why:
                return why.code, why.read().decode()
        except OSError:
            return 0, ""

    def acked(self) -> int:
        """Events that the broker has, by this run of the agent."""
        code, body = self.ask("/status")
        return int(json.loads(body)["events_acked"]) if code == 200 else -1

    def epoch(self) -> int:
        """The agent's."""
        return int(json.loads(self.ask("/status")[1])["agent_epoch"])

    def said(self) -> str:
        """Its own log."""
        return self.log.read_text()

    def received(self) -> list[TelemetryEvent]:
        """Everything in the platform's topic."""
        topic = topics.events_topic(self.platform)
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "x", "enable.auto.commit": False})
        partitions = consumer.list_topics(topic, 10).topics[topic].partitions
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in partitions]
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        values: list[bytes] = []
        while len(values) < sum(ends):
            values += [message.value() or b"" for message in consumer.consume(5_000, 1) if message.error() is None]
        consumer.close()
        return [decode(value, TelemetryEvent) for value in values]


@pytest.fixture
def rig(tmp_path: Path, kafka_bootstrap: str) -> Rig:
    """A platform of its own, with its topics."""
    made = Rig(tmp_path, kafka_bootstrap)
    topics.apply(AdminClient({"bootstrap.servers": kafka_bootstrap}), [made.platform], replication=1)
    return made


def until(what: str, true: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)


def stopped(agent: subprocess.Popen[bytes]) -> int:
    """Its exit status after SIGTERM."""
    agent.send_signal(signal.SIGTERM)
    return agent.wait(WAIT_SECONDS)


def test_probes_metrics_and_status_of_a_living_agent_and_no_second_one(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a quiet log: one line at the start."""
    rig.append("a.log", 3)
    rig.configure("a.log")
    with rig.running() as agent:
        until("all to be acknowledged", lambda: rig.acked() == 3)
        until("it to be ready", lambda: rig.ask("/readyz") == (200, "ready\n"))
        assert rig.ask("/healthz") == (200, "alive\n")
        assert f'rua_agent_lag_bytes{{file="{rig.folder}/a.log"}} 0\n' in rig.ask("/metrics")[1]
        assert main(["status", "-c", str(rig.config)]) == 0
        assert "3 of 3 acknowledged" in capsys.readouterr().out
        second = subprocess.run(
            [sys.executable, "-m", "rua_agents", "run", "-c", str(rig.config)],
            capture_output=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        assert second.returncode == 1
        assert f"process {agent.pid} runs with it" in second.stderr.decode()
        assert stopped(agent) == 0
    assert main(["status", "-c", str(rig.config)]) in (0, 3)
    lines = [line for line in rig.said().splitlines() if "librdkafka" not in line]
    assert len(lines) == 1, lines


def test_a_reload_takes_what_is_good_and_refuses_what_is_bad(rig: Rig) -> None:
    """Without a new epoch, a lost or a doubled event; a file that was unlinked meanwhile is read to its end."""
    for log in ("a.log", "b.log"):
        rig.append(log, 3)
    rig.configure("a.log")
    with rig.running() as agent:
        until("the first file", lambda: rig.acked() == 3)
        epoch = rig.epoch()
        rig.configure("a.log", limits="cpu_percent: lots")
        agent.send_signal(signal.SIGHUP)
        until("the refusal", lambda: "limits.cpu_percent" in rig.said())
        assert f"{rig.config}:9: limits.cpu_percent" in rig.said()
        assert "the old one stays in force" in rig.said()
        rig.append("a.log", 2)
        until("reading to go on", lambda: rig.acked() == 5)

        rig.configure("a.log", "b.log", limits="cpu_percent: 90")
        rig.append("a.log", 2)
        (rig.folder / "a.log").rename(rig.folder / "gone")
        (rig.folder / "gone").unlink()
        agent.send_signal(signal.SIGHUP)
        until("both files", lambda: rig.acked() == rig.written)
        assert rig.epoch() == epoch
        assert stopped(agent) == 0
    events = rig.received()
    assert len({event.event_id for event in events}) == len(events) == rig.written
    assert sorted(event.agent_seq for event in events) == list(range(1, rig.written + 1))


def test_another_broker_address_is_taken_by_a_new_producer(rig: Rig) -> None:
    """As after a start: a new epoch, everything once."""
    rig.append("a.log", 3)
    rig.configure("a.log", bootstrap=f"127.0.0.1:{free_port()}", limits="drain_seconds: 1")
    with rig.running() as agent:
        until("the trouble", lambda: "nothing listens there" in rig.ask("/readyz")[1])
        epoch = rig.epoch()
        rig.configure("a.log")
        agent.send_signal(signal.SIGHUP)
        until("the new broker", lambda: rig.acked() == 3)
        assert rig.epoch() > epoch
        assert stopped(agent) == 0
    assert len(rig.received()) == 3


def test_while_the_broker_is_away_it_lives_tells_and_stops_when_told_twice(rig: Rig) -> None:
    """Alive (so nobody restarts it), not ready (with the cure), few lines of log, and no waiting at the end."""
    rig.append("a.log", 30_000)
    rig.configure("a.log", bootstrap=f"127.0.0.1:{free_port()}", limits="drain_seconds: 60, queue_bytes: 65536")
    with rig.running() as agent:
        until("the trouble", lambda: "nothing listens there" in rig.ask("/readyz")[1])
        assert rig.ask("/healthz")[0] == 200
        before = json.loads(rig.ask("/status")[1])["at_ms"]
        until("a fresh status", lambda: json.loads(rig.ask("/status")[1])["at_ms"] > before)
        assert json.loads(rig.ask("/status")[1])["queue_bytes"] < 1 << 20
        agent.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert agent.poll() is None
        began = time.monotonic()
        assert stopped(agent) == 0
        assert time.monotonic() - began < 5
    assert "the next start reads it again" in rig.said()
    assert len(rig.said().splitlines()) < 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB at the state directory."""
    place = tmp_path / "state"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only a privileged user may mount a small disk; test_disk.py has the same with one made up")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Nothing is free there."""
    path = disk / "platform.log"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4_096):
                pass
        except OSError:
            return path
    raise AssertionError("the disk has no end")


@pytest.mark.parametrize("reserve", [65_536, 0])
def test_a_full_disk_holds_reading_and_keeps_what_is_acknowledged(rig: Rig, small_disk: Path, reserve: int) -> None:
    """With its reserve the checkpoint is still written, so that a kill reads nothing twice; the twin has no reserve."""
    disk = f"disk: {{min_free_bytes: 0, reserve_bytes: {reserve}, full: keep_reading}}"
    rig.append("a.log", 3)
    rig.configure("a.log", more=disk)
    with rig.running() as agent:
        until("the first events", lambda: rig.acked() == 3)
        until("a checkpoint", (small_disk / "checkpoint.json").exists)
        filler = fill(small_disk)
        rig.append("a.log", 2)
        until("what came afterwards", lambda: rig.acked() == 5)
        time.sleep(1.3)
        assert agent.poll() is None
        agent.kill()
        agent.wait()
        filler.unlink()
    with rig.running() as agent:
        until("an answer", lambda: rig.ask("/readyz")[0] == 200)
        time.sleep(0.5)
        assert rig.acked() == (0 if reserve else 2)
        assert stopped(agent) == 0


def test_reading_goes_on_by_itself_when_there_is_room_again(rig: Rig, small_disk: Path) -> None:
    """Until then nothing is read, the agent lives and says what to do; its own log may have no room either."""
    rig.append("a.log", 3)
    rig.configure("a.log", more="disk: {min_free_bytes: 65536, reserve_bytes: 65536}")
    with rig.running(stderr="/dev/full") as agent:
        until("the first events", lambda: rig.acked() == 3)
        filler = fill(small_disk)
        until("the trouble", lambda: "Make room on this disk. Reading waits." in rig.ask("/readyz")[1])
        rig.append("a.log", 2)
        time.sleep(1.2)
        assert rig.acked() == 3
        assert rig.ask("/healthz")[0] == 200
        filler.unlink()
        until("the rest", lambda: rig.acked() == 5)
        until("it to be ready", lambda: rig.ask("/readyz")[0] == 200)
        assert stopped(agent) == 0
    assert len(rig.received()) == 5


def test_limits_of_speed_hold(rig: Rig) -> None:
    """2,000 events a second: 5,000 take more than a second, and the agent answers meanwhile."""
    rig.append("a.log", 5_000)
    rig.configure("a.log", limits="events_per_second: 2000, read_bytes: 65536, nice: 5")
    with rig.running() as agent:
        until("the first", lambda: rig.acked() > 0)
        began = time.monotonic()
        assert os.getpriority(os.PRIO_PROCESS, agent.pid) == 5
        until("all", lambda: rig.acked() == 5_000)
        assert time.monotonic() - began > 1.0
        assert stopped(agent) == 0
