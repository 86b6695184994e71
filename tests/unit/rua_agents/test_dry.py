"""`rua agent run --dry-run`: everything is read, nothing is sent, moved or written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rua_agents.__main__ import main
from rua_agents.checkpoint import Checkpoint, CheckpointFile
from rua_agents.keyfile import create_key_file
from rua_agents.settings import Limits
from rua_agents.tail import Tail, Watched

from tests.agent_rig import START_MS, origin, web_line


def configure(folder: Path) -> Path:
    """An agent whose broker does not exist."""
    (folder / "logs").mkdir()
    (folder / "state").mkdir()
    create_key_file(folder / "key")
    path = folder / "agent.yaml"
    path.write_text(f"""
platform: lazada
key_file: {folder}/key
state_dir: {folder}/state
kafka: {{bootstrap: "127.0.0.1:1"}}
sources: [{{source: nginx-json, paths: ["{folder}/logs/*.log"], host: db-1}}]
""")
    return path


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """What stands there, with its time of change."""
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def test_it_reads_to_the_end_prints_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Not even the times of the files; the account says what would be sent."""
    monkeypatch.setattr("rua_agents.dry.SILENCE_MS", 0)
    monkeypatch.setattr("rua_agents.dry.SETTLE_MS", 100)
    config = configure(tmp_path)
    (tmp_path / "logs/a.log").write_bytes(web_line(START_MS) * 3 + b"{bad\n")
    before = everything(tmp_path)
    assert main(["run", "-c", str(config), "--dry-run", "--once", "--print"]) == 0
    out, err = capfdbinary.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["agent_seq"] for event in events] == [1, 2, 3]
    assert "nginx-json: records 4 = events 3 + merged 0 + ignored 0 + failed 1 (not_json: 1)" in err.decode()
    assert "would send data_export 3" in err.decode()
    assert everything(tmp_path) == before


def test_it_goes_on_where_the_checkpoint_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """As a real run would."""
    monkeypatch.setattr("rua_agents.dry.SILENCE_MS", 0)
    monkeypatch.setattr("rua_agents.dry.SETTLE_MS", 100)
    config, log = configure(tmp_path), tmp_path / "logs/a.log"
    log.write_bytes(web_line(START_MS) * 3)
    tail = Tail([Watched(origin("nginx-json"), [str(log)])], Limits())
    assert sum(len(drafts) for drafts in tail.turn(START_MS)) == 3
    CheckpointFile(tmp_path / "state").write(Checkpoint("lazada", START_MS, tail.dump()))
    log.write_bytes(log.read_bytes() + web_line(START_MS + 1))
    assert main(["run", "-c", str(config), "--dry-run", "--once"]) == 0
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert "events 1 " in err.decode()


def test_a_damaged_checkpoint_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real run would put it aside; a dry one touches nothing."""
    monkeypatch.setattr("rua_agents.dry.SILENCE_MS", 0)
    monkeypatch.setattr("rua_agents.dry.SETTLE_MS", 0)
    config = configure(tmp_path)
    (tmp_path / "state/checkpoint.json").write_bytes(b"{torn")
    assert main(["run", "-c", str(config), "--dry-run", "--once"]) == 0
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["checkpoint.json"]


def test_without_once_it_follows_until_it_is_stopped(tmp_path: Path) -> None:
    """SIGTERM ends it, with the account."""
    config = configure(tmp_path)
    (tmp_path / "logs/a.log").write_bytes(web_line(START_MS) * 2)
    command = [sys.executable, "-m", "rua_agents", "run", "-c", str(config), "--dry-run", "--print"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as dry:
        assert dry.stdout
        assert json.loads(dry.stdout.readline())["agent_seq"] == 1
        dry.send_signal(signal.SIGTERM)
        _, err = dry.communicate(timeout=20)
    assert dry.returncode == 0
    assert b"events 2 " in err
