"""The detect and store workers as processes on a real Apache Kafka."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from rua_common.kafka import PRODUCER
from rua_schemas.codec import Encoder, encode
from rua_schemas.events import TelemetryEvent

from tests.streams_rig import Feed, Rig, Worker, differences, made, truth

pytestmark = pytest.mark.kafka

POISON = Path(__file__).parent / "poison.jsonl"
EXACT = {
    "alerts missing": 0,
    "alerts extra": 0,
    "alerts different": 0,
    "state rows different": 0,
    "checkpoints not at the end": 0,
}


@pytest.fixture
def rig(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Rig]:
    """Topics and a group of this test alone."""
    rig = Rig(kafka_bootstrap, tmp_path)
    yield rig
    rig.stop()


def assert_exact(rig: Rig) -> None:
    """Alerts, state and stored events equal those of the oracle: none missing, none twice, none different."""
    expected = truth(rig)
    assert expected.alerts, "the input raises no alert, so it proves nothing"
    assert differences(rig, expected) == EXACT
    stored = rig.stored()
    assert set(stored) == expected.offsets
    assert set(stored.values()) == {1}


def test_workers_come_and_go_and_nothing_is_repeated(rig: Rig) -> None:
    """A second pair joins in mid-stream and takes its share; the first is drained, exits with 0, and hands over."""
    first = [rig.start("detect"), rig.start("store")]
    with Feed(rig, 1, 1_500):
        for worker in first:
            worker.wait_ready()
        rig.wait_offset("detect", 2_000)
        second = [rig.start("detect"), rig.start("store")]
        for worker in second:
            worker.wait_ready()
        rig.wait_offset("detect", sum(rig.committed("detect").values()) + 2_000)
        assert [worker.drain() for worker in first] == [0, 0]
        rig.wait_offset("detect", sum(rig.committed("detect").values()) + 2_000)
    rig.wait_committed("detect")
    rig.wait_committed("store")
    assert_exact(rig)
    applied = sum(worker.status()["events"] for worker in (first[0], second[0]))
    assert applied == len(truth(rig).offsets) - truth(rig).duplicates, (
        "a hand-over between living workers repeats nothing"
    )


def test_a_missing_topic_stops_the_worker_with_the_cure(rig: Rig) -> None:
    """Faust would run on and say nothing."""
    worker = rig.start("detect", RUA_WORKER_PLATFORMS=f"{rig.platform},nowhere")
    assert worker.process.wait(60) != 0
    assert "rua.events.nowhere: does not exist: run `rua topics apply`" in worker.log()


def test_three_kills_lose_nothing_and_repeat_nothing(rig: Rig) -> None:
    """SIGKILL of both workers, three times, each time with records in hand, while input keeps flowing."""
    chance = random.Random(4)
    workers = [rig.start(role, RUA_WORKER_CHECKPOINT_SECONDS="3") for role in ("detect", "store")]
    with Feed(rig, 4, 1_500):
        for worker in workers:
            worker.wait_ready()
        for _ in range(3):
            rig.wait_offset("detect", sum(rig.committed("detect").values()) + chance.randrange(1_000, 4_000))
            killed, workers = workers, [rig.kill_in_mid_stream(worker) for worker in workers]
            for worker in workers:
                worker.wait_ready()
            replays = [rig.replay(*pair) for pair in zip(killed, workers, strict=True)]
            assert min(replays) > 0, f"a kill that repeats nothing proves nothing: {replays}"
    rig.wait_committed("detect")
    rig.wait_committed("store")
    assert_exact(rig)


def test_poison_is_dead_lettered_and_its_neighbours_are_not_touched(rig: Rig) -> None:
    """Ten undecodable messages and a tombstone between good events: ten dead letters with place, reason and bytes."""
    poison = [json.loads(line) for line in POISON.read_text().splitlines()]
    producer, chance = Producer({"bootstrap.servers": rig.bootstrap, **PRODUCER}), random.Random(5)
    encoder, good = Encoder(TelemetryEvent), 0
    for case in poison:
        value = None if case["value_b64"] is None else base64.b64decode(case["value_b64"])
        around = [encoder.encode(made(rig.platform, 0, good + i, chance)) for i in range(2)]
        for payload in (around[0], value, around[1]):
            producer.produce(rig.events, payload, case["key"].encode(), partition=0)
        good += 2
    producer.flush(30)
    workers = [rig.start("detect"), rig.start("store")]
    rig.wait_committed("detect")
    rig.wait_committed("store")
    letters = rig.dead_letters()
    bad = [case for case in poison if case["value_b64"] is not None]
    assert [base64.b64encode(letter.value or b"").decode() for letter in letters] == [c["value_b64"] for c in bad]
    assert all((letter.topic, letter.partition, letter.stage) == (rig.events, 0, "detect") for letter in letters)
    assert len({letter.offset for letter in letters}) == len(bad) == 10
    assert all(letter.reason for letter in letters)
    assert rig.committed("detect")[0] == rig.committed("store")[0] == 3 * len(poison)
    assert sum(rig.stored().values()) == len(rig.stored()) == good
    status = workers[0].fresh_status()
    assert (status["events"], status["duplicates"]) == (good, 0)


def test_another_platforms_name_is_dead_lettered_and_alerted_once(rig: Rig) -> None:
    """Only the topic proves the platform: an event that names another is neither applied nor stored."""
    producer, chance = Producer({"bootstrap.servers": rig.bootstrap, **PRODUCER}), random.Random(6)
    for position in range(40):
        platform = "elsewhere" if position % 8 == 0 else rig.platform
        producer.produce(rig.events, encode(made(platform, 0, position, chance)), b"k", partition=1)
    producer.flush(30)
    rig.start("detect")
    rig.start("store")
    rig.wait_committed("detect")
    rig.wait_committed("store")
    assert [(letter.reason, letter.detail) for letter in rig.dead_letters()] == [("wrong_platform", "elsewhere")] * 5
    assert len(rig.stored()) == 35
    raised = [one for one in rig.raised() if one.detector == "wrong-platform"]
    assert [(one.subject, one.evidence[0].offset) for one in raised] == [(rig.platform, 0)]


def test_too_many_dead_letters_pause_only_their_partition(rig: Rig) -> None:
    """Past the limit the partition is paused and alerted; the others, and the worker, go on."""
    producer, chance = Producer({"bootstrap.servers": rig.bootstrap, **PRODUCER}), random.Random(7)
    detect = rig.start("detect", RUA_WORKER_DEAD_LETTER_WINDOW_RECORDS="100", RUA_WORKER_MAX_BATCH_RECORDS="50")
    detect.wait_ready()
    for _ in range(300):
        producer.produce(rig.events, b"not an event", b"k", partition=2)
    producer.flush(30)
    while not any(part["paused"] for part in detect.fresh_status()["partitions"]):
        assert detect.process.poll() is None
    for position in range(200):
        producer.produce(rig.events, encode(made(rig.platform, 0, position, chance)), b"k", partition=3)
    producer.flush(30)
    while detect.fresh_status()["events"] < 200:
        assert detect.process.poll() is None
    paused = {part["partition"]: part["next"] for part in detect.status()["partitions"] if part["paused"]}
    assert paused == {2: 100}
    assert [one.detector for one in rig.raised()].count("dead-letter-ratio") == 1


def test_a_named_worker_that_is_back_in_time_moves_nobodys_partitions(rig: Rig) -> None:
    """A rolling restart of two: each gets its own partitions back, the other is not even told; nothing is repeated."""
    named = [{"RUA_WORKER_INSTANCE_ID": f"detect-{n}", "RUA_KAFKA_SESSION_TIMEOUT_SECONDS": "40"} for n in range(2)]
    workers = [rig.start("detect", **one) for one in named]
    with Feed(rig, 11, 500):
        end = time.monotonic() + 60
        while [len(worker.status().get("partitions", ())) for worker in workers] != [2, 2]:
            assert time.monotonic() < end, [worker.log() for worker in workers]
            time.sleep(0.1)
        for number in range(2):
            other = workers[1 - number]
            before, mine = other.log().count("taken over"), places(workers[number])
            assert workers[number].drain() == 0
            workers[number] = rig.start("detect", **named[number])
            workers[number].wait_ready()
            rig.wait_offset("detect", sum(rig.committed("detect").values()) + 500)
            assert places(workers[number]) == mine
            assert other.log().count("taken over") == before
    rig.wait_committed("detect")
    expected = truth(rig)
    assert differences(rig, expected) == EXACT
    applied = sum(worker.status()["events"] for worker in rig.workers)
    assert applied == len(expected.offsets) - expected.duplicates


def places(worker: Worker) -> set[tuple[str, int]]:
    """The partitions that it owns."""
    return {(one["topic"], one["partition"]) for one in worker.fresh_status()["partitions"]}
