"""The SDK: it counts what is exported, and whatever happens to it, nothing happens to its caller."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.sdk import client as client_module, exporting, sending
from rua_agents.sdk.client import Client
from rua_agents.sdk.exporting import Export, export
from rua_agents.sdk.subjects import Distinct
from rua_agents.sdk.wire import ACK, HEADER, MOST_BODY_BYTES


class FakeAgent:
    """Takes frames at a socket; acknowledges what it is told to, or all."""

    def __init__(self, path: str, *, acknowledges: bool = True) -> None:
        self.path, self.acknowledges = path, acknowledges
        self.frames: list[tuple[int, dict[str, Any]]] = []
        self._connections: list[socket.socket] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        self._socket.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                made, _ = self._socket.accept()
            except OSError:
                return
            self._connections.append(made)
            threading.Thread(target=self._serve, args=(made,), daemon=True).start()

    def _serve(self, made: socket.socket) -> None:
        with made:
            kept = b""
            try:
                while chunk := made.recv(1 << 16):
                    kept += chunk
                    while len(kept) >= HEADER.size and len(kept) >= HEADER.size + HEADER.unpack_from(kept)[0]:
                        length, number = HEADER.unpack_from(kept)
                        self.frames.append((number, json.loads(kept[HEADER.size : HEADER.size + length])))
                        kept = kept[HEADER.size + length :]
                        if number and self.acknowledges:
                            made.sendall(ACK.pack(number))
            except OSError:
                return

    def close(self) -> None:
        """As an agent that is killed."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for one in self._connections:
            one.close() if one.fileno() < 0 else one.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        os.unlink(self.path)

    def exports(self) -> list[dict[str, Any]]:
        """Their bodies, in the order of their numbers, each once."""
        return [body for _, body in sorted({n: b for n, b in self.frames if n}.items())]


@pytest.fixture
def path() -> Iterator[str]:
    """Of a socket: its name must be short."""
    with TemporaryDirectory() as directory:
        yield f"{directory}/s"


@pytest.fixture
def used(path: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The client that `export` uses."""
    made = Client(path)
    monkeypatch.setattr(client_module, "_client", made)
    yield made
    made.close()


@pytest.fixture
def agent(path: str) -> Iterator[FakeAgent]:
    """One that acknowledges everything."""
    made = FakeAgent(path)
    yield made
    made.close()


def test_rows_bytes_and_people_are_counted_as_they_pass(used: Client, agent: FakeAgent) -> None:
    """What passes is untouched."""
    rows = [{"buyer": n % 7} for n in range(100)]
    with export(dataset="orders", actor="ana", merchant=12, subjects_of=lambda row: row["buyer"]) as e:
        assert list(e.count(rows)) == rows
        assert b"".join(e.count([b"abc", b"de"])) == b"abcde"
    with export(dataset="orders") as e:
        e.rows(rows[:30])
        e.rows(5)
        e.add(rows=1, bytes=10, subjects=9)
    with export(dataset="texts") as e:
        assert list(e.count(["ก", "ab"])) == ["ก", "ab"]
    assert used.flush(5)
    first, second, third = agent.exports()
    assert (first["rows"], first["bytes"], first["subjects"], first["subjects_quality"]) == (100, 5, 7, "exact")
    assert (first["actor"], first["merchant"], first["outcome"], first["action"]) == ("ana", 12, "ok", "export")
    assert (second["rows"], second["bytes"], second["subjects"]) == (36, 10, 9)
    assert ("rows" not in third, third["bytes"]) == (True, 5)


def test_an_exception_goes_on_its_way_and_the_export_counts_as_failed(used: Client, agent: FakeAgent) -> None:
    """What was counted is an upper bound: nobody knows how much of it arrived."""
    reason = ValueError("disk")

    def fails() -> None:
        with export(dataset="orders") as e:
            e.rows(10)
            raise reason

    with pytest.raises(ValueError, match="disk") as raised:
        fails()
    assert raised.value is reason
    for ended in (KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit):
        with pytest.raises(ended), export(dataset="orders"):
            raise ended
    assert used.flush(5)
    failed, *aborted = agent.exports()
    assert (failed["outcome"], failed["rows"], failed["rows_quality"]) == ("failed", 10, "upper_bound")
    assert [one["outcome"] for one in aborted] == ["aborted"] * 4


def test_asynchronous_code_and_decorators(used: Client, agent: FakeAgent) -> None:
    """A decorated function's value is the export."""

    async def rows() -> AsyncIterator[int]:
        for n in range(5):
            yield n

    async def asynchronous() -> list[int]:
        async with export(dataset="a") as e:
            return [row async for row in e.acount(rows())]

    @export(dataset="b")
    def listed(count: int) -> list[int]:
        return list(range(count))

    @export(dataset="c")
    async def awaited() -> bytes:
        return b"12345678"

    assert asyncio.run(asynchronous()) == [0, 1, 2, 3, 4]
    assert (listed(3), listed(4), asyncio.run(awaited())) == ([0, 1, 2], [0, 1, 2, 3], b"12345678")
    assert used.flush(5)
    assert [(one["dataset"], one.get("rows"), one.get("bytes")) for one in agent.exports()] == [
        ("a", 5, None),
        ("b", 3, None),
        ("b", 4, None),
        ("c", None, 8),
    ]


class _Hostile:
    """Whatever is asked of it, it fails."""

    def __str__(self) -> str:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


def test_nothing_that_the_caller_gives_makes_the_sdk_raise(used: Client, agent: FakeAgent) -> None:
    """A value that cannot be told costs itself; the export is still told."""
    hostile: Any = _Hostile()
    with export(dataset="orders", actor=hostile, categories=hostile, subjects_of=lambda _: 1 / 0) as e:
        e.rows(hostile)
        e.rows(iter([1]))  # type: ignore[arg-type]  # what a person may do
        e.add(rows=hostile, bytes=hostile, subjects=hostile)
        assert list(e.count([1, 2])) == [1, 2]
    with export(dataset="\ud800\0\n" * 9_000, actor=10**5_000):
        pass
    assert used.flush(5)
    first, second = agent.exports()
    assert (first["rows"], first["actor"], "subjects" in first) == (2, None, False)
    assert second["dataset"] == "?" * exporting.MOST_CHARACTERS


@settings(max_examples=30, deadline=None)
@given(st.text(min_size=1, max_size=4))
def test_an_export_with_all_its_texts_at_their_longest_fits_into_a_frame(piece: str) -> None:
    """Else the agent would cut the connection, and a name could hide an export."""
    text = piece * 512
    named: Any = dict.fromkeys(
        ("dataset", "actor", "merchant", "app", "destination", "action", "actor_type", "address", "session", "ticket"),
        text,
    )
    bodies: list[bytes] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Client, "put", lambda _, body: bodies.append(body))
        patched.setattr(client_module, "_client", Client.__new__(Client))
        with export(**named, categories=[text] * 99) as e:
            e.add(rows=1 << 61, bytes=1 << 61, subjects=1 << 61)
    assert len(bodies[0]) <= MOST_BODY_BYTES


def test_without_an_agent_the_oldest_are_dropped_and_that_is_said(
    used: Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call costs the same, memory is bounded, and the numbers have no gap."""
    monkeypatch.setattr(sending, "MOST_BYTES", 50_000)
    for n in range(2_000):
        with export(dataset="orders") as e:
            e.rows(n)
    assert not used.flush(0.2)
    agent = FakeAgent(path)
    assert used.flush(10)
    told = [body["dropped"] for number, body in agent.frames if not number and "dropped" in body]
    kept = [one["rows"] for one in agent.exports()]
    assert kept == list(range(2_000 - len(kept), 2_000))
    assert told[-1] == 2_000 - len(kept) > 1_000
    assert [number for number, _ in agent.frames if number][-1] == 2_000
    agent.close()


def test_a_full_buffer_between_caller_and_thread_drops_and_counts(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that export faster than one thread can take."""
    monkeypatch.setattr(client_module, "MOST_WAITING", 10)
    monkeypatch.setattr(Client, "_start", lambda _: None)
    made = Client(path)
    for n in range(25):
        made.put(b"%d" % n)
    assert [made._waiting.get() for _ in range(made._waiting.qsize())] == [b"%d" % n for n in range(15, 25)]
    assert made._taken_dropped() == 15


def test_a_queue_that_was_exchanged_since_is_left_and_nothing_in_it(
    path: str, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As gevent does, with the threads: a queue of the old kind would stop all of its greenlets."""

    class Exchanged(queue.SimpleQueue[Any]):
        """Another kind."""

    made = Client(path)
    monkeypatch.setattr(queue, "SimpleQueue", Exchanged)
    made.put(b'{"rows": 1}')
    assert isinstance(made._waiting, Exchanged)
    assert made.flush(5)
    assert agent.exports() == [{"rows": 1}]
    made.close()


def test_what_was_not_acknowledged_is_sent_again_with_its_number(used: Client, path: str) -> None:
    """An agent that is killed, then another one: every export arrives, and a double is recognisable."""
    first = FakeAgent(path, acknowledges=False)
    for n in range(20):
        with export(dataset="orders") as e:
            e.rows(n)
    until = time.monotonic() + 5
    while len(first.exports()) < 20 and time.monotonic() < until:
        time.sleep(0.01)
    first.close()
    second = FakeAgent(path)
    assert used.flush(10)
    assert second.exports() == first.exports()
    assert [one["rows"] for one in second.exports()] == list(range(20))
    assert {body["stream"] for n, body in first.frames + second.frames if not n and "stream" in body} == {
        used._sender._stream
    }
    second.close()


def test_an_agent_that_reads_nothing_costs_nothing(used: Client, path: str) -> None:
    """Its socket is full: the caller does not wait."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(path)
        silent.listen()
        slowest = 0.0
        for _ in range(3_000):
            began = time.perf_counter()
            with export(dataset="x" * 900) as e:
                e.rows(1)
            slowest = max(slowest, time.perf_counter() - began)
        assert slowest < 1.0
        assert not used.flush(0.1)


def test_many_threads_lose_nothing(used: Client, agent: FakeAgent) -> None:
    """A thousand of them."""

    def work(n: int) -> None:
        with export(dataset="orders") as e:
            e.rows(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1_000)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert used.flush(10)
    assert sorted(one["rows"] for one in agent.exports()) == list(range(1_000))


def test_a_signal_handler_may_export_while_its_thread_exports(used: Client, agent: FakeAgent) -> None:
    """No lock is held that the handler would wait for."""
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        with export(dataset="signal"):
            pass

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            with export(dataset="loop"):
                pass
            time.sleep(0.0001)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert used.flush(10)
    assert sum(one["dataset"] == "signal" for one in agent.exports()) == handled > 50


def run_python(path: str, code: str) -> None:
    """A process of the platform."""
    environ = {**os.environ, "RUA_SOCKET": path}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environ, check=True, timeout=30)


def test_a_process_that_ends_hands_over_first_and_so_do_its_children(agent: FakeAgent, path: str) -> None:
    """`os.fork` and multiprocessing: a child speaks for itself and sends nothing of its parent's twice."""
    run_python(
        path,
        """
        import multiprocessing, os, sys
        from rua_agents.sdk import export, flush
        def work(name):
            with export(dataset=name):
                pass
        if __name__ == "__main__":
            work("parent-1")
            child = os.fork()
            if child == 0:
                work("forked")
                sys.exit()
            os.waitpid(child, 0)
            other = multiprocessing.get_context("fork").Process(target=work, args=("multiprocessing",))
            other.start()
            other.join()
            work("parent-2")
        """,
    )
    bodies = [(number, body) for number, body in agent.frames if number]
    assert sorted(body["dataset"] for _, body in bodies) == ["forked", "multiprocessing", "parent-1", "parent-2"]
    assert sorted(number for number, _ in bodies) == [1, 1, 1, 2]
    assert len({body["stream"] for number, body in agent.frames if not number and "stream" in body}) == 3


def test_a_process_without_an_agent_ends_soon_and_well(path: str) -> None:
    """Nobody listens: what cannot be handed over is not waited for."""
    run_python(
        path,
        """
        import atexit, os, time
        from rua_agents.sdk import export
        began = None
        def ended():
            os._exit(time.monotonic() - began > 0.45)
        atexit.register(ended)
        with export(dataset="x"):
            pass
        began = time.monotonic()
        """,
    )


def test_the_sdk_needs_the_standard_library_alone(path: str) -> None:
    """And its folder works where nothing of Rua is installed."""
    code = "import sys; import rua_agents.sdk; print([m for m in sys.modules if '.' not in m])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=30)
    bare = subprocess.run([sys.executable, "-c", "import sys; print([m for m in sys.modules if '.' not in m])"],
                          capture_output=True, check=True, text=True, timeout=30)  # fmt: skip
    new = set(json.loads(found.stdout.replace("'", '"'))) - set(json.loads(bare.stdout.replace("'", '"')))
    assert {name for name in new if name not in sys.stdlib_module_names} == {"rua_agents"}


def test_the_sdk_uses_no_grammar_newer_than_python_3_9() -> None:
    """So that the platform's own interpreter can read it."""
    import ast  # noqa: PLC0415 - this test's own

    for one in Path(exporting.__file__).parent.glob("*.py"):
        tree = ast.parse(one.read_text(), feature_version=(3, 9))
        assert isinstance(tree, ast.Module)
        imported = [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        annotations = "annotations" in one.read_text()
        assert annotations or one.name in ("__init__.py", "wire.py")
        assert all(
            (name and not name.startswith("rua_")) or str(name).startswith("rua_agents.sdk") for name in imported
        )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 300), st.text(max_size=2)), max_size=400))
def test_people_are_counted_exactly_while_they_are_few(keys: list[object]) -> None:
    """Keys are equal if their texts are."""
    counter = Distinct()
    for key in keys:
        counter.add(key)
    assert (counter.count, counter.exact) == (len({str(key) for key in keys}), True)


@pytest.mark.parametrize("people", [4_096, 4_097, 20_000, 100_000])
def test_many_people_are_estimated_within_a_few_percent(people: int) -> None:
    """Five standard errors are 8 %; repeated keys change nothing; memory stays bounded."""
    counter = Distinct()
    for turn in range(2):
        for n in range(people):
            counter.add(f"buyer-{n}")
        assert abs(counter.count - people) <= (0.08 * people if people > 4_096 else 0), turn
    assert counter.exact == (people <= 4_096)
    assert len(counter._known) == len(counter._largest_first) == 4_096


def test_an_export_that_is_entered_again_starts_anew(used: Client, agent: FakeAgent) -> None:
    """One object for many exports."""
    named: Export = export(dataset="orders")
    for rows in (3, 4):
        with named as e:
            e.rows(rows)
    assert used.flush(5)
    assert [one["rows"] for one in agent.exports()] == [3, 4]
