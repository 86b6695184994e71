"""The poller against a real ClickHouse engine: its questions are answered, and every query is taken once."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rua_agents.collectors.clickhouse_poller import ClickhousePoller
from rua_agents.collectors.clickhouse_query_log import ClickhouseOptions
from rua_agents.intake.contract import PollFailed

pytestmark = pytest.mark.chdb
Ask = Callable[[str], bytes]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of the engine with its log."""
    command = [sys.executable, "-m", "tests.query_log_server", str(tmp_path_factory.mktemp("log"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()


@pytest.fixture(scope="module")
def ask(port: int) -> Ask:
    """Runs a statement."""

    def asked(sql: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", "/", sql.encode())
            return connection.getresponse().read()
        finally:
            connection.close()

    return asked


def poll_until(poller: ClickhousePoller, cursor: Any, wanted: int) -> tuple[list[dict[str, Any]], Any]:
    """Polls as the agent does, until so many rows of our own have come: the engine writes its log with some delay."""
    rows: list[dict[str, Any]] = []
    until = time.monotonic() + 30
    while len(rows) < wanted and time.monotonic() < until:
        made, cursor, _ = poller.poll(cursor, 0)
        rows += [found for one in made if "shop" in (found := json.loads(one))["query"]]
        time.sleep(0.1)
    return rows, cursor


def test_every_query_is_taken_once_with_its_numbers(port: int, ask: Ask) -> None:
    """What the poller itself asks is not among them; a second poller goes on at the first one's cursor."""
    poller = ClickhousePoller(ClickhouseOptions(url=f"http://127.0.0.1:{port}", overlap_seconds=5))
    with pytest.raises(PollFailed, match="its table appears some seconds after the first query"):
        poller.poll(None, 0)
    ask("SYSTEM FLUSH LOGS")
    _, cursor, _ = poller.poll(None, 0)
    ask("CREATE DATABASE shop")
    ask("CREATE TABLE shop.customers (id UInt32, email String) ENGINE = MergeTree ORDER BY id")
    ask("INSERT INTO shop.customers SELECT number, 'x' FROM numbers(500)")
    first, cursor = poll_until(poller, cursor, 3)
    for n in range(20):
        ask(f"SELECT * FROM shop.customers LIMIT {n + 1}")  # noqa: S608 - a number of this test's
        if n % 7 == 0:
            _, _, _ = poller.poll(cursor, 0)
    ask("SELECT nothing FROM shop.customers")
    poller.close()
    again = ClickhousePoller(ClickhouseOptions(url=f"http://127.0.0.1:{port}", overlap_seconds=5))
    second, cursor = poll_until(again, json.loads(json.dumps(cursor)), 21)
    third, _, _ = again.poll(cursor, 0)
    again.close()
    assert [row["query_kind"] for row in first] == ["Create", "Create", "Insert"]
    assert first[2]["written_rows"] == 500
    assert [int(row["result_rows"]) for row in second] == [*range(1, 21), 0]
    assert [row["type"] for row in second][-1] == "ExceptionBeforeStart"
    assert {tuple(row["tables"]) for row in second[:20]} == {("shop.customers",)}
    assert third == []
