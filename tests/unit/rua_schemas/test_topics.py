"""Names and settings of the topics; what a cluster makes of them is in tests/integration/test_topics.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from rua_common.errors import BadConfiguration
from rua_schemas import topics
from rua_schemas.topics import ALERTS, DLQ, HEARTBEATS, events_topic, platform_of, state_topic


def test_a_platform_and_its_topic_name_each_other() -> None:
    """Names with dots and dashes included."""
    for platform in ("lazada", "thailandpostmart", "shop-2.th"):
        assert platform_of(events_topic(platform)) == platform


@pytest.mark.parametrize("topic", ["rua.state.lazada", "rua.events.", "xrua.events.lazada", ALERTS])
def test_other_topics_belong_to_no_platform(topic: str) -> None:
    """A state topic's name must never pass for an events topic's."""
    with pytest.raises(ValueError, match="belongs to no platform"):
        platform_of(topic)


def test_each_platform_has_its_topics_and_all_share_the_rest() -> None:
    """One events and one state topic each."""
    named = topics.load().named(["shopee", "jd"])
    expected = {f(p) for p in ("shopee", "jd") for f in (events_topic, state_topic)} | {ALERTS, HEARTBEATS, DLQ}
    assert set(named) == expected


def test_another_number_of_partitions_keeps_events_and_state_alike() -> None:
    """A partition's state lives in the same number; topics with one partition keep it."""
    named = topics.load().named(["jd"], partitions=12)
    assert named[events_topic("jd")].partitions == named[state_topic("jd")].partitions == 12
    assert named[HEARTBEATS].partitions == 1


def test_state_is_compacted_and_heartbeats_carry_the_brokers_time() -> None:
    """What restore and clock measurement rest on; and agents whose clock is wrong."""
    named = topics.load().named(["jd"])
    assert named[state_topic("jd")].config()["cleanup.policy"] == "compact"
    assert "retention.ms" not in named[state_topic("jd")].config()
    for name in (HEARTBEATS, events_topic("jd"), DLQ):
        assert named[name].config()["message.timestamp.type"] == "LogAppendTime"
    assert {topic.config()["compression.type"] for topic in named.values()} == {"zstd"}


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """A copy of topics.yaml with one thing different."""
    text = topics.FILE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "topics.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("partitions: 4", "partitions: 8", "has 8 partitions and rua.state.{platform} 4; give both the same"),
        ("rua.dlq", "rua.alerts", "rua.alerts is there twice"),
        ("cleanup: delete", "cleanup: remove", r"allowed: compact, delete|allowed: delete, compact"),
        ("record: Alert", "record: Allert", "allowed: "),
        ("retention_hours: 168", "retention_days: 7", "topics.0.retention_days: unknown key"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Before any cluster is touched."""
    with pytest.raises(BadConfiguration, match=words):
        topics.load(changed(tmp_path, old, new))
