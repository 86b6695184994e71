"""What a followed file holds: its bytes as they are, or unpacked if it is gzip; and not too many descriptors for it.

Offsets of a gzip file are those of what it unpacks to: so `log.2.gz` goes on where `log.1` was read.
"""

from __future__ import annotations

import errno
import gzip
import os
import resource
import stat
import zlib
from collections import OrderedDict
from typing import Any, BinaryIO, Protocol, cast

from rua_common.errors import RuaError

GZIP = b"\x1f\x8b"
GZIP_BITS = zlib.MAX_WBITS | 16
RAW_BYTES = 1 << 16
MOST_DESCRIPTORS, LEAST_DESCRIPTORS = 2_048, 16


Unpacker = Any
"""A `zlib.decompressobj`, whose type has no name."""


class DamagedFile(RuaError):
    """From here on nothing of this file can be read. What stands before has been."""


class Descriptors:
    """Open files, at most `limit` of them: the one not used for longest is closed, and opened again when needed."""

    def __init__(self, limit: int | None = None) -> None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.limit = limit or max(LEAST_DESCRIPTORS, min(MOST_DESCRIPTORS, soft // 2))
        self._open: OrderedDict[Handle, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def of(self, handle: Handle) -> int:
        """The descriptor of a file.

        Raises:
            OSError: it cannot be opened; ESTALE if its path leads to another file now.
        """
        found = self._open.get(handle)
        if found is not None:
            self._open.move_to_end(handle)
            return found
        self._make_room()
        self._open[handle] = found = _open(handle.path)
        key = os.fstat(found)
        if handle.key not in (None, (key.st_dev, key.st_ino)):
            self.close(handle)
            raise OSError(errno.ESTALE, "another file stands at this path now", handle.path)
        handle.key = (key.st_dev, key.st_ino)
        return found

    def close(self, handle: Handle) -> None:
        """Closes one, if it is open."""
        found = self._open.pop(handle, None)
        if found is not None:
            os.close(found)

    def _make_room(self) -> None:
        if len(self._open) >= self.limit:
            oldest = next((handle for handle in self._open if not handle.nameless), None)
            if oldest is not None:
                self.close(oldest)


class Handle:
    """A regular file, by path as long as it has one, and by device and inode for ever."""

    def __init__(self, path: str, descriptors: Descriptors) -> None:
        self.path = path
        self.key: tuple[int, int] | None = None
        self.nameless = False
        """Whether it may be gone from its path: then its descriptor is all that leads to it."""
        self._descriptors = descriptors

    def stat(self) -> os.stat_result:
        """Size and time of change."""
        return os.fstat(self._descriptors.of(self))

    def read(self, at: int, size: int) -> bytes:
        """Bytes at an offset."""
        return os.pread(self._descriptors.of(self), size, at)

    def close(self) -> None:
        """Lets it go, for ever or until the next use."""
        self._descriptors.close(self)


class Content(Protocol):
    """The bytes of a file as its records count them."""

    ends: bool
    """Whether nothing can be added any more."""

    def read(self, at: int, size: int) -> bytes:
        """So many bytes at an offset; fewer only where the file ends for now."""
        ...

    def start(self, size: int) -> bytes:
        """The first bytes; does not disturb reading."""
        ...

    def length(self, size: int, at: int) -> int:
        """How long it is at least, if the file has `size` bytes and reading stands at `at`."""
        ...

    def reaches(self, size: int, at: int) -> bool:
        """Whether a file of `size` bytes can still hold what was read up to `at`."""
        ...

    @property
    def unfinished(self) -> str | None:
        """What is missing, in words, if nothing more comes."""
        ...


class Plain:
    """A file's bytes as they are."""

    ends = False

    def __init__(self, handle: Handle) -> None:
        self.read = handle.read
        self._handle = handle

    def start(self, size: int) -> bytes:
        """See `Content`."""
        return self._handle.read(0, size)

    def length(self, size: int, at: int) -> int:
        """See `Content`."""
        del at
        return size

    def reaches(self, size: int, at: int) -> bool:
        """See `Content`."""
        return size >= at

    @property
    def unfinished(self) -> str | None:
        """See `Content`."""
        return None


class Gzip:
    """What a gzip file unpacks to, as far as it is written. Reading backwards starts again at the front."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._begin()

    def read(self, at: int, size: int) -> bytes:
        """See `Content`.

        Raises:
            DamagedFile: this is no gzip any more.
        """
        if at < self._at:
            self._begin()
        while self._at < at:
            if not self._next(min(at - self._at, RAW_BYTES)):
                return b""
        made = bytearray()
        while len(made) < size and not (made and self._damage) and (some := self._next(size - len(made))):
            made += some
        return bytes(made)

    def start(self, size: int) -> bytes:
        """See `Content`."""
        return Gzip(self._handle).read(0, size)

    def length(self, size: int, at: int) -> int:
        """See `Content`: what is unpacked, and the rest as it is packed."""
        return max(at, self._at) + (0 if self.ends else max(1, size - self._raw_at))

    def reaches(self, size: int, at: int) -> bool:
        """See `Content`."""
        del at
        return size >= self._raw_at

    @property
    def unfinished(self) -> str | None:
        """See `Content`."""
        if self.ends:
            return None
        what = "ends in the middle" if self._damage is None else f"is damaged ({self._damage})"
        return f"the gzip file {what} after {self._at} unpacked bytes; what stands before is read"

    def _begin(self) -> None:
        self.ends = False
        self._at = self._raw_at = 0
        self._packed = b""
        self._member: Unpacker | None = None
        self._damage: str | None = None

    def _next(self, size: int) -> bytes:
        """At least one byte and at most `size`, or none if there is none yet."""
        while not (made := self._unpacked(size)):
            if self._damage is not None:
                raise DamagedFile(self.unfinished or "")
            more = self._handle.read(self._raw_at, RAW_BYTES)
            self.ends = not more and self._member is None
            if not more:
                return b""
            self._raw_at += len(more)
            self._packed += more
        self._at += len(made)
        return made

    def _unpacked(self, size: int) -> bytes:
        """What the bytes in memory give. A file may hold several members, and zeros behind them."""
        made = b""
        while not made and self._damage is None:
            if self._member is None:
                self._packed = self._packed.lstrip(b"\0")
                if not self._packed:
                    break
                self._member = zlib.decompressobj(GZIP_BITS)
            before = self._member.copy()
            try:
                made = self._member.decompress(self._packed, size)
            except zlib.error as why:
                self._damage, made = str(why), _salvaged(before, self._packed, size)
                break
            self._packed = self._member.unconsumed_tail
            if not self._member.eof:
                break
            self._packed, self._member = self._member.unused_data, None
        return made


def content_of(handle: Handle) -> Content | None:
    """How to read a file; None if it is too short to tell."""
    head = handle.read(0, len(GZIP))
    if len(head) < len(GZIP):
        return None
    return Gzip(handle) if head == GZIP else Plain(handle)


def opened(path: str) -> BinaryIO:
    """A whole file, unpacked if it is gzip; a damaged one raises OSError or EOFError when it is read."""
    with open(path, "rb") as file:
        packed = file.read(len(GZIP)) == GZIP
    return cast(BinaryIO, gzip.open(path)) if packed else open(path, "rb")


def _salvaged(member: Unpacker, packed: bytes, size: int) -> bytes:
    """What stands before the damage: zlib itself gives nothing of the bytes among which it finds some."""
    made = bytearray()
    for at in range(len(packed)):
        try:
            made += member.decompress(packed[at : at + 1])
        except zlib.error:
            break
    return bytes(made[:size])


def _open(path: str) -> int:
    """Opens a regular file; never waits for whoever might write to a pipe."""
    found = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(errno.EINVAL, "no regular file", path)
    return found
