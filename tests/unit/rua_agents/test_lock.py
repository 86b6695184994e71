"""One agent a state directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rua_agents.lock import StateLock
from rua_common.errors import BadConfiguration

HOLD = (
    "import sys, time; from pathlib import Path; from rua_agents.lock import StateLock;"
    "StateLock(Path(sys.argv[1])).take(); print('held', flush=True); time.sleep(60)"
)


def test_a_second_agent_is_refused_by_the_number_of_the_first(tmp_path: Path) -> None:
    """However the first one ends, the next may start."""
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE)
    with first:
        assert first.stdout
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(BadConfiguration, match=f"process {first.pid} runs with it"):
            StateLock(tmp_path).take()
        first.kill()
    with StateLock(tmp_path) as lock:
        assert lock.owner() != str(first.pid)


def test_two_directories_are_two_agents(tmp_path: Path) -> None:
    """They do not disturb each other; the directory is made."""
    with StateLock(tmp_path / "a"), StateLock(tmp_path / "b"):
        pass
    with StateLock(tmp_path / "a"):
        pass


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """With what it is for."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfiguration, match="must be able to write there"):
        StateLock(tmp_path / "file" / "state").take()
