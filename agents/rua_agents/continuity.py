"""Which followed file goes on where which one was read: after a restart, a truncation, in a copy, as gzip."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from rua_agents.absent import Absent, id_key, place_keys
from rua_agents.checkpoint import FileState
from rua_agents.contents import DamagedFile
from rua_agents.tailed import TailedFile

log = logging.getLogger(__name__)
TWIN_MS = 10_000


class Continuity:
    """The ids of live files, and the states of those that are not there."""

    def __init__(self) -> None:
        self.absent = Absent()
        self._ids: dict[str, TailedFile] = {}

    def taken(self, source_id: str) -> bool:
        """Whether a live file has this id."""
        return source_id in self._ids

    def register(self, file: TailedFile) -> None:
        """Notes which file has which id, after anything that may have changed it."""
        known = file.stream.source_id
        if known != file.registered:
            if file.registered is not None and self._ids.get(file.registered) is file:
                del self._ids[file.registered]
            if known is not None:
                self._ids[known] = file
            file.registered = known

    def resume(self, file: TailedFile) -> None:
        """Goes on with a file that was just opened, if an absent one had its place and starts like it."""
        key = file.key
        state = self.absent.take(place_keys(key.source, key.lane, (key.device, key.inode), file.path), file.fits)
        if state is not None:
            self.load(file, state)

    def decide(self, file: TailedFile, elapsed_ms: int, *, gone: bool) -> bool:
        """Whether it is known which source this file is: a new one, or one that is continued here."""
        known, final = file.peek()
        if not final and not gone:
            return False
        if known is not None:
            state = self.absent.take([id_key(file.key.source, file.key.lane, known)], file.fits)
            if state is not None:
                self.load(file, state)
                return True
            other = self._ids.get(known)
            if other is not None and not _is_twin(file, other, elapsed_ms):
                return False
        file.decided, file.held_since, file.seen = True, None, None
        return True

    def load(self, file: TailedFile, state: FileState) -> None:
        """Goes on where a state stands, or at the start if this version cannot read it."""
        try:
            file.load(state)
        except (AttributeError, LookupError, TypeError, ValueError, msgspec.ValidationError) as why:
            log.error("%s: the checkpoint of another version (%r) is of no use: reading it again", file.path, why)
            file.restart()
            file.decided = True
        self.register(file)

    def begin_anew(self, file: TailedFile, copy: TailedFile | None) -> None:
        """A truncated file starts anew, and its copy, if there is one, goes on where reading stood."""
        state = file.dump()
        file.restart()
        self.register(file)
        if copy is not None:
            self.load(copy, state)

    def leave(self, file: TailedFile, *, finished: bool) -> None:
        """A file is followed no longer, but will be known when it comes again."""
        if file.decided:
            state = file.dump()
            state.finished = finished
            self.absent.add(state)
        file.restart()
        self.register(file)


def _is_twin(file: TailedFile, other: TailedFile, elapsed_ms: int) -> bool:
    """Whether a file that starts like another live one is none of its copies.

    One may be made now, and the original truncated soon: wait for that. What is packed, or has a rotated name, is a
    copy, and goes on when the original is gone.
    """
    if file.held_since is None:
        file.held_since = elapsed_ms
    copy = file.packed or file.rotated or other.gone_since is not None
    return not copy and elapsed_ms - file.held_since >= TWIN_MS


def copy_of(file: TailedFile, others: Iterable[TailedFile]) -> TailedFile | None:
    """The file, not read yet, that starts with all that was read of this one."""
    state = file.dump()
    same = [one for one in others if not one.decided and one.key[:2] == file.key[:2] and one is not file]
    return next((one for one in same if _fits(one, state)), None)


def _fits(file: TailedFile, state: FileState) -> bool:
    try:
        return file.fits(state)
    except (OSError, DamagedFile):
        return False
