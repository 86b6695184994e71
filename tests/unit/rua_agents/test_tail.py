"""Live files through every kind of rotation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rua_agents.continuity import TWIN_MS
from rua_agents.stream import SILENCE_MS
from rua_agents.tail import GONE_MS, REST_MS, SCAN_MS, Watched

from tests.agent_rig import DATA, START_MS, audit, origin, parse, sample_of, web_line, zone_name
from tests.tail_rig import LIMITS, Follower, append, close_all, lines

HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def closes() -> Iterator[None]:
    """Closes the files of every follower that a test made."""
    yield
    close_all()


def test_new_lines_come_once_and_a_partial_one_waits(tmp_path: Path) -> None:
    """The rest of a line may be written later."""
    log, whole = tmp_path / "a.log", lines(1, 2)
    log.write_bytes(whole[:-20])
    follower = Follower(f"{tmp_path}/*.log").poll()
    assert follower.bytes == [1]
    append(log, whole[-20:])
    assert follower.poll().poll().bytes == [1, 2]
    assert follower.events == [event.event_id for event in parse("nginx-json", whole)[0]]


def test_rename_and_create_reads_the_old_file_to_its_end(tmp_path: Path) -> None:
    """Also what a writer still adds to it after the rename."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/a.log").poll()
    log.rename(tmp_path / "a.log.1")
    log.write_bytes(lines(11))
    append(tmp_path / "a.log.1", lines(2))
    follower.poll()
    append(tmp_path / "a.log.1", lines(3))
    assert follower.poll().numbers == [1, 2, 3, 11]
    follower.poll(GONE_MS).poll(GONE_MS)
    assert [file.path for file in follower.tail.files()] == [str(log)]


def test_a_rotated_file_that_the_pattern_still_finds_is_not_read_again(tmp_path: Path) -> None:
    """Same inode, other name."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/a.log*").poll()
    log.rename(tmp_path / "a.log.1")
    log.write_bytes(lines(2))
    assert follower.poll().poll().bytes == [1, 2]


def test_unlink_and_create_loses_nothing(tmp_path: Path) -> None:
    """The old file is still open; its last line counts even without its end."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/a.log").poll()
    append(log, lines(2)[:-1])
    log.unlink()
    log.write_bytes(lines(3))
    follower.poll().poll(GONE_MS).poll(GONE_MS)
    assert follower.numbers == [1, 2, 3]


def test_copytruncate_starts_anew_as_another_source(tmp_path: Path) -> None:
    """Also if the new content is already longer than the old one was."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/a.log").poll()
    log.write_bytes(lines(5, 6, 7))
    assert follower.poll().bytes == [1, 5, 6, 7]
    log.write_bytes(lines(8))
    assert follower.poll().bytes == [1, 5, 6, 7, 8]
    assert len(set(follower.events)) == 5


def test_copytruncate_with_the_copy_in_sight_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """What was written between the last read and the truncation stands in the copy."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1, 2))
    follower = Follower(f"{tmp_path}/a.log*").poll()
    append(log, lines(3))
    shutil.copy(log, tmp_path / "a.log.1")
    log.write_bytes(lines(9))
    follower.poll().poll()
    assert follower.numbers == [1, 2, 3, 9]
    expected = [event.event_id for event in parse("nginx-json", lines(1, 2, 3))[0]]
    assert set(expected) < set(follower.events)


def test_a_second_file_with_the_same_start_is_a_source_of_its_own(tmp_path: Path) -> None:
    """Two servers that log the same: no copy, so it is read after a while."""
    (tmp_path / "a.log").write_bytes(lines(1))
    follower = Follower(f"{tmp_path}/*.log").poll()
    (tmp_path / "b.log").write_bytes(lines(1, 2))
    assert follower.poll().bytes == [1]
    assert follower.poll(TWIN_MS).bytes == [1, 1, 2]
    assert len({file.source_id for file in follower.tail.files()}) == 2
    assert len(set(follower.events)) == 3


def test_a_symlink_is_followed_when_it_changes(tmp_path: Path) -> None:
    """The old target is read to its end, the new one from its start; a file under two names once."""
    (tmp_path / "one").write_bytes(lines(1))
    (tmp_path / "two").write_bytes(lines(2))
    link = tmp_path / "now.log"
    link.symlink_to("one")
    (tmp_path / "also.log").symlink_to("one")
    follower = Follower(f"{tmp_path}/*.log").poll()
    link.unlink()
    link.symlink_to("two")
    append(tmp_path / "one", lines(3))
    follower.poll()
    assert follower.numbers == [1, 2, 3]


def test_a_restart_goes_on_where_the_checkpoint_stands(tmp_path: Path) -> None:
    """Even if the file was renamed out of the pattern meanwhile."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1, 2))
    follower = Follower(f"{tmp_path}/a.log").poll()
    append(log, lines(3))
    log.rename(tmp_path / "a.log-20260302")
    log.write_bytes(lines(4))
    assert follower.restarted(f"{tmp_path}/a.log").poll().numbers == [3, 4]


def test_a_copy_on_another_disk_goes_on_where_the_checkpoint_stands(tmp_path: Path) -> None:
    """Known by its first record, when device and inode are others."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1, 2))
    follower = Follower(f"{tmp_path}/*.log").poll()
    shutil.copy(log, tmp_path / "moved.log")
    log.unlink()
    append(tmp_path / "moved.log", lines(3))
    assert follower.restarted(f"{tmp_path}/*.log").poll().bytes == [3]


def test_a_lost_checkpoint_gives_the_same_ids_again(tmp_path: Path) -> None:
    """So whoever reads them knows them."""
    (tmp_path / "a.log").write_bytes(lines(1, 2, 3))
    assert Follower(f"{tmp_path}/*.log").poll().events == Follower(f"{tmp_path}/*.log").poll().events


def test_a_re_used_inode_is_not_mistaken_for_the_old_file(tmp_path: Path) -> None:
    """Same inode, other start."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1, 2))
    follower = Follower(f"{tmp_path}/*.log").poll()
    with log.open("r+b") as file:
        file.write(lines(7, 8, 9))
    assert follower.restarted(f"{tmp_path}/*.log").poll().bytes == [7, 8, 9]


def test_silence_completes_a_statement_and_a_busy_file_does_not(tmp_path: Path) -> None:
    """Two seconds without a new record."""
    log = tmp_path / "a.json"
    log.write_bytes(audit(START_MS, 1, "SELECT 1 FROM t"))
    follower = Follower(f"{tmp_path}/*.json", source="pgaudit-jsonlog").poll()
    assert follower.poll(1_900).events == []
    assert len(follower.poll(200).events) == 1


def test_utf16_is_refused_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Case TL-05: never silence, never a blank between all letters."""
    shutil.copy(DATA / "tail_utf16le_crlf.log", tmp_path / "a.log")
    (tmp_path / "late.log").touch()
    follower = Follower(f"{tmp_path}/*.log").poll().poll()
    assert "UTF-16" in follower.tail.problems[f"{tmp_path}/a.log"]
    shutil.copy(DATA / "tail_utf16le_crlf.log", tmp_path / "late.log")
    follower.poll().poll()
    assert "UTF-16" in follower.tail.problems[f"{tmp_path}/late.log"]
    assert follower.events == []
    assert caplog.text.count("unsupported encoding") == 2


def test_a_refused_file_that_is_deleted_is_no_problem_any_more(tmp_path: Path) -> None:
    """Whoever has done what the message asks for gets a healthy agent back."""
    log = tmp_path / "a.log"
    shutil.copy(DATA / "tail_utf16le_crlf.log", log)
    follower = Follower(f"{tmp_path}/*.log").poll().poll()
    assert (len(follower.tail.problems), len(follower.tail.files())) == (1, 1)
    log.unlink()
    follower.poll().poll()
    assert (follower.tail.problems, follower.tail.files()) == ({}, [])
    assert (follower.tally.records, follower.events) == (0, [])
    log.write_bytes(lines(1))
    assert follower.poll().poll().bytes == [1]


def test_a_byte_order_mark_and_a_line_added_later(tmp_path: Path) -> None:
    """Case TL-05: three events and one more, never a full re-read."""
    log = tmp_path / "a.log"
    shutil.copy(DATA / "tail_utf8_bom.log", log)
    log.chmod(0o600)
    follower = Follower(f"{tmp_path}/*.log").poll()
    append(log, lines(9))
    assert follower.poll().bytes == [500, 501, 502, 9]


def test_an_unreadable_file_is_reported_until_it_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not skipped in silence, and its neighbours are read."""
    (tmp_path / "a.log").write_bytes(lines(1))
    (tmp_path / "b.log").write_bytes(lines(2))
    real = os.open

    def denied(path: str, flags: int) -> int:
        if path.endswith("a.log"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", denied)
        follower = Follower(f"{tmp_path}/*.log").poll()
        assert follower.tail.problems == {f"{tmp_path}/a.log": "Permission denied"}
        assert follower.bytes == [2]
    assert follower.poll().bytes == [2, 1]
    assert follower.tail.problems == {}


def test_one_turn_reads_no_more_than_its_limit_of_each_file(tmp_path: Path) -> None:
    """A large file cannot hold the others up, nor fill the memory."""
    (tmp_path / "big.log").write_bytes(lines(*range(2_000)))
    (tmp_path / "small.log").write_bytes(lines(5_000))
    follower = Follower(f"{tmp_path}/*.log").poll(turns=1)
    assert 5_000 in follower.bytes
    assert len(follower.bytes) < 1_000
    assert len(follower.poll(turns=9).bytes) == 2_001


def test_files_are_merged_by_time_within_a_turn(tmp_path: Path) -> None:
    """As far as one read goes."""
    (tmp_path / "a.log").write_bytes(lines(1, 3, 5))
    (tmp_path / "b.log").write_bytes(lines(2, 4))
    assert Follower(f"{tmp_path}/*.log").poll().bytes == [1, 2, 3, 4, 5]


def test_a_file_of_one_short_line_is_read_at_once(tmp_path: Path) -> None:
    """Case TL-01: no fingerprint has to fill up before a file counts; one event within five seconds."""
    shutil.copy(DATA / "tail_tiny.log", tmp_path / "a.log")
    (tmp_path / "a.log").chmod(0o600)
    assert Follower(f"{tmp_path}/*.log").poll(0, turns=1).bytes == [501]
    empty = tmp_path / "b.log"
    empty.touch()
    follower = Follower(f"{tmp_path}/b.log").poll().poll(REST_MS).poll()
    empty.write_bytes((DATA / "tail_tiny.log").read_bytes())
    assert follower.poll(SCAN_MS).bytes == [501]


@pytest.mark.parametrize("leap_ms", [-27 * HOUR_MS, 27 * HOUR_MS, -START_MS - 27 * HOUR_MS])
def test_a_clock_that_jumps_stops_nothing(tmp_path: Path, leap_ms: int) -> None:
    """Files are looked for, silence completes statements and rotated files end by a clock that only goes forward."""
    log = tmp_path / "a.json"
    log.write_bytes(audit(START_MS, 1, "SELECT 1 FROM t"))
    follower = Follower(f"{tmp_path}/a.json", source="pgaudit-jsonlog").poll()
    log.rename(tmp_path / "a.json.1")
    log.write_bytes(audit(START_MS, 2, "SELECT 1 FROM t"))
    now_ms = START_MS + leap_ms
    follower.poll(now_ms=now_ms).poll(SILENCE_MS, now_ms=now_ms)
    assert len(set(follower.events)) == 2
    follower.poll(GONE_MS, now_ms=now_ms).poll(GONE_MS, now_ms=now_ms)
    assert [file.path for file in follower.tail.files()] == [str(log)]
    again = follower.restarted(f"{tmp_path}/a.json").poll(now_ms=START_MS)
    assert again.poll(GONE_MS, now_ms=START_MS).events == []


def test_an_event_says_when_it_happened_and_when_it_was_read(tmp_path: Path) -> None:
    """A record of 27 hours ago or of tomorrow is an event like any other; one of 1969 is counted, not passed over."""
    times = [START_MS - 27 * HOUR_MS, START_MS + 27 * HOUR_MS]
    for source, line in (
        ("nginx-json", web_line),
        ("pgaudit-jsonlog", lambda at: audit(at, at % 97, "SELECT 1 FROM t")),
    ):
        log = tmp_path / f"{source}.log"
        log.write_bytes(b"".join(map(line, [*times, -HOUR_MS])))
        made, tally = parse(source, log.read_bytes())
        assert [(event.occurred_at, event.observed_at) for event in made] == [(at, START_MS) for at in times]
        assert (tally.failed.total(), tally.open) == (1, 0)
        assert sorted(Follower(str(log), source=source).poll().poll(SILENCE_MS).events) == sorted(
            e.event_id for e in made
        )


def test_a_quiet_server_tells_its_last_record_of_several_lines(tmp_path: Path) -> None:
    """Only the next record would prove that it is whole; after two seconds of silence it is taken to be."""
    data = sample_of("pgaudit-stderr").rstrip(b"\n") + b"\n"
    (tmp_path / "a.log").write_bytes(data)
    follower = Follower(f"{tmp_path}/a.log", source="pgaudit-stderr", zone=zone_name("pgaudit-stderr"))
    follower.poll().poll(SILENCE_MS).poll(SILENCE_MS)
    assert follower.tail.files()[0].offset == len(data)
    made, _ = parse("pgaudit-stderr", data, zone=zone_name("pgaudit-stderr"))
    assert set(follower.events) == {event.event_id for event in made}


def test_an_end_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    """Some write over what they had put behind their last record."""
    log = tmp_path / "a.log"
    log.write_bytes(lines(1) + b"]}  ")
    follower = Follower(f"{tmp_path}/a.log").poll()
    with log.open("r+b") as file:
        file.seek(len(lines(1)))
        file.write(lines(2))
    assert follower.poll().bytes == [1, 2]
    assert not follower.tally.dropped


def test_two_sources_may_follow_one_file(tmp_path: Path) -> None:
    """As sudo and the log of logins do: each takes its own records and its own place in the checkpoint."""
    (tmp_path / "a.log").write_bytes(lines(1) + audit(START_MS, 1, "SELECT 1 FROM t"))
    path = [f"{tmp_path}/a.log"]
    follower = Follower()
    watched = [Watched(origin("nginx-json"), path), Watched(origin("pgaudit-jsonlog"), path)]
    follower.tail.reconfigure(watched, LIMITS)
    follower.poll().poll(3_000)
    assert sorted(file.source for file in follower.tail.files()) == ["nginx-json", "pgaudit-jsonlog"]
    assert len(set(follower.events)) == 2


def test_a_header_without_a_time_costs_no_lasting_id(tmp_path: Path) -> None:
    """As slow logs have after each rotation: the id comes from the first record that holds one; the header waits."""
    log = tmp_path / "a.log"
    log.write_bytes(b"{}\n" * 3)
    follower = Follower(f"{tmp_path}/a.log").poll()
    assert follower.tally.records == 0
    (before,) = (state for state in follower.tail.dump() if state.inode)
    assert before.offset == 0
    append(log, lines(1))
    assert follower.poll().bytes == [1]
    assert follower.tally.records == 4
    assert Follower(f"{tmp_path}/a.log").poll().events == follower.events
    other = Follower(f"{tmp_path}/b.log")
    (tmp_path / "b.log").write_bytes(b"{}\n" * 30)
    assert other.poll().tally.records == 30
