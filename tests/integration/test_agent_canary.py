"""Nothing personal leaves an agent: a real process reads every source full of canaries, and what comes out is searched.

Canaries that look like what they are stand anywhere; names and passwords stand where people write them. Looked through
are Kafka (events, keys, heartbeats, dead letters), the state directory with checkpoint, spool and status, both output
streams, and every page of the endpoint.
"""

# ruff: noqa: S608 - statements that nobody executes
from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from rua_agents.collectors import COLLECTORS
from rua_agents.sdk import configure, export, flush
from rua_agents.settings import reads
from rua_agents.signing import create_signing_key
from rua_schemas import topics
from rua_schemas.codec import decode
from rua_schemas.events import Heartbeat, TelemetryEvent

from tests.agent_rig import KEY, START_MS, audit, origin, pg_line, sample_of, web_line, zone_name
from tests.canaries import ALL, EMAIL, NATIONAL_ID, PASSWORD, PHONE, SHAPED, THAI_NAME, Searcher, planted
from tests.trail import alerts

pytestmark = pytest.mark.kafka
FILES = [source for source in COLLECTORS if reads(COLLECTORS[source]) == "files"]
PER_SOURCE = 100
LARGEST_MESSAGE = 430
"""So small that some events go to the dead-letter queue."""
DEADLINE_SECONDS = 20.0
CLOSERS_BYTES = 8
LEAST_SPOOL_BYTES = 100_000
PAGES = ("/healthz", "/readyz", "/metrics", "/status", f"/{PHONE}")
BROKEN = """
from rua_agents import __main__, canonical, pseudonyms, tally
pseudonyms.Pseudonymiser._made = lambda self, field, value: canonical.canonical_name(value)
tally.shape = lambda text: text
raise SystemExit(__main__.main())
"""
"""The broken twin: names as they are, and lines in the log as they are."""


def written_by_people() -> Mapping[str, bytes]:
    """What people write that looks like nothing: literals, names, passwords, queries, in the places for it."""
    at = START_MS
    statements = [
        f"SELECT * FROM customers WHERE name = '{THAI_NAME}' AND secret = $${PASSWORD}$$ -- {THAI_NAME}",
        f"SELECT 1 /* {PASSWORD} */ FROM customers WHERE phone IN ('{PHONE}', {NATIONAL_ID})",
        f"CREATE ROLE x PASSWORD '{PASSWORD}'",
        f"ALTER ROLE \"{THAI_NAME}\" PASSWORD '{PASSWORD}'",
        f"COPY customers TO '/srv/{THAI_NAME}/{EMAIL}.csv'",
        f"COPY customers TO PROGRAM 'mail -s {PASSWORD} {EMAIL}'",
        f"SELECT '{THAI_NAME}",
    ]
    who: dict[str, Any] = {
        "user": THAI_NAME,
        "application_name": f"psql {PASSWORD} {THAI_NAME}",
        "session_id": f"s-{PHONE}",
    }
    pg = [audit(at + n, n, text, **who) for n, text in enumerate(statements)]
    pg += [
        audit(at + 90 + n, 90 + n, f"GRANT x TO {name}", klass="ROLE", command="GRANT ROLE", table="", **who)
        for n, name in enumerate((f'"{THAI_NAME}"', f'"{EMAIL}"'))
    ]
    pg += [
        pg_line(at + 99, f"duplicate key value: Key (email)=({EMAIL}) already exists", detail=THAI_NAME, **who),
        pg_line(at + 99, f'password authentication failed for user "{THAI_NAME}"', **who),
        f'{{"timestamp": "{THAI_NAME}", "user": "{PASSWORD}"}}\n{{broken {EMAIL} {THAI_NAME} {PASSWORD}\n'.encode(),
    ]
    web = [
        web_line(at, f"GET /search/{THAI_NAME}?q={PASSWORD}&name={THAI_NAME}&e={EMAIL} HTTP/1.1", user=THAI_NAME),
        web_line(at, "GET /export/a.csv HTTP/1.1", ua=f"{THAI_NAME} {PASSWORD}", referer=f"/?{PASSWORD}"),
        web_line(at, f"GET /users/{THAI_NAME}/orders HTTP/1.1", app=THAI_NAME, merchant=EMAIL, xff=PASSWORD),
        web_line(at, f"{PASSWORD} {THAI_NAME}"),
    ]
    sudo = f"Nov 24 23:14:31 vm sudo: {THAI_NAME} : PWD=/srv ; USER=root ; COMMAND=/usr/bin/psql -c '{PASSWORD}'\n"
    return {"pgaudit-jsonlog": b"".join(pg), "nginx-json": b"".join(web), "auth-log": sudo.encode()}


def logs(source: str) -> bytes:
    """Its sample, then some of its records with canaries, then what people write."""
    splitter = origin(source, zone=zone_name(source)).splitter(0, 1 << 20)
    records = [*splitter.feed(sample_of(source)), *splitter.finish()]
    short = [r.data if r.data.endswith(b"\n") else r.data + b"\n" for r in records if 0 < len(r.data) < 4_096]
    changed = [record for _, _, record in planted(short, random.Random(source), PER_SOURCE, SHAPED)]
    return sample_of(source) + b"".join(changed) + written_by_people().get(source, b"")


def free_port() -> int:
    """One on which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Rig:
    """An agent's configuration, its process, and all that comes out of it."""

    def __init__(self, folder: Path, bootstrap: str, sources: list[str], *, spool: bool = False) -> None:
        self.folder, self.bootstrap = folder, bootstrap
        self.platform, self.port = f"canary{uuid.uuid4().hex[:8]}", free_port()
        self.socket, self.state = folder / "agent.sock", folder / "state"
        self.pages = b""
        (folder / "key").write_bytes(KEY)
        (folder / "key").chmod(0o400)
        self.public_key = bytes.fromhex(create_signing_key(folder / "signing"))
        configured: list[Mapping[str, Any]] = []
        for source in sources:
            (folder / source).mkdir()
            (folder / source / "a.log").write_bytes(logs(source))
            configured.append(
                {"source": source, "paths": [f"{folder}/{source}/*.log"], "zone": zone_name(source), "spool": spool}
            )
        if len(sources) > 1:
            configured.append({"source": "sdk", "socket": str(self.socket)})
        self.config = folder / "agent.yaml"
        self.config.write_bytes(
            msgspec.yaml.encode(
                {
                    "platform": self.platform,
                    "agent_id": f"agent-{self.platform}",
                    "key_file": f"{folder}/key",
                    "signing_key_file": f"{folder}/signing",
                    "state_dir": str(self.state),
                    "http": {"listen": f"127.0.0.1:{self.port}"},
                    "kafka": {"bootstrap": bootstrap},
                    "sources": configured,
                    "limits": {
                        "checkpoint_seconds": 0.1,
                        "poll_seconds": 0.05,
                        "message_bytes": LARGEST_MESSAGE,
                        "drain_seconds": 1,
                    },
                }
            )
        )

    @contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """The agent; ended, and waited for."""
        arguments = [sys.executable, *(command or ("-m", "rua_agents")), "run", "-c", str(self.config)]
        with open(self.folder / "stdout", "wb") as out, open(self.folder / "stderr", "wb") as err:
            process = subprocess.Popen(arguments, stdout=out, stderr=err)
            try:
                yield process
                process.send_signal(signal.SIGTERM)
                assert process.wait(DEADLINE_SECONDS) == 0, self.said()
            finally:
                process.kill()
                process.wait()

    def said(self) -> str:
        """The agent's own words, for a failing test."""
        return (self.folder / "stderr").read_text(errors="replace")[-4_000:]

    def status(self) -> Mapping[str, Any]:
        """As it stands in the state directory."""
        path = self.state / "status.json"
        found: Mapping[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
        return found

    def wait_until_read(self, process: subprocess.Popen[bytes]) -> None:
        """Until everything is read, acknowledged and in the checkpoint, but for brackets that close nothing yet."""
        end = time.monotonic() + DEADLINE_SECONDS
        while (
            not (found := self.status())
            or found["lag_bytes"] > CLOSERS_BYTES
            or found["acked_seq"] < found["chain_seq"]
        ):
            assert process.poll() is None, self.said()
            assert time.monotonic() < end, (found, self.said())
            time.sleep(0.05)

    def look(self) -> None:
        """Reads every page of the endpoint."""
        for page in PAGES:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{page}", timeout=5) as answer:
                    self.pages += answer.read()
            except urllib.error.HTTPError as why:
                self.pages += why.read()

    def messages(self, topic: str) -> list[tuple[bytes, bytes]]:
        """Key and value of everything in a topic."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "x", "enable.auto.commit": False})
        partitions = consumer.list_topics(topic, 10).topics[topic].partitions
        ends = sum(consumer.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in partitions)
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        found: list[tuple[bytes, bytes]] = []
        while len(found) < ends:
            found += [(m.key() or b"", m.value() or b"") for m in consumer.consume(5_000, 0.1) if m.error() is None]
        consumer.close()
        return found

    def on_this_machine(self) -> dict[str, bytes]:
        """What stands on the disk, what was printed, and what the endpoint told."""
        files = [path for path in self.state.rglob("*") if path.is_file()]
        ways = {f"state/{path.relative_to(self.state)}": str(path).encode() + path.read_bytes() for path in files}
        ways |= {name: (self.folder / name).read_bytes() for name in ("stdout", "stderr")}
        return ways | {"endpoint": self.pages}

    def leaving(self) -> dict[str, bytes]:
        """Every byte that left, by its way."""
        named = {
            "events": topics.events_topic(self.platform),
            "heartbeats": topics.HEARTBEATS,
            "dead letters": topics.DLQ,
        }
        sent = {way: b"\n".join(part for pair in self.messages(topic) for part in pair) for way, topic in named.items()}
        return self.on_this_machine() | sent


@pytest.fixture
def rig(tmp_path: Path, kafka_bootstrap: str, request: pytest.FixtureRequest) -> Rig:
    """An agent for these sources, and its topics."""
    made = Rig(tmp_path, kafka_bootstrap, request.param)
    topics.apply(AdminClient({"bootstrap.servers": kafka_bootstrap}), [made.platform], replication=1)
    return made


def exports(path: Path) -> None:
    """Code of the platform that hands over canaries in every argument."""
    configure(str(path))
    for n, text in enumerate(ALL.values()):
        with export(actor=text, merchant=text, app=text, destination=text, dataset="customers") as e:
            e.rows(n)
    assert flush(5)


@pytest.mark.parametrize("rig", [FILES], indirect=True, ids=["all sources"])
def test_no_canary_leaves_by_any_way(rig: Rig) -> None:
    """And the agent did its work: events of every source, dead letters, signed heartbeats, a farewell."""
    with rig.running() as process:
        rig.wait_until_read(process)
        exports(rig.socket)
        rig.wait_until_read(process)
        rig.look()
    searcher, ways = Searcher(), rig.leaving()
    leaks = {way: searcher.found(data) for way, data in ways.items() if searcher.found(data)}
    assert leaks == {}
    sent = [value for _, value in rig.messages(topics.events_topic(rig.platform))]
    events = [decode(value, TelemetryEvent) for value in sent]
    assert {event.source for event in events} >= {*FILES, "sdk"}
    beats = [decode(value, Heartbeat) for key, value in rig.messages(topics.HEARTBEATS) if rig.platform.encode() in key]
    now_ms = beats[-1].sent_at
    assert alerts(sent, [(beat.sent_at, beat) for beat in beats], rig.public_key, now_ms) == set()
    assert alerts(sent[1:], [(beat.sent_at, beat) for beat in beats], rig.public_key, now_ms)
    assert beats[-1].quiet_until
    assert beats[-1].events_dead
    assert set(ways) >= {"state/checkpoint.json", "state/status.json", "events", "dead letters", "endpoint"}
    assert b"cannot be parsed" in ways["stderr"]


@pytest.mark.parametrize("rig", [["nginx-json"]], indirect=True, ids=["broken"])
def test_a_broken_agent_is_caught(rig: Rig) -> None:
    """The search can fail: a twin that names people as they are, and logs lines as they are."""
    with rig.running("-c", BROKEN) as process:
        rig.wait_until_read(process)
    searcher, ways = Searcher(), rig.leaving()
    leaks = {name for name, data in ways.items() if searcher.found(data)}
    assert leaks >= {"events", "stderr"}


def test_no_canary_stands_in_the_spool(tmp_path: Path) -> None:
    """While the broker is away everything is kept on disk: that is leaving, too."""
    rig = Rig(tmp_path, f"127.0.0.1:{free_port()}", FILES, spool=True)
    with rig.running() as process:
        end, sizes = time.monotonic() + DEADLINE_SECONDS, [0]
        while sizes[-1] < LEAST_SPOOL_BYTES or sizes[-1] > sizes[-5]:
            assert process.poll() is None, rig.said()
            assert time.monotonic() < end, (sizes, rig.said())
            time.sleep(0.2)
            sizes.append(sum(path.stat().st_size for path in (rig.state / "spool").glob("*.seg")))
        exports(rig.socket)
        rig.look()
    ways, searcher = rig.on_this_machine(), Searcher()
    leaks = {way: searcher.found(data) for way, data in ways.items() if searcher.found(data)}
    assert leaks == {}
    assert sum(len(data) for way, data in ways.items() if way.startswith("state/spool")) > LEAST_SPOOL_BYTES
