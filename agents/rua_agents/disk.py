"""The disk of the state directory: how much room it has, and a reserve with which the checkpoint can still be written.

A full disk is the platform's emergency. The agent adds nothing to it, keeps what it knows, and goes on by itself when
there is room again.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

from rua_agents.settings import DiskSettings

log = logging.getLogger(__name__)
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
CHUNK_BYTES = 1 << 16
ABOVE_FLOOR = 1.1
"""There is room again when so much more than the floor is free: else the agent would stop and go with every block."""

Room = Callable[[Path], int]
Fill = Callable[[int, int, int], None]


def free_bytes(directory: Path) -> int:
    """What this user may still write there."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def allocate(descriptor: int, offset: int, length: int) -> None:
    """Gives the file its blocks; where the file system or the C library cannot, by writing them.

    Raises:
        OSError: no room.
    """
    try:
        os.posix_fallocate(descriptor, offset, length)
    except OSError as why:
        if why.errno not in UNSUPPORTED:
            raise
        for at in range(offset, offset + length, CHUNK_BYTES):
            os.pwrite(descriptor, bytes(min(CHUNK_BYTES, offset + length - at)), at)


class Reserve:
    """Bytes that are held back in a file."""

    def __init__(self, path: Path, size_bytes: int, fill: Fill = allocate) -> None:
        self.path, self._size_bytes, self._fill = path, size_bytes, fill

    @property
    def held(self) -> bool:
        """Whether it is there in full."""
        try:
            return not self._size_bytes or self.path.stat().st_size >= self._size_bytes
        except OSError:
            return False

    def take(self) -> bool:
        """Sets it aside, if there is room; whether it is held."""
        if self.held:
            return True
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._fill(descriptor, 0, self._size_bytes)
            finally:
                os.close(descriptor)
        except OSError:
            self.release()
            return False
        return self.held

    def release(self) -> None:
        """Gives its room back."""
        self.path.unlink(missing_ok=True)

    def write(self, writes: Callable[[], None]) -> None:
        """Calls `writes`; if the disk has no room, once more in that of the reserve.

        Raises:
            OSError: no room even so, or another trouble.
        """
        try:
            writes()
        except OSError as why:
            if why.errno not in NO_ROOM or not self.path.exists():
                raise
            self.release()
            writes()
            self.take()  # the old checkpoint's room is free by now


class Disk:
    """Whether there is room, asked about once a second."""

    def __init__(
        self, directory: Path, settings: DiskSettings, *, room: Room = free_bytes, fill: Fill = allocate
    ) -> None:
        self.reserve = Reserve(directory / "reserve", settings.reserve_bytes, fill)
        self.free_bytes = 0
        self.problem: str | None = None
        self._directory, self._settings, self._room = directory, settings, room
        self._failed: OSError | None = None

    @property
    def full(self) -> bool:
        """Whether what needs room should wait."""
        return self.problem is not None

    @property
    def holds_reading(self) -> bool:
        """Whether files should not be read for now."""
        return self.full and self._settings.full == "stop_reading"

    def write(self, writes: Callable[[], None]) -> bool:
        """Writes something that must be kept, from the reserve if need be; whether it could."""
        try:
            self.reserve.write(writes)
        except OSError as why:
            self.failed(why)
            return False
        return True

    def failed(self, why: OSError) -> None:
        """A write failed: nothing more is tried until `look` finds room."""
        self._failed = why
        self._say(f"cannot be written: {why.strerror or why}")

    def look(self) -> None:
        """Asks how much room there is."""
        try:
            self.free_bytes = self._room(self._directory)
            if self._failed is not None:
                self._probe()
        except OSError as why:
            self.failed(why)
            return
        floor = self._settings.min_free_bytes * (ABOVE_FLOOR if self.full else 1)
        if self.free_bytes < floor:
            self._say(f"{self.free_bytes} bytes are free, {self._settings.min_free_bytes} are wanted")
        elif not self.reserve.take():
            self._say(f"no room for a reserve of {self._settings.reserve_bytes} bytes")
        else:
            self._say(None)

    def _probe(self) -> None:
        path = self._directory / "probe"
        try:
            path.write_bytes(b"?" * 4_096)
        finally:
            path.unlink(missing_ok=True)
        self._failed = None

    def _say(self, trouble: str | None) -> None:
        was = self.problem is not None
        if trouble is not None:
            waits = " Reading waits." if self._settings.full == "stop_reading" else ""
            self.problem = f"state_dir {self._directory}: {trouble}. Make room on this disk.{waits}"
            if not was:
                log.error("%s", self.problem)
        elif was:
            self.problem = None
            log.warning("state_dir %s: there is room again", self._directory)
