"""Follows live files by polling: rename, copytruncate, unlink and create, symlinks, globs.

A file is known by device and inode, and by a hash of its start, which tells a truncated or re-used file from the one
that was read. None of this names events: see `identity`.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from heapq import merge
from typing import NamedTuple

from rua_agents.checkpoint import FileState
from rua_agents.collectors import Draft
from rua_agents.reader import FileStatus
from rua_agents.records import UnsupportedFile
from rua_agents.settings import Limits
from rua_agents.stream import Origin
from rua_agents.tailed import TailedFile, inode_of

log = logging.getLogger(__name__)
SCAN_MS = 1_000
GONE_MS = 60_000
TWIN_MS = 10_000
MAX_ABSENT = 1_000


class Watched(NamedTuple):
    """A source and the patterns of its files."""

    origin: Origin
    patterns: Sequence[str]


class Tail:
    """All live files of an agent."""

    finished = False
    watermark_ms = 0

    def __init__(self, watched: Sequence[Watched], limits: Limits) -> None:
        self._watched, self._limits = watched, limits
        self._open: dict[tuple[int, int], TailedFile] = {}
        self._restored: list[FileState] = []
        self._scanned_at: int | None = None
        self.problems: dict[str, str] = {}

    def restore(self, files: Sequence[FileState]) -> None:
        """Goes on where `dump` was taken. A file that was renamed meanwhile is looked for in its old directory."""
        self._restored = list(files)
        for state in files:
            origin, path = self._origin_of(state), _find_inode(state)
            if origin and path:
                self._add(origin, path, 0)

    def turn(self, now_ms: int) -> Iterator[list[Draft]]:
        """One bounded read of every file, the drafts merged by their time."""
        if self._scanned_at is None or now_ms - self._scanned_at >= SCAN_MS:
            self._scan(now_ms)
        slices = [self._try(file, now_ms) for file in list(self._open.values())]
        made = list(merge(*[s for s in slices if s], key=_occurred))
        if made or any(file.moved for file in self._open.values()):
            yield made

    def dump(self) -> list[FileState]:
        """For the checkpoint; a file that is not there or not readable for now keeps its place in it."""
        return [file.dump() for file in self._open.values() if not file.held_since] + self._restored[-MAX_ABSENT:]

    def acked(self, files: Sequence[FileState]) -> None:
        """Logs are not this agent's to delete."""
        del files

    def files(self) -> list[FileStatus]:
        """For the status."""
        return [file.status() for file in self._open.values()]

    def close(self) -> None:
        """Closes all files."""
        for file in self._open.values():
            file.close()

    def _scan(self, now_ms: int) -> None:
        self._scanned_at = now_ms
        seen: set[tuple[int, int]] = set()
        for origin, patterns in self._watched:
            for path in sorted({p for pattern in patterns for p in glob.glob(pattern)}):
                key = self._add(origin, path, now_ms)
                if key:
                    seen.add(key)
        for key, file in self._open.items():
            file.gone_since = None if key in seen else file.gone_since or now_ms

    def _add(self, origin: Origin, path: str, now_ms: int) -> tuple[int, int] | None:
        """Opens a path that is not followed yet; gives its device and inode."""
        try:
            key = inode_of(path)
            if key is None:
                return None
            if key in self._open:
                self._open[key].path = path
            else:
                file = TailedFile(origin, path, self._limits, self._taken)
                key = file.key
                self._open[key] = self._opened(file, now_ms)
        except (OSError, UnsupportedFile) as why:
            self._problem(path, why)
            return None
        self.problems.pop(path, None)
        return key

    def _opened(self, file: TailedFile, now_ms: int) -> TailedFile:
        first = file.first_record()
        known = file.origin.source_id(first) if first else None
        for state in self._restored:
            if state.source == file.origin.collector.name and file.continues(state, known):
                self._restored.remove(state)
                file.load(state)
                return file
        if known and self._taken(known):
            # perhaps a copy that copytruncate has just made: wait and see whether its original is truncated
            file.held_since = now_ms or 1
        return file

    def _try(self, file: TailedFile, now_ms: int) -> list[Draft]:
        try:
            return self._read(file, now_ms)
        except UnsupportedFile as why:
            self._problem(file.path, why)
            file.close()
            del self._open[file.key]
        except OSError as why:
            self._problem(file.path, why)
        return []

    def _problem(self, path: str, why: Exception) -> None:
        problem = why.strerror or str(why) if isinstance(why, OSError) else str(why)
        if self.problems.get(path) != problem:
            log.error("%s: %s", path, problem)
        self.problems[path] = problem

    def _read(self, file: TailedFile, now_ms: int) -> list[Draft]:
        if file.held_since:
            if now_ms - file.held_since < TWIN_MS:
                return []
            file.held_since = None
        made: list[Draft] = []
        if file.was_truncated():
            self._scan(now_ms)
            made += self._truncated(file, now_ms)
        made += file.read(now_ms)
        if file.gone_since and now_ms - max(file.gone_since, file.grown_at) >= GONE_MS:
            made += file.finish(now_ms)
            file.close()
            del self._open[file.key]
        return made

    def _truncated(self, file: TailedFile, now_ms: int) -> list[Draft]:
        """The file starts anew. If its content was copied first, the copy goes on where reading stood."""
        copies = [f for f in self._open.values() if f.held_since and f.continues_copy(file)]
        made: list[Draft] = []
        if copies:
            copies[0].load(file.dump())
            copies[0].held_since = None
        else:
            made = file.finish(now_ms)
        log.info("%s was truncated; reading it from its start", file.path)
        file.restart()
        return made

    def _taken(self, source_id: str) -> bool:
        return any(file.stream.source_id == source_id for file in self._open.values())

    def _origin_of(self, state: FileState) -> Origin | None:
        """The source whose pattern the file had, or else any of the same kind."""
        same = [w for w in self._watched if w.origin.collector.name == state.source]
        fitting = [w for w in same if any(fnmatch(state.path, pattern) for pattern in w.patterns)]
        return next((w.origin for w in [*fitting, *same]), None)


def _occurred(draft: Draft) -> int:
    return draft.occurred_at


def _find_inode(state: FileState) -> str | None:
    """The path of a file that was renamed inside its directory while the agent was away."""
    directory = os.path.dirname(state.path) or "."
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.inode() == state.inode and entry.is_file():
                    return entry.path
    except OSError:
        return None
    return None
