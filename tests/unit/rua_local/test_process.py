"""A child process of a local service: it starts, is told apart when it does not, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rua_local.process import Child, ServiceFailed

SLEEP = ["/bin/sleep", "60"]


def started(log: Path, command: list[str], *, ready: bool = True) -> Child:
    """A child of that command."""
    child = Child("the sleeper", log)
    with child.starting():
        child.start(command, ready=lambda: ready, seconds=0.5)
    return child


def state(pid: int) -> str:
    """Linux's letter for the state of a process, "" when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return ""


def wait_for(pid: int, states: set[str]) -> bool:
    """Whether the process comes into one of these states within 10 s."""
    deadline = time.monotonic() + 10
    while state(pid) not in states and time.monotonic() < deadline:
        time.sleep(0.01)
    return state(pid) in states


def test_it_runs_pauses_goes_on_and_stops(tmp_path: Path) -> None:
    """In a session of its own: the terminal's Ctrl-C does not reach it. A paused one can be stopped too."""
    child = started(tmp_path / "log", SLEEP)
    pid = child.pid
    assert pid is not None
    assert os.getsid(pid) == pid
    child.pause()
    assert wait_for(pid, {"T"})
    child.resume()
    assert wait_for(pid, {"S"})
    child.pause()
    child.stop()
    assert child.pid is None


def test_one_that_ends_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """Without Java's call stacks, which would push the cause out of sight; and the directory is free again."""
    script = "echo the cause; seq 30 | sed 's/^/\tat frame /'; exit 3"
    with pytest.raises(ServiceFailed, match=r"(?s)ended with code 3.*\nthe cause$"):
        started(tmp_path / "log", ["/bin/sh", "-c", script], ready=False)
    started(tmp_path / "log", SLEEP).kill()


def test_one_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """And killed."""
    with pytest.raises(ServiceFailed, match="does not answer after"):
        started(tmp_path / "log", SLEEP, ready=False)


def test_a_directory_belongs_to_one_at_a_time(tmp_path: Path) -> None:
    """The second is refused in words; after the end of the first it may start."""
    first = started(tmp_path / "log", SLEEP)
    with pytest.raises(ServiceFailed, match="choose another directory"):
        started(tmp_path / "log", SLEEP)
    first.kill()
    started(tmp_path / "log", SLEEP).kill()


def test_it_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """To Linux the parent is a thread; a service started in a worker thread must not end with that."""
    children: list[Child] = []
    thread = threading.Thread(target=lambda: children.append(started(tmp_path / "log", SLEEP)))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert children[0].pid is not None
    children[0].kill()


def test_it_dies_with_its_parent_even_when_that_is_killed(tmp_path: Path) -> None:
    """A killed parent runs no handler."""
    program = (
        "import pathlib, signal, sys; from rua_local.process import Child\n"
        "child = Child('x', pathlib.Path(sys.argv[1]))\n"
        "with child.starting(): child.start(['/bin/sleep', '60'], ready=lambda: True)\n"
        "print(child.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert state(pid) in {"S", "R"}
        parent.kill()
    assert wait_for(pid, {"", "Z"})
