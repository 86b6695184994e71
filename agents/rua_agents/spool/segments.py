"""Segment files: groups one after the other. A file's name is the sequence of its first event."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rua_agents.spool import groups
from rua_agents.spool.groups import HEADER, Framed

SUFFIX, BAD = ".seg", ".bad"
KEPT_BAD = 3


class Segment:
    """One file, as far as it is committed."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self.first = int(path.stem)
        self.damaged = False
        self._descriptor: int | None = None

    def group(self, at: int) -> Framed | None:
        """The group that starts at this byte, or None: the segment ends there or is damaged."""
        if at + HEADER.size > self.size:
            return None
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        head = os.pread(self._descriptor, HEADER.size, at)
        if len(head) < HEADER.size or at + HEADER.size + HEADER.unpack(head)[1] > self.size:
            return None
        found = groups.read(head + os.pread(self._descriptor, HEADER.unpack(head)[1], at + HEADER.size))
        return None if found is None else found._replace(end=at + found.end)

    def after_damage(self, at: int) -> int | None:
        """Where the first undamaged group starts behind this byte."""
        found = groups.resync(self.path.read_bytes()[: self.size], at + 1)
        self.damaged = self.damaged or found is not None
        return found

    def groups(self) -> Iterator[Framed]:
        """All that can be read, damage left out."""
        at: int | None = 0
        while at is not None and at < self.size:
            found = self.group(at)
            if found is not None:
                yield found
            at = found.end if found is not None else self.after_damage(at)

    def close(self) -> None:
        """Lets the file go; reading opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """Unlinks it; one that is damaged is kept beside as evidence, the newest few of them."""
        self.close()
        if self.damaged:
            quarantine(self.path)
        else:
            self.path.unlink(missing_ok=True)


def path_of(directory: Path, first: int) -> Path:
    """Where a segment stands that starts with this sequence."""
    return directory / f"{first:020d}{SUFFIX}"


def found_in(directory: Path) -> list[Segment]:
    """The segments of a spool, oldest first."""
    paths = sorted(path for path in directory.glob(f"*{SUFFIX}") if path.stem.isdigit())
    return [Segment(path, path.stat().st_size) for path in paths]


def last_bad(directory: Path) -> int:
    """The first sequence of the newest damaged segment that is kept; 0 if there is none."""
    return max((int(path.stem) for path in directory.glob(f"*{BAD}") if path.stem.isdigit()), default=0)


def quarantine(path: Path) -> None:
    """Takes a damaged segment out of use."""
    if path.exists():
        path.replace(path.with_suffix(BAD))
    for old in sorted(path.parent.glob(f"*{BAD}"))[:-KEPT_BAD]:
        old.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Makes names durable: new files, and files that are gone."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
