"""One live file: what it holds, how far it is read, and what its start looked like."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from rua_common.blake import blake2b

from rua_agents.checkpoint import FileState
from rua_agents.collectors import Draft
from rua_agents.contents import Content, DamagedFile, Descriptors, Handle, Plain, content_of
from rua_agents.reader import FileStatus
from rua_agents.records import RawRecord, check_encoding
from rua_agents.sealing import Written
from rua_agents.settings import Limits
from rua_agents.stream import FIRST_BYTES, SILENCE_MS, Origin, SourceStream, Taken, may_identify
from rua_agents.watch import Key, lane_of

PREFIX_BYTES = 4_096
PEEK_BYTES = 1 << 14
AGAIN_BYTES = 1 << 12
"""A record that is not complete is read again with what follows, if it is no longer: some write a file's end anew."""


class Truncated(Exception):
    """What was read of a file is no longer there: it shrank, or its start is another one."""


class _Seen(NamedTuple):
    size: int
    modified_ns: int


class First(NamedTuple):
    """What the first records of a file say."""

    source_id: str | None
    final: bool
    """Whether more of the file cannot change that."""


class TailedFile:
    """A file that is being followed. It is read to its end also when it is renamed or unlinked."""

    def __init__(
        self,
        origin: Origin,
        path: str,
        limits: Limits,
        taken: Taken,
        descriptors: Descriptors,
        *,
        rotated: bool = False,
    ) -> None:
        self.origin, self.limits, self.rotated = origin, limits, rotated
        self._taken = taken
        self.handle = Handle(path, descriptors)
        found = self.handle.stat()
        self.key = Key(origin.collector.name, lane_of(origin), found.st_dev, found.st_ino)
        self.gone_since: int | None = None
        self.refused = False
        """Whether it can never be read, as it stands."""
        self.held_since: int | None = None
        self.grown_at = 0
        """By the monotonic clock, as all durations."""
        self.moved, self.took = False, 0
        """Whether the last turn changed what a checkpoint says, and how many bytes it read."""
        self.failing = False
        self.registered: str | None = None
        """The id under which others know that it is taken."""
        self.restart()

    def restart(self) -> None:
        """Reads from the start, as a source that is not known yet."""
        self.decided = False
        self.first = First(None, final=False)
        self.seen: _Seen | None = None
        self._size = 0
        self._content: Content | None = None
        self._begin(0)
        self._prefix_bytes, self._prefix_hash, self._modified_ns = 0, "", 0

    def _begin(self, offset: int, skip: int = 0) -> None:
        self.stream = SourceStream(self.origin, self.path, self._taken)
        self._splitter = self.origin.splitter(offset, self.limits.record_bytes, skip)
        self._read_bytes = offset
        self._more, self._finished = True, False
        self._dumped: FileState | None = None

    @property
    def path(self) -> str:
        """Where it was seen last."""
        return self.handle.path

    @property
    def packed(self) -> bool:
        """Whether it is a gzip file, and so the copy of another one."""
        return self._content is not None and not isinstance(self._content, Plain)

    @property
    def unread_bytes(self) -> int:
        """How many bytes were seen and not read; of a gzip file at least."""
        if self.seen is None or self._content is None:
            return 0
        return self._content.length(self.seen.size, self._read_bytes) - self._read_bytes

    @property
    def unfinished(self) -> str | None:
        """What is missing, in words, if nothing more comes."""
        return self._content.unfinished if self._content else None

    @property
    def busy(self) -> bool:
        """Whether there is something to do although the file does not change."""
        return self._more or self.stream.waiting

    def peek(self) -> First:
        """Looks at the first records, if the file has changed since the last look.

        Raises:
            UnsupportedFile: it can never be read.
        """
        seen = _seen(self.handle.stat())
        if self.first.final or seen == self.seen:
            return self.first
        self.seen, self.refused = seen, False
        self._content = content_of(self.handle)
        most = self.limits.record_bytes + FIRST_BYTES
        for size in (min(PEEK_BYTES, most), most) if self._content else ():
            start = self._content.start(size) if self._content else b""
            check_encoding(start[:4])
            self.first = self._first_of(start, final=len(start) == most)
            if self.first.final or len(start) < size:
                break
        return self.first

    def _first_of(self, start: bytes, *, final: bool) -> First:
        first: list[RawRecord] = []
        for record in self.origin.splitter(0, self.limits.record_bytes).feed(start):
            first.append(record)
            if may_identify(self.origin, first):
                return First(self.origin.source_id(record), final=True)
        return First(None, final)

    def fits(self, state: FileState) -> bool:
        """Whether all that was read of a checkpoint's file stands at the start of this one."""
        self._content = self._content or content_of(self.handle)
        if self._content is None or not state.prefix_bytes:
            return False
        if not self.packed and self.handle.stat().st_size < state.offset:
            return False
        return self._hash(state.prefix_bytes) == state.prefix_hash

    def load(self, state: FileState) -> None:
        """Goes on where a checkpoint stands.

        Raises:
            KeyError, TypeError, ValueError: the checkpoint was written by a version that remembered otherwise.
        """
        self._begin(state.offset, state.skip)
        self.stream.load(state.stream)
        self._prefix_bytes, self._prefix_hash = state.prefix_bytes, state.prefix_hash
        self._modified_ns = state.modified_ns
        self.decided, self.held_since, self.seen = True, None, None

    def adopt(self, origin: Origin, limits: Limits) -> None:
        """Goes on under a changed configuration."""
        state = self.dump()
        self.origin, self.limits = origin, limits
        if self.decided:
            self.load(state)
        else:
            self.restart()

    def read(self, now_ms: int, elapsed_ms: int) -> list[Draft | Written]:
        """The next bytes, at most `limits.read_bytes` of them; at the end, what silence completes.

        Raises:
            Truncated: nothing of what was read is left; call `finish` and `restart`.
            DamagedFile: it cannot be unpacked any further.
        """
        self.moved, self.took = False, 0
        seen = _seen(self.handle.stat())
        self._content = self._content or content_of(self.handle)
        if self._content is None:
            self.seen, self._more = seen, False
            return []
        if self._more or seen != self.seen:
            chunk = self._next(self._content, seen)
            if chunk:
                return self._take(chunk, now_ms, elapsed_ms)
        return self._at_end(now_ms, elapsed_ms)

    def _next(self, content: Content, seen: _Seen) -> bytes:
        """Reads before it looks whether the file was truncated: so no bytes of another file are ever taken for its."""
        if seen != self.seen and not self.packed and self._read_bytes - self._splitter.offset <= AGAIN_BYTES:
            self.rest()
        try:
            chunk = content.read(self._read_bytes, self.limits.read_bytes)
        except DamagedFile:
            self.seen, self._more = seen, False
            raise
        if seen != self.seen and not self._is_the_same(content):
            raise Truncated
        self.seen, self._more = seen, bool(chunk) and (self.packed or len(chunk) == self.limits.read_bytes)
        return chunk

    def _is_the_same(self, content: Content) -> bool:
        size = self.handle.stat().st_size
        return content.reaches(size, self._read_bytes) and self._hash(self._prefix_bytes) == self._prefix_hash

    def _take(self, chunk: bytes, now_ms: int, elapsed_ms: int) -> list[Draft | Written]:
        self.moved, self.took, self.grown_at, self._dumped = True, len(chunk), elapsed_ms, None
        self.origin.tally.read_bytes += len(chunk)
        self._read_bytes += len(chunk)
        made = self._feed(self._splitter.feed(chunk), now_ms)
        whole = min(PREFIX_BYTES, self._splitter.offset)
        if whole > self._prefix_bytes:
            # what is made must not be lost because the file cannot be read just now: the next chunk looks again
            with contextlib.suppress(OSError, DamagedFile):
                self._prefix_bytes, self._prefix_hash = whole, self._hash(whole)
        return made

    def _feed(self, records: list[RawRecord], now_ms: int) -> list[Draft | Written]:
        return self.stream.feed_all(records, now_ms)

    def _at_end(self, now_ms: int, elapsed_ms: int) -> list[Draft | Written]:
        if self._content is not None and self._content.ends and not self._finished:
            self.moved = self._finished = True
            return self.finish(now_ms)
        if elapsed_ms - self.grown_at < SILENCE_MS:
            return []
        records = self._splitter.settle() if self._read_bytes > self._splitter.offset else []
        made = self._feed(records, now_ms)
        if records or self.stream.waiting:
            self.moved, self._dumped = True, None
            made += self.stream.flush()
        return made

    def finish(self, now_ms: int) -> list[Draft | Written]:
        """Nothing more will come: the last line counts even without its end."""
        self._dumped = None
        return self._feed(self._splitter.finish(), now_ms) + self.stream.flush()

    def rest(self) -> None:
        """Keeps nothing in memory of a record that has not been going on for a while; it will be read again."""
        if self._read_bytes > self._splitter.offset:
            self._read_bytes = self._splitter.offset
            self._splitter = self.origin.splitter(self._read_bytes, self.limits.record_bytes, self._skip)

    def wake(self) -> None:
        """Before the end of a file that rests: what was forgotten of its last record."""
        self._more = True

    @property
    def _skip(self) -> int:
        return getattr(self._splitter, "skip", 0)

    def dump(self) -> FileState:
        """For the checkpoint. As long as the id is not known, nothing is taken."""
        if self._dumped is None or self._dumped.path != self.path:
            begun = not self.stream.holds
            self._dumped = FileState(
                path=self.path,
                source=self.key.source,
                offset=self._splitter.offset if begun else 0,
                stream=self.stream.dump(),
                device=self.key.device,
                inode=self.key.inode,
                prefix_bytes=self._prefix_bytes,
                prefix_hash=self._prefix_hash,
                lane=self.key.lane,
                skip=self._skip if begun else 0,
                modified_ns=self.seen.modified_ns if self.seen else self._modified_ns,
                unread_bytes=0 if self.packed or self.seen is None else self.seen.size - self._splitter.offset,
            )
        return self._dumped

    def measure(self) -> None:
        """Notes how long the file is now, for the status only: reading finds its changes by itself."""
        with contextlib.suppress(OSError):  # reading will say it
            self._size = self.handle.stat().st_size

    def status(self) -> FileStatus:
        """For the status; as the file was seen last."""
        return FileStatus(self.path, self.key.source, self.stream.source_id, self._splitter.offset, self._length())

    def close(self) -> None:
        """Lets the file go."""
        self.handle.close()

    def _length(self) -> int:
        size = max(self._size, self.seen.size if self.seen else 0)
        return self._content.length(size, self._read_bytes) if self._content else size

    def _hash(self, prefix_bytes: int) -> str:
        if not prefix_bytes or self._content is None:
            return ""
        return blake2b(self._content.start(prefix_bytes), digest_size=16).hexdigest()


def _seen(found: os.stat_result) -> _Seen:
    return _Seen(found.st_size, found.st_mtime_ns)
