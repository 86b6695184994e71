"""Another version of Rua, from a wheel or a git revision, judges the same log: its rules, its engine, its own code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rua_common.errors import BadConfiguration
from rua_schemas.events import Alert

ROOT = Path(__file__).parents[2]
ALLOWED = ("RULES.py", "RUA.whl", "a git revision of the checkout that this runs from")


def alerts_of(version: str, command: Sequence[str]) -> list[Alert]:
    """What another version of Rua raises.

    Args:
        version: a wheel, or a revision of the repository that this code runs from.
        command: arguments of `rua` that make it print a backtest as JSON.

    Raises:
        BadConfiguration: there is no such version, or it cannot do that.
    """
    with tempfile.TemporaryDirectory(prefix="rua-backtest-") as folder:
        paths = unpacked(version, Path(folder))
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        words = [sys.executable, "-P", "-m", "rua_cli", *command]
        done = subprocess.run(words, env=environ, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise bad(version, "that version could not judge this log: it says why above, or has no `rua backtest` yet")
    (told,) = json.loads(done.stdout)["versions"]
    return msgspec.convert(told["alerts"], list[Alert])


def unpacked(version: str, folder: Path) -> list[Path]:
    """Where the packages of a version lie."""
    if version.endswith(".whl"):
        try:
            with zipfile.ZipFile(version) as wheel:
                wheel.extractall(folder)  # noqa: S202 - zipfile keeps what it writes inside the folder
        except (OSError, zipfile.BadZipFile) as why:
            raise bad(version, f"is no wheel: {why}") from why
        return [folder]
    git = ["git", "-C", str(ROOT)]
    found = [*git, "rev-parse", "--verify", "--end-of-options", f"{version}^{{commit}}"]
    revision = subprocess.run(found, capture_output=True, text=True, check=False).stdout.strip()
    if not revision:
        raise bad(version, "is neither a file nor a revision of this checkout")
    packed = folder / "version.tar"
    subprocess.run([*git, "archive", "-o", str(packed), revision], check=True)
    with tarfile.open(packed) as files:
        files.extractall(folder, filter="data")
    built = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    return [(folder / package).parent for package in built["targets"]["wheel"]["packages"]]


def bad(version: str, problem: str) -> BadConfiguration:
    """What is wrong with a version."""
    return BadConfiguration(f"{version}: {problem}", key="--against", allowed=ALLOWED)
