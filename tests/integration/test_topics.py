"""`topics.yaml` on a real Apache Kafka: made, changed, reported, never repartitioned."""

from __future__ import annotations

import time
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from rua_schemas import topics
from rua_schemas.topics import events_topic, state_topic

pytestmark = pytest.mark.kafka


@pytest.fixture
def admin(kafka_bootstrap: str) -> AdminClient:
    """The administrator's client."""
    return AdminClient({"bootstrap.servers": kafka_bootstrap})


@pytest.fixture
def platform() -> str:
    """A platform that nobody else in this session has."""
    return f"shop{uuid.uuid4().hex[:8]}"


def about(platform: str, lines: list[str]) -> list[str]:
    """The lines about this platform's topics: others of the session share the rest."""
    return [line for line in lines if platform in line]


def by_hand(admin: AdminClient, topic: NewTopic) -> None:
    """Makes a topic without our help, and waits until the broker tells of it."""
    admin.create_topics([topic])[topic.topic].result(30)
    while topic.topic not in admin.list_topics(timeout=10).topics:
        time.sleep(0.02)


def nothing_differs(admin: AdminClient, platform: str, partitions: int | None = None) -> bool:
    """Whether check has nothing to say, at the latest when the broker has learnt what was set."""
    end = time.monotonic() + 10
    while about(platform, topics.check(admin, [platform], partitions=partitions)):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_what_is_missing_is_created_and_then_nothing_differs(admin: AdminClient, platform: str) -> None:
    """The second time there is nothing to do."""
    assert len(about(platform, topics.check(admin, [platform]))) == 2
    said = about(platform, topics.apply(admin, [platform], partitions=2))
    assert said == [f"{f(platform)}: created: missing, 2 partitions" for f in (events_topic, state_topic)]
    assert nothing_differs(admin, platform, partitions=2)
    assert about(platform, topics.apply(admin, [platform], partitions=2)) == []


def test_a_setting_that_differs_is_said_and_set(admin: AdminClient, platform: str) -> None:
    """A topic that somebody made by hand."""
    by_hand(admin, NewTopic(state_topic(platform), 4, 1))
    (line,) = [line for line in topics.check(admin, [platform]) if line.startswith(state_topic(platform))]
    assert "cleanup.policy delete → compact" in line
    assert f"{line.replace(': ', ': set: ', 1)}" in topics.apply(admin, [platform])
    assert nothing_differs(admin, platform)


def test_partitions_are_never_changed_under_keyed_state(admin: AdminClient, platform: str) -> None:
    """More partitions would send an actor's events away from the actor's state: the cure is said instead."""
    topics.apply(admin, [platform], partitions=2)
    said = about(platform, topics.apply(admin, [platform], partitions=4))
    assert [line.split(". ")[0] for line in said] == [
        f"{f(platform)}: not changed: has 2 partitions, 4 are wanted" for f in (events_topic, state_topic)
    ]
    assert len(admin.list_topics(timeout=10).topics[events_topic(platform)].partitions) == 2


def test_heartbeats_carry_the_brokers_time(admin: AdminClient, kafka_bootstrap: str, platform: str) -> None:
    """Whatever time the producer names."""
    mine = f"heartbeats-{platform}"
    config = topics.load().named([])[topics.HEARTBEATS].config()
    by_hand(admin, NewTopic(mine, 1, 1, config=config))
    stamped: list[int] = []
    producer = Producer({"bootstrap.servers": kafka_bootstrap})
    producer.produce(mine, b"x", timestamp=1_000, on_delivery=lambda _, sent: stamped.append(sent.timestamp()[1]))
    assert producer.flush(30) == 0
    assert stamped[0] > 1_700_000_000_000
