"""How many rows and bytes a statement sent: looked up in the slow log, which the audit log does not know.

The slow log is no stream here but a place to look things up. It makes no event and has no identity, so the events of
the audit log are the same whether it is there, late, rotated or lost: only their rows are unknown then. A statement is
found by its connection, the head of its text and its second, each entry once. Times are the session's own: one that
sets its time hides its own rows, as it can in easier ways, and nobody else's.
"""

from __future__ import annotations

import glob
import logging
import os
import re
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import IO

from rua_agents.collectors import slow_log
from rua_agents.collectors.drafting import Unreadable
from rua_agents.collectors.mysql_statements import Counts
from rua_agents.records import RawRecord
from rua_agents.times import BadTime

log = logging.getLogger(__name__)
WINDOW = 4_096
"""Entries that are kept for statements to come."""
AHEAD = 1_000
"""After so many entries of a later time a statement's own will not come: the two logs are written together."""
NEAR_MS = 1_500
"""An entry's time and its statement's differ by less than a second either way."""
LATER_MS, LONG_AGO_MS = 5_000, 60_000
CHUNK_BYTES, JUMP_BYTES, MOST_BYTES = 1 << 16, 1 << 22, 1 << 22
RECORD_BYTES = 1 << 16
_TIME = re.compile(rb"^SET timestamp=(\d{9,10});", re.MULTILINE)


class _Kept:
    __slots__ = ("at_ms", "counts", "key", "taken")

    def __init__(self, key: tuple[str, str], at_ms: int, counts: Counts) -> None:
        self.key, self.at_ms, self.counts, self.taken = key, at_ms, counts, False


class SlowRows:
    """Counts of one server's statements.

    Args:
        path: the slow log; rotated ones stand beside it.
        key_of: of a statement's first bytes what recognises it.
        head_bytes: how many these are.
    """

    def __init__(self, path: str, key_of: Callable[[bytes], str], head_bytes: int) -> None:
        self._path, self._key_of, self._head_bytes = path, key_of, head_bytes
        self._file: IO[bytes] | None = None
        self._next: list[str] = []
        self._splitter = slow_log.splitter(0, RECORD_BYTES)
        self._order: deque[_Kept] = deque()
        self._kept: dict[tuple[str, str], deque[_Kept]] = {}
        self._latest_ms = 0
        self._told = False

    def look(self, connection: str, key: str, at_ms: int) -> tuple[Counts | None, bool]:
        """What the server counted for a statement, and whether that is all there will be."""
        found = self._take((connection, key), at_ms)
        if found is not None:
            return found, True
        if not self._reach(at_ms):
            return None, True
        ahead = taken_bytes = 0
        while ahead < AHEAD and taken_bytes < MOST_BYTES:
            chunk, records = self._read()
            taken_bytes += len(chunk)
            for record in records:
                ahead += self._keep(record) > at_ms + LATER_MS
            found = self._take((connection, key), at_ms)
            if found is not None:
                return found, True
            if not chunk:
                return None, False
        return None, ahead >= AHEAD

    def _take(self, key: tuple[str, str], at_ms: int) -> Counts | None:
        waiting = self._kept.get(key)
        while waiting and waiting[0].at_ms <= at_ms + NEAR_MS:
            kept = self._drop(waiting)
            if kept.at_ms >= at_ms - NEAR_MS:
                return kept.counts
        return None

    def _drop(self, waiting: deque[_Kept]) -> _Kept:
        kept = waiting.popleft()
        kept.taken = True
        if not waiting:
            del self._kept[kept.key]
        return kept

    def _keep(self, record: RawRecord) -> int:
        """Keeps an entry; its time."""
        try:
            entry = slow_log.read_entry(record.data)
        except (Unreadable, BadTime):
            return 0
        self._latest_ms = entry.at_ms
        key = entry.connection, self._key_of(entry.text[: self._head_bytes])
        kept = _Kept(key, entry.at_ms, entry.counts)
        self._order.append(kept)
        self._kept.setdefault(kept.key, deque()).append(kept)
        while self._order and (self._order[0].taken or len(self._order) > WINDOW):
            oldest = self._order.popleft()
            if not oldest.taken:
                self._drop(self._kept[oldest.key])
        return entry.at_ms

    def _read(self) -> tuple[bytes, list[RawRecord]]:
        """The next bytes, and the entries that they complete; at the end the last one, if it is whole."""
        assert self._file is not None  # noqa: S101 - `_reach` opened it
        chunk = self._file.read(CHUNK_BYTES)
        if chunk:
            return chunk, self._splitter.feed(chunk)
        old = self._splitter
        if self._turned():
            return b"\n", old.finish()
        last = self._splitter.settle()
        if last and not slow_log.is_whole(last[0].data):
            self._begin(last[0].offset)  # half written
            last = []
        return b"", last

    def _turned(self) -> bool:
        """Whether the file was rotated or cut; then the next one is open."""
        assert self._file is not None  # noqa: S101 - as above
        path = self._next[0] if self._next else self._path
        try:
            there, mine = os.stat(path), os.fstat(self._file.fileno())
        except OSError:
            return False
        if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino) and there.st_size >= self._file.tell():
            return False
        self._next = self._next[1:]
        return self._open(path)

    def _reach(self, at_ms: int) -> bool:
        """Opens the log near a time, or goes on to it if it is far ahead; False if there is no log."""
        if self._file is None:
            first, *self._next = _files_since(self._path, at_ms) or [self._path]
            if not self._open(first):
                return False
            self._begin(self._seek(0, at_ms))
        elif self._latest_ms < at_ms - LONG_AGO_MS and self._size() - self._file.tell() > JUMP_BYTES:
            self._begin(self._seek(self._file.tell(), at_ms))
        return True

    def _open(self, path: str) -> bool:
        if self._file is not None:
            self._file.close()
            self._file = None
        try:
            file = Path(path).open("rb")  # noqa: SIM115 - open as long as it is read
        except OSError as why:
            if not self._told:
                log.warning("slow_log %s cannot be read (%s): rows and bytes are unknown", path, why.strerror)
            self._told = True
            return False
        self._told = False
        self._file = file
        weakref.finalize(self, file.close)
        self._begin(0)
        return True

    def _begin(self, offset: int) -> None:
        assert self._file is not None  # noqa: S101 - as above
        self._file.seek(offset)
        self._splitter = slow_log.splitter(offset, RECORD_BYTES)

    def _size(self) -> int:
        assert self._file is not None  # noqa: S101 - as above
        return os.fstat(self._file.fileno()).st_size

    def _seek(self, low: int, at_ms: int) -> int:
        """Where entries of about this time begin: half and half again, by the median of the times that stand there."""
        assert self._file is not None  # noqa: S101 - as above
        high = self._size()
        while high - low > 4 * CHUNK_BYTES:
            middle = (low + high) // 2
            self._file.seek(middle)
            times = _TIME.findall(self._file.read(CHUNK_BYTES))
            if times and median(map(int, times)) * 1_000 < at_ms - LONG_AGO_MS:
                low = middle
            else:
                high = middle
        return low


def _files_since(path: str, at_ms: int) -> list[str]:
    """The log and its rotated ones that were written to after a time, the oldest first."""
    found = []
    for one in {*glob.glob(glob.escape(path) + "*"), path}:
        try:
            written_ms = os.stat(one).st_mtime_ns // 1_000_000
        except OSError:
            continue
        if one == path or (written_ms >= at_ms - LATER_MS and not one.endswith((".gz", ".zst", ".xz", ".bz2"))):
            found.append((one == path, written_ms, one))
    return [one for _, _, one in sorted(found)]
