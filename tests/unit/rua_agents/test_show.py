"""`rua agent status`: from the endpoint, else from the file, else nobody is there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from rua_agents.__main__ import main
from rua_agents.endpoint import Board, Endpoint
from rua_agents.lock import StateLock
from rua_agents.show import table
from rua_agents.status import Status

from tests.agent_rig import a_status


def configure(folder: Path, listen: str | None) -> Path:
    """An agent's file."""
    http = f'http: {{listen: "{listen}"}}' if listen else ""
    (folder / "state").mkdir(exist_ok=True)
    path = folder / "agent.yaml"
    path.write_text(f"""
platform: lazada
key_file: {folder}/key
state_dir: {folder}/state
kafka: {{bootstrap: "127.0.0.1:1"}}
sources: [{{source: nginx-json, paths: ["{folder}/*.log"]}}]
{http}
""")
    return path


@pytest.fixture
def board() -> Board:
    """What the loop has published."""
    return Board()


@pytest.fixture
def url(board: Board) -> Iterator[str]:
    """A running endpoint."""
    with closing(Endpoint("127.0.0.1:0", board)) as running:
        yield f"http://127.0.0.1:{running.port}"


def test_the_table_tells_lag_faults_clock_and_checkpoint() -> None:
    """Each fact once, in units that a person reads."""
    said = "\n".join(table(a_status(), "here"))
    for fact in (
        "agent agent-1 of lazada, version 1.2.3, up 2 h 1 min, 40.0 MiB",
        "/var/log/a.log  nginx-json  4.8 MiB  1 min 15 s",
        "nginx-json  9        2       2       1 (static 1)  3 (no_time 1, not_json 2)",
        "2 of 3 acknowledged, 0 dead letters",
        "4 (spool_full 4)",
        "12 events, 4.0 KiB",
        "-7 ms from the broker's, within 2 ms",
        "2.5 s ago",
    ):
        assert fact in said
    assert said.endswith("\nhealthy")


def test_the_endpoint_is_asked_and_the_exit_status_says_if_all_is_well(
    board: Board, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its address, or by the agent's configuration; 1 with the reason if it is not healthy."""
    board.publish(a_status())
    assert main(["status", "--url", url]) == 0
    assert f"({url})" in capsys.readouterr().out
    board.publish(a_status(wrong=["Kafka: down: start it"]))
    config = configure(tmp_path, url.removeprefix("http://"))
    assert main(["status", "-c", str(config)]) == 1
    assert capsys.readouterr().out.endswith("not healthy:\n  Kafka: down: start it\n")
    assert main(["status", "-c", str(config), "--json"]) == 1
    assert msgspec.convert(json.loads(capsys.readouterr().out), Status) == a_status(wrong=["Kafka: down: start it"])


def test_without_an_endpoint_the_file_tells_as_long_as_it_is_fresh(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An old one is of an agent that is gone."""
    config, file = configure(tmp_path, None), tmp_path / "state/status.json"
    file.write_bytes(msgspec.json.encode(a_status()))
    assert main(["status", "-c", str(config)]) == 0
    assert f"({file})" in capsys.readouterr().out
    os.utime(file, (0, 0))
    assert main(["status", "-c", str(config)]) == 3
    assert "was written" in capsys.readouterr().err


def test_a_fresh_file_of_an_agent_that_is_gone_is_not_believed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lock tells at once, however the process ended; while it is held the file counts."""
    config, file = configure(tmp_path, None), tmp_path / "state/status.json"
    file.write_bytes(msgspec.json.encode(a_status()))
    with StateLock(tmp_path / "state"):
        assert main(["status", "-c", str(config)]) in (0, 1)
    assert main(["status", "-c", str(config)]) == 3
    assert "no process runs with" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ftp://x", "http://no-such-host.invalid:1"])
def test_nobody_there_is_said(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a traceback."""
    assert main(["status", "--url", url]) in (1, 3)
    assert "Traceback" not in capsys.readouterr().err


def test_neither_configuration_nor_address_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And an agent that never ran is nobody."""
    assert main(["status"]) == 1
    assert "--url" in capsys.readouterr().err
    assert main(["status", "-c", str(configure(tmp_path, "127.0.0.1:1"))]) == 3
