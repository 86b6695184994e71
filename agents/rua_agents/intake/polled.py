"""A source that is asked: one thread asks it, the intake's thread makes events of the rows."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import msgspec
from rua_common.clock import Clock

from rua_agents.collectors import Draft
from rua_agents.identity import random_source_id
from rua_agents.intake.contract import Poll, Poller, PollFailed
from rua_agents.records import RawRecord
from rua_agents.spool.spool import Spool
from rua_agents.stream import Origin, SourceStream

log = logging.getLogger(__name__)
FIRST_BACK_OFF_SECONDS, LAST_BACK_OFF_SECONDS = 1.0, 300.0
SILENT_SECONDS = 120.0
"""Longer than any time-out of a poller: then something hangs."""
STOP_SECONDS = 2.0


class Mark(msgspec.Struct):
    """How far a source is read, as it stands beside the events in the spool."""

    source_id: str
    next: int = 0
    """Number of the next row over the source's life: what files call an offset."""
    cursor: Any = None
    stream: dict[str, Any] | None = None


class NamedStream(SourceStream):
    """A stream whose source is known before its first record."""

    def __init__(self, origin: Origin, name: str, source_id: str) -> None:
        super().__init__(origin, name, warns=False)
        self._begin(source_id)


class PolledSource:
    """A feed of the intake. Rows, their numbers and the cursor are durable together: none is lost, none doubled."""

    def __init__(
        self,
        name: str,
        origin: Origin,
        poller: Poller,
        spool: Spool,
        *,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name, self._origin, self._poller, self._spool = name, origin, poller, spool
        self._clock, self._monotonic = clock, monotonic
        found = spool.marks.get(name)
        self._mark = Mark(random_source_id()) if found is None else msgspec.convert(found, Mark)
        self._stream = NamedStream(origin, name, self._mark.source_id)
        if self._mark.stream is not None:
            self._stream.load(self._mark.stream)
        self._answer: Poll | None = None
        self._appended = False
        self._durable, self._stopping = Event(), Event()
        self._problem: str | None = None
        self._asked_at: float | None = None
        self._thread: Thread | None = None

    @property
    def problems(self) -> dict[str, str]:
        """Why nothing comes from there."""
        asked_at = self._asked_at
        waits = 0.0 if asked_at is None else self._monotonic() - asked_at
        if waits > SILENT_SECONDS:
            return {self.name: f"has not answered for {waits:.0f} seconds"}
        return {} if self._problem is None else {self.name: self._problem}

    def take(self, now_ms: int) -> None:
        """Makes events of what was answered, if anything was."""
        if self._thread is None:
            self._thread = Thread(target=self._ask, name=f"rua-{self.name}", daemon=True)
            self._thread.start()
        silent_at = self._stream.silent_at
        if self._answer is not None and not self._appended:
            self._append(self._events(self._answer, now_ms))
            self._appended = True
        elif silent_at is not None and now_ms >= silent_at and self._answer is None:
            self._append(self._stream.flush())

    def committed(self) -> None:
        """The source may be asked for more."""
        if self._appended:
            self._appended, self._answer = False, None
            self._durable.set()

    def close(self) -> None:
        """Asks no more. An answer that was not committed is asked for again."""
        self._stopping.set()
        self._durable.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _events(self, answer: Poll, now_ms: int) -> list[Draft]:
        mark, made = self._mark, list[Draft]()
        for row in answer.rows:
            self._origin.tally.read_bytes += len(row)
            made += self._stream.feed(RawRecord(mark.next, row, mark.next + 1), now_ms)
            mark.next += 1
        mark.cursor = answer.cursor
        return made

    def _append(self, events: list[Draft]) -> None:
        self._mark.stream = self._stream.dump()
        self._spool.append(events, {self.name: msgspec.to_builtins(self._mark)})

    def _ask(self) -> None:
        cursor, back_off, pause = self._mark.cursor, FIRST_BACK_OFF_SECONDS, 0.0
        try:
            while not self._stopping.wait(pause):
                answer = self._poll(cursor)
                if answer is None:
                    pause, back_off = back_off, min(2 * back_off, LAST_BACK_OFF_SECONDS)
                    continue
                back_off = FIRST_BACK_OFF_SECONDS
                pause = 0.0 if answer.more else self._poller.every_seconds
                if answer.rows or answer.cursor != cursor:
                    cursor = answer.cursor
                    self._hand_over(answer)
        finally:
            self._poller.close()

    def _poll(self, cursor: Any) -> Poll | None:
        self._asked_at = self._monotonic()
        try:
            answer = self._poller.poll(cursor, self._clock.now_ms())
        except (PollFailed, OSError) as why:
            self._failed(str(why) or type(why).__name__)
            return None
        except Exception as why:
            log.exception("%s: a fault of the poller itself", self.name)
            self._failed(f"a fault of the poller itself: {why!r}")
            return None
        finally:
            self._asked_at = None
        if self._problem is not None:
            log.info("%s answers again", self.name)
        self._problem = None
        return answer

    def _failed(self, problem: str) -> None:
        if problem != self._problem:
            log.error("%s: %s", self.name, problem)
        self._problem = problem

    def _hand_over(self, answer: Poll) -> None:
        """Waits until its events are durable: the next question starts where this answer ended."""
        self._durable.clear()
        self._answer = answer
        if not self._stopping.is_set():  # `close` says that first, and then that nobody need wait
            self._durable.wait()
