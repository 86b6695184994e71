"""The loop: the checkpoint follows the acknowledgements, and never runs ahead of them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rua_agents.agent import Agent
from rua_agents.broker import BrokerHealth
from rua_agents.checkpoint import CheckpointFile
from rua_agents.collectors import Draft
from rua_agents.disk import Disk
from rua_agents.emitter import Stopping
from rua_agents.heartbeat import Offset
from rua_agents.replay import Replay
from rua_agents.sealing import Sealer, Written, written
from rua_agents.settings import AgentSettings, DiskSettings, Limits, ReplaySettings
from rua_agents.tail import Tail, Watched
from rua_agents.tally import Tally
from rua_common.clock import ManualClock
from rua_common.kafka import KafkaOptions
from rua_schemas.codec import decode
from rua_schemas.events import Heartbeat, TelemetryEvent

from tests.agent_rig import START_MS, origin, parse, web_line


class Broker:
    """Stands for the emitter; acknowledges when it is told to."""

    def __init__(self) -> None:
        self.sent: list[TelemetryEvent] = []
        self.beats: list[Heartbeat] = []
        self.acked = self.marked = self.dead = 0
        self.acknowledges, self.lazy = True, False
        self.refused_beats = 0
        self.room = 1_000
        self.then: list[Callable[[], None]] = []
        self.sealer = Sealer(0)

    seq = property(lambda self: self.sealer.seq)
    chain_head = property(lambda self: self.sealer.head)
    produced = property(lambda self: len(self.sent))
    marked_is_acked = property(lambda self: self.acked >= self.marked)
    all_acked = property(lambda self: self.acked >= len(self.sent))
    answers = property(lambda self: self.acked)
    waiting_messages = property(lambda self: len(self.sent) - self.acked)
    waiting_bytes = 0

    def begin(self, epoch: int) -> None:
        """Numbers from 1."""
        self.sealer = Sealer(epoch)

    def send(self, drafts: Sequence[Draft | Written], offset: Offset | None) -> None:
        """Takes events."""
        for draft in drafts:
            if len(self.sent) - self.acked >= self.room:
                raise Stopping
            message = self.sealer.sealed(draft if isinstance(draft, Written) else written(draft))
            self.sent.append(decode(message, TelemetryEvent))

    def beat(self, heartbeat: Heartbeat, acked: Any) -> bool:
        """Takes a heartbeat, if there is room."""
        if self.refused_beats:
            self.refused_beats -= 1
            return False
        self.beats.append(heartbeat)
        return True

    def mark(self) -> None:
        """As the emitter's."""
        self.marked = len(self.sent)

    def poll(self, seconds: float = 0) -> None:
        """Acknowledges; when idle, goes on with the test."""
        if self.acknowledges and (seconds or not self.lazy):
            self.acked = len(self.sent)
        if seconds and self.then:
            self.then.pop(0)()

    def drain(self, seconds: float) -> bool:
        """Whether everything is acknowledged."""
        self.poll()
        return bool(self.all_acked)

    def close(self) -> None:
        """Nothing to do."""


def run(
    folder: Path,
    *steps: Callable[[Broker], None],
    acknowledges: bool = True,
    room: int = 1_000,
    world: ReplaySettings | None = None,
) -> Broker:
    """Runs an agent on `folder`/*.log; each step is taken when it is idle, and after the last one it is stopped."""
    settings = AgentSettings(
        platform="lazada",
        key_file="",
        state_dir=str(folder / "state"),
        kafka=KafkaOptions(bootstrap="x:1"),
        sources=[],
        agent_id="agent-1",
        limits=Limits(checkpoint_seconds=0),
        replay=world,
    )
    tally, broker = Tally(), Broker()
    broker.acknowledges, broker.room, broker.lazy = acknowledges, room, world is not None
    logs = [Watched(origin("nginx-json", tally), [f"{folder}/*.log"])]
    reader = Replay(logs, world, settings.limits) if world else Tail(logs, settings.limits)
    ticks = iter(range(10**9))
    agent = Agent(
        settings,
        reader,
        broker,  # type: ignore[arg-type]  # a stand-in
        {"nginx-json": tally},
        disk=Disk(folder / "state", DiskSettings(min_free_bytes=0)),
        health=BrokerHealth(settings.kafka),
        clock=ManualClock(START_MS),
        monotonic=lambda: float(next(ticks)),
    )

    def stop() -> None:
        agent.stopping = True

    broker.then = [lambda step=step: step(broker) for step in steps] + [stop]
    agent.run()
    return broker


def status(folder: Path) -> dict[str, Any]:
    """What the agent says of itself."""
    found: dict[str, Any] = msgspec.json.decode((folder / "state/status.json").read_bytes())
    return found


def test_events_are_numbered_sent_and_the_checkpoint_reaches_the_end(tmp_path: Path) -> None:
    """And a second start sends nothing again, under a new epoch."""
    log = tmp_path / "a.log"
    log.write_bytes(web_line(START_MS) * 3)
    first = run(tmp_path, lambda _: None)
    assert [event.agent_seq for event in first.sent] == [1, 2, 3]
    said = status(tmp_path)
    assert (said["events_acked"], said["records"], said["lag_bytes"]) == (3, 3, 0)
    assert said["files"][0]["acked_offset"] == log.stat().st_size
    log.write_bytes(log.read_bytes() + web_line(START_MS + 1))
    second = run(tmp_path, lambda _: None)
    assert [event.agent_seq for event in second.sent] == [1]
    assert second.sent[0].agent_epoch > first.sent[0].agent_epoch


def test_the_checkpoint_does_not_move_before_the_ack(tmp_path: Path) -> None:
    """What was sent and not acknowledged is sent again, with the same ids."""
    (tmp_path / "a.log").write_bytes(web_line(START_MS) * 3)
    silent = run(tmp_path, lambda _: None, acknowledges=False)
    found = CheckpointFile(tmp_path / "state").read("lazada")
    assert found is None or all(file.offset == 0 for file in found.files)
    again = run(tmp_path, lambda _: None)
    assert [event.event_id for event in again.sent] == [event.event_id for event in silent.sent]


def test_a_stop_in_the_middle_of_a_slice_leaves_the_checkpoint_before_it(tmp_path: Path) -> None:
    """Else the rest of the slice would be lost."""
    (tmp_path / "a.log").write_bytes(web_line(START_MS) * 5)
    first = run(tmp_path, acknowledges=True, room=2)
    assert len(first.sent) == 2
    again = run(tmp_path, lambda _: None)
    assert len(again.sent) == 5
    expected = [event.event_id for event in parse("nginx-json", web_line(START_MS) * 5)[0]]
    assert [event.event_id for event in again.sent] == expected


def test_a_heartbeat_tells_up_to_where_the_numbering_is_acknowledged(tmp_path: Path) -> None:
    """With none missing below."""
    log = tmp_path / "a.log"
    log.write_bytes(web_line(START_MS) * 3 + b"{bad\n")
    done = run(tmp_path, *[lambda _: None] * 12)
    last = done.beats[-1]
    assert (last.last_seq, last.events_acked, last.records_failed, last.files, last.lag_bytes) == (3, 3, 1, 1, 0)
    assert done.beats[0].last_seq == 0


def test_a_stop_is_planned_and_the_last_heartbeat_says_so_and_covers_everything(tmp_path: Path) -> None:
    """Else every upgrade would be an alert; a stop that leaves events behind is none that was planned."""
    (tmp_path / "a.log").write_bytes(web_line(START_MS) * 3)
    done = run(tmp_path, lambda _: None)
    *before, last = done.beats
    assert all(beat.quiet_until is None for beat in before)
    assert last.quiet_until
    assert (last.chain_seq, last.chain_head) == (3, done.chain_head)
    (tmp_path / "a.log").write_bytes(web_line(START_MS) * 5)
    torn = run(tmp_path, lambda _: None, acknowledges=False)
    assert all(beat.quiet_until is None for beat in torn.beats)
    assert {(beat.previous_epoch, beat.previous_seq, beat.previous_head) for beat in torn.beats} == {
        (last.agent_epoch, 3, done.chain_head)
    }


def test_a_heartbeat_that_found_no_room_leaves_no_gap_in_their_numbers(tmp_path: Path) -> None:
    """A gap would mean that somebody withheld one."""

    def full(broker: Broker) -> None:
        broker.refused_beats = 2

    done = run(tmp_path, *[lambda _: None] * 12, full, *[lambda _: None] * 40)
    assert len(done.beats) > 2
    assert [beat.beat_seq for beat in done.beats] == list(range(1, len(done.beats) + 1))


def test_a_world_waits_for_the_broker_within_a_turn_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are merged: what has been taken out of one of them would be gone if the turn ended in the middle."""
    monkeypatch.setattr("rua_agents.replay.SLICE_RECORDS", 3)
    for log in ("a", "b"):
        lines = (web_line(START_MS + n, addr=f"192.0.2.{n}") for n in range(10))
        (tmp_path / f"{log}.log").write_bytes(b"".join(lines))
    watermark = tmp_path / "watermark"
    watermark.write_bytes(struct.pack("<q", START_MS + 60_000))
    world = ReplaySettings(start_ms=START_MS, watermark_file=str(watermark), logs_root=str(tmp_path))
    done = run(tmp_path, *[lambda _: None] * 60, world=world)
    assert len(done.sent) == 20
    assert len({event.event_id for event in done.sent}) == 20
