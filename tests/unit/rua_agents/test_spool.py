"""The spool: what is committed comes out again, in order, whatever happens; what cannot is counted."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rua_agents.spool import groups
from rua_agents.spool.settings import SpoolSettings
from rua_agents.spool.spool import Spool
from rua_schemas.events import TelemetryEvent

SMALL = SpoolSettings(bytes=40_000)
"""Segments of 10,000 bytes: about a dozen events."""


def event(number: int) -> TelemetryEvent:
    """One that is told by its position."""
    return TelemetryEvent(
        event_id=f"{number:032x}",
        source_id="0" * 32,
        source_position=number,
        source="sdk",
        agent_id="a",
        agent_epoch=0,
        agent_seq=0,
        platform="lazada",
        occurred_at=1,
        observed_at=2,
    )


def filled(directory: Path, numbers: range, settings: SpoolSettings = SMALL, group: int = 3) -> Spool:
    """A spool with these events, committed in groups."""
    spool = Spool(directory, settings)
    for at in range(numbers.start, numbers.stop, group):
        taken = range(at, min(at + group, numbers.stop))
        spool.append([event(n) for n in taken], {"source": taken.stop})
        assert spool.commit()
    return spool


def drained(spool: Spool) -> list[int]:
    """Everything that is left, by number."""
    found: list[int] = []
    while events := spool.read():
        found += [one.source_position for one in events]
    return found


def test_events_come_out_in_order_and_again_after_a_restart_until_they_are_acknowledged(tmp_path: Path) -> None:
    """The cursor is the checkpoint's: without it everything is given again."""
    spool = filled(tmp_path, range(100))
    assert drained(spool) == list(range(100))
    again = Spool(tmp_path, SMALL)
    again.go_to(40)
    assert drained(again) == list(range(40, 100))
    assert (again.dropped.total(), again.torn_bytes, again.unread) == (0, 0, 0)
    assert again.marks == {"source": 100}


def test_segments_go_when_they_are_acknowledged_and_not_before(tmp_path: Path) -> None:
    """The last one stays: it knows how far the sources are read."""
    spool = filled(tmp_path, range(100))
    assert len(list(tmp_path.glob("*.seg"))) > 3
    drained(spool)
    spool.release(0)
    assert len(list(tmp_path.glob("*.seg"))) > 3
    spool.release(spool.cursor)
    assert len(list(tmp_path.glob("*.seg"))) == 1
    assert Spool(tmp_path, SMALL).marks == {"source": 100}


def test_what_was_not_committed_is_gone_and_its_marks_with_it(tmp_path: Path) -> None:
    """So the source gives it again: events and marks are written together or not at all."""
    spool = filled(tmp_path, range(6))
    spool.append([event(6)], {"source": 7})
    again = Spool(tmp_path, SMALL)
    assert (drained(again), again.marks) == (list(range(6)), {"source": 6})


def test_marks_without_events_are_kept_and_a_forgotten_source_is(tmp_path: Path) -> None:
    """A file may be read on without giving an event; segments of marks alone must not write over one another."""
    spool = Spool(tmp_path, SMALL)
    for turn in range(400):
        spool.append([], {"file": turn, "other": turn % 2 or None})
        assert spool.commit()
    spool.append([event(1)], {})
    assert spool.commit()
    again = Spool(tmp_path, SMALL)
    assert again.marks == {"file": 399, "other": 1}
    assert drained(again) == [1]


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_torn_tail_is_cut_and_reported_and_the_rest_stands(draw: st.DataObject) -> None:
    """A power cut in the middle of a write: any part of the group may be there."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        spool = filled(directory, range(9))
        torn = groups.frame(9, groups.encode(groups.Group([event(9), event(10)], {"source": 11})))
        torn = torn[: draw.draw(st.integers(1, len(torn) - 1))]
        last = sorted(directory.glob("*.seg"))[-1]
        with last.open("ab") as file:
            file.write(torn)
        spool.close()
        again = Spool(directory, SMALL)
        assert (again.torn_bytes, again.marks) == (len(torn), {"source": 9})
        again.append([event(9)], {})
        assert again.commit()
        assert drained(again) == list(range(10))
        again.close()


def test_a_damaged_segment_is_put_aside_and_the_gap_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The agent starts anyway; the file is kept as evidence."""
    filled(tmp_path, range(100)).close()
    second = sorted(tmp_path.glob("*.seg"))[1]
    first, last = int(second.stem), int(sorted(tmp_path.glob("*.seg"))[2].stem)
    second.write_bytes(os.urandom(second.stat().st_size))
    spool = Spool(tmp_path, SMALL)
    assert drained(spool) == [*range(first), *range(last, 100)]
    assert spool.dropped == {"spool_damaged": last - first}
    assert f"{last - first} events are lost, up to number {last - 1}: spool_damaged" in caplog.text
    spool.release(spool.cursor)
    assert [path.name for path in tmp_path.glob("*.bad")] == [f"{first:020d}.bad"]


def test_a_segment_without_any_group_is_put_aside_and_the_sequence_goes_on(tmp_path: Path) -> None:
    """A number is never given to two events."""
    filled(tmp_path, range(100)).close()
    last = sorted(tmp_path.glob("*.seg"))[-1]
    last.write_bytes(b"\0" * last.stat().st_size)
    spool = Spool(tmp_path, SMALL)
    assert spool.torn_bytes > 0
    assert drained(spool) == list(range(int(last.stem)))
    spool.append([event(500)], {})
    assert spool.commit()
    assert drained(spool) == [500]
    assert last.with_suffix(".bad").exists()


def test_a_full_spool_stops_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """Policy `stop`: nothing is lost."""
    spool = filled(tmp_path, range(200))
    assert spool.trouble == "all 40000 bytes of spool.bytes are used: nothing more is taken in until there is room"
    drained(spool)
    spool.release(spool.cursor)
    assert spool.has_room
    assert not spool.dropped


def test_a_full_spool_gives_the_oldest_up_and_says_how_many(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Policy `drop_oldest`: what is left is the newest, in order; the count is exact."""
    spool = filled(tmp_path, range(400), SpoolSettings(bytes=40_000, when_full="drop_oldest"))
    assert spool.has_room
    assert spool.used_bytes <= 40_000
    lost = spool.dropped["spool_full"]
    assert lost > 100
    assert drained(spool) == list(range(lost, 400))
    assert "spool_full" in caplog.text


def test_events_that_were_read_are_not_counted_as_lost(tmp_path: Path) -> None:
    """They are with the broker, or on their way."""
    spool = Spool(tmp_path, SpoolSettings(bytes=40_000, when_full="drop_oldest"))
    for n in range(150):
        spool.append([event(n)], {})
        assert spool.commit()
        assert [one.source_position for one in spool.read()] == [n]
    assert not spool.dropped


def test_a_checkpoint_before_the_oldest_segment_means_a_loss(tmp_path: Path) -> None:
    """Segments that somebody deleted are missed."""
    spool = filled(tmp_path, range(100))
    spool.close()
    for path in sorted(tmp_path.glob("*.seg"))[:2]:
        path.unlink()
    again = Spool(tmp_path, SMALL)
    again.go_to(0)
    assert drained(again)[-1] == 99
    assert again.dropped.total() == int(sorted(tmp_path.glob("*.seg"))[0].stem)


def test_the_last_of_the_disk_is_not_taken(tmp_path: Path) -> None:
    """It is the platform's, too; what was taken in is still written."""
    free = 1_000
    spool = Spool(tmp_path, SMALL, free_bytes=lambda: free, least_free_bytes=1_000)
    assert spool.has_room
    spool.append([event(1)], {})
    free = 999
    assert "disk.min_free_bytes" in (spool.trouble or "")
    assert spool.commit()


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
def test_a_full_disk_keeps_what_waits_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    """Nothing is acknowledged that is not durable, and it is said once."""
    spool = filled(tmp_path, range(6))
    with monkeypatch.context() as broken:
        broken.setattr(os, call, _no_space)
        spool.append([event(6)], {"source": 7})
        assert [spool.commit(), spool.commit()] == [False, False]
        assert (spool.has_room, spool.problem) == (
            False,
            "No space left on device: nothing more is taken in until there is room",
        )
        assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1
    assert spool.commit()
    assert spool.problem is None
    again = Spool(tmp_path, SMALL)
    assert (drained(again), again.marks, again.dropped.total()) == (list(range(7)), {"source": 7}, 0)


def _no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Machine(RuleBasedStateMachine):
    """Appends, commits, crashes, damage and acknowledgements in any order, against a list in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.directory = Path(self.folder.name)
        self.numbered = 0
        self.committed: list[int] = []
        """Position = sequence."""
        self.pending: list[int] = []
        self.seen: list[int] = []
        self.damaged = False

    @initialize(policy=st.sampled_from(["stop", "drop_oldest"]))
    def begin(self, policy: Any) -> None:
        """Both policies."""
        self.settings = SpoolSettings(bytes=20_000, when_full=policy)
        self.spool = Spool(self.directory, self.settings)
        self.acked = 0

    @rule(count=st.integers(0, 9))
    def append(self, count: int) -> None:
        """Not written yet."""
        taken = range(self.numbered, self.numbered + count)
        self.numbered += count
        self.pending += taken
        self.spool.append([event(n) for n in taken], {"source": self.numbered})

    @rule()
    def commit(self) -> None:
        """Now it is promised."""
        assert self.spool.commit()
        self.committed += self.pending
        self.pending = []

    @rule()
    def read(self) -> None:
        """In order, and what is missing is counted; without damage nothing is, but for the policy."""
        before, dropped = self.spool.cursor, self.spool.dropped.total()
        found = [one.source_position for one in self.spool.read()]
        lost = self.spool.dropped.total() - dropped
        assert found == self.committed[before + lost : self.spool.cursor]
        assert self.spool.cursor == before + lost + len(found)
        assert self.damaged or not lost

    @rule()
    def acknowledge(self) -> None:
        """The checkpoint is written."""
        self.acked = self.spool.cursor
        self.spool.release(self.acked)

    @rule(torn=st.integers(0, 400))
    def crash(self, torn: int) -> None:
        """What was not committed may be on the disk in part."""
        paths = sorted(self.directory.glob("*.seg"))
        if torn and paths:
            group = groups.Group([event(n) for n in self.pending], {"source": -1})
            data = groups.frame(len(self.committed), groups.encode(group))
            with paths[-1].open("ab") as file:
                file.write(data[: min(torn, len(data) - 1)])
        self.reopen()

    @precondition(lambda self: any(self.directory.glob("*.seg")))
    @rule(where=st.floats(0, 0.999), length=st.integers(1, 3_000), flip=st.booleans())
    def damage(self, where: float, length: int, flip: bool) -> None:
        """Bytes of any segment are overwritten or cut out; an end that is gone leaves no trace to tell it by."""
        paths = sorted(self.directory.glob("*.seg"))
        path = paths[int(where * len(paths))]
        data = path.read_bytes()
        at = int(where * len(data))
        length = min(length, len(data) - 1 - at)
        middle = bytes(b ^ 0xFF for b in data[at : at + length]) if flip else b""
        path.write_bytes(data[:at] + middle + data[at + length :])
        self.damaged = True
        self.reopen()

    def reopen(self) -> None:
        """As a process that starts."""
        self.spool.close()
        self.spool = Spool(self.directory, self.settings)
        self.spool.go_to(self.acked)
        assert set(self.spool.dropped) <= {"spool_full"}
        self.pending = []
        following = max(self.spool._next, self.acked)
        if following < len(self.committed):  # the end was damaged: cut, and told
            assert self.damaged
            assert self.spool.torn_bytes > 0
            self.committed = self.committed[:following]
        assert self.damaged or self.spool.torn_bytes <= 400
        assert self.damaged or self.spool.marks.get("source", 0) >= (self.committed[-1] + 1 if self.committed else 0)
        assert self.spool.marks.get("source") != -1

    @invariant()
    def nothing_is_lost_in_silence(self) -> None:
        """Every committed event is read, counted as lost, or still to come."""
        if hasattr(self, "spool"):
            assert self.spool._next == len(self.committed)
            assert 0 <= self.spool.unread <= len(self.committed)
            if self.settings.when_full == "stop" and not self.damaged:
                assert not self.spool.dropped

    def teardown(self) -> None:
        """What is left comes out, too."""
        while self.damaged is False and hasattr(self, "spool") and self.spool.unread:
            self.read()
        self.folder.cleanup()


Machine.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase
