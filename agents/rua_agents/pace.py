"""How fast the agent may be: so much a second of CPU, bytes and events, on average over about a second."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from rua_agents.settings import Limits

BURST_SECONDS = 1.0


def paced(limits: Limits) -> Limits:
    """The limits with turns so small that a second's worth of bytes is read in a second, not a minute's at once."""
    if not limits.bytes_per_second:
        return limits
    return msgspec.structs.replace(limits, read_bytes=min(limits.read_bytes, limits.bytes_per_second))


class Bucket:
    """So much a second. What was taken beyond a burst has to be waited for."""

    def __init__(self, per_second: float, burst_seconds: float = BURST_SECONDS) -> None:
        self._per_second, self._burst_seconds = per_second, burst_seconds
        self._taken = self._total = 0.0
        self._at: float | None = None

    def pause(self, total: float, now: float) -> float:
        """Seconds to wait, now that `total` has been taken in all. 0 a second is no limit."""
        if not self._per_second:
            return 0.0
        earned = 0.0 if self._at is None else (now - self._at) * self._per_second
        new = total - self._total if self._at is not None else 0.0  # what was taken before the first look is forgiven
        self._taken = max(0.0, self._taken - earned) + max(0.0, new)
        self._at, self._total = now, total
        return max(0.0, self._taken / self._per_second - self._burst_seconds)


class Pace:
    """All limits of speed."""

    def __init__(self, limits: Limits, cpu_seconds: Callable[[], float] = time.process_time) -> None:
        self._cpu_seconds = cpu_seconds
        self._cpu = Bucket(limits.cpu_percent / 100)
        self._bytes, self._events = Bucket(limits.bytes_per_second), Bucket(limits.events_per_second)

    def pause(self, now: float, *, read_bytes: int, events: int) -> float:
        """Seconds to wait, after so many bytes and events in all.

        Args:
            now: seconds of a clock that never goes back.
            read_bytes: of all sources since the start.
            events: likewise, that were sent.
        """
        return max(
            self._cpu.pause(self._cpu_seconds(), now),
            self._bytes.pause(read_bytes, now),
            self._events.pause(events, now),
        )
