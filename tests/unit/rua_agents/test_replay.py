"""A world's logs by the world's clock: the order depends on nothing else."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.checkpoint import FileState
from rua_agents.replay import END_MS, Replay
from rua_agents.settings import Limits, ReplaySettings
from rua_agents.tail import Watched
from rua_common.errors import RuaError

from tests.agent_rig import START_MS, audit, origin, web_line

T = START_MS
Seen = tuple[str, str, int, int]
"""Source, event id, position, observed_at."""


OPEN: list[Replay] = []


@pytest.fixture(autouse=True)
def closes() -> Iterator[None]:
    """Closes the files of every reader that a test made."""
    yield
    while OPEN:
        OPEN.pop().close()


class World:
    """Two files of logs and their arrivals."""

    def __init__(self, folder: Path, *, arrivals: bool = True) -> None:
        self.folder, self.arrivals = folder, arrivals
        for part in ("logs/db", "logs/web", "arrivals/db", "arrivals/web"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def add(self, path: str, line: bytes, arrival_ms: int) -> None:
        """A line reaches its file."""
        with (self.folder / "logs" / path).open("ab") as log:
            log.write(line)
        with (self.folder / "arrivals" / f"{path}.u32").open("ab") as file:
            file.write(struct.pack("<I", arrival_ms))

    def watermark(self, at_ms: int) -> None:
        """The world is complete up to here."""
        (self.folder / "watermark").write_bytes(struct.pack("<q", at_ms))

    def reader(self, state: list[FileState] | None = None) -> Replay:
        """An agent's view of it."""
        logs = self.folder / "logs"
        given_ = ReplaySettings(
            start_ms=T,
            watermark_file=str(self.folder / "watermark"),
            logs_root=str(logs),
            arrivals_root=str(self.folder / "arrivals") if self.arrivals else None,
        )
        sources = [
            Watched(origin("pgaudit-jsonlog"), [f"{logs}/db/*.json"]),
            Watched(origin("nginx-json"), [f"{logs}/web/*.log"]),
        ]
        made = Replay(sources, given_, Limits(read_bytes=700))
        OPEN.append(made)
        if state is not None:
            made.restore(msgspec.json.decode(msgspec.json.encode(state), type=list[FileState]))
        return made


def take(reader: Replay) -> list[Seen]:
    """All that is due now."""
    made = [event for some in reader.turn(0) for event in some]
    return [(event.source, event.event_id, event.source_position, event.observed_at) for event in made]


def a_world(folder: Path, **options: Any) -> World:
    """Statements and requests, some late, some at the same moment."""
    world = World(folder, **options)
    for n in range(60):
        session = f"s{n % 3}"
        world.add("db/a.json", audit(T + n * 90, n // 2, "SELECT 1 FROM t", rows=n, session_id=session), n * 100)
        if n % 3 == 0:
            world.add("web/b.log", web_line(T + n * 90), n * 100)
            world.add("web/a.log", web_line(T + n * 70), n * 100 + (n % 2) * 2_500)
    return world


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.integers(0, 9_000), max_size=8), restarts=st.sets(st.integers(0, 8)))
def test_any_steps_of_the_watermark_and_any_restarts_give_the_same_events(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], restarts: set[int]
) -> None:
    """The same ids in the same order with the same times of observation."""
    world = a_world(tmp_path_factory.mktemp("world"))
    world.watermark(END_MS)
    expected = take(world.reader())
    assert len(expected) > 60
    reader, made = world.reader(), list[Seen]()
    for i, step in enumerate(sorted(steps)):
        world.watermark(T + step)
        made += take(reader)
        if i in restarts:
            reader = world.reader(reader.dump())
    world.watermark(END_MS)
    assert made + take(reader) == expected


def test_only_what_arrived_is_taken_in_order_of_arrival_and_path(tmp_path: Path) -> None:
    """Up to the watermark and no further; observed when it arrived."""
    world = World(tmp_path)
    world.add("web/b.log", web_line(T + 5), 100)
    world.add("web/a.log", web_line(T + 9), 100)
    world.add("web/a.log", web_line(T + 1), 200)
    reader = world.reader()
    world.watermark(T + 99)
    assert take(reader) == []
    world.watermark(T + 199)
    assert [(observed, position) for _, _, position, observed in take(reader)] == [(T + 100, 0), (T + 100, 0)]
    assert [file.path.rpartition("/")[2] for file in reader.files() if file.offset] == ["a.log", "b.log"]
    world.watermark(T + 200)
    assert [seen[3] for seen in take(reader)] == [T + 200]


def test_the_end_of_the_world_completes_everything(tmp_path: Path) -> None:
    """Also a last line without its end."""
    world = World(tmp_path)
    world.add("db/a.json", audit(T, 1, "SELECT 1 FROM t"), 0)
    world.add("web/a.log", web_line(T)[:-1], 0)
    reader = world.reader()
    world.watermark(T + 10)
    assert take(reader) == []
    assert not reader.finished
    world.watermark(END_MS)
    assert len(take(reader)) == 2
    assert reader.finished


def test_a_file_that_appears_later_is_found(tmp_path: Path) -> None:
    """Rotated files of a world are files of their own."""
    world = World(tmp_path)
    world.add("web/a.log", web_line(T), 0)
    reader = world.reader()
    world.watermark(T + 10)
    assert len(take(reader)) == 1
    world.add("web/a.log.1.log", web_line(T + 20), 20)
    world.watermark(T + 30)
    assert len(take(reader)) == 1


def test_without_arrivals_lines_arrive_at_their_own_times(tmp_path: Path) -> None:
    """And never before the line above them."""
    world = World(tmp_path, arrivals=False)
    world.add("web/a.log", web_line(T + 500), 0)
    world.add("web/a.log", web_line(T + 300), 0)
    world.add("web/a.log", web_line(T + 900), 0)
    reader = world.reader()
    world.watermark(T + 600)
    assert [seen[3] for seen in take(reader)] == [T + 500, T + 500]


def test_a_line_whose_arrival_is_not_written_yet_waits(tmp_path: Path) -> None:
    """The two files are not written at the same instant."""
    world = World(tmp_path)
    world.add("web/a.log", web_line(T), 0)
    arrivals = tmp_path / "arrivals/web/a.log.u32"
    arrivals.write_bytes(b"\0\0")
    reader = world.reader()
    world.watermark(T + 10)
    assert take(reader) == []
    arrivals.write_bytes(array("I", [0]).tobytes())
    world.watermark(T + 11)
    assert len(take(reader)) == 1


def test_a_file_in_another_encoding_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    """It does not end the run."""
    world = World(tmp_path)
    world.add("web/a.log", web_line(T), 0)
    (tmp_path / "logs/web/b.log").write_bytes(b"\xff\xfe{\0\n\0")
    reader = world.reader()
    world.watermark(T + 10)
    assert len(take(reader)) == 1
    assert [path.rpartition("/")[2] for path in reader.problems] == ["b.log"]


def test_a_watermark_that_is_none_is_refused(tmp_path: Path) -> None:
    """A missing one only means that the world has not begun."""
    world = World(tmp_path)
    reader = world.reader()
    assert take(reader) == []
    (tmp_path / "watermark").write_bytes(b"12345")
    with pytest.raises(RuaError, match="8, little-endian"):
        take(reader)
