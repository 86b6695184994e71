"""Looks around: which files are there for each source, and which of them appeared by rotation since we follow it."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from rua_agents.checkpoint import FileState
from rua_agents.finding import Found, Pattern, name_before
from rua_agents.stream import Origin

log = logging.getLogger(__name__)


class Watched(NamedTuple):
    """A source and the patterns of its files."""

    origin: Origin
    patterns: Sequence[str]


class Key(NamedTuple):
    """What a followed file is known by as long as the agent runs."""

    source: str
    lane: str
    device: int
    inode: int


class Sighting(NamedTuple):
    """A file that is to be followed."""

    key: Key
    origin: Origin
    path: str
    rotated: bool
    size: int
    modified_ns: int


class _Source:
    def __init__(self, watched: Watched) -> None:
        self.origin = watched.origin
        self.patterns = [Pattern(text) for text in watched.patterns]
        self.floors: dict[str, int] = {}
        """Path → from which change on, in ns, what is rotated from it belongs to us."""
        self.fresh = True
        self.newest_ns = 0
        """When any of its files has changed last."""

    def marks(self) -> list[FileState]:
        """For the checkpoint: that its patterns are followed, and since what; a file may come and rotate unseen."""
        name, lane, newest = self.origin.collector.name, lane_of(self.origin), self.newest_ns
        return [FileState(one.text, name, 0, {}, lane=lane, modified_ns=newest) for one in self.patterns]

    def begin(self, found: Sequence[Sighting], known: Sequence[FileState]) -> None:
        """Sets the floors, by what the checkpoint knows, or else by what is there."""
        name, lane = self.origin.collector.name, lane_of(self.origin)
        mine = [state for state in known if (state.source, state.lane) == (name, lane)]
        marks = {state.path: state.modified_ns for state in mine if not state.inode}
        files = [state for state in mine if state.inode]
        followed = all(pattern.text in marks for pattern in self.patterns)
        since = max(marks.values(), default=0) + 1 if followed else None
        self.floors = {_before(one.path): since for one in found} if since is not None else _floors_of(found)
        for state in files:
            path = _before(state.path)
            for place in (path, os.path.realpath(path)):
                self.floors[place] = min(self.floors.get(place, state.modified_ns), state.modified_ns)
        self.fresh = False


class Watch:
    """The patterns of all sources.

    A file under a rotated name that no pattern matches is followed if it changed last after we began to follow its
    path: else it was rotated before, and the person's pattern leaves it out.
    """

    def __init__(self, watched: Sequence[Watched]) -> None:
        self._sources = [_Source(one) for one in watched]
        self._done: dict[Key, int] = {}
        self._restored: Sequence[FileState] = ()
        self.listed: set[str] = set()
        """Every path that the last look has found."""
        self.problems: dict[str, str] = {}
        """Path or pattern → why it cannot be followed, at the last look."""
        self._told: dict[str, str] = {}

    def remember(self, files: Sequence[FileState]) -> None:
        """How far the checkpoint knows the files, also those of which nothing was read: what is later belongs to us."""
        self._restored = files

    def look(self, is_followed: Callable[[Key], bool]) -> Iterator[Sighting]:
        """All files that are to be followed, also those that are."""
        self.listed, self._told, self.problems, seen = set(), self.problems, {}, dict[Key, int]()
        for source in self._sources:
            found = [s for pattern in source.patterns for s in self._find(source.origin, pattern)]
            if source.fresh:
                source.begin(found, self._restored)
            source.newest_ns = max([source.newest_ns, *(one.modified_ns for one in found)])
            for one in found:
                seen[one.key] = one.modified_ns
                if not one.rotated or is_followed(one.key) or self._is_ours(source, one):
                    yield one
        self._restored = ()
        self._done = {key: at for key, at in self._done.items() if key in seen}

    def dump(self) -> list[FileState]:
        """For the checkpoint, to be given to `remember`; before the first look, what was remembered."""
        if self._restored:
            return [state for state in self._restored if not state.offset and not state.prefix_bytes]
        return [mark for source in self._sources if not source.fresh for mark in source.marks()]

    def done(self, key: Key, modified_ns: int) -> None:
        """This one is read to its end: it is not looked at again unless it changes."""
        self._done[key] = modified_ns

    def origin_of(self, source: str, lane: str, path: str) -> Origin | None:
        """The source whose pattern means this path, or else any of the same kind."""
        same = [s for s in self._sources if (s.origin.collector.name, lane_of(s.origin)) == (source, lane)]
        folder, name = os.path.split(path)
        for one in same:
            for pattern in one.patterns:
                if os.path.dirname(pattern.text) == folder and pattern.means(name) is not None:
                    return one.origin
        return same[0].origin if same else None

    def _is_ours(self, source: _Source, one: Sighting) -> bool:
        return one.modified_ns >= source.floors.get(_before(one.path), 0) and self._done.get(one.key) != one.modified_ns

    def _find(self, origin: Origin, pattern: Pattern) -> Iterator[Sighting]:
        try:
            found = list(pattern.find())
        except OSError as why:
            self._problem(pattern.text, why.strerror)
            return
        for one in found:
            sighting = self._sighting(origin, pattern, one)
            if sighting is not None:
                yield sighting

    def _sighting(self, origin: Origin, pattern: Pattern, found: Found) -> Sighting | None:
        self.listed.add(found.path)
        try:
            at = os.stat(found.path)
        except OSError as why:
            if why.errno != errno.ENOENT or os.path.islink(found.path):
                self._problem(found.path, why.strerror)
            return None  # else it has just been renamed
        if not stat.S_ISREG(at.st_mode):
            if pattern.names_one and not found.rotated:
                self._problem(found.path, "no regular file: only files can be followed; correct sources.paths")
            return None
        key = Key(origin.collector.name, lane_of(origin), at.st_dev, at.st_ino)
        return Sighting(key, origin, found.path, found.rotated, at.st_size, at.st_mtime_ns)

    def _problem(self, path: str, why: str | None) -> None:
        self.problems[path] = why or "cannot be followed"
        if self._told.get(path) != self.problems[path]:
            log.error("%s: %s", path, self.problems[path])


def lane_of(origin: Origin) -> str:
    """Which of a container's two streams a source reads, or none."""
    return origin.envelope.lane if origin.envelope else ""


def _before(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, name_before(name))


def _floors_of(found: Sequence[Sighting]) -> dict[str, int]:
    """Nothing of what is there was rotated since we came."""
    floors: dict[str, int] = {}
    for one in found:
        path = _before(one.path)
        floors[path] = max(floors.get(path, 0), one.modified_ns + one.rotated)
    return floors
