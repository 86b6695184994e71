"""The broker's own answers to what a process may do."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from rua_common.kafka import KafkaOptions
from rua_schemas.diagnose import CURES, diagnose

pytestmark = pytest.mark.kafka


def test_a_missing_topic_is_named_once_and_an_existing_one_is_fine(kafka_bootstrap: str) -> None:
    """Without users everything that exists is permitted; a second bad address does not hide the answer."""
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap})
    admin.create_topics([NewTopic("diagnosed", 1, 1)])["diagnosed"].result(30)
    options = KafkaOptions(bootstrap=kafka_bootstrap)
    assert diagnose(options, reads=["diagnosed"], writes=["diagnosed"], groups=["anyone"]) == []
    missing = f"topic rua.events.typo: {CURES['no_topic']}"
    assert diagnose(options, reads=["rua.events.typo"], writes=["rua.events.typo", "diagnosed"]) == [missing]
    two = KafkaOptions(bootstrap=f"{kafka_bootstrap},no-such-host.invalid:1")
    assert diagnose(two, writes=["rua.events.typo"]) == [
        f"Kafka at no-such-host.invalid:1: {CURES['resolve']}",
        missing,
    ]
