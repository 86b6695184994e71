"""The way to the broker: told once, in words, and over when an answer comes."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError
from rua_agents.broker import ASK_AGAIN_SECONDS, NOT_YET, SILENT_SECONDS, TOLD_AGAIN_SECONDS, BrokerHealth
from rua_common.kafka import KafkaOptions

DOWN, LOGIN = KafkaError(KafkaError._ALL_BROKERS_DOWN), KafkaError(KafkaError._AUTHENTICATION)


def health(*answers: str | None) -> BrokerHealth:
    """One that finds this out when it looks."""
    left = list(answers)
    return BrokerHealth(KafkaOptions(bootstrap="b:1"), lambda _: left.pop(0) if left else None)


def asked(one: BrokerHealth) -> None:
    """Waits for the look."""
    assert one._asking
    one._asking.join(5)


def test_it_is_ready_at_the_first_answer_and_not_before() -> None:
    """A heartbeat's is one."""
    one = health()
    one.watch(0, 1, 0.0)
    assert one.problem == NOT_YET
    one.watch(1, 0, 1.0)
    assert one.problem is None


def test_an_unclear_fault_is_looked_into_and_told_with_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    """Once; then again only when it changes, or after an hour."""
    one = health(*3 * ["Kafka at b:1: the port wants TLS"])
    one.failed(DOWN, "is it up?", 0.0)
    asked(one)
    for second in range(1, 100):
        one.watch(0, 1, float(second))
        one.failed(DOWN, "is it up?", float(second))
    assert one.problem == "Kafka at b:1: the port wants TLS"
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "the port wants TLS. The agent waits; nothing is lost" in told[1]
    one.failed(DOWN, "is it up?", TOLD_AGAIN_SECONDS + 2)
    assert len(caplog.records) == 3
    one.watch(1, 0, TOLD_AGAIN_SECONDS + 3)
    assert one.problem is None
    assert "answers again" in caplog.records[-1].getMessage()


def test_a_clear_fault_is_told_as_it_is() -> None:
    """Nothing has to be looked at."""
    one = health("never asked")
    one.failed(LOGIN, "see password_file", 0.0)
    assert one._asking is None
    assert str(one.problem).endswith("see password_file")


def test_words_that_only_differ_in_their_times_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A broker that is away is tried again and again; until the look has found the cause there is nothing new."""
    one = health(None)
    for milliseconds in range(20):
        error = KafkaError(KafkaError._TRANSPORT, f"refused (after {milliseconds}ms in state CONNECT)")
        one.failed(error, "is it up?", milliseconds / 1_000)
        one.failed(DOWN, "is it up?", milliseconds / 1_000)
    assert len(caplog.records) == 1
    one.failed(LOGIN, "see password_file", 1.0)
    assert len(caplog.records) == 2


def test_it_looks_again_after_a_minute_and_not_at_every_fault() -> None:
    """Librdkafka reports a fault each time that it tries."""
    one = health("first", "second")
    one.failed(DOWN, "?", 0.0)
    asked(one)
    one.failed(DOWN, "?", ASK_AGAIN_SECONDS - 1)
    assert one.problem == "first"
    one.failed(DOWN, "?", ASK_AGAIN_SECONDS)
    asked(one)
    one.watch(0, 0, ASK_AGAIN_SECONDS + 1)
    assert one.problem == "second"


def test_a_broker_that_is_silent_is_a_problem_and_one_with_nothing_to_answer_is_none() -> None:
    """A frozen broker reports no fault at all."""
    one = health()
    one.watch(1, 0, 0.0)
    one.watch(1, 0, 1_000.0)
    assert one.problem is None
    one.watch(1, 5, 1_001.0)
    one.watch(1, 5, 1_000.0 + SILENT_SECONDS - 1)
    assert one.problem is None
    one.watch(1, 5, 1_000.0 + SILENT_SECONDS)
    assert "has not answered for 30 s" in str(one.problem)
    one.watch(2, 4, 1_100.0)
    assert one.problem is None


def test_a_look_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and the fault stays as it was told."""

    def broken(_: KafkaOptions) -> str | None:
        raise ValueError("no")

    one = BrokerHealth(KafkaOptions(bootstrap="b:1"), broken)
    one.failed(DOWN, "is it up?", 0.0)
    asked(one)
    assert "cannot look at the way to b:1" in caplog.text
    assert str(one.problem).endswith("is it up?")
