"""Follows live files by polling: rename, copytruncate, unlink and create, symlinks, copies, gzip.

A file is known by device and inode as long as it is open, and by its start after a restart, a truncation or on another
device. None of this names events: see `identity`. All durations are by a monotonic clock.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from heapq import merge

from rua_agents.checkpoint import FileState
from rua_agents.collectors import Draft
from rua_agents.contents import DamagedFile, Descriptors
from rua_agents.continuity import Continuity, copy_of
from rua_agents.finding import folders_near, inodes_in
from rua_agents.reader import FileStatus
from rua_agents.records import UnsupportedFile
from rua_agents.sealing import Written
from rua_agents.settings import Limits
from rua_agents.stream import Origin
from rua_agents.tailed import TailedFile, Truncated
from rua_agents.watch import Key, Sighting, Watch, Watched

__all__ = ["Tail", "Watched"]

log = logging.getLogger(__name__)
SCAN_MS = 1_000
SCANS_FILES_PER_MS = 2
"""Many files are looked for less often: looking must not cost more than a few per cent."""
GONE_MS = 60_000
REST_MS = 10_000
"""A file that did not grow for so long is looked at once a scan only."""
GAP = "source_gap"


def monotonic_ms() -> int:
    """Milliseconds that never go back."""
    return time.monotonic_ns() // 1_000_000


class Tail:
    """All live files of an agent."""

    finished = False
    watermark_ms = 0

    def __init__(
        self,
        watched: Sequence[Watched],
        limits: Limits,
        elapsed_ms: Callable[[], int] = monotonic_ms,
        descriptors: Descriptors | None = None,
    ) -> None:
        self._limits, self._elapsed_ms = limits, elapsed_ms
        self._descriptors = Descriptors() if descriptors is None else descriptors
        self._watch = Watch(watched)
        self._open: dict[Key, TailedFile] = {}
        self._awake: OrderedDict[Key, None] = OrderedDict()
        self._continuity = Continuity()
        self._scan_at, self._now_ms = -1, 0
        self._looks = 0
        """Since the checkpoint was read."""
        self._problems: dict[str, str] = {}

    @property
    def problems(self) -> dict[str, str]:
        """Path or pattern → why it cannot be read."""
        return self._watch.problems | self._problems

    def restore(self, files: Sequence[FileState]) -> None:
        """Goes on where `dump` was taken, as the files are found again."""
        for state in files:
            self._continuity.absent.add(state)
        self._watch.remember(files)
        self._looks = 0

    def reconfigure(self, watched: Sequence[Watched], limits: Limits) -> None:
        """Goes on under a changed configuration. Open files stay open, unlinked ones too, if their source is left."""
        known = self.dump()
        self._limits, self._watch = limits, Watch(watched)
        self._watch.remember(known)
        for file in list(self._open.values()):
            origin = self._watch.origin_of(file.key.source, file.key.lane, file.path)
            if origin is None:
                self._put_aside(file, finished=False)
            else:
                file.adopt(origin, limits)
                self._continuity.register(file)
                self._awake[file.key] = None
        self._scan_at = -1

    def turn(self, now_ms: int) -> Iterator[list[Draft | Written]]:
        """One bounded read of every file that may have something new, in slices merged by time."""
        self._now_ms, elapsed_ms = now_ms, self._elapsed_ms()
        self._look_around(elapsed_ms)
        slices: list[list[Draft | Written]] = []
        moved, size = False, 0
        for key in list(self._awake):
            file = self._open.get(key)
            if file is None:
                continue
            self._awake.move_to_end(key)  # a turn may end after any slice
            slices.append(self._try(file, now_ms, elapsed_ms))
            moved, size = moved or file.moved, size + file.took
            if size >= self._limits.read_bytes:
                yield _merged(slices)
                slices, moved, size = [], False, 0
        if moved or any(slices):
            yield _merged(slices)

    def dump(self) -> list[FileState]:
        """For the checkpoint; a file that is not there or not readable for now keeps its place in it."""
        live = [file.dump() for file in self._open.values() if file.held_since is None]
        return [*live, *self._continuity.absent, *self._watch.dump()]

    def acked(self, files: Sequence[FileState]) -> None:
        """Logs are not this agent's to delete."""
        del files

    def files(self) -> list[FileStatus]:
        """For the status. While nothing is read, what rotates away meanwhile is seen and held open all the same."""
        self._look_around(self._elapsed_ms())
        for key in self._awake:
            if (file := self._open.get(key)) is not None:
                file.measure()
        return [file.status() for file in self._open.values()]

    def close(self) -> None:
        """Closes all files."""
        for file in self._open.values():
            file.close()

    def _look_around(self, elapsed_ms: int) -> None:
        if elapsed_ms >= self._scan_at:
            self._scan(elapsed_ms)

    def _scan(self, elapsed_ms: int) -> None:
        seen: set[Key] = set()
        for one in self._watch.look(self._open.__contains__):
            if self._see(one, elapsed_ms) and not one.rotated:
                seen.add(one.key)
        for key, file in self._open.items():
            file.handle.nameless = key not in seen
            if key in seen:
                file.gone_since = None
            elif file.gone_since is None:
                file.gone_since = elapsed_ms
                self._awake[key] = None
        if self._looks == 0:
            self._search(elapsed_ms)
        elif self._looks == 1:  # by now copies are known by their first records
            self._miss()
        self._looks += 1
        self._continuity.absent.forget(self._now_ms)
        paths = self._watch.listed | {file.path for file in self._open.values()}
        self._problems = {path: why for path, why in self._problems.items() if path in paths}
        self._scan_at = elapsed_ms + max(SCAN_MS, len(self._watch.listed) // SCANS_FILES_PER_MS)

    def _see(self, one: Sighting, elapsed_ms: int) -> bool:
        """Follows a file from now on, if it is not yet. Whether it can be."""
        file = self._open.get(one.key)
        if file is None:
            return self._add(one.origin, one.path, elapsed_ms, rotated=one.rotated)
        if not one.rotated or file.gone_since is not None:
            file.handle.path = one.path
        if (one.size, one.modified_ns) != file.seen:
            self._awake[one.key] = None
        return True

    def _add(self, origin: Origin, path: str, elapsed_ms: int, *, rotated: bool = False) -> bool:
        try:
            file = TailedFile(origin, path, self._limits, self._continuity.taken, self._descriptors)
            self._open[file.key] = file
            self._awake[file.key] = None
            file.grown_at, file.rotated = elapsed_ms, rotated
            self._continuity.resume(file)
        except (OSError, DamagedFile) as why:
            self._problem(path, why)
            return False
        self._problems.pop(path, None)
        return True

    def _search(self, elapsed_ms: int) -> None:
        """Looks for files that were moved while the agent was away, beside their old place and one folder deeper."""
        lost = [state for state in self._continuity.absent if not state.finished]
        for folder in folders_near([state.path for state in lost]):
            inodes = inodes_in(folder)
            for state in lost:
                path = inodes.get(state.inode)
                origin = self._watch.origin_of(state.source, state.lane, state.path)
                key = Key(state.source, state.lane, state.device, state.inode)
                if path and origin and key not in self._open and self._add(origin, path, elapsed_ms, rotated=True):
                    self._found(key, elapsed_ms)

    def _miss(self) -> None:
        """Says once which files are gone of which something was left to read; they may come back all the same."""
        for state in self._continuity.absent:
            origin = self._watch.origin_of(state.source, state.lane, state.path)
            if origin is not None and state.unread_bytes and not state.finished:
                told = "%s went away while the agent did not run: %d bytes of it were seen and never read"
                log.error(told, state.path, state.unread_bytes)
                origin.tally.dropped[GAP] += 1
            state.unread_bytes = 0

    def _found(self, key: Key, elapsed_ms: int) -> None:
        """Reads a moved file to its end; it is another one if it does not start as the one that was read."""
        file = self._open.get(key)
        if file is not None and file.decided:
            file.gone_since, file.handle.nameless = elapsed_ms, True
        elif file is not None:
            self._put_aside(file, finished=False)

    def _try(self, file: TailedFile, now_ms: int, elapsed_ms: int) -> list[Draft | Written]:
        """One step with one file, whatever becomes of it."""
        file.moved, file.took = False, 0
        try:
            made = self._step(file, now_ms, elapsed_ms)
        except (UnsupportedFile, DamagedFile) as why:
            self._problem(file.path, why)
            if isinstance(why, DamagedFile):
                file.origin.tally.dropped[GAP] += 1
            file.refused = isinstance(why, UnsupportedFile)
            return []
        except OSError as why:
            self._stumbled(file, why)
            return []
        if file.failing:
            file.failing = False
            self._problems.pop(file.path, None)
        return made

    def _step(self, file: TailedFile, now_ms: int, elapsed_ms: int) -> list[Draft | Written]:
        made: list[Draft | Written] = []
        if file.refused and file.gone_since is not None:
            self._put_aside(file, finished=True)
            return made
        gone = file.gone_since is not None and elapsed_ms - max(file.gone_since, file.grown_at) >= GONE_MS
        if file.decided or self._continuity.decide(file, elapsed_ms, gone=gone):
            if gone:
                file.wake()
            try:
                made += file.read(now_ms, elapsed_ms)
            except Truncated:
                return self._truncated(file, now_ms, elapsed_ms)
            self._continuity.register(file)
        if gone and not file.moved:
            if file.decided:
                made += file.finish(now_ms)
            self._put_aside(file, finished=True)
        elif not file.moved:
            self._rest(file, elapsed_ms)
        return made

    def _rest(self, file: TailedFile, elapsed_ms: int) -> None:
        """Lets a file be that does not grow, until a scan finds it changed."""
        if elapsed_ms - file.grown_at < REST_MS or file.gone_since is not None or file.held_since is not None:
            return
        if not file.decided or not file.busy:
            file.rest()
            self._awake.pop(file.key, None)
            why = file.unfinished
            if why:
                self._problem(file.path, why)

    def _truncated(self, file: TailedFile, now_ms: int, elapsed_ms: int) -> list[Draft | Written]:
        """The file starts anew. If its content was copied first, the copy goes on where reading stood."""
        self._scan(elapsed_ms)
        unread, copy = file.unread_bytes, copy_of(file, self._open.values())
        made: list[Draft | Written] = []
        if copy is None:
            made = file.finish(now_ms)
            file.origin.tally.dropped[GAP] += 1
            told = "%s was truncated and no copy of it is in sight: at least %d bytes were never read; rotate by rename"
            log.warning(told, file.path, unread)
        else:
            log.info("%s was truncated; its copy %s is read to the end", file.path, copy.path)
            self._awake[copy.key] = None
        self._continuity.begin_anew(file, copy)
        file.moved = True
        return made

    def _stumbled(self, file: TailedFile, why: OSError) -> None:
        """A descriptor that has become stale is opened again; a file that is not there any more is put aside."""
        self._problem(file.path, why)
        file.failing = True
        if why.errno not in (errno.ESTALE, errno.ENOENT):
            return
        file.close()
        try:
            file.handle.stat()
        except OSError:
            found = next((p for f in folders_near([file.path]) if (p := inodes_in(f).get(file.key.inode))), None)
            if found is None or found == file.path:
                log.error("%s is no longer there, and what was written to it last may be lost", file.path)
                file.origin.tally.dropped[GAP] += 1
                self._put_aside(file, finished=False)
            else:
                file.handle.path = found

    def _put_aside(self, file: TailedFile, *, finished: bool) -> None:
        """Follows it no longer, but knows it when it comes again."""
        if file.seen is not None:
            self._watch.done(file.key, file.seen.modified_ns)
        self._continuity.leave(file, finished=finished)
        file.close()
        del self._open[file.key]
        self._awake.pop(file.key, None)

    def _problem(self, path: str, why: Exception | str) -> None:
        problem = why.strerror or str(why) if isinstance(why, OSError) else str(why)
        if self._problems.get(path) != problem:
            log.error("%s: %s", path, problem)
        self._problems[path] = problem


def _merged(slices: Sequence[list[Draft | Written]]) -> list[Draft | Written]:
    some = [one for one in slices if one]
    return some[0] if len(some) == 1 else list(merge(*some, key=lambda draft: draft.occurred_at))
