"""Which files a pattern means: those that it matches, and what became of them by rotation.

A file is often rotated to a name that its pattern does not match (`audit.json` to `audit.json.1`), and sometimes faster
than anybody looks. So what appears beside a followed file under a rotated name of it belongs to it.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from typing import NamedTuple

_ROTATED = re.compile(r"(?P<name>.+?)(?:[.\-_](?:\d[\d.\-_T:Z]*|old|prev|bak|save))?(?:\.gz)?", re.DOTALL)


class Found(NamedTuple):
    """A path that a pattern means."""

    path: str
    rotated: bool
    """Whether only the name before rotation matches."""


class Pattern:
    """A shell pattern for the whole path of files; `*` and `?` do not match a leading dot."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._folder, self._name = os.path.split(text)
        self._matches = re.compile(translate(self._name)).match
        self._hidden = self._name.startswith(".")

    def find(self) -> Iterator[Found]:
        """What is there now, in order.

        Raises:
            OSError: a folder cannot be listed.
        """
        for folder in sorted(glob.glob(self._folder)) if glob.has_magic(self._folder) else [self._folder]:
            try:
                names = sorted(os.listdir(folder or "."))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for name in names:
                rotated = self.means(name)
                if rotated is not None:
                    path = os.path.join(folder, name)
                    yield Found(path, rotated)
                    yield from rotated_behind(path)

    def means(self, name: str) -> bool | None:
        """Whether a file of this name is a rotated one, or None if it is not meant at all."""
        if name.startswith(".") and not self._hidden:
            return None
        if self._matches(name):
            return False
        return True if self._matches(name_before(name)) else None

    @property
    def names_one(self) -> bool:
        """Whether it is the path of one file."""
        return not glob.has_magic(self.text)


def rotated_behind(link: str) -> Iterator[Found]:
    """What was rotated where a link leads to: as the kubelet does behind `/var/log/containers`."""
    if not os.path.islink(link):
        return
    folder, name = os.path.split(os.path.realpath(link))
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return  # the link leads nowhere, which whoever follows it will say
    for one in names:
        if one != name and name_before(one) == name:
            yield Found(os.path.join(folder, one), rotated=True)


def name_before(name: str) -> str:
    """The name that a file had before it was rotated, as far as the name tells."""
    found = _ROTATED.fullmatch(name)
    return found["name"] if found else name


def folders_near(paths: Sequence[str]) -> Iterator[str]:
    """The folders of these paths and the folders in them: where a rotation may have moved files to."""
    for folder in sorted({os.path.dirname(path) or "." for path in paths}):
        yield folder
        try:
            with os.scandir(folder) as entries:
                yield from sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue


def inodes_in(folder: str) -> dict[int, str]:
    """Inode → path of the files in a folder; none if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return {entry.inode(): entry.path for entry in entries if entry.is_file(follow_symlinks=False)}
    except OSError:
        return {}
