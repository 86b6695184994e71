"""The one thread that feeds the spool: it goes on while the agent's loop waits for a broker that is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from threading import Event, Thread

from rua_common.clock import Clock

from rua_agents.intake.contract import Feed
from rua_agents.spool.spool import Spool

log = logging.getLogger(__name__)
COMMIT_EVENTS = 500
COMMIT_SECONDS = 0.2
IDLE_SECONDS = 0.2
REPAIR_SECONDS = 1.0
STOP_SECONDS = 5.0


class Intake:
    """Turns of all feeds, and group commit: 500 events or 200 ms, whichever is first."""

    def __init__(
        self,
        spool: Spool,
        feeds: Sequence[Feed],
        *,
        clock: Clock,
        wait: Callable[[float], None] | None = None,
        pace: Callable[[float], float] = lambda _: 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool, self._feeds, self._clock, self._monotonic = spool, feeds, clock, monotonic
        self._stopping = Event()
        self._wait = wait or self._stopping.wait
        """Waits so many seconds, or until there is something to take."""
        self._pace, self._paused_until = pace, float("-inf")
        """From the time, in seconds, to how long the limits of speed want a pause."""
        self._since: float | None = None
        self._thread: Thread | None = None
        self.failure: BaseException | None = None
        """What ended the thread, if anything did."""

    def start(self) -> None:
        """Begins, once."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="rua-intake", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Takes nothing more in; what came is committed."""
        self._stopping.set()
        if self._thread is None:
            self._close()
        else:
            self._thread.join(STOP_SECONDS)

    @property
    def problems(self) -> dict[str, str]:
        """Name → why nothing comes from there."""
        found = {name: why for feed in self._feeds for name, why in feed.problems.items()}
        trouble = self._spool.trouble
        return found if trouble is None else {**found, str(self._spool.directory): trouble}

    def turn(self) -> None:
        """Takes what there is; commits when it is time."""
        now = self._monotonic()
        if now >= self._paused_until and self._spool.has_room:
            for feed in self._feeds:
                feed.take(self._clock.now_ms())
            self._paused_until = now + self._pace(now)
        pending = self._spool.pending
        if not pending:
            return
        self._since = now if self._since is None else self._since
        if pending >= COMMIT_EVENTS or now - self._since >= COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        if self._spool.commit():
            self._since = None
            for feed in self._feeds:
                feed.committed()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self.turn()
                self._pause()
            if self._spool.pending:
                self._commit()
        except BaseException as why:  # told to the agent's loop, which raises it
            log.critical("what feeds the spool has failed: %s", why)
            self.failure = why
        finally:
            self._close()

    def _close(self) -> None:
        for feed in self._feeds:
            feed.close()

    def _pause(self) -> None:
        """Until there is something to do. Where nothing may be taken, whoever has something must not wake us."""
        now = self._monotonic()
        due = IDLE_SECONDS if self._since is None else self._since + COMMIT_SECONDS - now
        seconds = max(0.0, min(IDLE_SECONDS, due))
        if not self._spool.has_room:
            self._stopping.wait(REPAIR_SECONDS if self._spool.problem else IDLE_SECONDS)
        elif now < self._paused_until:
            self._stopping.wait(min(seconds, self._paused_until - now))
        else:
            self._wait(seconds)
