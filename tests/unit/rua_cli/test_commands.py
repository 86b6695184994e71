"""The command line: helpful, quick to refuse, and light where it must be."""

from __future__ import annotations

import subprocess
import sys

import pytest
from rua_cli.commands import UNUSABLE, run


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """What a person types first."""
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for command in ("demo", "up", "worker", "backtest", "migrate", "agent", "topics", "dlq", "dashboards", "feed"):
        assert command in text


def test_a_missing_setting_is_one_line_with_the_cure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback for a mistake of configuration."""
    monkeypatch.delenv("RUA_CLICKHOUSE_URL", raising=False)
    assert run(["migrate"]) == UNUSABLE
    text = capsys.readouterr().err
    assert text.startswith("rua: RUA_CLICKHOUSE_URL: ")
    assert text.count("\n") == 1


def test_platforms_must_be_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics are per platform; none is guessed."""
    monkeypatch.setenv("RUA_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.delenv("RUA_PLATFORMS", raising=False)
    assert run(["topics", "check"]) == UNUSABLE
    assert "--platform" in capsys.readouterr().err


def test_an_unknown_role_is_refused_with_the_known_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any broker is asked."""
    monkeypatch.setenv("RUA_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    assert run(["worker", "--role", "watch"]) == UNUSABLE
    assert "detect" in capsys.readouterr().err


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the usual exit status for bad usage."""
    assert run(["fly"]) == UNUSABLE
    assert "fly" in capsys.readouterr().err


def test_the_agent_pulls_in_neither_typer_nor_rich_nor_polars() -> None:
    """An endpoint pays for what it runs."""
    code = (
        "import sys; from rua_cli.main import main\n"
        "try: main(['agent', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'typer', 'rich', 'polars', 'faust', 'clickhouse_connect'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
