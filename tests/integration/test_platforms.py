"""Platforms that come and go while workers run, on an Apache Kafka of this test's own: they read whatever is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic
from rua_local.kafka import EmbeddedKafka
from rua_schemas import topics

from tests.streams_rig import Feed, Rig, Truth, Worker, differences, truth

pytestmark = pytest.mark.kafka
PARTITIONS = 3  # an odd number before the old platform's: its own partitions change hands, too
ANY_PLATFORM = {"RUA_WORKER_PLATFORMS": "", "RUA_WORKER_PLATFORM_SCAN_SECONDS": "0.5"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A broker with one platform."""
    with EmbeddedKafka(tmp_path / "kafka") as kafka:
        rig = Rig(kafka.bootstrap, tmp_path / "work")
        yield rig
        rig.stop()


def beside(rig: Rig, platform: str) -> Rig:
    """Another platform for the same workers."""
    other = Rig(rig.bootstrap, rig.folder, PARTITIONS, platform)
    other.group, other.workers = rig.group, rig.workers
    return other


def until(done: Callable[[], bool], workers: list[Worker], seconds: float = 40) -> None:
    """Waits, and shows what the workers say if it does not come true."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "\n".join(worker.log()[-3_000:] for worker in workers)
        assert all(worker.process.poll() is None for worker in workers), [worker.log()[-3_000:] for worker in workers]
        time.sleep(0.1)


def exact(rig: Rig) -> Truth:
    """Alerts, state and stored events equal the oracle's: none missing, none twice, none different."""
    expected = truth(rig)
    assert expected.alerts, "the input raises no alert, so it proves nothing"
    assert set(differences(rig, expected).values()) == {0}
    stored = rig.stored()
    assert set(stored) == expected.offsets
    assert set(stored.values()) == {1}
    return expected


def test_a_platform_that_comes_is_read_and_one_that_goes_stops_nobody(rig: Rig) -> None:
    """Three workers, events flowing all the while: exact counts on the old and the new platform, nothing repeated.

    A new platform without its state topic, and one re-created with an old state, are refused: the others go on.
    """
    workers = [rig.start(role, **ANY_PLATFORM) for role in ("detect", "detect", "store")]
    with Feed(rig, 1, 500):
        for worker in workers:
            worker.wait_ready()
        rig.wait_offset("detect", 500)
        events = topics.events_topic("newcomer")
        rig.admin.create_topics([NewTopic(events, PARTITIONS)])[events].result(20)
        cure = "rua.state.newcomer does not exist: run `rua topics apply --platform newcomer`"
        detectors = workers[:2]
        until(lambda: all(cure in worker.log() for worker in detectors), workers)
        assert all(worker.log().count(cure) == 1 for worker in detectors)

        new = beside(rig, "newcomer")
        with Feed(new, 2, 500):
            until(lambda: all("platforms have changed" in worker.log() for worker in workers), workers)
            new.wait_offset("detect", 1_500)
    for one in (rig, new):
        one.wait_committed("detect")
        one.wait_committed("store")
    both = [exact(rig), exact(new)]
    applied = sum(worker.fresh_status()["events"] for worker in detectors)
    assert applied == sum(len(one.offsets) - one.duplicates for one in both), "a change between living workers repeats"

    rig.admin.delete_topics([events])[events].result(20)
    with Feed(rig, 3, 500):
        until(lambda: all(worker.log().count("platforms have changed") == 2 for worker in workers), workers)
        rig.wait_offset("detect", sum(rig.committed("detect").values()) + 800)
    rig.wait_committed("detect")
    rig.wait_committed("store")
    exact(rig)

    rig.admin.create_topics([NewTopic(events, PARTITIONS)])[events].result(20)
    until(lambda: all("the topic was re-created since" in worker.log() for worker in detectors), workers)
    with Feed(rig, 4, 500):
        rig.wait_offset("detect", sum(rig.committed("detect").values()) + 800)
    assert [worker.drain() for worker in workers] == [0, 0, 0]
