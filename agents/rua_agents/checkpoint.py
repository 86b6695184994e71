"""Where reading goes on after a restart: one file, replaced as a whole, moved only after the broker's ack.

It holds no name and no statement in clear. Without it everything is read again, and the events have the same ids.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import msgspec
from rua_common.errors import RuaError

log = logging.getLogger(__name__)
VERSION = 1


class FileState(msgspec.Struct, omit_defaults=True):
    """How far one file is read."""

    path: str
    source: str
    offset: int
    """Where the first record starts that is not taken yet."""
    stream: dict[str, Any]
    device: int = 0
    inode: int = 0
    prefix_bytes: int = 0
    prefix_hash: str = ""
    line: int = 0
    """Physical lines before `offset`; replays only."""
    lane: str = ""
    """`stdout` or `stderr` of a container, if the file holds both."""
    skip: int = 0
    """How much is taken of what the line at `offset` wraps."""
    modified_ns: int = 0
    """When the file changed last, by its own file system."""
    unread_bytes: int = 0
    """How many bytes were seen behind `offset`."""
    finished: bool = False
    """Whether it was read to its end when its name was gone."""
    seen_at_ms: int = 0
    """Since when it is absent."""


class Checkpoint(msgspec.Struct, omit_defaults=True):
    """The whole of it."""

    platform: str
    agent_epoch: int
    files: list[FileState]
    watermark_ms: int = 0
    agent_seq: int = 0
    """Up to this event the broker has everything."""
    chain_head: str | None = None
    """The hash of that event's message."""
    version: int = VERSION


class CheckpointFile:
    """`checkpoint.json` in the state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "checkpoint.json"

    def read(self, platform: str) -> Checkpoint | None:
        """The last one, or None: there is none, or it is damaged, and then everything is read again.

        Raises:
            RuaError: it belongs to another platform.
        """
        try:
            found = msgspec.json.decode(self.path.read_bytes(), type=Checkpoint)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as why:
            kept = self.path.with_suffix(".damaged")
            self.path.replace(kept)
            log.error("%s is damaged (%s) and now called %s: all files are read again", self.path, why, kept.name)
            return None
        if found.platform != platform:
            raise RuaError(
                f"{self.path} is of platform {found.platform}, not {platform}: use another state_dir for each platform"
            )
        return found

    def write(self, checkpoint: Checkpoint) -> None:
        """Replaces it so that a power cut leaves the old or the new one, never a torn one."""
        replace(self.path, msgspec.json.encode(checkpoint), sync=True)


def replace(path: Path, data: bytes, *, sync: bool) -> None:
    """Writes a whole file beside the old one, then takes its place."""
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)
    if sync:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
