"""One agent, one state directory: two would overwrite each other's checkpoint."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from rua_common.errors import BadConfiguration


class StateLock:
    """Held as long as the agent runs; the kernel lets it go however the process ends."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "lock"
        self._descriptor: int | None = None

    def take(self) -> None:
        """Takes it.

        Raises:
            BadConfiguration: another agent has it, or the directory cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as why:
            raise BadConfiguration(
                f"{self.path.parent}: {why.strerror}: the agent must be able to write there", key="state_dir"
            ) from why
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as why:
            os.close(descriptor)
            raise BadConfiguration(
                f"{self.path.parent}: process {self.owner()} runs with it: stop that agent, or give each its own",
                key="state_dir",
            ) from why
        with contextlib.suppress(OSError):  # a full disk: the lock holds without the number
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def is_free(self) -> bool:
        """Whether surely nobody has it; False also where that cannot be seen."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True

    def owner(self) -> str:
        """The process that wrote its number there, `?` if nobody did."""
        try:
            return self.path.read_text(encoding="ascii").strip() or "?"
        except (OSError, UnicodeDecodeError):
            return "?"

    def release(self) -> None:
        """Lets it go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.release()
