"""Every way in which files are rotated, moved, copied and replaced, also while nobody looks: all lines, each once."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rua_agents import tail
from rua_agents.continuity import TWIN_MS
from rua_agents.sealing import opened
from rua_agents.settings import Limits
from rua_agents.tail import GONE_MS, REST_MS, SCAN_MS, Watched

from tests.agent_rig import START_MS, audit, parse
from tests.tail_rig import Follower, append, close_all, lines


@pytest.fixture(autouse=True)
def closes() -> Iterator[None]:
    """Closes the files of every follower that a test made."""
    yield
    close_all()


def ids(*numbers: int) -> list[str]:
    """Of the events of one file with these lines."""
    return [event.event_id for event in parse("nginx-json", lines(*numbers))[0]]


def shift(folder: Path, *, compress: bool = False) -> None:
    """As logrotate does: a.log.2 becomes a.log.3, a.log.1 becomes a.log.2, a.log becomes a.log.1."""
    for n in range(9, 0, -1):
        for end in ("", ".gz"):
            old = folder / f"a.log.{n}{end}"
            if old.exists():
                old.rename(folder / f"a.log.{n + 1}{end}")
    (folder / "a.log").rename(folder / "a.log.1")
    if compress and (folder / "a.log.2").exists():
        pack(folder / "a.log.2")


def pack(path: Path) -> None:
    """As gzip does: the copy has the time of the original, which goes."""
    at = path.stat()
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    os.utime(packed, ns=(at.st_atime_ns, at.st_mtime_ns))
    path.unlink()


def copy_and_truncate(path: Path, *, to: Path) -> None:
    """As logrotate's copytruncate."""
    shutil.copy2(path, to)
    os.truncate(path, 0)


PATTERNS = ["a.log", "a.log*"]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("compress", [False, True])
def test_several_rotations_between_two_looks_lose_nothing(tmp_path: Path, pattern: str, compress: bool) -> None:
    """Whether the pattern matches the rotated names or not; packed ones too."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/{pattern}").poll()
    for n in range(2, 29, 3):
        for k in range(3):
            append(log, lines(n + k))
            shift(tmp_path, compress=compress)
        follower.poll()
    follower.poll(GONE_MS).poll(GONE_MS).poll()
    assert follower.numbers == list(range(1, 29))
    assert len(set(follower.events)) == 28


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("compress", [False, True])
def test_rotations_while_the_agent_is_down_lose_nothing(tmp_path: Path, pattern: str, compress: bool) -> None:
    """Twice and more often: also what was begun and rotated away while nobody looked."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1, 2))
    before = Follower(f"{tmp_path}/{pattern}").poll()
    append(log, lines(3))
    shift(tmp_path)
    log.write_bytes(lines(4))
    shift(tmp_path, compress=compress)
    log.write_bytes(lines(5))
    shift(tmp_path, compress=compress)
    log.write_bytes(lines(6))
    after = before.restarted(f"{tmp_path}/{pattern}").poll().poll(TWIN_MS).poll(GONE_MS).poll(GONE_MS)
    assert after.numbers == [3, 4, 5, 6]
    assert ids(1, 2, 3)[2] in after.events
    assert after.restarted(f"{tmp_path}/{pattern}").poll().poll(TWIN_MS).poll(GONE_MS).numbers == []


def test_a_log_that_was_packed_before_it_was_read_to_its_end_goes_on(tmp_path: Path) -> None:
    """Nobody wrote to it since the checkpoint: it is not younger than what the checkpoint knows."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(*range(2_000)))
    before = Follower(f"{tmp_path}/a.log").poll(turns=1)
    shift(tmp_path)
    log.write_bytes(lines(5_000))
    shift(tmp_path, compress=True)
    after = before.restarted(f"{tmp_path}/a.log").poll(turns=20).poll()
    assert sorted(before.numbers + after.numbers) == [*range(2_000), 5_000]
    assert not after.tally.dropped


def test_a_file_that_was_empty_at_the_checkpoint_and_rotated_away_is_read(tmp_path: Path) -> None:
    """Nothing was read of it, but it is known since when it belongs to us."""
    log = tmp_path / "a.log"
    log.touch()
    before = Follower(f"{tmp_path}/a.log").poll()
    log.write_bytes(lines(1))
    shift(tmp_path)
    log.write_bytes(lines(2))
    assert before.restarted(f"{tmp_path}/a.log").poll().numbers == [1, 2]


@pytest.mark.parametrize("sibling", [False, True])
def test_a_file_that_came_and_was_rotated_away_while_the_agent_was_down_is_read(tmp_path: Path, sibling: bool) -> None:
    """There was nothing at the checkpoint, or other files only; and the next restart knows it too."""
    if sibling:
        (tmp_path / "b.log").write_bytes(lines(7))
    before = Follower(f"{tmp_path}/[ab].log").poll()
    for n in (1, 2):
        (tmp_path / "a.log").write_bytes(lines(n))
        shift(tmp_path)
    after = before.restarted(f"{tmp_path}/[ab].log").poll()
    assert after.numbers == [1, 2]
    assert after.restarted(f"{tmp_path}/[ab].log").poll().numbers == []


def test_what_was_rotated_before_the_agent_came_is_left_out_if_the_pattern_does_not_mean_it(tmp_path: Path) -> None:
    """The person's pattern rules; and it stays left out when it is packed or rotated on."""
    (tmp_path / "a.log.1").write_bytes(lines(1))
    os.utime(tmp_path / "a.log.1", (1_000, 1_000))
    (tmp_path / "a.log").write_bytes(lines(2))
    follower = Follower(f"{tmp_path}/a.log").poll()
    shift(tmp_path, compress=True)
    (tmp_path / "a.log").write_bytes(lines(3))
    assert follower.poll().poll(TWIN_MS).poll().numbers == [2, 3]


def test_other_logs_with_a_similar_name_are_not_taken_for_rotated_ones(tmp_path: Path) -> None:
    """Only what rotation appends: numbers, dates, old, gz."""
    (tmp_path / "a.log").write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/a.log").poll()
    other = Follower(f"{tmp_path}/*.log").poll()
    for name in ("a.log.offset", "a.log.swp", "a.logs", "a.log.lock.1", ".a.log.1", ".b.log"):
        (tmp_path / name).write_bytes(lines(9))
    assert follower.poll().poll(TWIN_MS).poll().numbers == [1]
    assert other.poll().poll(TWIN_MS).poll().numbers == [1]


@pytest.mark.parametrize("deeper", ["old", "."])
def test_a_file_that_was_moved_elsewhere_is_read_to_its_end(tmp_path: Path, deeper: str) -> None:
    """While the agent runs anywhere; while it is down into a folder beside it, or under any other name."""
    log, moved = tmp_path / "a.log", tmp_path / deeper / "archived"
    moved.parent.mkdir(exist_ok=True)
    log.write_bytes(lines(1))
    running = Follower(f"{tmp_path}/a.log").poll()
    state = running.tail.dump()
    log.rename(moved)
    append(moved, lines(2))
    log.write_bytes(lines(3))
    assert running.poll().numbers == [1, 2, 3]
    append(moved, lines(4))
    assert running.poll().numbers == [1, 2, 3, 4]
    assert Follower(f"{tmp_path}/a.log", state=state).poll().numbers == [2, 3, 4]


def test_a_stranger_with_the_inode_of_a_moved_file_is_not_followed(tmp_path: Path) -> None:
    """Inodes are used again, by any program."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    state = Follower(f"{tmp_path}/a.log").poll().tail.dump()
    log.rename(tmp_path / "stranger")
    (tmp_path / "stranger").write_bytes(lines(8, 9))
    follower = Follower(f"{tmp_path}/a.log", state=state).poll()
    assert (follower.numbers, follower.tail.files()) == ([], [])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_copytruncate_loses_nothing_that_was_copied(tmp_path: Path, pattern: str) -> None:
    """The copy is read on, in the pattern or not; several times between two looks too."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/{pattern}").poll()
    for n in range(2, 20, 3):
        for k in range(3):
            append(log, lines(n + k))
            for old in range(30, 0, -1):
                if (tmp_path / f"a.log.{old}").exists():
                    (tmp_path / f"a.log.{old}").rename(tmp_path / f"a.log.{old + 1}")
            copy_and_truncate(log, to=tmp_path / "a.log.1")
        follower.poll()
    follower.poll(TWIN_MS).poll(GONE_MS).poll(GONE_MS)
    assert follower.numbers == list(range(1, 20))
    assert len(set(follower.events)) == 19
    assert not follower.tally.dropped


def test_copytruncate_while_the_agent_is_down_loses_nothing_that_was_copied(tmp_path: Path) -> None:
    """The checkpoint goes on in the copy."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    before = Follower(f"{tmp_path}/a.log").poll()
    append(log, lines(2))
    copy_and_truncate(log, to=tmp_path / "a.log.1")
    append(log, lines(3))
    assert before.restarted(f"{tmp_path}/a.log").poll().poll(TWIN_MS).numbers == [2, 3]


def test_a_copy_that_is_just_being_made_is_no_second_source(tmp_path: Path) -> None:
    """It is first seen empty, then with half a line: which file it is shows at its first record."""
    log, copy = tmp_path / "a.log", tmp_path / "a.log.1"
    log.write_bytes(lines(1, 2))
    follower = Follower(f"{tmp_path}/a.log*").poll()
    for size in (0, 20, len(lines(1)), len(lines(1, 2))):
        copy.write_bytes(lines(1, 2)[:size])
        follower.poll()
    os.truncate(log, 0)
    append(log, lines(3))
    assert follower.poll().poll(TWIN_MS).numbers == [1, 2, 3]


def test_truncation_without_a_copy_is_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is lost by it cannot be known, but that something may be."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(*range(2_000)))
    follower = Follower(f"{tmp_path}/a.log").poll(turns=1)
    read = len(follower.bytes)
    log.write_bytes(lines(9_999))
    follower.poll()
    assert (follower.tally.dropped["source_gap"], follower.bytes[-1], len(follower.bytes)) == (1, 9_999, read + 1)
    assert "truncated" in caplog.text
    missed = int(caplog.text.split("at least ")[1].split()[0])
    assert 0 <= missed - (len(lines(*range(2_000))) - (1 << 16)) < len(lines(9_999))


def test_bytes_of_a_new_file_are_never_taken_for_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Truncated and written anew just before the read: the offset would lie in the middle of other lines."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1, 2))
    follower = Follower(f"{tmp_path}/a.log").poll()
    append(log, lines(3))
    real = os.pread

    def truncated_meanwhile(descriptor: int, size: int, at: int) -> bytes:
        if at > 0 and log.read_bytes()[:60] == lines(1)[:60]:
            log.write_bytes(lines(11, 12, 13, 14))
        return real(descriptor, size, at)

    monkeypatch.setattr(os, "pread", truncated_meanwhile)
    follower.poll()
    assert follower.numbers == [1, 2, 11, 12, 13, 14]
    assert set(ids(11, 12, 13, 14)) < set(follower.events)


def test_two_names_of_one_file_are_one_file(tmp_path: Path) -> None:
    """A hard link; and it stays one when one of the names goes."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    os.link(log, tmp_path / "b.log")
    follower = Follower(f"{tmp_path}/*.log").poll()
    log.unlink()
    append(tmp_path / "b.log", lines(2))
    assert follower.poll().poll(GONE_MS).poll().numbers == [1, 2]
    assert [file.path for file in follower.tail.files()] == [f"{tmp_path}/b.log"]


def test_a_mounted_folder_that_is_switched_as_a_whole_is_followed(tmp_path: Path) -> None:
    """As Kubernetes does with `..data`: the link to the folder changes, the file's own link does not."""
    for name, data in (("one", lines(1)), ("two", lines(2))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.log").write_bytes(data)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "a.log").symlink_to("..data/a.log")
    follower = Follower(f"{tmp_path}/a.log").poll()
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    append(tmp_path / "one/a.log", lines(3))
    assert follower.poll().numbers == [1, 2, 3]
    assert len(set(follower.events)) == 3


@pytest.mark.parametrize(("turns", "gaps"), [(1, 1), (9, 0)])
def test_a_file_that_went_away_before_it_was_read_to_its_end_is_told_once(
    tmp_path: Path, turns: int, gaps: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Rotated to nowhere while the agent was down; one that was read is nobody's loss."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(*range(1_000)))
    before = Follower(f"{tmp_path}/a.log").poll(turns=turns)
    log.unlink()
    after = before.restarted(f"{tmp_path}/a.log").poll().poll()
    assert after.tally.dropped["source_gap"] == gaps
    assert caplog.text.count("went away") == gaps
    assert after.restarted(f"{tmp_path}/a.log").poll().tally.dropped["source_gap"] == 0


def test_a_checkpoint_before_the_first_look_forgets_nothing(tmp_path: Path) -> None:
    """An agent that could not read at all was stopped again."""
    before = Follower(f"{tmp_path}/a.log").poll()
    (tmp_path / "a.log").write_bytes(lines(1))
    shift(tmp_path)
    idle = before.restarted(f"{tmp_path}/a.log")
    assert idle.restarted(f"{tmp_path}/a.log").poll().numbers == [1]


def test_a_changed_configuration_forgets_no_rotation(tmp_path: Path) -> None:
    """Nor what nobody has seen yet when it is changed."""
    (tmp_path / "a.log").write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/a.log").poll()
    shift(tmp_path)
    (tmp_path / "a.log").write_bytes(lines(2))
    shift(tmp_path)
    origin = follower.tail._watch._sources[0].origin
    follower.tail.reconfigure([Watched(origin, [f"{tmp_path}/a.log", f"{tmp_path}/b.log"])], Limits())
    assert follower.poll().numbers == [1, 2]


def test_while_nothing_is_read_files_are_seen_and_held_all_the_same(tmp_path: Path) -> None:
    """The broker is away, only the status is made: the lag grows, and what is rotated and deleted is not lost."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/a.log").poll()
    append(log, lines(2))
    assert follower.tail.files()[0].size == len(lines(1, 2))
    for n in (3, 4, 5):
        log.unlink()
        log.write_bytes(lines(n))
        follower.elapsed += SCAN_MS
        follower.tail.files()
    log.unlink()
    assert sum(file.size - file.offset for file in follower.tail.files()) >= len(lines(2))
    assert follower.poll().numbers == [1, 2, 3, 4, 5]


def test_what_is_rotated_where_a_link_leads_to_is_found(tmp_path: Path) -> None:
    """As in `/var/log/containers`: several times between two looks, while the agent is down, and packed."""
    pods, links = tmp_path / "pods", tmp_path / "containers"
    pods.mkdir()
    links.mkdir()
    (links / "shop.log").symlink_to(pods / "a.log")
    (pods / "a.log").write_bytes(lines(1))
    follower = Follower(f"{links}/*.log").poll()
    for n in (2, 3, 4):
        append(pods / "a.log", lines(n))
        shift(pods)
    (pods / "a.log").write_bytes(lines(5))
    assert follower.poll().numbers == [1, 2, 3, 4, 5]
    for n in (6, 7):
        append(pods / "a.log", lines(n))
        shift(pods, compress=True)
    (pods / "a.log").write_bytes(lines(8))
    assert follower.restarted(f"{links}/*.log").poll().poll(TWIN_MS).numbers == [6, 7, 8]
    assert Follower(f"{links}/*.log").poll().numbers == [8]
    (pods / "a.log").write_bytes(lines(*range(2_000)))
    behind = Follower(f"{links}/*.log").poll(turns=1)
    shift(pods)
    (pods / "a.log").write_bytes(lines(5_000))
    shift(pods, compress=True)
    (pods / "a.log").touch()
    rest = behind.restarted(f"{links}/*.log").poll(turns=20)
    assert sorted(behind.numbers + rest.numbers) == [*range(2_000), 5_000]


def test_a_new_pod_with_the_same_files_goes_on(tmp_path: Path) -> None:
    """The volume has another device number there, and other inodes; a file without a time goes by its path."""
    before = tmp_path / "a.log"
    before.write_bytes(lines(1, 2))
    follower = Follower(f"{tmp_path}/a.log").poll()
    state = follower.tail.dump()
    for one in state:
        one.device, one.inode = 99_999, 88_888
    append(before, lines(3))
    assert Follower(f"{tmp_path}/a.log", state=state).poll().numbers == [3]
    state[0].stream["source_id"] = "5" * 32
    state[0].inode = 77_777
    assert Follower(f"{tmp_path}/a.log", state=state).poll().numbers == [3]


def test_an_inode_that_is_used_again_at_once_is_another_file(tmp_path: Path) -> None:
    """Unlinked and created while the agent is down: same number, other start."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1, 2, 3))
    before = Follower(f"{tmp_path}/*.log").poll()
    state = before.tail.dump()
    log.unlink()
    log.write_bytes(lines(4, 5, 6, 7))
    state[0].inode = log.stat().st_ino
    assert Follower(f"{tmp_path}/*.log", state=state).poll().numbers == [4, 5, 6, 7]


def test_a_file_that_came_with_content_while_the_agent_was_away_is_read_from_its_start(tmp_path: Path) -> None:
    """It is not taken to be known by its age."""
    (tmp_path / "a.log").write_bytes(lines(1))
    before = Follower(f"{tmp_path}/*.log").poll()
    (tmp_path / "b.log").write_bytes(lines(2, 3))
    os.utime(tmp_path / "b.log", (1, 1))
    assert before.restarted(f"{tmp_path}/*.log").poll().numbers == [2, 3]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_lost_checkpoint_after_rotations_gives_the_same_ids_again(tmp_path: Path, pattern: str) -> None:
    """What the pattern means is read again, whatever it is called now, packed or not."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/{pattern}").poll()
    for n in (2, 3):
        shift(tmp_path, compress=True)
        log.write_bytes(lines(n))
        follower.poll()
    again = Follower(f"{tmp_path}/{pattern}").poll()
    assert set(again.events) <= set(follower.events)
    assert again.numbers == ([1, 2, 3] if pattern == "a.log*" else [3])


def test_a_path_that_becomes_a_folder_or_a_pipe_is_named_and_waits_for_nobody(tmp_path: Path) -> None:
    """Opening a pipe without a writer would stop the agent; the old file is read to its end."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/a.log").poll()
    makes: list[Callable[[Path], None]] = [os.mkdir, os.mkfifo]
    for make in makes:
        append(log, lines(2))
        log.rename(tmp_path / "a.log.1")
        make(log)
        follower.poll()
        assert "no regular file" in follower.tail.problems[str(log)]
        log.rmdir() if log.is_dir() else log.unlink()
        (tmp_path / "a.log.1").unlink()
        log.write_bytes(lines(3))
        assert str(log) not in follower.poll().tail.problems
    assert set(follower.numbers) == {1, 2, 3}


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_a_file_system_that_stumbles_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As NFS does: said once, and reading goes on when it is back; a stale descriptor is opened anew."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/a.log").poll()
    append(log, lines(2))
    broken = set(range(3, 1_000))
    real_fstat, real_close = os.fstat, os.close

    def fails(descriptor: int) -> os.stat_result:
        if descriptor in broken:
            raise OSError(code, os.strerror(code))
        return real_fstat(descriptor)

    def closes(descriptor: int) -> None:
        broken.discard(descriptor)
        real_close(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", closes)
        patch.setattr(os, "fstat", fails)
        follower.poll(turns=1)
        assert list(follower.tail.problems) == [str(log)]
        follower.poll(100, turns=1)
        if code == errno.EIO:
            assert follower.numbers == [1]
    assert follower.poll().poll().numbers == [1, 2]
    assert follower.tail.problems == {}
    assert not follower.tally.dropped
    assert caplog.text.count(os.strerror(code)) == 1


def test_an_error_behind_a_read_loses_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is looked at once more after the first records are made: they are given all the same."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/a.log")
    real, reads = os.pread, list[int]()

    def fails(descriptor: int, size: int, at: int) -> bytes:
        reads.append(size)
        if size == len(lines(1)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, size, at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fails)
        assert follower.poll().numbers == [1]
        assert len(lines(1)) in reads
    append(log, lines(2))
    assert follower.poll().numbers == [1, 2]
    state = follower.tail.dump()
    assert Follower(f"{tmp_path}/a.log", state=state).poll().numbers == []


def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A glob finds nothing there, in silence."""

    def denied(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", denied)
        follower = Follower(f"{tmp_path}/*.log").poll()
        assert follower.tail.problems == {f"{tmp_path}/*.log": "Permission denied"}
    assert follower.poll().tail.problems == {}


def test_a_link_that_leads_nowhere_is_named_until_it_leads_somewhere(tmp_path: Path) -> None:
    """It is in the pattern: silence would be worse."""
    (tmp_path / "a.log").symlink_to("later")
    follower = Follower(f"{tmp_path}/*.log").poll()
    assert list(follower.tail.problems) == [f"{tmp_path}/a.log"]
    (tmp_path / "later").write_bytes(lines(1))
    assert follower.poll().numbers == [1]
    assert follower.tail.problems == {}


def test_more_files_than_may_be_open_are_all_read(tmp_path: Path) -> None:
    """Those that did not grow for longest are closed, and opened again by name and inode; renamed ones too."""
    for n in range(100):
        (tmp_path / f"{n}.log").write_bytes(lines(n))
    follower = Follower(f"{tmp_path}/*.log*", descriptors=16).poll()
    assert len(follower.tail._descriptors) <= 16
    follower.poll(REST_MS).poll(REST_MS)
    for n in range(100):
        append(tmp_path / f"{n}.log", lines(100 + n))
        (tmp_path / f"{n}.log").rename(tmp_path / f"{n}.log.1")
    assert follower.poll().numbers == list(range(200))
    assert len(follower.tail._descriptors) <= 16
    assert not follower.tail.problems


def test_files_that_rest_cost_no_look_between_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of old files must not cost four looks a second each; a change is seen within a scan."""
    for n in range(50):
        (tmp_path / f"{n}.log").write_bytes(lines(n))
    follower = Follower(f"{tmp_path}/*.log").poll().poll(REST_MS).poll(SCAN_MS)
    looks: list[int] = []
    real: Callable[[int], os.stat_result] = os.fstat

    def looked(descriptor: int) -> os.stat_result:
        looks.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", looked)
    follower.poll(250).poll(250)
    assert looks == []
    append(tmp_path / "7.log", lines(77))
    assert follower.poll(SCAN_MS).numbers == [*range(50), 77]
    assert len(looks) < 20


def test_a_record_without_an_end_keeps_no_memory_while_it_rests(tmp_path: Path) -> None:
    """And it is complete when its end comes."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1) + lines(2)[:-9])
    follower = Follower(f"{tmp_path}/a.log").poll().poll(REST_MS)
    (file,) = follower.tail._open.values()
    assert not file._splitter._pending  # type: ignore[attr-defined]  # a LineSplitter's
    append(log, lines(2)[-9:])
    assert follower.poll().numbers == [1, 2]
    log.write_bytes(lines(5)[:-1])
    follower.poll().poll(REST_MS)
    log.unlink()
    assert follower.poll().poll(GONE_MS).poll(GONE_MS).numbers == [1, 2, 5]


def test_one_turn_of_many_files_is_given_in_slices(tmp_path: Path) -> None:
    """So that drafts of ten thousand files are never in memory at once, and no file waits for ever for its turn."""
    for n in range(40):
        (tmp_path / f"{n:02}.log").write_bytes(lines(*range(n * 100, n * 100 + 100)))
    follower = Follower(f"{tmp_path}/*.log")
    seen: set[int] = set()
    for _ in range(40):
        for made in follower.tail.turn(START_MS):
            assert len(made) < 1_000
            seen |= {opened(event).bytes or 0 for event in made}
            break  # as the agent does while the broker does not answer
    assert seen == set(range(4_000))


def test_a_file_that_always_grows_holds_no_other_up(tmp_path: Path) -> None:
    """Even if the agent can take one slice at a time only."""
    busy, quiet = tmp_path / "a.log", tmp_path / "b.log"
    follower = Follower(f"{tmp_path}/*.log").poll()
    quiet.write_bytes(lines(7_777))
    for _ in range(6):
        append(busy, lines(*range(1_000)))
        follower.elapsed += SCAN_MS
        for made in follower.tail.turn(START_MS):
            follower.bytes += [opened(event).bytes for event in made]
            break
    assert follower.bytes.count(7_777) == 1


def test_many_files_are_looked_for_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing ten thousand files each second would cost more than reading them."""
    monkeypatch.setattr(tail, "SCANS_FILES_PER_MS", 0.01)
    for n in range(20):
        (tmp_path / f"{n}.log").write_bytes(lines(n))
    follower = Follower(f"{tmp_path}/*.log").poll()
    (tmp_path / "new.log").write_bytes(lines(99))
    assert 99 not in follower.poll(1_900).bytes
    assert 99 in follower.poll(200).bytes


def test_a_checkpoint_of_another_version_costs_a_second_reading_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a parser remembers may change; the agent starts anyway and says so."""
    (tmp_path / "a.log").write_bytes(audit(START_MS, 1, "SELECT 1 FROM t"))
    follower = Follower(f"{tmp_path}/*.log", source="pgaudit-jsonlog").poll().poll(3_000)
    state = follower.tail.dump()[0]
    state.stream["parser"] = {"statements": "other"}
    again = Follower(f"{tmp_path}/*.log", source="pgaudit-jsonlog", state=[state]).poll().poll(3_000)
    assert again.events == follower.events
    assert len(again.events) == 1
    assert "another version" in caplog.text


def test_a_changed_configuration_keeps_open_files(tmp_path: Path) -> None:
    """Also those that nobody can open any more; a source that is gone is known when it comes back."""
    log, other = tmp_path / "a.log", tmp_path / "b.log"
    log.write_bytes(lines(1))
    other.write_bytes(lines(2))
    follower = Follower(f"{tmp_path}/a.log", f"{tmp_path}/b.log").poll()
    append(log, lines(3))
    log.unlink()
    origin = follower.tail._watch._sources[0].origin
    follower.tail.reconfigure([Watched(origin, [f"{tmp_path}/c.log", f"{tmp_path}/b.log"])], Limits())
    (tmp_path / "c.log").write_bytes(lines(4))
    append(other, lines(5))
    assert follower.poll().numbers == [1, 2, 3, 4, 5]
    follower.tail.reconfigure([], Limits())
    append(other, lines(6))
    assert follower.poll().numbers == [1, 2, 3, 4, 5]
    follower.tail.reconfigure([Watched(origin, [f"{tmp_path}/*.log"])], Limits())
    assert follower.poll().numbers == [1, 2, 3, 4, 5, 6]
