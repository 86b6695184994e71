"""How far each process was heard: what it sends again is known, what it could not keep is counted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

PREFIX = "sdk:"
KEPT_MS = 3_600_000
"""A process that is away longer has given up, or starts anew; its events would still have the same ids."""
MOST = 4_096


class _Heard:
    """One process."""

    __slots__ = ("dropped", "durable", "seen_ms", "taken")

    def __init__(self, taken: int = 0, dropped: int = 0, seen_ms: int = 0) -> None:
        self.taken = self.durable = taken
        self.dropped, self.seen_ms = dropped, seen_ms


class Streams:
    """All processes of one socket. Their marks stand in the spool beside their events."""

    def __init__(self, marks: Mapping[str, Any]) -> None:
        self._heard = {
            name.removeprefix(PREFIX): _Heard(*mark) for name, mark in marks.items() if name.startswith(PREFIX)
        }

    def opened(self, stream: str, now_ms: int, open_streams: Collection[str | None]) -> dict[str, Any]:
        """A process has said its name. Returns the marks of those that are forgotten now."""
        self._heard.setdefault(stream, _Heard()).seen_ms = now_ms
        closed = [name for name in self._heard if name not in open_streams and name != stream]
        closed.sort(key=lambda name: self._heard[name].seen_ms)
        too_many = max(0, len(self._heard) - MOST)
        gone = [name for at, name in enumerate(closed) if at < too_many or self._heard[name].seen_ms < now_ms - KEPT_MS]
        for name in gone:
            del self._heard[name]
        return {PREFIX + name: None for name in gone}

    def takes(self, stream: str, number: int, now_ms: int) -> bool:
        """Whether this export was not taken yet; then it is now."""
        heard = self._heard[stream]
        heard.seen_ms = now_ms
        if number <= heard.taken:
            return False
        heard.taken = number
        return True

    def dropped(self, stream: str, total: int) -> int:
        """How many more a process has dropped, if these are all that it has."""
        heard = self._heard[stream]
        more = max(0, total - heard.dropped)
        heard.dropped += more
        return more

    def mark(self, stream: str) -> dict[str, Any]:
        """For the spool."""
        heard = self._heard[stream]
        return {PREFIX + stream: [heard.taken, heard.dropped, heard.seen_ms]}

    def committed(self, streams: Iterable[str]) -> None:
        """All that was taken of these is durable."""
        for stream in streams:
            if stream in self._heard:
                self._heard[stream].durable = self._heard[stream].taken

    def durable(self, stream: str) -> int:
        """The number up to which the process may forget."""
        return self._heard[stream].durable
