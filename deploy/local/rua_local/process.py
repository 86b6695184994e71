"""A service as a child process: own session, output in a file, gone when this process is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rua_common.errors import RuaError

TETHER = Path(__file__).with_name("tether.py")
POLL_SECONDS = 0.01


class ServiceFailed(RuaError):
    """A local service did not start. The text holds the cause, or the end of the service's log."""


class Child:
    """One program, its data directory, and what can happen to it. `pause` and `kill` are for tests of faults."""

    def __init__(self, name: str, log: Path) -> None:
        self.name, self.log = name, log
        self._process: subprocess.Popen[bytes] | None = None
        self._claim: TextIO | None = None

    @property
    def pid(self) -> int | None:
        """Process id, None when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Takes the directory of the log, so that no second program starts there; `stop` and `kill` give it back.

        Raises:
            ServiceFailed: it is taken.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        claim = self.log.with_name(".claim").open("w")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as why:
            claim.close()
            taken = f"{self.name} runs in {self.log.parent} already: stop it, or choose another directory"
            raise ServiceFailed(taken) from why
        self._claim = claim
        try:
            yield
        except BaseException:
            self.kill()
            raise

    def start(
        self,
        command: Sequence[str],
        *,
        ready: Callable[[], bool],
        environ: Mapping[str, str] | None = None,
        seconds: float = 60,
    ) -> None:
        """Runs the command and waits until `ready` says so. Call it within `starting`.

        Raises:
            ServiceFailed: the program ended, or it was not ready after `seconds`.
        """
        with self.log.open("ab") as log:
            self._process = _spawn(command, log.fileno(), environ)
        deadline = time.monotonic() + seconds
        while not ready():
            if self.pid is None:
                raise ServiceFailed(f"{self.name} ended with code {self._process.returncode}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ServiceFailed(f"{self.name} does not answer after {seconds:g} s\n{self.tail()}")
            time.sleep(POLL_SECONDS)

    def stop(self, seconds: float = 30) -> None:
        """Asks it to end (SIGTERM) and waits; kills it after `seconds`. Nothing happens when it does not run."""
        if self._process is not None:
            self.resume()
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """Ends it at once, as a crash would (SIGKILL)."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def pause(self) -> None:
        """Freezes it (SIGSTOP): connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def tail(self, lines: int = 15) -> str:
        """The end of its log without Java's call stacks, and where the rest is."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        telling = [line for line in text.splitlines() if not line.startswith("\tat ")]
        return "\n".join([f"the end of {self.log}:", *telling[-lines:]])

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None and self._process is not None:
            self._process.send_signal(number)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def listening(port: int) -> bool:
    """Whether somebody answers at that port of 127.0.0.1."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def require_free(port: int, what: str) -> None:
    """Refuses a port that is taken.

    Raises:
        ServiceFailed: it is.
    """
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as why:
        raise ServiceFailed(
            f"{what} cannot use port {port} of 127.0.0.1: {why.strerror}. Stop what runs there, or choose another port"
        ) from why


def _spawn(command: Sequence[str], output: int, environ: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    tethered = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *command]
    return _STARTER.run(
        lambda: subprocess.Popen(
            tethered,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environ,
            start_new_session=True,  # Ctrl-C in the terminal must reach us first: we drain, then stop it
        )
    )


class Service(ABC):
    """A local service in a child process: a context manager that runs it. `start` is what each does in its own way."""

    def __init__(self, child: Child) -> None:
        self._child = child

    @property
    def pid(self) -> int | None:
        """Its process id, None when it does not run."""
        return self._child.pid

    @property
    def log(self) -> Path:
        """What it wrote."""
        return self._child.log

    @abstractmethod
    def start(self) -> None:
        """Starts it, if it does not run, and waits until it answers."""

    def stop(self) -> None:
        """Stops it cleanly."""
        self._child.stop()

    def kill(self) -> None:
        """Ends it as a power cut would end the process (SIGKILL)."""
        self._child.kill()

    def pause(self) -> None:
        """Freezes it: clients stay connected and get no answer."""
        self._child.pause()

    def resume(self) -> None:
        """Lets it go on."""
        self._child.resume()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Starter:
    """Starts children from one thread that lives as long as the process.

    To Linux the parent is the *thread* that forked: a child started in a worker thread would die with that thread.
    """

    def __init__(self) -> None:
        self._wanted: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]]
        self._wanted = queue.SimpleQueue()
        self._pid = 0

    def run(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        if self._pid != os.getpid():  # first use, or the first one after a fork
            self._pid = os.getpid()
            threading.Thread(target=self._serve, name="rua-starter", daemon=True).start()
        started: Future[subprocess.Popen[bytes]] = Future()
        self._wanted.put((start, started))
        return started.result()

    def _serve(self) -> None:
        while True:
            start, started = self._wanted.get()
            try:
                started.set_result(start())
            except BaseException as why:  # handed to the caller, whatever it is
                started.set_exception(why)


_STARTER = _Starter()
