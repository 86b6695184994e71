"""A log judged by another version of Rua: from a wheel, or from git."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest
from rua_cli import versions
from rua_cli.versions import alerts_of
from rua_common.errors import BadConfiguration

CLI = """
import json, sys
import rua_streams
print(json.dumps({"versions": [{"name": "x", "alerts": [json.loads(rua_streams.ALERT)]}]}))
sys.exit(sys.argv[1:] != ["backtest", "--json"])
"""
ALERT = '{"alert_id": "a", "revision": 1, "detector": "d", "severity": "low", "platform": "p", "subject": "s", '
ALERT += '"subject_type": "actor", "title": "t", "reason": "r", "runbook": "b", "window_start": 1, "window_end": 2, '
ALERT += '"raised_at": 3, "surplus": "of a later version"}'
PROJECT = '[tool.hatch.build.targets.wheel]\npackages = ["cli/rua_cli", "streams/rua_streams"]\n'
FILES = {"rua_cli/__main__.py": CLI, "rua_cli/__init__.py": "", "rua_streams/__init__.py": f"ALERT = {ALERT!r}"}


def wheel(path: Path) -> Path:
    """A version that says one thing, whatever it is asked."""
    with zipfile.ZipFile(path, "w") as packed:
        for name, text in FILES.items():
            packed.writestr(name, text)
    return path


def test_a_wheel_judges_with_its_own_code(tmp_path: Path) -> None:
    """Not with ours, and a field that we do not know is passed over."""
    (found,) = alerts_of(str(wheel(tmp_path / "rua-9.whl")), ["backtest", "--json"])
    assert (found.detector, found.raised_at) == ("d", 3)


def test_a_revision_judges_with_its_own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was committed, whatever the files hold now."""

    def git(*words: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    for name, text in FILES.items():
        path = tmp_path / name.split("/", maxsplit=1)[0].removeprefix("rua_") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (tmp_path / "streams/rua_streams/__init__.py").write_text("broken")
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    (found,) = alerts_of("HEAD", ["backtest", "--json"])
    assert found.detector == "d"
    with pytest.raises(BadConfiguration, match="neither a file nor a revision"):
        alerts_of("--output=x", ["backtest"])


def test_a_version_that_cannot_is_named(tmp_path: Path) -> None:
    """One that fails, and a file that is none."""
    with pytest.raises(BadConfiguration, match=r"rua-9.whl: that version could not judge this log"):
        alerts_of(str(wheel(tmp_path / "rua-9.whl")), ["backtest", "--unknown"])
    (tmp_path / "rua-8.whl").write_text("no zip")
    with pytest.raises(BadConfiguration, match=r"rua-8.whl: is no wheel"):
        alerts_of(str(tmp_path / "rua-8.whl"), [])
