"""Hands over to the agent on this host: at any price but the caller's.

`put` takes no lock that a thread could hold while it waits, so that it may be called from any thread, from a signal
handler, in a forked child and while the interpreter ends.
"""

from __future__ import annotations

import atexit
import os
import queue
import sys
import threading
import time
from typing import Any

from rua_agents.sdk.sending import Sender

DEFAULT_SOCKET = "/run/rua/agent.sock"
MOST_WAITING = 10_000
"""Exports between callers and the thread; it looks every 50 ms."""
LINGER_SECONDS = 0.05
EXIT_SECONDS = 0.5
_STOP = object()


class Client:
    """One agent's socket, as seen from one process."""

    _thread: threading.Thread | None

    def __init__(self, path: str) -> None:
        self.path = path
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)
        atexit.register(self._at_exit)

    def put(self, body: bytes) -> None:
        """Takes an export's body; returns at once. If too many wait, the oldest is dropped and counted."""
        if self._waiting.qsize() >= MOST_WAITING:
            self._drop()
        self._waiting.put(body)
        if self._thread is None:
            self._start()

    def flush(self, seconds: float = EXIT_SECONDS, *, patient: bool = True) -> bool:
        """Waits until the agent has everything, but no longer than this; whether it has.

        Args:
            seconds: at most.
            patient: whether to wait for an agent that is not there.
        """
        if self._thread is None:
            return self._waiting.empty()
        until, marker = time.monotonic() + seconds, threading.Event()
        self._waiting.put(marker)  # what was put before it is known to the sender when it is set
        if not marker.wait(seconds):
            return False
        while self._sender.unfinished:
            if time.monotonic() >= until or (self._sender.refused and not patient):
                return False
            time.sleep(0.005)
        return True

    def _at_exit(self) -> None:
        self.flush(EXIT_SECONDS, patient=False)

    def close(self) -> None:
        """Ends the thread: for tests, and for programs that exchange their agent."""
        thread = self._thread
        if thread is not None:
            self._waiting.put(_STOP)
            thread.join()
            self._thread = None

    def _begin(self) -> None:
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = None
        self._starting = threading.Lock()
        self._counting = threading.RLock()
        self._dropped = 0
        self._sender = Sender(self.path)

    def _forked(self) -> None:
        """What waits is the parent's to send; the child speaks for itself, under another name."""
        self._sender.forget()
        self._begin()

    def _drop(self) -> None:
        try:
            self._waiting.get_nowait()
        except queue.Empty:
            return
        with self._counting:  # held for one addition; a signal handler of the same thread may enter again
            self._dropped += 1

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                self._renew_queue()
                thread = threading.Thread(target=self._run, args=(self._waiting, self._sender), daemon=True)
                thread.name = "rua-sdk"
                thread.start()
                self._thread = thread
                self._flush_at_end()
        except RuntimeError:
            pass  # no thread can be had now (too many, or the interpreter ends); the next export tries again
        finally:
            self._starting.release()

    def _renew_queue(self) -> None:
        """If gevent has exchanged threads and queues since the import, the old queue would stop all greenlets."""
        if type(self._waiting) is not queue.SimpleQueue:
            before, self._waiting = self._waiting, queue.SimpleQueue()
            while not before.empty():
                self._waiting.put(before.get_nowait())

    def _flush_at_end(self) -> None:
        """The children of multiprocessing end without atexit, by a list of their own."""
        utilities = sys.modules.get("multiprocessing.util")
        if utilities is not None:
            utilities.Finalize(None, self._at_exit, exitpriority=0)

    def _run(self, waiting: queue.SimpleQueue[Any], sender: Sender) -> None:
        while True:
            ended = self._gather(waiting, sender)
            sender.drop(self._taken_dropped())
            sender.exchange()
            if ended:
                sender.close()
                return

    def _gather(self, waiting: queue.SimpleQueue[Any], sender: Sender) -> bool:
        """Waits for an export, or a moment if something is on its way; takes all that wait. True: that was all."""
        idle = not sender.unfinished
        try:
            one = waiting.get(timeout=None if idle else sender.pause_seconds)
            if idle and isinstance(one, bytes):
                time.sleep(LINGER_SECONDS)  # others may follow: one message instead of many
            while one is not _STOP:
                if isinstance(one, threading.Event):
                    one.set()
                else:
                    sender.add(one)
                one = waiting.get_nowait()
        except queue.Empty:
            return False
        return True

    def _taken_dropped(self) -> int:
        with self._counting:
            dropped, self._dropped = self._dropped, 0
        return dropped


_client: Client | None = None


def client() -> Client:
    """This process's client; the socket is `RUA_SOCKET`, unless `configure` named another."""
    global _client  # noqa: PLW0603 - one a process, made when the first export ends
    if _client is None:
        _client = Client(os.environ.get("RUA_SOCKET", DEFAULT_SOCKET))
    return _client


def configure(socket: str) -> None:
    """Names the agent's socket; what waited for another one is still handed over there."""
    global _client  # noqa: PLW0603 - as above
    if _client is None or _client.path != socket:
        _client = Client(socket)


def flush(seconds: float = EXIT_SECONDS) -> bool:
    """Waits until the agent has everything, but no longer than this: for short-lived jobs. Whether it has."""
    return client().flush(seconds)
