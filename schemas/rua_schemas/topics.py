"""Topics as data: `topics.yaml`, and how to make a cluster match it.

The administrator's client is confluent-kafka's; it is passed in, so that only who has one needs the package.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rua_common.errors import BadConfiguration
from rua_common.settings import Struct, load as load_settings

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

FILE = Path(__file__).parent / "topics.yaml"
EVENTS = "rua.events."
STATE = "rua.state."
ALERTS = "rua.alerts"
HEARTBEATS = "rua.heartbeats"
DLQ = "rua.dlq"
PLATFORM = "{platform}"

TIMEOUT_SECONDS = 30.0
MS_PER_HOUR = 3_600_000
# A state topic holds one row per actor, rewritten at every checkpoint. Kafka's own defaults (a week per segment, half
# of the log dirty) would make a restore read days of old rows; much below these, the cleaner would never rest.
STATE_SEGMENT_MS = 10 * 60 * 1_000
STATE_DIRTY_RATIO = 0.2
TOMBSTONES_MS = 24 * MS_PER_HOUR


def events_topic(platform: str) -> str:
    """`rua.events.<platform>`."""
    return EVENTS + platform


def state_topic(platform: str) -> str:
    """`rua.state.<platform>`."""
    return STATE + platform


def platform_of(topic: str) -> str:
    """The platform whose events topic this is.

    Raises:
        ValueError: it is not an events topic.
    """
    platform = topic.removeprefix(EVENTS)
    if platform == topic or not platform:
        raise ValueError(f"{topic} belongs to no platform: it is not {EVENTS}<platform>")
    return platform


class Topic(Struct, frozen=True, kw_only=True):
    """One entry of `topics.yaml`; `{platform}` in a name stands for one topic a platform."""

    name: str
    record: Literal["TelemetryEvent", "Alert", "Heartbeat", "DeadLetter"] | None
    key: str
    partitions: int
    cleanup: Literal["delete", "compact"]
    retention_hours: int | None
    compatibility: Literal["full_transitive"] | None
    producers: tuple[Literal["agents", "streams"], ...]
    consumers: tuple[Literal["agents", "streams"], ...]
    about: str
    timestamps: Literal["create", "log_append"] = "create"

    def config(self) -> dict[str, str]:
        """The topic's settings in Kafka's words. Whatever is not here is the cluster's own business."""
        config = {
            "cleanup.policy": self.cleanup,
            "compression.type": "zstd",
            "message.timestamp.type": "LogAppendTime" if self.timestamps == "log_append" else "CreateTime",
        }
        if self.retention_hours is not None:
            config["retention.ms"] = str(self.retention_hours * MS_PER_HOUR)
        if self.cleanup == "compact":
            config |= {
                "min.cleanable.dirty.ratio": str(STATE_DIRTY_RATIO),
                "segment.ms": str(STATE_SEGMENT_MS),
                "delete.retention.ms": str(TOMBSTONES_MS),
            }
        return config


class Topics(Struct, frozen=True, kw_only=True):
    """All of `topics.yaml`."""

    topics: tuple[Topic, ...]

    def named(self, platforms: Sequence[str], partitions: int | None = None) -> dict[str, Topic]:
        """Every topic that these platforms need, by its real name. `partitions` overrides those of the keyed ones.

        A topic with one partition keeps it: it has one for a reason.
        """
        return {
            topic.name.replace(PLATFORM, platform): _with_partitions(topic, partitions)
            for topic in self.topics
            for platform in (platforms if PLATFORM in topic.name else ("",))
        }


@cache
def load(path: Path = FILE) -> Topics:
    """Reads the topics.

    Raises:
        BadConfiguration: unreadable, not as described, a name given twice, or events and state partitioned differently.
    """
    topics = load_settings(path, Topics)
    names = [topic.name for topic in topics.topics]
    for twice in {name for name in names if names.count(name) > 1}:
        raise BadConfiguration(f"{twice} is there twice", file=str(path), key="topics")
    partitions = {topic.name: topic.partitions for topic in topics.topics}
    events, state = partitions.get(EVENTS + PLATFORM), partitions.get(STATE + PLATFORM)
    if events != state:
        raise BadConfiguration(
            f"{EVENTS}{PLATFORM} has {events} partitions and {STATE}{PLATFORM} {state}; give both the same number",
            file=str(path),
            key="topics",
        )
    return topics


@dataclass(frozen=True, slots=True)
class _Present:
    """What the cluster has."""

    partitions: int
    config: Mapping[str, str | None]


def check(admin: AdminClient, platforms: Sequence[str], *, partitions: int | None = None) -> list[str]:
    """What differs between the cluster and `topics.yaml`, in words; empty if nothing does."""
    return [f"{name}: {words}" for name, words, _ in _differences(admin, load().named(platforms, partitions))]


def apply(
    admin: AdminClient, platforms: Sequence[str], *, partitions: int | None = None, replication: int = 1
) -> list[str]:
    """Creates what is missing, sets what differs, and says what it did.

    A topic's number of partitions is never changed: a key would move to another partition, away from its state.

    Raises:
        KafkaException: the cluster refused; its text says why.
    """
    wanted = load().named(platforms, partitions)
    missing = {name: words for name, words, fate in _differences(admin, wanted) if fate == "create"}
    _create(admin, {name: wanted[name] for name in missing}, replication)
    changes = list(_differences(admin, wanted))  # anew: somebody else may have created one of them meanwhile
    _alter(admin, {name: wanted[name] for name, _, fate in changes if fate == "alter"})
    said = {"create": "not yet there", "alter": "set", "report": "not changed"}
    return [
        *(f"{name}: created: {words}" for name, words in missing.items()),
        *(f"{name}: {said[fate]}: {words}" for name, words, fate in changes),
    ]


def _with_partitions(topic: Topic, partitions: int | None) -> Topic:
    if partitions is None or topic.partitions == 1:
        return topic
    return Topic(**{f: getattr(topic, f) for f in topic.__struct_fields__} | {"partitions": partitions})


Fate = Literal["create", "alter", "report"]


def _differences(admin: AdminClient, wanted: Mapping[str, Topic]) -> Iterator[tuple[str, str, Fate]]:
    present = _present(admin, wanted)
    for name, topic in wanted.items():
        found = present.get(name)
        if found is None:
            yield name, f"missing, {topic.partitions} partitions", "create"
            continue
        if found.partitions != topic.partitions:
            yield name, _partition_cure(name, found.partitions, topic.partitions), "report"
        wrong = {key: value for key, value in topic.config().items() if found.config.get(key) != value}
        if wrong:
            words = ", ".join(f"{key} {found.config.get(key)} → {value}" for key, value in sorted(wrong.items()))
            yield name, words, "alter"


def _partition_cure(name: str, found: int, wanted: int) -> str:
    return (
        f"has {found} partitions, {wanted} are wanted. They are never changed under keyed state. Either ask for "
        f"{found}, or stop the agents, let the workers drain and stop them, delete {name} (and of a platform both its "
        f"events and its state topic), and apply again"
    )


def _present(admin: AdminClient, names: Mapping[str, Topic]) -> dict[str, _Present]:
    from confluent_kafka import admin as kafka  # noqa: PLC0415 - only who administers needs the package

    known = admin.list_topics(timeout=TIMEOUT_SECONDS).topics
    there = [name for name in names if name in known]
    if not there:
        return {}
    asked = [kafka.ConfigResource(kafka.ResourceType.TOPIC, name) for name in there]
    answers = admin.describe_configs(asked, request_timeout=TIMEOUT_SECONDS)
    configs = {resource.name: answer.result(TIMEOUT_SECONDS) for resource, answer in answers.items()}
    return {
        name: _Present(len(known[name].partitions), {key: entry.value for key, entry in configs[name].items()})
        for name in there
    }


def _create(admin: AdminClient, topics: Mapping[str, Topic], replication: int) -> None:
    from confluent_kafka import (  # noqa: PLC0415 - as above
        KafkaError,
        KafkaException,
        admin as kafka,
    )

    if not topics:
        return
    new = [kafka.NewTopic(name, topic.partitions, replication, config=topic.config()) for name, topic in topics.items()]
    for done in admin.create_topics(new, request_timeout=TIMEOUT_SECONDS).values():
        try:
            done.result(TIMEOUT_SECONDS)
        except KafkaException as why:
            if why.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    _wait_until_known(admin, topics)


def _wait_until_known(admin: AdminClient, names: Iterable[str]) -> None:
    """A broker may learn of a topic a moment after the controller made it; whoever starts next must find it."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while not set(names) <= set(admin.list_topics(timeout=TIMEOUT_SECONDS).topics) and time.monotonic() < end:
        time.sleep(0.05)


def _alter(admin: AdminClient, topics: Mapping[str, Topic]) -> None:
    from confluent_kafka import admin as kafka  # noqa: PLC0415 - as above

    if not topics:
        return
    wanted = [
        kafka.ConfigResource(
            kafka.ResourceType.TOPIC,
            name,
            incremental_configs=[
                kafka.ConfigEntry(key, value, incremental_operation=kafka.AlterConfigOpType.SET)
                for key, value in topic.config().items()
            ],
        )
        for name, topic in topics.items()
    ]
    for done in admin.incremental_alter_configs(wanted, request_timeout=TIMEOUT_SECONDS).values():
        done.result(TIMEOUT_SECONDS)
