"""An agent that is killed and starved on purpose: logs that grow and rotate, what came out, and what should."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from rua_agents.checkpoint import Checkpoint
from rua_agents.collectors import Draft
from rua_agents.contents import opened
from rua_agents.envelopes import Envelope
from rua_agents.parse import drafts
from rua_agents.pseudonyms import KeyRing
from rua_agents.settings import collector_of, options_of
from rua_agents.status import Status
from rua_agents.stream import Origin
from rua_agents.tally import Tally
from rua_common.clock import ManualClock
from rua_schemas import topics
from rua_schemas.codec import decode
from rua_schemas.events import TelemetryEvent

from tests.agent_rig import KEY, audit, web_line

DEADLINE_SECONDS = 90.0
POLL_SECONDS = 0.01
HOST = "db-1"
STAMP = b"2026-03-02T10:00:00.123456789Z"
SKEWED = Path(__file__).with_name("skewed_agent.py")


class Log:
    """One log of the platform: it is appended to, and rotated in its own way. Every line has a number of its own."""

    source = "nginx-json"
    envelope = "none"
    pattern = ""
    """Of the configuration, if it is not just the log's path."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.path = folder / name, folder / name / f"{name}.log"
        self.folder.mkdir(parents=True)
        self.rotations = 0

    def paths(self) -> list[Path]:
        """What is left of it, in all its files."""
        return sorted(path for path in self.folder.iterdir() if path.is_file())

    def write(self, numbers: Sequence[int], start_ms: int) -> None:
        """Appends a line for each number, the last one in two steps."""
        data = b"".join(self.line(number, start_ms) for number in numbers)
        with self.path.open("ab", buffering=0) as file:
            file.write(data[:-30])
            file.write(data[-30:])

    def line(self, number: int, start_ms: int) -> bytes:
        """One record."""
        return web_line(start_ms + number, addr=f"192.0.2.{number % 50}", body_bytes_sent=number)

    def rotate(self) -> None:
        """Renames it to a name with a number that grows; the pattern does not match that name."""
        self.rotations += 1
        self.path.rename(self.folder / f"{self.path.name}.{self.rotations:06}")

    def config(self) -> str:
        """Its entry in `sources`."""
        pattern = self.pattern or self.path.name
        paths = f'["{self.folder}/{pattern}"]'
        envelope = "" if self.envelope == "none" else f", envelope: {self.envelope}, lane: stdout"
        return f"  - {{source: {self.source}, paths: {paths}, host: {HOST}{envelope}}}"


class Chained(Log):
    """As logrotate does with `compress` and `delaycompress`: every rotation renames all, and packs the second."""

    def rotate(self) -> None:
        """Shifts the chain."""
        self.rotations += 1
        for n in range(self.rotations, 0, -1):
            for end in ("", ".gz"):
                old = self.path.with_name(f"{self.path.name}.{n}{end}")
                if old.exists():
                    old.rename(self.path.with_name(f"{self.path.name}.{n + 1}{end}"))
        self.path.rename(self.path.with_name(f"{self.path.name}.1"))
        second = self.path.with_name(f"{self.path.name}.2")
        if second.exists():
            pack(second)


class Copied(Log):
    """As logrotate does with `copytruncate`."""

    def rotate(self) -> None:
        """Copies it, then truncates it; nobody writes in between."""
        self.rotations += 1
        shutil.copy2(self.path, self.folder / f"{self.path.name}.{self.rotations:06}")
        os.truncate(self.path, 0)


class Audited(Log):
    """PostgreSQL's: two records are one event, and the pattern matches the rotated names."""

    source = "pgaudit-jsonlog"

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name)
        self.pattern = f"{self.path.name}*"

    def line(self, number: int, start_ms: int) -> bytes:
        """The object's record and the session's."""
        session = f"s{number % 5}"
        kinds = ("OBJECT", "SESSION")
        at = start_ms + number
        return b"".join(
            audit(at, number, "SELECT 1 FROM t", rows=number, kind=kind, session_id=session) for kind in kinds
        )


class Contained(Log):
    """A container's, as the kubelet rotates it; a word on stderr in between, and lines in pieces."""

    envelope = "cri"

    def line(self, number: int, start_ms: int) -> bytes:
        """The line in two pieces, with another program's word between them."""
        text = super().line(number, start_ms).removesuffix(b"\n")
        half = len(text) // 2
        pieces = [b" stdout P " + text[:half], b" stdout F " + text[half:]]
        if number % 7 == 0:
            pieces.insert(1, b" stderr F {broken")
        return b"".join(STAMP + piece + b"\n" for piece in pieces)

    def rotate(self) -> None:
        """To a name with a date."""
        self.rotations += 1
        self.path.rename(self.folder / f"{self.path.name}.20260302-{self.rotations:06}")


def pack(path: Path) -> None:
    """As gzip does."""
    at = path.stat()
    packed = path.with_name(f"{path.name}.gz")
    with gzip.open(packed, "wb", 1) as file:
        file.write(path.read_bytes())
    os.utime(packed, ns=(at.st_atime_ns, at.st_mtime_ns))
    path.unlink()


class Writer(threading.Thread):
    """Lets all logs grow and rotate until it is told to stop, as far ahead of `taken` as it may.

    Args:
        logs: each with how many of a hundred lines it gets.
        chance: when to rotate.
        taken: how many events came out; the writer keeps at most `ahead` more in the logs.
    """

    def __init__(
        self, logs: dict[Log, int], chance: random.Random, taken: Callable[[], int], *, ahead: int, rotate_at: int
    ) -> None:
        super().__init__(daemon=True)
        self.logs, self.written, self.stopping = logs, 0, False
        self._chance, self._taken, self._ahead, self._rotate_at = chance, taken, ahead, rotate_at
        self._start_ms = int(time.time() * 1_000)

    def run(self) -> None:
        """Until it is stopped, and the last lines are whole."""
        left = dict.fromkeys(self.logs, self._rotate_at)
        while not self.stopping:
            if self.written - self._taken() > self._ahead:
                time.sleep(POLL_SECONDS)
                continue
            for log, share in self.logs.items():
                log.write(range(self.written, self.written + share * 5), self._start_ms)
                self.written += share * 5
                left[log] -= share * 5
                if left[log] <= 0:
                    log.rotate()
                    left[log] = self._chance.randint(self._rotate_at // 2, self._rotate_at)

    def stop(self) -> int:
        """Ends writing; how many lines there are."""
        self.stopping = True
        self.join()
        return self.written


class Events:
    """What has come out of Kafka so far."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "x", "enable.auto.commit": False})
        self._partitions = list(self._consumer.list_topics(topic, 10).topics[topic].partitions)
        self._topic = topic
        self._consumer.assign([TopicPartition(topic, p, 0) for p in self._partitions])
        self.messages = 0
        self.ids: set[str] = set()
        self.newest: dict[int, int] = {}
        """Epoch of the agent → its highest number."""

    def fetch(self) -> int:
        """Everything up to the end of the topic now; how many messages there are."""
        end = self.end()
        while self.messages < end:
            for message in self._consumer.consume(5_000, 0.2):
                if message.error() is None:
                    self._take(message.value() or b"")
        return self.messages

    def end(self) -> int:
        """How many messages the topic holds."""
        places = [TopicPartition(self._topic, p) for p in self._partitions]
        end = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                return sum(self._consumer.get_watermark_offsets(place, 10)[1] for place in places)
            except KafkaException:
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)  # the broker has just come back

    def _take(self, value: bytes) -> None:
        event = decode(value, TelemetryEvent)
        self.messages += 1
        self.ids.add(event.event_id)
        self.newest[event.agent_epoch] = max(event.agent_seq, self.newest.get(event.agent_epoch, 0))

    def close(self) -> None:
        """Leaves the broker."""
        self._consumer.close()


class Rig:
    """A platform of its own, its topics, its logs, and its agent as a process."""

    def __init__(self, bootstrap: str, folder: Path, **limits: Any) -> None:
        self.platform = f"fault{uuid.uuid4().hex[:8]}"
        self.bootstrap, self.folder, self.state = bootstrap, folder, folder / "state"
        self.limits = {"checkpoint_seconds": 0.1, "read_bytes": 60_000, "poll_seconds": 0.05} | limits
        self.logs: list[Log] = []
        self.process: subprocess.Popen[bytes] | None = None
        topics.apply(AdminClient({"bootstrap.servers": bootstrap}), [self.platform], replication=1)
        self._key = folder / "key"
        self._key.write_bytes(KEY)
        self._key.chmod(0o400)
        self.skew = folder / "skew"
        self.more = ""
        self._epoch = 0

    def add(self, *logs: Log) -> Rig:
        """Logs to follow."""
        self.logs += logs
        return self

    @property
    def topic(self) -> str:
        """Where the events go."""
        return topics.events_topic(self.platform)

    def start(self, *, skew_ms: int | None = None) -> None:
        """Starts the agent; with a skew its clock is wrong by so much, and may be set again."""
        config = self.folder / "agent.yaml"
        limits = ", ".join(f"{name}: {value}" for name, value in self.limits.items())
        head = f"platform: {self.platform}\nagent_id: agent-{self.platform}\nkey_file: {self._key}\n"
        head += f'state_dir: {self.state}\nkafka: {{bootstrap: "{self.bootstrap}"}}\nlimits: {{{limits}}}\n{self.more}'
        config.write_text(head + "sources:\n" + "\n".join(log.config() for log in self.logs) + "\n")
        program = ["-m", "rua_agents"]
        if skew_ms is not None:
            self.skew.write_text(str(skew_ms))
            program = [str(SKEWED), str(self.skew)]
        found = self.checkpoint()
        self._epoch = found.agent_epoch if found else -(1 << 62)
        with (self.folder / "agent.err").open("ab") as errors:
            self.process = subprocess.Popen([sys.executable, *program, "run", "-c", str(config)], stderr=errors)
        if found is None:
            wait_for("the agent to look around", self.status)  # what is rotated before belongs to nobody

    def told(self) -> str:
        """What the agent wrote to its log."""
        return (self.folder / "agent.err").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)

    @property
    def alive(self) -> bool:
        """Whether the agent runs."""
        return self.process is not None and self.process.poll() is None

    def rss_bytes(self) -> int:
        """Resident memory."""
        assert self.process is not None
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def checkpoint(self) -> Checkpoint | None:
        """The last one on disk, if it is whole."""
        try:
            return msgspec.json.decode((self.state / "checkpoint.json").read_bytes(), type=Checkpoint)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def status(self) -> Status | None:
        """The last one on disk."""
        try:
            return msgspec.json.decode((self.state / "status.json").read_bytes(), type=Status)
        except FileNotFoundError:
            return None

    def acked_seq(self) -> int:
        """How many events of the running agent the checkpoint covers."""
        found = self.checkpoint()
        return found.agent_seq if found and found.agent_epoch > self._epoch else 0

    def expected(self) -> dict[str, str]:
        """Id of each event that the files hold, as `parse` reads them now → its file."""
        return {
            event.event_id: path.name for log in self.logs for path in log.paths() for event in self._parsed(log, path)
        }

    def _parsed(self, log: Log, path: Path) -> Iterator[Draft]:
        collector = collector_of(log.source)
        ring = KeyRing(KEY, self.platform)
        envelope = Envelope(log.envelope, "stdout") if log.envelope != "none" else None
        origin = Origin(
            collector, self.platform, "x", HOST, None, options_of(collector, {}), ring, Tally(), envelope=envelope
        )
        with opened(str(path)) as file:
            yield from drafts(file, origin, ManualClock(), path=str(path))


def wait_for(what: str, true: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
    """Waits until a condition holds.

    Raises:
        TimeoutError: it did not.
    """
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(POLL_SECONDS)
