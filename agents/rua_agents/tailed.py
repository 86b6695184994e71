"""One live file: its descriptor, how far it is read, and what its start looked like."""

from __future__ import annotations

import os
import stat
from hashlib import blake2b
from typing import NamedTuple

from rua_agents.checkpoint import FileState
from rua_agents.collectors import Draft
from rua_agents.reader import FileStatus
from rua_agents.records import RawRecord, UnsupportedFile, check_encoding
from rua_agents.settings import Limits
from rua_agents.stream import Origin, SourceStream, Taken

PREFIX_BYTES = 4_096


class _Seen(NamedTuple):
    size: int
    modified_ns: int


def inode_of(path: str) -> tuple[int, int] | None:
    """Device and inode of a regular file, symlinks resolved; None for anything else."""
    found = os.stat(path)
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


class TailedFile:
    """A file that is being followed. It stays open when it is renamed or unlinked, and is read to its end."""

    def __init__(self, origin: Origin, path: str, limits: Limits, taken: Taken) -> None:
        self.origin, self.path = origin, path
        self._limits, self._taken = limits, taken
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(self._descriptor)
        self.key = (found.st_dev, found.st_ino)
        self.gone_since: int | None = None
        self.held_since: int | None = None
        self.grown_at = 0
        self.moved = False
        try:
            check_encoding(os.pread(self._descriptor, 4, 0))
        except UnsupportedFile:
            self.close()
            raise
        self.restart()

    def restart(self) -> None:
        """Reads from the start, as a new source."""
        self.stream = SourceStream(self.origin, self.path, self._taken)
        self._splitter = self.origin.splitter(0, self._limits.record_bytes)
        self._read_bytes = 0
        self._prefix_bytes, self._prefix_hash = 0, ""
        self._seen: _Seen | None = None

    def first_record(self) -> RawRecord | None:
        """The first record, if it is complete."""
        splitter = self.origin.splitter(0, self._limits.record_bytes)
        at = 0
        while chunk := os.pread(self._descriptor, self._limits.read_bytes, at):
            at += len(chunk)
            for record in splitter.feed(chunk):
                return record
        return None

    def continues(self, state: FileState, source_id: str | None) -> bool:
        """Whether this is the file of a checkpoint: the same inode and start, or the same first record."""
        size = os.fstat(self._descriptor).st_size
        if size < state.offset:
            return False
        same = (state.device, state.inode) == self.key and self._hash(state.prefix_bytes) == state.prefix_hash
        return same or (source_id is not None and state.stream["source_id"] == source_id)

    def continues_copy(self, other: TailedFile) -> bool:
        """Whether this file starts with all that was read of another one."""
        mine = os.fstat(self._descriptor).st_size >= other._splitter.offset
        return mine and self._hash(other._prefix_bytes) == other._prefix_hash

    def load(self, state: FileState) -> None:
        """Goes on where a checkpoint stands."""
        self.stream = SourceStream(self.origin, self.path, self._taken)
        self.stream.load(state.stream)
        self._splitter = self.origin.splitter(state.offset, self._limits.record_bytes)
        self._read_bytes = state.offset
        self._prefix_bytes, self._prefix_hash = state.prefix_bytes, state.prefix_hash

    def was_truncated(self) -> bool:
        """Whether what was read is no longer there: the file shrank, or its start is another one."""
        found = os.fstat(self._descriptor)
        if self._seen == (found.st_size, found.st_mtime_ns):
            return False
        return found.st_size < self._read_bytes or self._hash(self._prefix_bytes) != self._prefix_hash

    def read(self, now_ms: int) -> list[Draft]:
        """The next bytes, at most `limits.read_bytes` of them; at the end, what silence completes."""
        self.moved = False
        found = os.fstat(self._descriptor)
        seen = _Seen(found.st_size, found.st_mtime_ns)
        made: list[Draft] = []
        if self._seen != seen or self._read_bytes < found.st_size:
            chunk = os.pread(self._descriptor, self._limits.read_bytes, self._read_bytes)
            if chunk and not self._read_bytes:
                check_encoding(chunk[:4])
            if chunk:
                self._take(chunk)
                self.grown_at, self.moved = now_ms, True
                for record in self._splitter.feed(chunk):
                    made += self.stream.feed(record, now_ms)
        self._seen = seen
        silent_at = self.stream.silent_at
        if not self.moved and silent_at is not None and now_ms >= silent_at:
            made += self.stream.flush()
            self.moved = True
        return made

    def finish(self, now_ms: int) -> list[Draft]:
        """Nothing more will come: the last line counts even without its end."""
        made: list[Draft] = []
        for record in self._splitter.finish():
            made += self.stream.feed(record, now_ms)
        return made + self.stream.flush()

    def dump(self) -> FileState:
        """For the checkpoint."""
        device, inode = self.key
        return FileState(
            path=self.path,
            source=self.origin.collector.name,
            offset=self._splitter.offset,
            stream=self.stream.dump(),
            device=device,
            inode=inode,
            prefix_bytes=self._prefix_bytes,
            prefix_hash=self._prefix_hash,
        )

    def status(self) -> FileStatus:
        """For the status."""
        size = os.fstat(self._descriptor).st_size
        name = self.origin.collector.name
        return FileStatus(self.path, name, self.stream.source_id, self._splitter.offset, size)

    def close(self) -> None:
        """Lets the file go."""
        os.close(self._descriptor)

    def _take(self, chunk: bytes) -> None:
        self._read_bytes += len(chunk)
        if self._prefix_bytes < PREFIX_BYTES:
            self._prefix_bytes = min(PREFIX_BYTES, self._read_bytes)
            self._prefix_hash = self._hash(self._prefix_bytes)

    def _hash(self, prefix_bytes: int) -> str:
        if not prefix_bytes:
            return ""
        return blake2b(os.pread(self._descriptor, prefix_bytes, 0), digest_size=16).hexdigest()
