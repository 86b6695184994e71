"""Who may open the agent's socket: the kernel says which process is at the other end, and nobody can forge that."""

from __future__ import annotations

import os
import socket
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from rua_common.errors import BadConfiguration

SOCKET_MODE = 0o660
BACKLOG = 128
_CREDENTIALS = struct.Struct("3i")
_SO_PEERGROUPS = getattr(socket, "SO_PEERGROUPS", 59)  # Linux's number; Python's module does not name it
_MOST_GROUPS_BYTES = 4 * 1_024


class Peer(NamedTuple):
    """A process that connected, as it was then."""

    uid: int
    groups: frozenset[int]


def peer_of(connection: socket.socket) -> Peer:
    """Who connected."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(raw)
    try:
        more = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS_BYTES)
    except OSError:  # an older kernel: the main group alone
        more = b""
    return Peer(uid, frozenset((gid, *struct.unpack(f"{len(more) // 4}I", more))))


class Allowed:
    """Users and groups."""

    def __init__(self, uids: list[int], gids: list[int]) -> None:
        self._uids, self._gids = frozenset((*uids, os.getuid())), frozenset(gids)

    def __call__(self, peer: Peer) -> bool:
        """Whether this process may hand over."""
        return peer.uid in self._uids or not self._gids.isdisjoint(peer.groups)


def listening(path: Path, group: int | None) -> socket.socket:
    """A socket at this path that its user and group may open.

    Raises:
        BadConfiguration: the path cannot be used, and why.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _clear(path)
        made.bind(str(path))  # closed to others until its mode says otherwise
        if group is not None:
            os.chown(path, -1, group)
        path.chmod(SOCKET_MODE)
        made.listen(BACKLOG)
    except OSError as why:
        made.close()
        raise BadConfiguration(
            f"{path}: {why.strerror}: name a directory that exists and is yours", key="socket"
        ) from why
    except BadConfiguration:
        made.close()
        raise
    return made


def _clear(path: Path) -> None:
    """Unlinks a socket that a stopped agent has left; refuses anything else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BadConfiguration(f"{path} is there and is no socket: name another path", key="socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(1)
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as why:
            raise BadConfiguration(f"{path}: {why.strerror}", key="socket") from why
    raise BadConfiguration(f"another agent listens at {path}: one socket each", key="socket")
