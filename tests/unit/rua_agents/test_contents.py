"""What followed files hold: gzip as it is written, damaged or cut, and not too many open files."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.contents import DamagedFile, Descriptors, Gzip, Handle, opened
from rua_agents.continuity import TWIN_MS
from rua_agents.tail import GONE_MS, REST_MS

from tests.agent_rig import parse
from tests.tail_rig import Follower, append, close_all, lines


@pytest.fixture(autouse=True)
def closes() -> Iterator[None]:
    """Closes the files of every follower that a test made."""
    yield
    close_all()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples of a property."""
    return tmp_path_factory.mktemp("gzip") / "a.gz"


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=3_000), min_size=1, max_size=4), st.lists(st.integers(1, 2_000)), st.integers(0, 40))
def test_any_reads_of_any_members_give_the_bytes(place: Path, parts: list[bytes], sizes: list[int], zeros: int) -> None:
    """Forwards, and backwards again; zeros behind the last member are none of it."""
    place.write_bytes(b"".join(gzip.compress(part) for part in parts) + b"\0" * zeros)
    data, handle = b"".join(parts), Handle(str(place), Descriptors())
    content, at = Gzip(handle), 0
    for size in [*sizes, len(data) + 1]:
        assert content.read(at, size) == data[at : at + size]
        at = min(len(data), at + size)
    assert content.ends
    assert content.read(at // 2, 10) == data[at // 2 : at // 2 + 10]
    assert content.start(50) == data[:50]
    handle.close()


@settings(max_examples=40)
@given(st.binary(min_size=1, max_size=5_000), st.data())
def test_a_file_that_is_still_being_packed_is_read_as_far_as_it_goes(
    place: Path, data: bytes, draw: st.DataObject
) -> None:
    """However it grows, its bytes come once and in order."""
    whole, found = gzip.compress(data), b""
    place.write_bytes(b"")
    handle = Handle(str(place), Descriptors())
    content = Gzip(handle)
    for cut in [*sorted(draw.draw(st.sets(st.integers(2, len(whole)), max_size=5))), len(whole)]:
        place.write_bytes(whole[:cut])
        found += content.read(len(found), 1 << 20)
        assert content.ends == (cut == len(whole))
    assert found == data
    handle.close()


def test_a_packed_log_gives_the_events_of_the_log(tmp_path: Path) -> None:
    """Same ids, so that it does not matter which of the two was read; the last line counts without its end."""
    data = lines(*range(3_000))[:-1]
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(data))
    follower = Follower(f"{tmp_path}/*.gz").poll(turns=20)
    assert follower.events == [event.event_id for event in parse("nginx-json", data)[0]]
    (status,) = follower.tail.files()
    assert (status.offset, status.size) == (len(data), len(data))
    assert Follower(f"{tmp_path}/*.gz", state=follower.tail.dump()).poll(turns=20).events == []


def test_a_packed_log_goes_on_where_the_checkpoint_stands_in_the_log(tmp_path: Path) -> None:
    """Rotated and packed while the agent was away: no double, nothing lost."""
    data = lines(*range(500))
    (tmp_path / "a.log").write_bytes(data)
    before = Follower(f"{tmp_path}/a.log*").poll(turns=1)
    read = len(before.bytes)
    assert 0 < read < 500
    (tmp_path / "a.log.2.gz").write_bytes(gzip.compress(data))
    (tmp_path / "a.log").unlink()
    assert before.restarted(f"{tmp_path}/a.log*").poll(turns=20).numbers == list(range(read, 500))


@pytest.mark.parametrize("keep", [False, True])
def test_a_log_that_is_packed_while_it_is_followed_is_not_read_twice(tmp_path: Path, keep: bool) -> None:
    """Whether the original goes or stays; also after a restart."""
    log, packed = tmp_path / "a.log", tmp_path / "a.log.gz"
    log.write_bytes(lines(1, 2))
    follower = Follower(f"{tmp_path}/a.log*").poll()
    append(log, lines(3))
    whole = gzip.compress(log.read_bytes())
    for size in (1, 9, 40, len(whole)):
        packed.write_bytes(whole[:size])
        follower.poll(turns=1)
    if not keep:
        log.unlink()
    follower.poll().poll(TWIN_MS).poll(GONE_MS).poll(GONE_MS).poll(TWIN_MS)
    assert follower.numbers == [1, 2, 3]
    assert follower.restarted(f"{tmp_path}/a.log*").poll().poll(TWIN_MS).poll(GONE_MS).numbers == []


def test_a_cut_gzip_file_is_named_and_read_on_when_it_is_whole(tmp_path: Path) -> None:
    """Cut by a full disk, or still on its way; the agent does not wait in silence."""
    packed, whole = tmp_path / "a.gz", gzip.compress(lines(*range(900)))
    packed.write_bytes(whole[: len(whole) // 2])
    follower = Follower(f"{tmp_path}/*.gz").poll(turns=20).poll(REST_MS)
    assert 0 < len(follower.bytes) < 900
    assert "ends in the middle" in follower.tail.problems[str(packed)]
    append(packed, whole[len(whole) // 2 :])
    assert follower.poll(turns=20).numbers == list(range(900))


def test_a_damaged_gzip_file_is_named_and_read_up_to_the_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once: it is not read again and again; its neighbours are."""
    packed, whole = tmp_path / "a.gz", bytearray(gzip.compress(lines(*range(900)), mtime=0))
    whole[len(whole) // 2 : len(whole) // 2 + 40] = b"\xff" * 40
    packed.write_bytes(whole)
    (tmp_path / "b.gz").write_bytes(gzip.compress(lines(5_000)))
    follower = Follower(f"{tmp_path}/*.gz").poll(turns=20).poll(REST_MS).poll(REST_MS)
    assert 100 < len(follower.bytes) < 901
    assert 5_000 in follower.bytes
    assert "is damaged" in follower.tail.problems[str(packed)]
    assert follower.tally.dropped["source_gap"] == 1
    assert caplog.text.count("is damaged") == 1
    packed.write_bytes(b"\x1f\x8bno gzip at all")
    assert "damaged" in Follower(f"{tmp_path}/a.gz").poll().poll().tail.problems[str(packed)]


@settings(max_examples=60)
@given(st.integers(2, 900), st.binary(min_size=1, max_size=30))
def test_no_damage_stops_the_agent(place: Path, at: int, noise: bytes) -> None:
    """Any byte of a gzip file may be any other."""
    whole = bytearray(gzip.compress(lines(*range(200)), mtime=0))
    whole[at : at + len(noise)] = noise
    place.write_bytes(whole)
    follower = Follower(f"{place.parent}/*.gz").poll(turns=6).poll(REST_MS)
    close_all()
    made = [event.event_id for event in parse("nginx-json", lines(*range(200)))[0]]
    assert follower.events[:5] == made[:5] or follower.tail.problems or follower.tally.failed


def test_a_small_file_with_a_wrong_checksum_gives_its_lines(tmp_path: Path) -> None:
    """Nothing of it is kept back because the damage is found together with it."""
    whole = bytearray(gzip.compress(lines(1, 2, 3), mtime=0))
    whole[-8] ^= 1
    (tmp_path / "a.gz").write_bytes(whole)
    follower = Follower(f"{tmp_path}/*.gz").poll()
    assert follower.numbers == [1, 2, 3]
    assert "is damaged" in follower.tail.problems[f"{tmp_path}/a.gz"]


def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    """It may take the place of a file after the look and before it is opened."""
    os.mkfifo(tmp_path / "a.log")
    handle = Handle(str(tmp_path / "a.log"), Descriptors())
    with pytest.raises(OSError, match="no regular file"):
        handle.stat()


def test_a_bomb_fills_no_memory(tmp_path: Path) -> None:
    """A gigabyte of zeros packs to a megabyte: it is unpacked in bounded pieces."""
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"\0" * (64 << 20), 1) + gzip.compress(lines(1)))
    handle = Handle(str(tmp_path / "a.gz"), Descriptors())
    content = Gzip(handle)
    assert len(content.read(0, 1 << 16)) == 1 << 16
    assert content.read(64 << 20, 1 << 16) == lines(1)
    handle.close()


def test_gzip_in_gzip_and_other_packers_are_refused_by_name(tmp_path: Path) -> None:
    """Silence would be worse."""
    (tmp_path / "a.log").write_bytes(gzip.compress(gzip.compress(lines(1))))
    (tmp_path / "b.log").write_bytes(b"\x28\xb5\x2f\xfdzstd")
    problems = Follower(f"{tmp_path}/*.log").poll().tail.problems
    assert "gzip" in problems[f"{tmp_path}/a.log"]
    assert "zstd" in problems[f"{tmp_path}/b.log"]


def test_a_packed_file_can_be_parsed(tmp_path: Path) -> None:
    """By the command too."""
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x" * 10))
    (tmp_path / "b").write_bytes(b"x" * 10)
    for path in ("a.gz", "b"):
        with opened(str(tmp_path / path)) as file:
            assert file.read() == b"x" * 10


def test_descriptors_are_closed_by_age_and_opened_again(tmp_path: Path) -> None:
    """But not those without a name: nobody could open them again; and never another file at the same path."""
    handles, descriptors = [], Descriptors(2)
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
        handles.append(Handle(str(tmp_path / name), descriptors))
    handles[0].nameless = True
    assert [handle.read(0, 9) for handle in handles * 2] == [b"a", b"b", b"c"] * 2
    assert len(descriptors) == 2
    os.unlink(tmp_path / "a")
    assert handles[0].read(0, 9) == b"a"
    os.replace(tmp_path / "c", tmp_path / "b")
    handles[1].close()
    with pytest.raises(OSError, match="another file"):
        handles[1].read(0, 9)
    for handle in handles:
        handle.close()
    (tmp_path / "d").write_bytes(b"\x1f\x8bxxxxxxxxxxxxxxxxxxxx")
    damaged = Gzip(Handle(str(tmp_path / "d"), descriptors))
    with pytest.raises(DamagedFile):
        damaged.start(5)
