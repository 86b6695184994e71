"""Whatever happens to a log, in whatever order, seen or unseen: every line comes out once, with its own id."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.contents import opened
from rua_agents.continuity import TWIN_MS
from rua_agents.tail import GONE_MS, REST_MS, SCAN_MS

from tests.agent_rig import parse
from tests.tail_rig import Follower, append, close_all, lines

WRITES, ROTATIONS = ["write", "write", "half"], ["rename", "copytruncate", "pack"]
LOOKS, RESTARTS = ["poll", "poll", "turn", "rest", "gone"], ["restart", "pod"]
STEPS = st.sampled_from([*WRITES, *ROTATIONS, *LOOKS, *RESTARTS])


class Host:
    """One log, everything that is done to it, and an agent that comes and goes."""

    def __init__(self, folder: Path, pattern: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.folder, self.path, self.pattern = folder, folder / "a.log", f"{folder}/{pattern}"
        self.written = self.rotations = 0
        self.half = b""
        self.numbers: list[int] = []
        self.ids: list[str] = []
        self.agent = Follower(self.pattern).poll(turns=1)

    def step(self, name: str) -> None:
        """Does one thing."""
        getattr(self, f"_{name}")()

    def _write(self) -> None:
        self.written += 1
        self._line_end()
        append(self.path, lines(self.written))

    def _half(self) -> None:
        self._line_end()
        self.written += 1
        line = lines(self.written)
        append(self.path, line[:50])
        self.half = line[50:]

    def _line_end(self) -> None:
        if self.half:
            append(self.path, self.half)
        self.half = b""

    def _rotated(self) -> Path | None:
        self._line_end()
        if not self.path.exists() or not self.path.stat().st_size:
            return None
        self.rotations += 1
        return self.folder / f"a.log.{self.rotations}"

    def _rename(self) -> None:
        if to := self._rotated():
            self.path.rename(to)

    def _copytruncate(self) -> None:
        if to := self._rotated():
            shutil.copy2(self.path, to)
            os.truncate(self.path, 0)

    def _pack(self) -> None:
        for path in [path for path in sorted(self.folder.glob("a.log.*")) if path.suffix != ".gz"][:1]:
            at, packed = path.stat(), path.with_name(f"{path.name}.gz")
            packed.write_bytes(gzip.compress(path.read_bytes(), 1))
            os.utime(packed, ns=(at.st_atime_ns, at.st_mtime_ns))
            path.unlink()

    def _poll(self) -> None:
        self.agent.poll(SCAN_MS)

    def _turn(self) -> None:
        self.agent.poll(250, turns=1)

    def _rest(self) -> None:
        self.agent.poll(REST_MS)

    def _gone(self) -> None:
        self.agent.poll(TWIN_MS).poll(GONE_MS).poll(GONE_MS)

    def _restart(self, *, pod: bool = False) -> None:
        self.numbers, self.ids = self.numbers + self.agent.numbers, self.ids + self.agent.events
        state = self.agent.tail.dump()
        for one in state if pod else ():
            one.device += bool(one.inode)
        close_all()
        self.agent = Follower(self.pattern, state=state)

    def _pod(self) -> None:
        self._restart(pod=True)

    def end(self) -> None:
        """Everything has time to be read."""
        self._line_end()
        self._poll()
        self._gone()
        self._gone()
        self._restart()

    def expected(self) -> set[str]:
        """The ids of what is in the files."""
        found: set[str] = set()
        for path in self.folder.iterdir():
            with opened(str(path)) as file:
                found |= {event.event_id for event in parse("nginx-json", file.read())[0]}
        return found


@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_every_line_comes_out_once_with_its_id(
    tmp_path_factory: pytest.TempPathFactory, pattern: str, steps: list[str]
) -> None:
    """Rotations of all kinds, between looks, while the agent is down, in new pods."""
    host = Host(tmp_path_factory.getbasetemp() / "host", pattern)
    try:
        for step in steps:
            host.step(step)
        host.end()
    finally:
        close_all()
    assert sorted(host.numbers) == list(range(1, host.written + 1))
    assert set(host.ids) == host.expected()
