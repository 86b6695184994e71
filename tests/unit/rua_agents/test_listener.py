"""The agent's socket: what is acknowledged is on the disk, once; whoever misbehaves harms nobody else."""

from __future__ import annotations

import json
import os
import selectors
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from rua_agents.intake import listener as listener_module, streams as streams_module
from rua_agents.intake.connection import Connection
from rua_agents.intake.listener import Listener
from rua_agents.intake.peers import Allowed, Peer, listening
from rua_agents.intake.streams import KEPT_MS, Streams
from rua_agents.sdk.wire import ACK, HEADER, MOST_BODY_BYTES, TALK, frame
from rua_agents.spool.settings import SpoolSettings
from rua_agents.spool.spool import Spool
from rua_agents.tally import Tally
from rua_common.errors import BadConfiguration
from rua_schemas.events import TelemetryEvent

from tests.agent_rig import START_MS, origin

NAME = "a" * 32


class Rig:
    """A listener with its spool, turned by hand."""

    def __init__(self, directory: Path) -> None:
        self.path, self.spool_path = directory / "s", directory / "spool"
        self.now = 0.0
        self.tally = Tally()
        self.processes: list[Process] = []
        self.begin()

    def begin(self) -> None:
        """As an agent that starts."""
        self.spool = Spool(self.spool_path, SpoolSettings())
        self.listener = Listener(self.path, origin("sdk", self.tally), self.spool, monotonic=lambda: self.now)

    def kill(self) -> None:
        """As kill -9: nothing is said, what was not committed is gone."""
        self.listener.close()
        self.spool.close()

    def process(self, name: str | None = NAME) -> Process:
        """One of the platform's that connects."""
        self.processes.append(Process(self.path, name))
        return self.processes[-1]

    def turn(self, *, commits: bool = True) -> None:
        """Reads what came; commits it."""
        for _ in range(3):
            self.listener.take(START_MS)
        if commits and self.spool.commit():
            self.listener.committed()

    def events(self) -> list[TelemetryEvent]:
        """All that is in the spool and was not read yet."""
        found: list[TelemetryEvent] = []
        while events := self.spool.read():
            found += events
        return found


class Process:
    """One of the platform's."""

    def __init__(self, path: Path, name: str | None = NAME) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        self.socket.settimeout(0.05)
        if name is not None:
            self.say(TALK, version=1, stream=name)

    def say(self, number: int, **body: Any) -> None:
        """Sends a frame."""
        self.socket.sendall(frame(number, json.dumps(body).encode()))

    def export(self, *numbers: int) -> None:
        """Sends exports of as many rows as their number says."""
        for number in numbers:
            self.say(number, dataset="orders", began_ms=START_MS + number, took_ms=0, rows=number, rows_quality="exact")

    def heard(self) -> list[int]:
        """Acknowledged numbers."""
        try:
            data = self.socket.recv(1 << 12)
        except TimeoutError:
            return []
        return [ACK.unpack_from(data, at)[0] for at in range(0, len(data), ACK.size)]

    @property
    def is_refused(self) -> bool:
        """Whether the agent has closed the connection."""
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True


@pytest.fixture
def rig() -> Iterator[Rig]:
    """In a directory with a short name."""
    with TemporaryDirectory() as name:
        made = Rig(Path(name))
        yield made
        made.kill()
        for process in made.processes:
            process.socket.close()


def test_an_acknowledged_export_is_on_the_disk_and_not_before(rig: Rig) -> None:
    """A kill -9 right after the acknowledgement loses nothing."""
    one = rig.process()
    one.export(1, 2)
    rig.turn(commits=False)
    assert one.heard() == [0]
    rig.turn()
    assert one.heard() == [2]
    rig.kill()
    rig.begin()
    events = rig.events()
    assert [(event.rows, event.kind, event.channel, event.source_position) for event in events] == [
        (1, "data_export", "api", 1_024),
        (2, "data_export", "api", 2_048),
    ]


def test_what_is_sent_again_is_taken_once_over_a_restart_too(rig: Rig) -> None:
    """The acknowledgement was lost: the process sends again, and hears up to where it may forget."""
    one = rig.process()
    one.export(1, 2, 3)
    rig.turn()
    rig.kill()
    rig.begin()
    again = rig.process()
    again.export(2, 3, 4)
    rig.turn()
    assert again.heard() == [3, 3, 4]
    assert [event.rows for event in rig.events()] == [1, 2, 3, 4]


def test_an_export_that_was_taken_and_not_committed_has_the_same_id_when_it_is_sent_again(rig: Rig) -> None:
    """Also where its mark was lost: then downstream knows the double by its id."""
    ids = []
    for _ in range(2):
        one = rig.process()
        one.export(7)
        rig.turn()
        ids += [event.event_id for event in rig.events()]
        rig.kill()
        for path in rig.spool_path.glob("*.seg"):
            path.unlink()
        rig.begin()
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_two_processes_have_their_own_numbers(rig: Rig) -> None:
    """And their own sources: positions grow within each."""
    for name in ("a" * 32, "b" * 32):
        rig.process(name).export(1, 2)
    rig.turn()
    events = rig.events()
    assert len({event.event_id for event in events}) == 4
    assert len({event.source_id for event in events}) == 2


def test_a_process_sets_neither_platform_nor_source_nor_host(rig: Rig) -> None:
    """What the agent stamps is the agent's."""
    forged = {
        "platform": "shopee",
        "source": "nginx-json",
        "host": "h",
        "agent_id": "x",
        "event_id": "0",
        "source_id": "1",
    }
    one = rig.process()
    one.say(1, dataset="orders", began_ms=START_MS, **forged)
    rig.turn()
    (event,) = rig.events()
    assert (event.platform, event.source, event.host, event.agent_id) == ("lazada", "sdk", "db-1", "agent-1")
    assert event.event_id != "0"


def test_what_is_stamped_for_a_user_its_processes_cannot_say_otherwise(rig: Rig) -> None:
    """Nobody passes for another's app."""
    rig.listener._origin = origin("sdk", rig.tally, stamps={os.getuid(): {"app": "erp"}})
    one = rig.process()
    one.say(1, dataset="orders", began_ms=START_MS, app="billing", merchant="m-1")
    rig.turn()
    (event,) = rig.events()
    assert (event.app, event.merchant) == ("erp", "m-1")


def test_two_users_that_say_the_same_name_are_two(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can use up another's numbers."""
    for uid in (os.getuid(), 4_711):
        monkeypatch.setattr(listener_module, "peer_of", lambda _, uid=uid: Peer(uid, frozenset()))
        rig.listener._allowed = Allowed([4_711], [])
        rig.process().export(1)
        rig.turn()
    assert len({event.source_id for event in rig.events()}) == 2


def test_a_user_who_may_not_is_refused_and_one_of_an_allowed_group_is_not(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel says who it is."""
    monkeypatch.setattr(listener_module, "peer_of", lambda _: Peer(4_711, frozenset((100, 200))))
    refused = rig.process()
    rig.turn()
    assert refused.is_refused
    assert "user 4711 may not: see options.uids" in caplog.text
    rig.listener._allowed = Allowed([], [200])
    taken = rig.process()
    taken.export(1)
    rig.turn()
    assert not taken.is_refused
    assert [event.rows for event in rig.events()] == [1]


def test_the_socket_is_for_its_user_and_group_alone(rig: Rig) -> None:
    """Mode 0660."""
    assert stat.S_IMODE(rig.path.stat().st_mode) == 0o660


def test_what_a_process_dropped_is_counted_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """It tells the total; a number that was heard before changes nothing, over a restart too."""
    one = rig.process()
    for total in (0, 5, 5, 7):
        one.say(TALK, dropped=total)
    one.export(8)
    rig.turn()
    rig.kill()
    rig.begin()
    rig.process().say(TALK, dropped=7)
    rig.turn()
    assert rig.tally.dropped == {"sdk_overflow": 7}
    assert "dropped 5 exports" in caplog.text


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (HEADER.pack(MOST_BODY_BYTES + 1, 1), "too_long"),
        (HEADER.pack(1 << 31, 1), "too_long"),
        (frame(1, b"{}"), "no_name"),
        (frame(TALK, b"\xff"), "talk"),
        (frame(TALK, b"[" * 30_000), "talk"),
        (frame(TALK, b"[1]"), "talk"),
        (frame(TALK, b'{"stream": "../../x"}'), "no_name"),
        (frame(TALK, json.dumps({"stream": NAME}).encode()) + frame(1 << 60, b"{}"), "number"),
    ],
)
def test_a_process_that_breaks_the_rules_is_cut_off_and_nobody_else(
    rig: Rig, caplog: pytest.LogCaptureFixture, sent: bytes, why: str
) -> None:
    """It is counted, and the log says so once a minute at most."""
    good, bad = rig.process("b" * 32), rig.process(None)
    bad.socket.sendall(sent)
    good.export(1)
    rig.turn()
    assert bad.heard() in ([], [0])
    assert bad.is_refused
    assert f"'{why}': 1" in caplog.text
    assert [event.rows for event in rig.events()] == [1]
    assert not good.is_refused or good.heard()


def test_a_frame_that_is_no_export_is_counted_and_acknowledged(rig: Rig) -> None:
    """Else it would be sent for ever."""
    one = rig.process()
    for number, body in enumerate((b"\xff\xfe", b"{}", b'{"began_ms": 1, "action": "?"}', b"[" * 30_000), 1):
        one.socket.sendall(frame(number, body))
    rig.turn()
    assert one.heard()[-1] == 4
    assert rig.tally.failed == {"not_json": 2, "no_time": 1, "unknown_action": 1}
    assert rig.events() == []


def test_half_a_frame_keeps_nobody_waiting_and_is_given_up(rig: Rig) -> None:
    """Slow loris: a byte now and then; and who never says its name."""
    slow, silent, idle = rig.process(), rig.process(None), rig.process("c" * 32)
    rig.turn()
    data = frame(1, b'{"dataset": "orders"}')
    for at in range(11):
        rig.now += 1.5
        try:
            slow.socket.sendall(data[at : at + 1])
        except BrokenPipeError:
            break
        rig.turn()
    assert 6 <= at <= 9
    assert slow.heard() == [0]
    assert slow.is_refused
    assert silent.is_refused
    assert not [1 for _ in idle.heard() if _]
    assert not idle.is_refused


def test_a_frame_in_many_pieces_is_one(rig: Rig) -> None:
    """However the bytes come."""
    one = rig.process()
    data = frame(1, json.dumps({"dataset": "x" * 30_000, "began_ms": START_MS, "rows": 1}).encode())
    for at in range(0, len(data), 7_000):
        one.socket.sendall(data[at : at + 7_000])
        rig.turn()
    assert len(rig.events()) == 1


def test_connections_are_bounded_over_all_and_for_each_user(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is refused; those that are open go on, and there is room again when one ends."""
    monkeypatch.setattr(listener_module, "MOST_CONNECTIONS", 40)
    monkeypatch.setattr(listener_module, "MOST_PER_USER", 30)
    opened = [rig.process(f"{n:032x}") for n in range(35)]
    rig.turn()
    assert [one.is_refused for one in opened[30:]] == [True] * 5
    assert len(rig.listener._open) == 30
    opened[0].socket.close()
    rig.turn()
    late = rig.process("e" * 32)
    late.export(1)
    rig.turn()
    assert [event.rows for event in rig.events()] == [1]


def test_a_flood_from_one_process_is_taken_in_bounded_pieces(rig: Rig) -> None:
    """Memory does not grow with what it sends: what is not read yet waits in its socket."""
    one = rig.process()
    one.socket.setblocking(False)
    body = json.dumps({"dataset": "x" * 500, "began_ms": START_MS}).encode()
    number, most = 0, 0
    for _ in range(40):
        try:
            while one.socket.send(frame(number + 1, body)) == HEADER.size + len(body):
                number += 1
            break  # a piece of a frame
        except BlockingIOError:
            pass
        rig.listener.take(START_MS)
        most = max(most, rig.spool.pending)
        assert rig.spool.commit()
        rig.listener.committed()
    assert most <= listener_module.MOST_PENDING + 600


def test_the_acknowledgement_of_a_process_that_does_not_listen_blocks_nobody() -> None:
    """Its socket is full; a later number says it all. A number is never sent in half."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
    connection = Connection(ours, Peer(0, frozenset()), 0.0)
    for number in range(3_000):
        connection.acknowledge(number)
    heard = b""
    theirs.settimeout(0.05)
    for _ in range(50):
        heard += theirs.recv(1 << 16)
        connection.acknowledge(3_000)
    numbers = [ACK.unpack_from(heard, at)[0] for at in range(0, len(heard) // ACK.size * ACK.size, ACK.size)]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 3_000
    ours.close()
    theirs.close()


def test_a_socket_that_a_killed_agent_left_is_taken_over_and_another_agents_is_not(rig: Rig, tmp_path: Path) -> None:
    """Nor is a file that is no socket."""
    with pytest.raises(BadConfiguration, match="another agent listens"):
        listening(rig.path, None)
    left = rig.path.with_name("left")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(left))
    listening(left, None).close()
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadConfiguration, match="is no socket"):
        listening(tmp_path / "file", None)
    with pytest.raises(BadConfiguration, match="name a directory that exists and is yours"):
        listening(tmp_path / "no" / "such", None)


def test_processes_that_are_gone_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are connected never."""
    streams = Streams({"sdk:old": [3, 0, 0], "sdk:open": [4, 0, 0], "files": []})
    assert streams.opened("new", KEPT_MS + 1, {"open"}) == {"sdk:old": None}
    assert streams.durable("open") == 4
    monkeypatch.setattr(streams_module, "MOST", 20)
    for n in range(30):
        streams.opened(f"s{n}", KEPT_MS + 1 + n, {"open"})
    assert len(streams._heard) <= 20
    assert streams.takes("open", 4, 1) is False


def test_nothing_is_read_while_too_much_waits(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group is written first."""
    monkeypatch.setattr(listener_module, "MOST_PENDING", 1)
    first, second = rig.process("a" * 32), rig.process("b" * 32)
    rig.listener.take(START_MS)
    first.export(1)
    second.export(1)
    time.sleep(0.01)
    rig.listener.take(START_MS)
    assert rig.spool.pending == 2  # one event and its mark
    rig.turn()
    rig.turn()
    assert len(rig.events()) == 2


def test_when_descriptors_are_short_the_agent_does_not_spin(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits would wake it all the time; it looks again after a second."""

    class Short:
        """A socket that can accept nobody."""

        def __init__(self, real: socket.socket) -> None:
            self.real, self.short = real, True

        def accept(self) -> Any:
            if self.short:
                raise OSError(24, "Too many open files")
            return self.real.accept()

        def fileno(self) -> int:
            return self.real.fileno()

        def close(self) -> None:
            self.real.close()

    rig.listener._selector.unregister(rig.listener._socket)
    short = Short(rig.listener._socket)
    rig.listener._socket = short  # type: ignore[assignment]  # as much of one as is used
    rig.listener._selector.register(short, selectors.EVENT_READ)
    one = rig.process()
    one.export(1)
    rig.turn()
    began = time.monotonic()
    rig.listener.wait(0.1)
    assert time.monotonic() - began >= 0.09
    short.short = False
    rig.now += 1.1
    rig.turn()
    assert [event.rows for event in rig.events()] == [1]
