"""Real services for the tests that are marked `kafka` or `chdb`: started at first use, once per session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rua_local.gateway import EmbeddedClickHouse
from rua_local.kafka import EmbeddedKafka


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """The session's Kafka. Give topics and groups names of your own; never stop or pause this one."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka: EmbeddedKafka) -> str:
    """Address of the session's Kafka."""
    return kafka.bootstrap


@pytest.fixture(scope="session")
def chdb_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the session's ClickHouse gateway. Make a database of your own."""
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clickhouse")) as running:
        yield running.url
