"""The replay: everything copied, in order of arrival, the watermark last."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from rua_common.errors import BadConfiguration
from rua_demo import count, world
from rua_demo.replay import WORLD_IS_OVER, Replay, arrivals_root, backlog, logs_root, watermark_file
from rua_demo.results import Lines
from rua_demo.world import Source, World

START = 1_790_000_000


def watermark(live: Path) -> int:
    """What an agent would read."""
    value: int = struct.unpack("<q", watermark_file(live).read_bytes())[0]
    return value


def made(folder: Path, sources: list[Source]) -> Path:
    """A world with these sources."""
    world.write(folder, World(timezone="UTC", start=START, end=START + 3_600, sources=sources))
    return folder


def web(host: str = "web-1", source: str = "nginx-json") -> Source:
    """An nginx source."""
    return Source(platform="jd", host=host, glob=f"jd/{host}/*.json", source=source)


def request(second: float) -> str:
    """A line of an access log."""
    return json.dumps({"msec": START + second, "req": "GET /a HTTP/1.1", "status": 200}) + "\n"


def write(path: Path, text: str) -> None:
    """Writes a log file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_the_live_folder_ends_as_a_copy(small_world: Path, tmp_path: Path) -> None:
    """Logs and arrivals byte for byte, and then the world is over."""
    replay = Replay.of(small_world, tmp_path)
    steps = list(replay.slices())
    assert sum(s.lines for s in steps) == steps[-1].lines_so_far == replay.total_lines
    for original in small_world.glob("*/*/*.json"):
        path = original.relative_to(small_world)
        assert (logs_root(tmp_path) / path).read_bytes() == original.read_bytes()
        given = (small_world / "arrivals" / f"{path}.u32").read_bytes()
        assert (arrivals_root(tmp_path) / f"{path}.u32").read_bytes() == given
    assert watermark(tmp_path) == WORLD_IS_OVER


def test_whenever_the_watermark_moves_everything_up_to_it_is_there(small_world: Path, tmp_path: Path) -> None:
    """The protocol that the agents rely on, checked after each slice for every file."""
    replay = Replay.of(small_world, tmp_path)
    due = {track.path: track.arrivals for track in replay.tracks}
    before = -1
    for step in replay.slices():
        since = watermark(tmp_path) - replay.described.start_ms
        assert step.watermark_ms == watermark(tmp_path)
        assert since > before
        before = since
        for path, arrivals in due.items():
            live = logs_root(tmp_path) / path
            copied = live.read_bytes().count(b"\n") if live.exists() else 0
            assert copied == np.searchsorted(arrivals, since, side="right")


def test_slices_start_small_and_grow(small_world: Path, tmp_path: Path) -> None:
    """The first events come soon."""
    sizes = [s.lines for s in Replay.of(small_world, tmp_path).slices()]
    assert sizes[0] < 600 < sizes[1] < sizes[2]


def test_without_arrivals_a_line_arrives_at_its_own_time(tmp_path: Path) -> None:
    """Never before the line above it, and a line without a time with the one above."""
    write(tmp_path / "w/jd/web-1/a.json", request(10) + request(5) + "no time\n" + request(20.5))
    (track,) = Replay.of(made(tmp_path / "w", [web()]), tmp_path / "live").tracks
    assert track.arrivals.tolist() == [10_000, 10_000, 10_000, 20_500]


def test_files_are_merged_by_arrival(tmp_path: Path) -> None:
    """Two hosts: what arrived first is counted first."""
    write(tmp_path / "w/jd/web-1/a.json", request(1) + request(30))
    write(tmp_path / "w/jd/web-2/b.json", request(2) + request(3))
    replay = Replay.of(made(tmp_path / "w", [web(), web("web-2")]), tmp_path / "live")
    assert [replay.lines_until((START + s) * 1_000) for s in (0, 1, 3, 29, 30)] == [0, 1, 3, 3, 4]


def test_a_last_line_without_a_line_feed_is_copied_too(tmp_path: Path) -> None:
    """As a file stands that is still written."""
    write(tmp_path / "w/jd/web-1/a.json", request(1) + request(2).rstrip("\n"))
    replay = Replay.of(made(tmp_path / "w", [web()]), tmp_path / "live")
    assert replay.total_lines == 2
    assert [s.lines for s in replay.slices()] == [2]
    copy = logs_root(tmp_path / "live") / "jd/web-1/a.json"
    assert copy.read_bytes() == (tmp_path / "w/jd/web-1/a.json").read_bytes()


def test_what_was_compressed_at_rotation_is_replayed_as_it_was_written(tmp_path: Path) -> None:
    """Under its own name, so that evidence and arrivals name the file of the world; its events are counted."""
    text = request(1) + request(2)
    write(tmp_path / "w/jd/web-1/a.json", request(30))
    (tmp_path / "w/jd/web-1/a.2.gz.json").write_bytes(gzip.compress(text.encode()))
    replay = Replay.of(made(tmp_path / "w", [web()]), tmp_path / "live")
    assert sum(s.lines for s in replay.slices()) == replay.total_lines == 3
    assert (logs_root(tmp_path / "live") / "jd/web-1/a.2.gz.json").read_bytes() == text.encode()
    assert count.expected(tmp_path / "w", replay.described).events["jd", "jd/web-1/a.2.gz.json"] == 2
    assert Lines(tmp_path / "w").number("jd/web-1/a.2.gz.json", len(request(1))) == 2
    assert not replay.unreadable


@pytest.mark.parametrize(
    ("content", "why"), [(gzip.compress(b"x" * 999)[:-9], "end-of-stream"), (b"\x28\xb5\x2f\xfd1234", "encoding")]
)
def test_a_file_that_cannot_be_read_is_named_and_not_counted(tmp_path: Path, content: bytes, why: str) -> None:
    """Damaged, or packed by another program; the others are replayed."""
    write(tmp_path / "w/jd/web-1/a.json", request(1))
    path = Path("jd/web-1/b.json")
    (tmp_path / "w" / path).write_bytes(content)
    replay = Replay.of(made(tmp_path / "w", [web()]), tmp_path / "live")
    assert why in replay.unreadable[path]
    assert str(path) in replay.unreadable[path]
    assert replay.total_lines == 1
    assert count.expected(tmp_path / "w", replay.described, replay.unreadable).events.total() == 1


def test_sources_that_nobody_reads_are_named_once_and_skipped(tmp_path: Path) -> None:
    """With all their hosts."""
    write(tmp_path / "w/jd/web-1/a.json", request(1))
    sources = [web(), web("k-1", "carrier-pigeon"), web("k-2", "carrier-pigeon")]
    replay = Replay.of(made(tmp_path / "w", sources), tmp_path / "live")
    assert replay.skipped == ["skipped: this release does not read carrier-pigeon (jd/k-1, jd/k-2)"]
    assert replay.total_lines == 1


def test_a_world_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    """With the sources that can."""
    write(tmp_path / "w/jd/k-1/a.json", "x\n")
    with pytest.raises(BadConfiguration, match=r"no log file.*carrier-pigeon.*allowed: .*nginx-json"):
        Replay.of(made(tmp_path / "w", [web("k-1", "carrier-pigeon")]), tmp_path / "live")


def test_arrivals_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Which file, and both numbers."""
    write(tmp_path / "w/jd/web-1/a.json", request(1) + request(2))
    arrivals = tmp_path / "w/arrivals/jd/web-1/a.json.u32"
    arrivals.parent.mkdir(parents=True)
    arrivals.write_bytes(struct.pack("<I", 7))
    with pytest.raises(BadConfiguration, match=r"a\.json\.u32: has 1 arrivals for the 2 lines"):
        Replay.of(made(tmp_path / "w", [web()]), tmp_path / "live")


def test_the_backlog_is_that_of_the_slowest_agent(tmp_path: Path) -> None:
    """In lines."""
    write(tmp_path / "w/jd/web-1/a.json", "".join(request(s) for s in range(1, 11)))
    replay = Replay.of(made(tmp_path / "w", [web()]), tmp_path / "live")
    (step,) = replay.slices()
    assert backlog(replay, step, [(START + 4) * 1_000, WORLD_IS_OVER]) == 6
    assert backlog(replay, step, [WORLD_IS_OVER]) == 0
