"""`rua up` twice on one directory, with a real agent that goes on all the time."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from rua_demo import count, world
from rua_demo.simulator import simulate
from rua_demo.stack import AGENT, CLI, write_config, write_key
from rua_sinks.client import connect

pytestmark = [pytest.mark.kafka, pytest.mark.chdb, pytest.mark.timeout(170)]
LOG = "jd/db-1/postgresql-*.json"


@contextmanager
def running(data: Path) -> Iterator[dict[str, int]]:
    """`rua up` from its greeting until SIGINT; gives the ports."""
    command = [*CLI, "up", "--data", str(data), "--platform", "jd"]
    up = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert up.stdout is not None
        while "Ctrl-C drains" not in (line := up.stdout.readline()):
            assert line, "it ended too soon"
        yield json.loads((data / "ports.json").read_text(encoding="ascii"))
        up.send_signal(signal.SIGINT)
        said = up.communicate(timeout=60)[0]
        assert up.returncode == 0, said
        assert said.endswith("stopped\n")
    finally:
        up.kill()
        up.communicate()


@contextmanager
def agent(config: Path) -> Iterator[None]:
    """A live agent."""
    process = subprocess.Popen([*AGENT, str(config)], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def until(what: Callable[[], bool], seconds: float = 60) -> bool:
    """Waits for it."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def rows(client: Client, final: str) -> int:
    """Events in the store."""
    return int(client.query(f"SELECT count() FROM rua.events {final}").result_rows[0][0])  # noqa: S608 - FINAL or nothing


def test_a_second_start_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    """What was written before, between and after the starts is stored, each event once."""
    simulate(tmp_path / "world", 3, days=1, scale=0.1)
    lines = [part for path in sorted((tmp_path / "world").glob(LOG)) for part in path.read_bytes().splitlines(True)]
    third = len(lines) // 3
    parts = [lines[:third], lines[third : 2 * third], lines[2 * third :]]
    log, data = tmp_path / "pg.json", tmp_path / "data"

    def write(part: list[bytes]) -> int:
        with log.open("ab") as out:
            out.writelines(part)
        return count.pgaudit(iter(log.read_bytes().splitlines(True)))

    write(parts[0])
    with running(data) as ports:
        config = {
            "platform": "jd",
            "agent_id": "jd-1",
            "key_file": str(write_key(tmp_path / "key")),
            "state_dir": str(tmp_path / "agent"),
            "kafka": {"bootstrap": f"127.0.0.1:{ports['kafka']}"},
            "sources": [{"source": "pgaudit-jsonlog", "paths": [str(log)], "zone": "Asia/Bangkok"}],
        }
        with agent(write_config(tmp_path / "agent.yaml", config)):
            client = connect(f"http://127.0.0.1:{ports['clickhouse']}")
            expected = count.pgaudit(iter(parts[0]))
            assert until(lambda: rows(client, "FINAL") >= expected - 2)  # the last statement may still grow
            write(parts[1])
    with running(data) as again:
        assert again == ports
        with agent(tmp_path / "agent.yaml"):
            expected = write(parts[2])
            client = connect(f"http://127.0.0.1:{again['clickhouse']}")
            assert until(lambda: rows(client, "FINAL") >= expected)
            assert (rows(client, "FINAL"), rows(client, "")) == (expected, expected)
            by_session = client.query("SELECT event_id FROM rua.events FINAL").result_rows
            assert max(Counter(by_session).values()) == 1


def test_the_world_of_the_test_has_something_to_store(tmp_path: Path) -> None:
    """The guard's twin: an empty log would prove nothing."""
    made = simulate(tmp_path, 3, days=1, scale=0.1)
    assert sum(count.expected(tmp_path, made.world).events.values()) > 500
    assert len(world.files(tmp_path, made.world.sources[0])) >= 1
