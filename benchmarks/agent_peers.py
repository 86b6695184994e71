"""Rua's agent beside rsyslog and syslog-ng: the same log, the same broker, the same run. `make bench-agent`.

`python -m benchmarks.agent_peers [--size-mb 1000] [--rounds 1] [--kill-mb 100] [--only rua …]` prints, for each:
processor time a line (user and system, all threads of the agent alone, from its start until the broker has the last
line), peak memory, and what two `kill -9` in the middle cost in lines lost and doubled.

The broker is an Apache Kafka of its own process: librdkafka's mock keeps only the last megabytes of a partition, so
nobody could tell there what was lost. Its own time is not counted. Lines are those of an nginx access log in JSON,
about 300 bytes, each one an event, with users, addresses and paths as they come in a shop: few often, many seldom.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from rua_local.kafka import EmbeddedKafka

from benchmarks.contenders import Contender, Job, contenders
from benchmarks.debian import NoPackages

PARTITIONS = 4
USERS = 3_000
AGENTS = (
    "curl/8.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/141.0.0.0",
    "pos-sync/2.1",
    "okhttp/4.12",
)
START = 1_795_561_923
STALL_SECONDS = 90
TRIES = 60
QUIET_SECONDS = 12
IDLE_FILES = 20
REQUEST_ID = re.compile(rb'"request_id": ?"([0-9a-f]{32})"')
EVENT_ID = slice(11, 43)
"""Of an event in Avro: behind the schema's fingerprint and the length."""


class Cost(NamedTuple):
    """Of one run."""

    cpu_seconds: float
    wall_seconds: float
    peak_mb: float


class Losses(NamedTuple):
    """After two kills."""

    lost: int
    doubled: int
    finished: bool


def access_log(path: Path, size_mb: int, seed: int) -> int:
    """Writes a log; gives the number of its lines."""
    rng, lines, written = random.Random(seed), 0, 0
    people = [
        (f"u{n}", f"203.0.{rng.randrange(90)}.{rng.randrange(250)}", rng.choice(AGENTS), f"app-{rng.randrange(40)}")
        for n in range(USERS)
    ]
    with path.open("w", encoding="ascii") as file:
        while written < size_mb * 1_000_000:
            user, address, agent, app = people[min(int(rng.paretovariate(0.6)) - 1, USERS - 1)]
            written += file.write(
                f'{{"msec":{START + lines / 1_000:.3f},"remote_addr":"{address}","remote_user":"{user}",'
                f'"request":"GET {target(rng)} HTTP/1.1","status":200,"body_bytes_sent":{rng.randrange(100_000)},'
                f'"request_time":0.0{rng.randrange(99):02},"http_user_agent":"{agent}","request_completion":"OK",'
                f'"app":"{app}","request_id":"{rng.getrandbits(128):032x}"}}\n'
            )
            lines += 1
    return lines


def target(rng: random.Random) -> str:
    """Path and query of a request."""
    which, number = rng.random(), rng.randrange(10**7)
    if which < 0.4:
        return f"/api/v2/orders/{number}/items?page={number % 99}"
    if which < 0.7:
        return f"/api/v2/orders?cursor={number:x}"
    return f"/seller/export/orders.csv?day={number % 30}" if which < 0.75 else f"/api/v2/customers/{number}"


class Broker:
    """What the comparison asks of Kafka."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._consumer = self._fresh()

    def _fresh(self) -> Consumer:
        return Consumer({"bootstrap.servers": self.bootstrap, "group.id": "bench", "enable.auto.commit": False})

    def topic(self, name: str) -> None:
        """Makes an empty topic, and those that an agent of ours wants beside it."""
        wanted = [name, *({"rua.heartbeats", "rua.dlq"} - set(self._admin.list_topics(timeout=30).topics))]
        for made in self._admin.create_topics([NewTopic(one, PARTITIONS, 1) for one in wanted]).values():
            made.result()

    def drop(self, name: str) -> None:
        """Deletes a topic, for its space."""
        for gone in self._admin.delete_topics([name]).values():
            gone.result()

    def ends(self, name: str) -> list[int]:
        """The next offset of each partition."""
        partitions = [TopicPartition(name, number) for number in range(PARTITIONS)]
        for _ in range(TRIES):
            try:
                return [self._consumer.get_watermark_offsets(one, timeout=30)[1] for one in partitions]
            except KafkaException:  # a new topic has no leaders yet, or this client remembers others
                time.sleep(0.5)
                self._consumer.close()
                self._consumer = self._fresh()
        raise RuntimeError(f"{name}: its end cannot be asked for")

    def values(self, name: str) -> Iterator[bytes]:
        """Every message of a topic."""
        ends = self.ends(name)
        self._consumer.assign([TopicPartition(name, number, 0) for number, end in enumerate(ends) if end])
        for _ in range(sum(ends)):
            message = self._consumer.poll(30)
            if message is None or message.error():
                raise RuntimeError(f"{name} cannot be read to its end")
            yield message.value() or b""
        self._consumer.unassign()


class Running:
    """An agent at work."""

    def __init__(self, contender: Contender, job: Job) -> None:
        words, environment = contender.command(job)
        with (job.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(words, env=environment, stdout=output, stderr=output)
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def ended(self) -> bool:
        """Whether it went away by itself."""
        return self._process.poll() is not None

    def cost(self) -> Cost:
        """So far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+)", status)
        ticks = int(fields[11]) + int(fields[12])
        seconds = time.monotonic() - self._began
        return Cost(ticks / os.sysconf("SC_CLK_TCK"), seconds, int(peak[1]) / 1024 if peak else 0.0)

    def kill(self) -> None:
        """Without a word."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """In order, and if it does not listen, without."""
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()


def follow(broker: Broker, job: Job, running: Running, until: int) -> bool:
    """Waits until so many messages are there; False if none came for long, or the agent went away."""
    most, grown = -1, time.monotonic()
    while most < until:
        delivered = sum(broker.ends(job.topic))
        if delivered > most:
            most, grown = delivered, time.monotonic()
        if running.ended or time.monotonic() - grown > STALL_SECONDS:
            return False
        time.sleep(0.2)
    return True


def measured(contender: Contender, broker: Broker, job: Job, lines: int) -> Cost | None:
    """The cost of a log from its first line to its last; None if it did not arrive."""
    contender.prepare(job)
    with Running(contender, job) as running:
        return running.cost() if follow(broker, job, running, lines) else None


def killed_twice(contender: Contender, broker: Broker, job: Job, lines: int) -> Losses:
    """What two kills, after a third and after two thirds of the lines, leave lost and doubled."""
    contender.prepare(job)
    for share in (1, 2):
        with Running(contender, job) as running:
            follow(broker, job, running, lines * share // 3)
            running.kill()
    with Running(contender, job) as running:
        finished = follow(broker, job, running, lines)
        quiet, most = time.monotonic(), 0
        while time.monotonic() - quiet < QUIET_SECONDS:  # a peer may send its doubles after that
            delivered = sum(broker.ends(job.topic))
            if delivered > most:
                most, quiet = delivered, time.monotonic()
            time.sleep(0.5)
    seen: set[bytes] = set()
    total = 0
    for value in broker.values(job.topic):
        total += 1
        named = REQUEST_ID.search(value)
        seen.add(named[1] if named else value[EVENT_ID])
    return Losses(lines - len(seen), total - len(seen), finished)


def idle(contender: Contender, broker: Broker, job: Job, seconds: int) -> float:
    """Share of one processor, in per cent, while nothing is written to twenty files."""
    for number in range(IDLE_FILES):
        access_log(job.folder / f"{number}.log", 0, number)
        with (job.folder / f"{number}.log").open("ab") as file:
            file.write(b'{"msec":%d.5,"status":200,"request":"GET /x HTTP/1.1"}\n' % (START + number))
    job = job._replace(log=job.folder / "*.log")
    contender.prepare(job)
    with Running(contender, job) as running:
        follow(broker, job, running, IDLE_FILES)
        time.sleep(3)
        before = running.cost()
        time.sleep(seconds)
        after = running.cost()
    return 100 * (after.cpu_seconds - before.cpu_seconds) / (after.wall_seconds - before.wall_seconds)


def reference_ms() -> float:
    """Processor time of a fixed piece of work, milliseconds: how fast, and how busy, this machine is now."""
    took = []
    for _ in range(3):
        began = time.process_time()
        sum(range(10_000_000))
        took.append(time.process_time() - began)
    return 1_000 * min(took)


def line_of(contender: Contender, costs: Sequence[Cost], lines: int, losses: Losses | None) -> str:
    """One line of the table."""
    told = f"{contender.name:15} {contender.does:37}"
    if not costs:
        return told + " did not deliver the log"
    each = [cost.cpu_seconds / lines * 1e6 for cost in costs]
    spread = f" ({min(each):.1f} to {max(each):.1f})" if len(each) > 1 else ""
    wall = statistics.median(lines / cost.wall_seconds for cost in costs)
    told += f" {statistics.median(each):5.1f}{spread} µs/line {wall:9,.0f} lines/s"
    told += f" {max(cost.peak_mb for cost in costs):6.1f} MB"
    if losses:
        told += f"   killed twice: {losses.lost:,} lost, {losses.doubled:,} doubled"
        told += " (recognised by event_id)" if contender.name == "rua" and losses.doubled else ""
        told += "" if losses.finished else ", not finished"
    return told


def main() -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agent_peers", description=__doc__)
    parser.add_argument("--size-mb", type=int, default=1_000, help="of the log (default: 1000)")
    parser.add_argument("--kill-mb", type=int, default=100, help="of the log for the kills; 0: none (default: 100)")
    parser.add_argument("--rounds", type=int, default=1, help="of every contender, in turn (default: 1)")
    parser.add_argument("--idle-seconds", type=int, default=30, help="to watch an idle agent; 0: not (default: 30)")
    parser.add_argument("--only", nargs="*", default=[], help="names of contenders")
    given = parser.parse_args()
    try:
        chosen = [one for one in contenders() if not given.only or one.name in given.only]
    except NoPackages as why:
        print(why, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="rua-bench-") as name, EmbeddedKafka(Path(name) / "kafka") as kafka:
        compare(chosen, Broker(kafka.bootstrap), Path(name), given)
    return 0


def compare(chosen: Sequence[Contender], broker: Broker, folder: Path, given: argparse.Namespace) -> None:
    """Every contender in turn, round by round."""
    number = 0

    def job(log: Path) -> Job:
        nonlocal number
        number += 1
        made = Job(log, broker.bootstrap, f"rua.events.bench{number}", folder / str(number))
        made.folder.mkdir()
        broker.topic(made.topic)
        return made

    log = folder / "access.log"
    lines = access_log(log, given.size_mb, 1)
    size = log.stat().st_size / lines
    print(f"{lines:,} lines of {size:.0f} bytes; a fixed piece of work takes {reference_ms():.0f} ms", flush=True)
    costs: dict[str, list[Cost]] = {one.name: [] for one in chosen}
    for _ in range(given.rounds):
        for one in chosen:
            task = job(log)
            cost = measured(one, broker, task, lines)
            print(f"{one.name}: {cost or 'did not deliver the log'}", file=sys.stderr, flush=True)
            costs[one.name] += [cost] if cost else []
            broker.drop(task.topic)
    log.unlink()
    few = access_log(log, given.kill_mb, 2) if given.kill_mb else 0
    for one in chosen:
        losses = killed_twice(one, broker, job(log), few) if few else None
        print(line_of(one, costs[one.name], lines, losses), flush=True)
    if given.idle_seconds:
        for one in chosen:
            share = idle(one, broker, job(folder), given.idle_seconds)
            print(f"{one.name:15} idle over {IDLE_FILES} files: {share:.2f} % of one processor", flush=True)
    print(f"a fixed piece of work takes {reference_ms():.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
