"""Faults between a process and Kafka are told apart, each with its cure."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AclOperation
from rua_common.kafka import KafkaOptions
from rua_schemas.diagnose import CURES, _groups, diagnose, explain, reach


@pytest.mark.parametrize(
    ("code", "key"),
    [
        (KafkaError.SASL_AUTHENTICATION_FAILED, "login"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "topic_denied"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "group_denied"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "no_topic"),
        (KafkaError._TIMED_OUT, "silent"),
        (KafkaError.MSG_SIZE_TOO_LARGE, None),
    ],
)
def test_an_error_of_kafka_has_a_cure_or_is_none_of_ours(code: int, key: str | None) -> None:
    """Raised, or handed to a callback."""
    assert explain(KafkaError(code)) == explain(KafkaException(KafkaError(code))) == key
    assert key is None or CURES[key]


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    """What Python raises when OpenSSL does not accept a certificate."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code = code
    return error


@pytest.mark.parametrize(("code", "key"), [(10, "expired"), (20, "unknown_ca"), (62, "hostname"), (64, "hostname")])
def test_three_faults_of_a_certificate_are_told_apart(code: int, key: str) -> None:
    """Librdkafka has one text for all of them."""
    assert explain(certificate_error(code)) == key


@contextmanager
def listener(*, closes: bool) -> Iterator[int]:
    """A port that accepts one client, and closes at once or says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            client, _ = server.accept()
            with client:
                if not closes:
                    client.recv(1)

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        thread.join(5)


def test_name_port_and_tls_are_told_apart() -> None:
    """Unknown name, nobody there, a port without TLS, and a good one."""
    with socket.create_server(("127.0.0.1", 0)) as once:
        unused = once.getsockname()[1]
    assert reach("no-such-host.invalid", 9092, None) == "resolve"
    assert reach("127.0.0.1", unused, None) == "down"
    with listener(closes=True) as port:
        assert reach("127.0.0.1", port, ssl.create_default_context()) == "not_tls"
    with listener(closes=False) as port:
        assert reach("127.0.0.1", port, None) is None


def test_every_bad_address_is_named_with_its_cure() -> None:
    """Each on a line of its own."""
    options = KafkaOptions(bootstrap="no-such-host.invalid:9092, here")
    assert diagnose(options) == [
        f"Kafka at no-such-host.invalid:9092: {CURES['resolve']}",
        f"Kafka at here: {CURES['address']}",
    ]


class Answer:
    """A finished future of the admin client."""

    def __init__(self, failure: KafkaException | None) -> None:
        self.failure = failure

    def exception(self) -> KafkaException | None:
        """What went wrong."""
        return self.failure

    def result(self) -> SimpleNamespace:
        """A group that may be read."""
        return SimpleNamespace(authorized_operations=[AclOperation.READ])


def test_a_coordinator_that_is_on_its_way_is_waited_for() -> None:
    """Soon after a broker's start a group has no coordinator yet: that is no reason to refuse a worker."""
    codes = [KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS]
    failures = [KafkaException(KafkaError(code)) for code in codes]
    answers = iter([{"g": Answer(failures[0])}, {"g": Answer(failures[1])}, {"g": Answer(None)}])
    admin: Any = SimpleNamespace(describe_consumer_groups=lambda *_, **__: next(answers))
    assert list(_groups(admin, ["g"])) == []


def test_a_group_that_may_not_be_read_is_told_at_once() -> None:
    """A refusal does not change by waiting."""
    answers = iter([{"g": Answer(KafkaException(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)))}])
    admin: Any = SimpleNamespace(describe_consumer_groups=lambda *_, **__: next(answers))
    assert "group g: not permitted: grant READ" in "".join(_groups(admin, ["g"]))
