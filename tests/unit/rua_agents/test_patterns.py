"""A directory that is missing or closed hides its files in silence; a pattern without a match is no fault."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rua_agents.patterns import directory_of, problem_of


@pytest.mark.parametrize(
    ("pattern", "directory"),
    [
        ("/var/log/a.log", "/var/log"),
        ("/var/log/pg/*.json", "/var/log/pg"),
        ("/var/log/*/a.log", "/var/log"),
        ("/var/log/pods/*_shop_*/app/[0-9]*.log", "/var/log/pods"),
        ("*.log", "."),
    ],
)
def test_the_directory_is_the_deepest_that_is_named(pattern: str, directory: str) -> None:
    """Before the first wildcard."""
    assert str(directory_of(pattern)) == directory


def test_a_pattern_that_matches_nothing_yet_is_fine_and_a_missing_directory_is_not(tmp_path: Path) -> None:
    """A pod's log comes when the pod does."""
    assert problem_of(f"{tmp_path}/*/x.log") is None
    assert "does not exist" in str(problem_of(f"{tmp_path}/none/*.log"))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_directory_is_named(tmp_path: Path) -> None:
    """With what opens it."""
    (tmp_path / "closed").mkdir(mode=0o000)
    assert "not readable by this user" in str(problem_of(f"{tmp_path}/closed/*.log"))


def test_a_directory_that_the_kernel_closes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, for whoever tests as root."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "not readable by this user" in str(problem_of(f"{tmp_path}/*.log"))
