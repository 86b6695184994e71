"""Events in, in groups that one fsync makes durable; events out, in the same order; released when acknowledged.

One thread writes (`append`, `commit`), one reads (`read`, `release`). What is lost, by a full disk's policy or by
damage, is counted in `dropped` and told in the log: never in silence.
"""

from __future__ import annotations

import logging
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
from rua_schemas.events import TelemetryEvent

from rua_agents.spool import groups, segments
from rua_agents.spool.recovery import recover
from rua_agents.spool.segments import Segment
from rua_agents.spool.settings import SpoolSettings

log = logging.getLogger(__name__)
SEGMENT_BYTES = 8 << 20
FULL, DAMAGED = "spool_full", "spool_damaged"
WAITS = "nothing more is taken in until there is room"
LEAST_SEGMENTS = 4
"""So many a full spool has at least: `drop_oldest` gives up a quarter, not everything."""


class Spool:
    """A directory of segments."""

    def __init__(
        self,
        directory: Path,
        settings: SpoolSettings,
        dropped: Counter[str] | None = None,
        *,
        free_bytes: Callable[[], int] | None = None,
        least_free_bytes: int = 0,
    ) -> None:
        self.dropped: Counter[str] = Counter() if dropped is None else dropped
        """Reason → how many events are lost."""
        self.directory, self._settings = directory, settings
        self._free_bytes, self._least_free_bytes = free_bytes, least_free_bytes
        self._segment_bytes = min(SEGMENT_BYTES, settings.bytes // LEAST_SEGMENTS)
        found = recover(directory)
        self._segments, self._next, self.marks, self.torn_bytes = found
        """`marks`: source → how far it is read, as of the last `append`."""
        self.cursor = self._segments[0].first if self._segments else self._next
        """Sequence of the event that is read next."""
        self.problem: str | None = None
        """Why nothing can be written, or None."""
        self.taken = 0
        """Events that were appended since the start."""
        self._lock = Lock()
        self._pending: list[TelemetryEvent] = []
        self._moved: dict[str, Any] = {}
        self._at: tuple[Segment, int] | None = None
        self._active: Segment | None = None

    @property
    def used_bytes(self) -> int:
        """What its segments take."""
        with self._lock:
            return sum(segment.size for segment in self._segments)

    @property
    def unread(self) -> int:
        """Committed events that were not read yet."""
        return self._next - self.cursor

    @property
    def unread_bytes(self) -> int:
        """What they take, with the rest of the groups that are read in part."""
        with self._lock:
            if not self._segments or not self.unread:
                return 0
            segment, at = self._at or (self._segment_of(self.cursor), 0)
            following = self._segments[self._segments.index(segment) + 1 :]
            return segment.size - at + sum(one.size for one in following)

    @property
    def pending(self) -> int:
        """Events and marks that wait for `commit`."""
        return len(self._pending) + len(self._moved)

    @property
    def trouble(self) -> str | None:
        """Why nothing more may be taken in, or None. The disk is the platform's, too: the last of it is not ours."""
        if self.problem is not None:
            return self.problem
        if self._settings.when_full == "stop" and self.used_bytes >= self._settings.bytes:
            return f"all {self._settings.bytes} bytes of spool.bytes are used: {WAITS}"
        if self._free_bytes is not None and self._free_bytes() < self._least_free_bytes:
            return f"fewer than {self._least_free_bytes} bytes of the disk are free (disk.min_free_bytes): {WAITS}"
        return None

    @property
    def has_room(self) -> bool:
        """Whether more may be taken in."""
        return self.trouble is None

    def append(self, events: Sequence[TelemetryEvent], marks: Mapping[str, Any]) -> None:
        """Takes events and how far their sources are read now, to be written together."""
        self._pending += events
        self.taken += len(events)
        self._moved |= marks
        for name, mark in marks.items():
            if mark is None:
                self.marks.pop(name, None)
            else:
                self.marks[name] = mark

    def commit(self) -> bool:
        """Writes what waits as one group; afterwards it survives a power cut.

        Returns:
            Whether it did. If not, `problem` tells why, and what waits goes on waiting.
        """
        if not self.pending:
            return True
        try:
            self._write()
        except OSError as why:
            self._failed(why)
            return False
        self._pending, self._moved = [], {}
        if self.problem is not None:
            log.info("%s can be written again", self.directory)
        self.problem = None
        return True

    def go_to(self, sequence: int) -> None:
        """Reads on from there: where the checkpoint stands. Numbers that were acknowledged are not given again."""
        with self._lock:
            self.cursor, self._at = sequence, None
            self._next = max(self._next, sequence)
            if self._segments and self._settings.when_full == "drop_oldest":
                self._lose(self._segments[0].first, FULL)  # told again: nobody knows whether it was

    def read(self) -> list[TelemetryEvent]:
        """The next group's events; none if everything committed is read."""
        with self._lock:
            while (found := self._next_group()) is not None:
                first, events = found
                self._lose(first, DAMAGED)
                fresh = events[max(0, self.cursor - first) :]
                self.cursor += len(fresh)
                if fresh:
                    return fresh
            self._lose(self._next, DAMAGED)
        return []

    def release(self, sequence: int) -> None:
        """Unlinks the segments that hold only events before this one. The newest stays: it knows the marks."""
        with self._lock:
            while len(self._segments) > 1 and self._segments[1].first <= sequence:
                self._remove_first()

    def close(self) -> None:
        """Lets all files go. What waits for `commit` is forgotten."""
        for segment in self._segments:
            segment.close()

    def _write(self) -> None:
        fresh = self._active is None or self._active.size >= self._segment_bytes
        group = groups.Group(self._pending, self.marks if fresh else self._moved, fresh)
        data = groups.frame(self._next, groups.encode(group))
        if self._settings.when_full == "drop_oldest":
            self._make_room(len(data))
        segment = self._fresh() if fresh or self._active is None else self._active
        _add(segment.path, segment.size, data)
        if not segment.size:
            segments.sync_directory(self.directory)
        with self._lock:
            if not segment.size:
                self._segments.append(segment)
            segment.size += len(data)
            self._next += len(self._pending)
        self._active = segment

    def _fresh(self) -> Segment:
        """A new segment, unless the last one holds no events yet, only marks: then it would have the same name."""
        if self._segments and self._segments[-1].first == self._next:
            return self._segments[-1]
        return Segment(segments.path_of(self.directory, self._next), 0)

    def _failed(self, why: OSError) -> None:
        """After a failed fsync nobody knows what is on the disk: the file was cut where it was durable, and is left."""
        self._active = None
        problem = f"{why.strerror}: {WAITS}"
        if problem != self.problem:
            log.error("%s: %s", self.directory, problem)
        self.problem = problem

    def _make_room(self, more: int) -> None:
        """Gives up the oldest segments until so many bytes fit."""
        with self._lock:
            while len(self._segments) > 1 and sum(s.size for s in self._segments) + more > self._settings.bytes:
                self._lose(self._segments[1].first, FULL)
                self._remove_first()

    def _remove_first(self) -> None:
        gone = self._segments.pop(0)
        if self._at is not None and self._at[0] is gone:
            self._at = None
        gone.remove()

    def _lose(self, until: int, why: str) -> None:
        """Events before this sequence that were not read never will be."""
        lost = until - self.cursor
        if lost > 0:
            self.dropped[why] += lost
            self.cursor = until
            log.error("%s: %d events are lost, up to number %d: %s", self.directory, lost, until - 1, why)

    def _next_group(self) -> tuple[int, list[TelemetryEvent]] | None:
        """The next group that can be read, over damage and over the ends of segments."""
        if self._at is None:
            if not self._segments:
                return None
            self._at = self._segment_of(self.cursor), 0
        while True:
            segment, at = self._at
            framed = segment.group(at)
            if framed is not None:
                self._at = segment, framed.end
                events = self._decoded(segment, framed.payload)
                if events is not None:
                    return framed.first, events
            elif at < segment.size:
                segment.damaged = True
                self._at = segment, segment.after_damage(at) or segment.size
            elif (following := self._after(segment)) is not None:
                segment.close()
                self._at = following, 0
            else:
                return None

    def _decoded(self, segment: Segment, payload: bytes) -> list[TelemetryEvent] | None:
        try:
            return groups.decode(payload).events
        except msgspec.DecodeError as why:
            log.error("%s: a group of another version of the agent cannot be read: %s", segment.path, why)
            segment.damaged = True
            return None

    def _segment_of(self, sequence: int) -> Segment:
        return self._segments[max(0, bisect_right(self._segments, sequence, key=lambda s: s.first) - 1)]

    def _after(self, segment: Segment) -> Segment | None:
        at = self._segments.index(segment) + 1
        return self._segments[at] if at < len(self._segments) else None


def _add(path: Path, at: int, data: bytes) -> None:
    """Writes at this byte, durably; if that fails the file ends there again, or is gone if it was new."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, data[written:] if written else data, at + written)
        os.fdatasync(descriptor)
    except OSError:
        if at:
            os.ftruncate(descriptor, at)
        else:
            path.unlink()
        raise
    finally:
        os.close(descriptor)
