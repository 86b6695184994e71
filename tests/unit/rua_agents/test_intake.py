"""What feeds the spool: one thread, group commit, files that rotate fast, sources that are asked."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st
from rua_agents.checkpoint import FileState
from rua_agents.composed import Composed
from rua_agents.intake import setup, thread as thread_module
from rua_agents.intake.contract import Poll, PollFailed
from rua_agents.intake.files import SpooledFiles
from rua_agents.intake.polled import SILENT_SECONDS, PolledSource
from rua_agents.intake.thread import Intake
from rua_agents.settings import AgentSettings, Limits, SourceSettings
from rua_agents.spool.reader import SPOOL, SpoolReader
from rua_agents.spool.settings import SpoolSettings
from rua_agents.spool.spool import Spool
from rua_agents.tail import Tail, Watched
from rua_agents.tally import Tally
from rua_common.clock import ManualClock, SystemClock
from rua_common.errors import BadConfiguration, RuaError
from rua_common.kafka import KafkaOptions
from rua_schemas.events import TelemetryEvent

from tests.agent_rig import START_MS, origin, web_line


def eventually(found: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits until it is so."""
    until = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < until
        time.sleep(0.005)


def all_of(spool: Spool) -> list[TelemetryEvent]:
    """Everything that was not read yet."""
    found: list[TelemetryEvent] = []
    while events := spool.read():
        found += events
    return found


class Asked:
    """A source with numbered rows; answers a few at a time."""

    every_seconds = 0.01

    def __init__(self, rows: int = 0, at_once: int = 3) -> None:
        self.rows, self.at_once = rows, at_once
        self.cursors: list[Any] = []
        self.failures: list[Exception] = []
        self.closed = False
        self.gate = threading.Event()
        self.gate.set()

    def poll(self, cursor: Any, now_ms: int) -> Poll:
        """The next rows."""
        del now_ms
        self.gate.wait(10)
        self.cursors.append(cursor)
        if self.failures:
            raise self.failures.pop(0)
        start = 0 if cursor is None else cursor["next"]
        stop = min(self.rows, start + self.at_once)
        rows = [json.dumps({"dataset": "d", "began_ms": START_MS, "rows": n}).encode() for n in range(start, stop)]
        return Poll(rows, {"next": stop}, more=stop < self.rows)

    def close(self) -> None:
        """Noted."""
        self.closed = True


def polled(spool: Spool, asked: Asked, tally: Tally | None = None, **more: Any) -> PolledSource:
    """The source as the agent reads it; its rows are exports, as the SDK tells them."""
    return PolledSource("sdk:db-1", origin("sdk", tally), asked, spool, clock=SystemClock(), **more)


def turns(spool: Spool, source: PolledSource, until: Callable[[], bool], *, commits: bool = True) -> None:
    """The intake's turns, by hand."""

    def turn() -> bool:
        source.take(START_MS)
        if commits and spool.pending and spool.commit():
            source.committed()
        return until()

    eventually(turn)


def test_rows_are_asked_for_from_where_they_are_durable(tmp_path: Path) -> None:
    """The next question waits for the commit of the last answer."""
    spool, asked = Spool(tmp_path, SpoolSettings()), Asked(rows=10)
    source = polled(spool, asked)
    turns(spool, source, lambda: spool.pending > 0, commits=False)
    time.sleep(0.05)
    assert asked.cursors == [None]
    turns(spool, source, lambda: asked.cursors[-1] == {"next": 10})
    source.close()
    events = all_of(spool)
    assert [event.rows for event in events] == list(range(10))
    assert [event.source_position for event in events] == [n * 1_024 for n in range(10)]
    assert asked.cursors[:4] == [None, {"next": 3}, {"next": 6}, {"next": 9}]
    assert asked.closed


@hypothesis_settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=6), st.integers(1, 4))
def test_a_crash_at_any_time_neither_loses_nor_doubles_a_row(crashes: list[tuple[int, bool]], at_once: int) -> None:
    """Rows, their numbers and the cursor are written together, or not at all."""
    with TemporaryDirectory() as name:
        rows = 12
        for commits, appends in [*crashes, (100, False)]:
            spool, asked = Spool(Path(name), SpoolSettings()), Asked(rows, at_once)
            source = polled(spool, asked)
            done = 0
            while done < commits and not (asked.cursors and asked.cursors[-1] == {"next": rows}):
                source.take(START_MS)
                if spool.pending and spool.commit():
                    source.committed()
                    done += 1
                time.sleep(0.001)
            if appends and done == commits:
                for _ in range(20):
                    source.take(START_MS)
                    time.sleep(0.001)
            source.close()
            spool.close()
        again = Spool(Path(name), SpoolSettings())
        events = all_of(again)
        again.close()
        assert [event.rows for event in events] == list(range(rows))
        assert len({event.event_id for event in events}) == rows
        assert len({event.source_id for event in events}) == 1


def test_a_source_that_fails_says_why_and_is_asked_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the fault is, the agent goes on; the same fault is told once."""
    spool, asked = Spool(tmp_path, SpoolSettings()), Asked(rows=2)
    asked.failures = [PollFailed("grant it SELECT"), PollFailed("grant it SELECT")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("rua_agents.intake.polled.FIRST_BACK_OFF_SECONDS", 0.01)
        source = polled(spool, asked)
        asked.gate.clear()
        source.take(START_MS)
        asked.gate.set()
        eventually(lambda: source.problems == {"sdk:db-1": "grant it SELECT"})
        asked.failures += [ConnectionRefusedError(111, "Connection refused"), KeyError("bug")]
        turns(spool, source, lambda: spool.marks.get("sdk:db-1", {}).get("cursor") == {"next": 2})
    eventually(lambda: source.problems == {})
    source.close()
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told.count("sdk:db-1: grant it SELECT") == 1
    assert any("Connection refused" in one for one in told)
    assert any("a fault of the poller itself" in one for one in told)
    assert len(all_of(spool)) == 2


def test_a_source_that_does_not_answer_is_told_and_hinders_nobody(tmp_path: Path) -> None:
    """Its thread waits alone."""
    now = 0.0
    spool, asked = Spool(tmp_path, SpoolSettings()), Asked(rows=2)
    asked.gate.clear()
    source = polled(spool, asked, monotonic=lambda: now)
    began = time.monotonic()
    source.take(START_MS)
    eventually(lambda: source._asked_at is not None)
    now = SILENT_SECONDS + 1
    assert source.problems == {"sdk:db-1": f"has not answered for {now:.0f} seconds"}
    source.take(START_MS)
    assert time.monotonic() - began < 5
    asked.gate.set()
    source.close()


def access_log(directory: Path, name: str, numbers: range) -> Path:
    """A file of nginx."""
    path = directory / name
    with path.open("ab") as file:
        for n in numbers:
            file.write(web_line(START_MS + n, body_bytes_sent=n))
    return path


def spooled_files(spool: Spool, pattern: Path, tally: Tally | None = None) -> SpooledFiles:
    """As the agent does that starts."""
    watched = [Watched(origin("nginx-json", tally), [str(pattern)])]
    return SpooledFiles(Tail(watched, Limits(read_bytes=2_000)), spool)


def test_files_that_are_spooled_are_read_on_from_what_is_durable(tmp_path: Path) -> None:
    """The broker may be away: the log may go, its events stay. A crash before the commit reads again."""
    logs = tmp_path / "logs"
    logs.mkdir()
    path = access_log(logs, "a.json", range(30))
    spool = Spool(tmp_path / "spool", SpoolSettings())
    feed = spooled_files(spool, logs / "*")
    for turn in range(4):
        feed.take(START_MS + turn)
        assert turn == 3 or spool.commit()
    feed.close()
    spool.close()
    again = Spool(tmp_path / "spool", SpoolSettings())
    feed = spooled_files(again, logs / "*")
    for turn in range(10):
        feed.take(START_MS + 5_000 + turn)
        assert again.commit()
    path.unlink()
    events = all_of(again)
    assert [event.bytes for event in events] == list(range(30))
    assert len({event.event_id for event in events}) == 30
    (status,) = SpoolReader(again, Intake(again, [], clock=SystemClock()), [feed]).files()[1:]
    assert (status.source, status.size, status.offset) == ("nginx-json", 0, 0)
    feed.close()


def test_the_thread_commits_by_number_and_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 events at once, fewer after 200 ms: not one fsync each."""
    spool, now = Spool(tmp_path, SpoolSettings()), 0.0
    feed = Appending(spool)
    intake = Intake(spool, [feed], clock=ManualClock(START_MS), monotonic=lambda: now)
    feed.given.put(498)
    intake.turn()
    assert (spool.unread, spool.pending, feed.durable) == (0, 499, 0)  # with the mark
    feed.given.put(1)
    intake.turn()
    assert (spool.unread, feed.durable) == (499, 499)
    feed.given.put(1)
    intake.turn()
    now += 0.1
    intake.turn()
    assert spool.pending == 2
    now += 0.11
    intake.turn()
    assert (spool.pending, feed.durable) == (0, 500)


class Appending:
    """A feed that appends what it is told to."""

    def __init__(self, spool: Spool) -> None:
        self.spool, self.taken, self.durable = spool, 0, 0
        self.given: SimpleQueue[int] = SimpleQueue()
        self.problems: dict[str, str] = {}
        self.closed = False
        self.fails: Exception | None = None

    def take(self, now_ms: int) -> None:
        """So many events."""
        if self.fails is not None:
            raise self.fails
        if not self.given.empty():
            until = self.taken + self.given.get()
            self.spool.append([event_of(n, now_ms) for n in range(self.taken, until)], {"feed": until})
            self.taken = until

    def committed(self) -> None:
        """Noted."""
        self.durable = self.taken

    def close(self) -> None:
        """Noted."""
        self.closed = True


def event_of(number: int, now_ms: int) -> TelemetryEvent:
    """One that is told by its position."""
    return TelemetryEvent(
        event_id=f"{number:032x}", source_id="0", source_position=number, source="sdk", agent_id="a", agent_epoch=0,
        agent_seq=0, platform="lazada", occurred_at=now_ms, observed_at=now_ms,
    )  # fmt: skip


def test_a_full_spool_takes_nothing_in_and_an_unwritable_one_acknowledges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And both go on when they can."""
    spool = Spool(tmp_path, SpoolSettings())
    feed = Appending(spool)
    intake = Intake(spool, [feed], clock=ManualClock(START_MS), monotonic=lambda: 0.0)
    feed.given.put(600)

    def unwritable(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", unwritable)
        intake.turn()
        feed.given.put(5)
        intake.turn()
        assert (feed.durable, feed.taken) == (0, 600)
        assert "No space left on device" in intake.problems[str(tmp_path)]
    intake.turn()
    assert (feed.durable, intake.problems) == (600, {})
    intake.turn()
    assert feed.taken == 605


def test_the_limits_of_speed_hold_for_what_feeds_the_spool(tmp_path: Path) -> None:
    """In a pause nothing is taken, but what came is committed."""
    spool, now, wanted = Spool(tmp_path, SpoolSettings()), 0.0, 1.0
    feed = Appending(spool)
    intake = Intake(spool, [feed], clock=ManualClock(START_MS), monotonic=lambda: now, pace=lambda _: wanted)
    for _ in range(2):
        feed.given.put(3)
    intake.turn()
    now += 0.5
    intake.turn()
    assert (feed.taken, feed.durable) == (3, 3)
    now += 0.6
    intake.turn()
    assert feed.taken == 6


def test_what_never_began_is_closed_all_the_same(tmp_path: Path) -> None:
    """The socket's name must not stay behind."""
    spool = Spool(tmp_path, SpoolSettings())
    feed = Appending(spool)
    SpoolReader(spool, Intake(spool, [feed], clock=ManualClock(START_MS))).close()
    assert feed.closed


def test_a_fault_in_the_thread_ends_the_agent_and_is_not_lost(tmp_path: Path) -> None:
    """An agent that seems to live and takes nothing in would be worse."""
    spool = Spool(tmp_path, SpoolSettings())
    feed = Appending(spool)
    feed.fails = KeyError("bug")
    reader = SpoolReader(spool, Intake(spool, [feed], clock=ManualClock(START_MS)))

    with pytest.raises(RuaError, match=r"KeyError\('bug'\)"):
        eventually(lambda: any(reader.turn(START_MS)))
    assert feed.closed
    reader.close()


@pytest.fixture
def composed(tmp_path: Path) -> Iterator[tuple[Composed, Appending, Spool]]:
    """Logs and a spool as one reader."""
    (tmp_path / "logs").mkdir()
    access_log(tmp_path / "logs", "a.json", range(5))
    spool = Spool(tmp_path / "spool", SpoolSettings(bytes=400_000))
    feed = Appending(spool)
    logs = Tail([Watched(origin("nginx-json"), [str(tmp_path / "logs" / "*")])], Limits())
    made = Composed(logs, SpoolReader(spool, Intake(spool, [feed], clock=ManualClock(START_MS))))
    yield made, feed, spool
    made.close()


def test_logs_and_spool_are_read_in_turn_and_the_checkpoint_releases_the_spool(
    composed: tuple[Composed, Appending, Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments go when the checkpoint stands behind them; a restart goes on there."""
    monkeypatch.setattr(thread_module, "COMMIT_SECONDS", 0.0)
    reader, feed, spool = composed
    made: list[Any] = []

    def turned() -> bool:
        made.extend(one for drafts in reader.turn(START_MS) for one in drafts)
        return len(made) >= 205

    monkeypatch.setattr(thread_module, "IDLE_SECONDS", 0.001)
    for _ in range(40):
        feed.given.put(5)
    eventually(turned)
    assert len(made) == 205
    before = reader.dump()
    assert [state.source for state in before if state.source == SPOOL] == [SPOOL]
    assert (before[0].source, before[-1].offset) == ("nginx-json", 200)
    many = spool.used_bytes
    reader.acked([FileState(path=SPOOL, source=SPOOL, offset=0, stream={})])
    assert spool.used_bytes == many
    reader.acked(before)
    assert spool.used_bytes < many
    (status,) = [one for one in reader.files() if one.source == SPOOL]
    assert (status.records, status.size, reader.problems) == (0, 0, {})
    reader.restore(before)
    assert spool.cursor == 200


def settings_of(tmp_path: Path, *sources: SourceSettings) -> AgentSettings:
    """As a file would give them."""
    kafka = KafkaOptions(bootstrap="localhost:1")
    return AgentSettings(platform="lazada", key_file="k", state_dir=str(tmp_path), kafka=kafka, sources=list(sources))


def test_the_spool_is_there_only_for_whom_it_is_needed(tmp_path: Path) -> None:
    """And as long as one was left with something in it."""
    logs = Tail([], Limits())
    plain = SourceSettings(source="nginx-json", paths=["x"])
    assert not setup.needs_spool(plain)
    assert all(map(setup.needs_spool, (
        SourceSettings(source="nginx-json", paths=["x"], spool=True),
        SourceSettings(source="sdk", socket="s"),
        SourceSettings(source="clickhouse-query-log"),
    )))  # fmt: skip
    settings, dropped = settings_of(tmp_path, plain), Tally().dropped
    assert setup.with_spool(settings, [], logs, dropped, SystemClock()) is logs
    spool = Spool(tmp_path / SPOOL, SpoolSettings())
    spool.append([event_of(1, START_MS)], {})
    assert spool.commit()
    found = setup.with_spool(settings, [], logs, dropped, SystemClock())
    assert isinstance(found, Composed)
    found.close()


def test_two_servers_of_one_name_are_refused(tmp_path: Path) -> None:
    """Their cursors would be one."""
    source = SourceSettings(source="clickhouse-query-log")
    ready = [Watched(origin("clickhouse-query-log"), [])]
    with pytest.raises(BadConfiguration, match="name their hosts"):
        setup.with_spool(
            settings_of(tmp_path, source, source),
            [(source, ready), (source, ready)],
            Tail([], Limits()),
            Tally().dropped,
            SystemClock(),
        )
