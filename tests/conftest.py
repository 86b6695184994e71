"""Real services for the tests that are marked `kafka` or `chdb`: started at first use, once per session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from rua_local.gateway import EmbeddedClickHouse
from rua_local.kafka import EmbeddedKafka

# Whether a change lands must not depend on chance; everybody else's run looks for examples nobody has seen.
# An example may take so long because the machine is busy; what takes longer is a fault.
SLOWEST_MS = 5_000
settings.register_profile("random", deadline=SLOWEST_MS)
settings.register_profile("repeatable", deadline=SLOWEST_MS, derandomize=True)
settings.load_profile("repeatable" if "CI" in os.environ else "random")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fault-seed 7` repeats a run of the fault tests; `--fault-minutes 2` shortens a broker's absence."""
    parser.addoption(
        "--fault-seed", type=int, default=None, help="seed of the faults; random, and printed, if not given"
    )
    parser.addoption("--fault-minutes", type=float, default=10.0, help="how long the agent's broker is away")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long proofs, and servers of other makers, run only when a `-m` expression asks for them."""
    if config.option.markexpr:
        return
    asked = [item for item in items if item.get_closest_marker("slow") or item.get_closest_marker("sources")]
    items[:] = [item for item in items if item not in asked]
    config.hook.pytest_deselected(items=asked)


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
