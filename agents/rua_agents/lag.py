"""How long ago that was written which the broker has not acknowledged yet."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

KEPT = 128


class _Seen(NamedTuple):
    at_ms: int
    size: int


class Lag:
    """One file. It remembers when the file had which size, and so how old its first unacknowledged byte is."""

    def __init__(self, written_ms: int | None = None) -> None:
        self._written_ms = written_ms
        self._seen: deque[_Seen] = deque()

    def observe(self, now_ms: int, size: int, acked: int) -> int:
        """The lag in milliseconds; 0 if nothing waits. Of what was there at the first look it is the least."""
        seen = self._seen
        if seen and size < seen[-1].size:
            seen.clear()  # truncated
        if not seen or size > seen[-1].size:
            first = self._written_ms if self._written_ms is not None and not seen else now_ms
            self._written_ms = None
            seen.append(_Seen(min(first, now_ms), size))
        while seen and seen[0].size <= acked and len(seen) > 1:
            seen.popleft()
        if len(seen) > KEPT:
            self._thin()
        return max(0, now_ms - seen[0].at_ms) if seen[0].size > acked else 0

    def _thin(self) -> None:
        """Forgets every other size, the newest never: a lag of hours need not be known to the second."""
        seen = list(self._seen)
        self._seen = deque([*seen[:-1:2], seen[-1]])


class Lags:
    """All files of an agent."""

    def __init__(self) -> None:
        self._files: dict[str, Lag] = {}

    def observe(self, path: str, now_ms: int, size: int, acked: int) -> int:
        """As `Lag.observe`."""
        return self._files.setdefault(path, Lag()).observe(now_ms, size, acked)

    def forget_but(self, paths: set[str]) -> None:
        """Drops what is not followed any more."""
        for path in self._files.keys() - paths:
            del self._files[path]
