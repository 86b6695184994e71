"""`rua dlq` and workers on a real Apache Kafka: what is sent back is counted once, what is forged is not sent."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation
from rua_cli.commands import run
from rua_common.kafka import PRODUCER
from rua_schemas import topics
from rua_schemas.codec import encode
from rua_schemas.events import DeadLetter
from rua_streams.intake import REPLAY_HEADER

from tests.secured_kafka import SecuredKafka
from tests.streams_rig import Rig, made

pytestmark = pytest.mark.kafka


@pytest.fixture
def rig(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Rig]:
    """Topics and a group of this test alone."""
    rig = Rig(kafka_bootstrap, tmp_path)
    yield rig
    rig.stop()


def put(rig: Rig, topic: str, *values: bytes, partition: int = 0, key: bytes = b"k") -> None:
    """Messages of somebody."""
    producer = Producer({"bootstrap.servers": rig.bootstrap, **PRODUCER})
    for value in values:
        producer.produce(topic, value, key, partition)
    assert producer.flush(30) == 0


def sources(rig: Rig) -> set[str]:
    """The event ids in the file sink."""
    return {row[0] for file in rig.folder.glob("events-*.json") for row in json.loads(file.read_bytes())}


def test_what_an_older_release_could_not_read_is_sent_back_and_counted_once(
    rig: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the upgrade the fence stands above what was missed: it passes, once, however often it is sent."""
    monkeypatch.setenv("RUA_KAFKA_BOOTSTRAP", rig.bootstrap)
    chance = random.Random(8)
    events = [made(rig.platform, 0, position, chance) for position in range(60)]
    older = [rig.start(role, RUA_TEST_OLDER_RELEASE="1") for role in ("detect", "store")]
    put(rig, rig.events, *map(encode, events[:20]))
    rig.wait_committed("detect")
    rig.wait_committed("store")
    assert [worker.drain() for worker in older] == [0, 0]
    assert len(rig.dead_letters()) == 20
    detect, _ = rig.start("detect"), rig.start("store")
    put(rig, rig.events, *map(encode, events[20:]))
    rig.wait_committed("detect")
    assert detect.fresh_status()["events"] == 40

    genuine = rig.dead_letters()[0]
    forged = encode(msgspec.structs.replace(genuine, offset=25))  # of whom may write letters, but no events
    put(rig, topics.DLQ, encode(genuine), forged, b"no letter", key=rig.events.encode())
    assert run(["dlq", "list", "--topic", rig.events]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[1].split()[:5] == [rig.events, "unknown_schema", "detect", "21", "0"]
    assert "are no dead letters" in said.err

    assert run(["dlq", "replay", "--topic", rig.events, "--dry-run"]) == 1
    assert "20 can be sent, 1 refused" in capsys.readouterr().out
    assert rig.ends(rig.events)[0] == 60

    assert run(["dlq", "replay", "--topic", rig.events, "--yes"]) == 1
    said = capsys.readouterr()
    assert f"{rig.events}-0-25: refused: its topic holds other bytes there" in said.out
    assert "20 sent back, 0 failed" in said.out
    sent = rig.read(rig.events)[60:]
    assert [(m.value(), m.key()) for m in sent] == [(encode(event), b"k") for event in events[:20]]
    assert [dict(m.headers())[REPLAY_HEADER].decode() for m in sent] == [f"{rig.events}-0-{n}" for n in range(20)]
    rig.wait_committed("detect")
    rig.wait_committed("store")
    assert sources(rig) == {event.event_id for event in events}
    assert (detect.fresh_status()["events"], detect.fresh_status()["duplicates"]) == (60, 0)

    assert run(["dlq", "replay", f"{rig.events}-0-0", "--yes"]) == 1
    assert "refused: it was sent back before" in capsys.readouterr().out
    assert run(["dlq", "replay", f"{rig.events}-0-0", "--yes", "--again"]) == 0
    assert "1 sent back, 0 failed" in capsys.readouterr().out
    rig.wait_committed("detect")
    assert (detect.fresh_status()["events"], detect.fresh_status()["duplicates"]) == (60, 1)
    assert run(["dlq", "list", "--topic", rig.events]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[3:5] == ["21", "20"]


def test_a_letter_is_shown_without_obeying_it(
    rig: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an event, and escapes: the fields that can be read, the bytes, and nothing that a terminal obeys."""
    monkeypatch.setenv("RUA_KAFKA_BOOTSTRAP", rig.bootstrap)
    half = encode(made(rig.platform, 0, 1, random.Random(9)))[:100]
    put(rig, rig.events, half, b"\x1b[2J\x1b]0;owned\x07 hello", key=b"\x1b[31mred")
    rig.start("detect")
    rig.wait_committed("detect")
    for offset, expected in ((0, "event_id = "), (1, "starts with 1b5b")):
        assert run(["dlq", "show", f"{rig.events}-0-{offset}"]) == 0
        text = capsys.readouterr().out
        assert expected in text
        assert "undecodable" in text
        assert text.isascii()
        assert "\x1b" not in text
        assert r"\x1b[31mred" in text


@pytest.fixture
def secured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecuredKafka]:
    """A broker that permits nothing but what a rule says; the command logs in as `responder`."""
    kafka = SecuredKafka(tmp_path / "kafka")
    monkeypatch.setenv("JDK_JAVA_OPTIONS", kafka.java_options)
    (tmp_path / "password").write_text("open sesame")
    login = {"SECURITY_PROTOCOL": "SASL_SSL", "USERNAME": "responder", "PASSWORD_FILE": str(tmp_path / "password")}
    for name, value in {**login, "BOOTSTRAP": kafka.address("clients"), "CA_FILE": str(kafka.ca_file)}.items():
        monkeypatch.setenv(f"RUA_KAFKA_{name}", value)
    with kafka:
        kafka.add_users(responder="open sesame")
        yield kafka


def test_nobody_sends_back_what_they_may_not_write(
    secured: SecuredKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each right that is missing is named before anything is sent; with all of them it is sent."""
    rig = Rig(secured.bootstrap, tmp_path / "work")
    value = encode(made(rig.platform, 0, 1, random.Random(10)))
    put(rig, rig.events, value)
    about = {"reason": "unknown_schema", "detail": "", "stage": "detect", "failed_at": 1_790_000_000_000, "key": b"k"}
    put(rig, topics.DLQ, encode(DeadLetter(topic=rig.events, partition=0, offset=0, value=value, **about)))  # type: ignore[arg-type]  # of mixed types
    sending = ["dlq", "replay", "--topic", rig.events, "--yes"]

    assert run(["dlq", "list"]) == 2
    assert "topic rua.dlq: not permitted" in capsys.readouterr().err
    secured.permit("responder", [topics.DLQ], AclOperation.READ)
    assert run(["dlq", "list"]) == 0
    assert run(sending) == 1
    assert "refused: you may not read its topic" in capsys.readouterr().out
    secured.permit("responder", [rig.events], AclOperation.READ)
    for wanted in (rig.events, topics.DLQ):
        assert run(sending) == 2
        assert (
            f"topic {wanted}: not permitted (or unknown, and this user may not know): grant WRITE"
            in capsys.readouterr().err
        )
        secured.permit("responder", [wanted])
        assert rig.ends(rig.events)[0] == 1
    assert run(sending) == 0
    assert rig.ends(rig.events)[0] == 2
