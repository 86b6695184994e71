"""Files that hold keys: read only if nobody else could have read or changed them.

A key file of pseudonyms holds one key (32 or more random bytes, raw or as hex digits), or a list in YAML for rotation:

    - epoch: 1
      from: 2026-01-01
      key: 5f0c…                 (64 hex digits; the word `destroyed` when it is)
    - epoch: 2
      from: 2026-07-01T00:00:00+07:00
      overlap_days: 30
      key: 91be…
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec
import yaml
from rua_common.blake import blake2b
from rua_common.errors import BadConfiguration

KEY_BYTES = 32
MAX_KEY_BYTES = 64
READABLE_BY_OTHERS = 0o077
OWNER_READS = 0o400
FIRST_EPOCH = 1
MAX_EPOCH = 2**31 - 1
DAY_MS = 86_400_000
MOST_OVERLAP_DAYS = 366
DESTROYED = "destroyed"
HEADER = b"# Keys of pseudonyms, by epoch. Whoever has them can find out names. Rotation: docs/pseudonyms.md\n"


class KeyEpoch(NamedTuple):
    """A key, and the time from which it holds, until the next one does."""

    epoch: int
    from_ms: int
    key: bytes | None
    """None: destroyed."""
    overlap_ms: int = 0
    """For so long from `from_ms` events carry the pseudonyms of the key before it, too."""


Keys = tuple[KeyEpoch, ...]
"""In order of epoch and of time; the last one is not destroyed."""


class _Entry(msgspec.Struct, forbid_unknown_fields=True, rename={"from_": "from"}):
    """As it stands in the file: all of it text."""

    epoch: str
    from_: str
    key: str
    overlap_days: str = "0"


def single(key: bytes) -> Keys:
    """One key for all times."""
    return (KeyEpoch(FIRST_EPOCH, 0, key),)


def read_secret(path: Path, setting: str) -> bytes:
    """What a file holds that only this process may read.

    Args:
        path: the file.
        setting: the key of the configuration that names it.

    Raises:
        BadConfiguration: missing, readable by others, or somebody else's, who could change it.
    """
    try:
        with open(path, "rb") as file:
            found, raw = os.fstat(file.fileno()), file.read()
    except OSError as why:
        raise BadConfiguration(f"cannot be read: {why.strerror}", file=str(path), key=setting) from why
    mode = found.st_mode & 0o777
    if mode & READABLE_BY_OTHERS:
        cure = f"mode {mode:04o} lets others read it: chmod 0400"
        raise BadConfiguration(cure, file=str(path), key=setting, allowed=["0400", "0600"])
    if found.st_uid not in (os.geteuid(), 0):
        cure = f"belongs to uid {found.st_uid}, who could change it: chown {os.geteuid()} {path}"
        raise BadConfiguration(cure, file=str(path), key=setting)
    return raw


def write_secret(path: Path, content: bytes) -> None:
    """Makes a file that only its owner may read.

    Raises:
        BadConfiguration: there is one already, which is never replaced; or it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_READS)
    except FileExistsError as why:
        raise BadConfiguration("is there already and stays as it is", file=str(path)) from why
    except OSError as why:
        raise BadConfiguration(f"cannot be made: {why.strerror}", file=str(path)) from why
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def create_key_file(path: Path) -> None:
    """Makes a key file with one fresh key for all times, ready for rotation. Errors as `write_secret`."""
    key = os.urandom(KEY_BYTES).hex()
    write_secret(path, HEADER + f"- epoch: {FIRST_EPOCH}\n  from: 1970-01-01\n  key: {key}\n".encode())


def read_keys(path: Path) -> Keys:
    """The keys of a key file.

    Raises:
        BadConfiguration: as `read_secret`; a key is too short; the list is out of order or cannot be understood.
    """
    raw = read_secret(path, "key_file")
    try:
        return _listed(raw) if b"epoch:" in raw else single(_sized(_plain(raw), str(path)))
    except BadConfiguration as why:
        raise BadConfiguration(why.problem, file=str(path), key="key_file", allowed=why.allowed) from None


def _plain(raw: bytes) -> bytes:
    try:
        return bytes.fromhex(raw.decode("ascii"))
    except ValueError:
        return raw


def _sized(key: bytes, path: str) -> bytes:
    if len(key) < KEY_BYTES:
        cure = f"{len(key)} bytes; it needs {KEY_BYTES} or more: head -c {KEY_BYTES} /dev/urandom > {path}"
        raise BadConfiguration(cure)
    return key if len(key) <= MAX_KEY_BYTES else blake2b(key, digest_size=MAX_KEY_BYTES).digest()


def _listed(raw: bytes) -> Keys:
    # `from None`, and no text of the parser's: it would quote the line, which is a key
    try:
        plain = yaml.load(raw, Loader=yaml.BaseLoader)  # noqa: S506 - the loader that makes nothing but text
    except (yaml.YAMLError, UnicodeError) as why:
        mark = getattr(why, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise BadConfiguration(f"is no YAML list of epochs{where}") from None
    try:
        entries = msgspec.convert(plain, list[_Entry])
    except msgspec.ValidationError:
        allowed = ["epoch", "from", "key", "overlap_days"]
        raise BadConfiguration("is no list of epochs, each with epoch, from and key", allowed=allowed) from None
    return _in_order(tuple(_read(entry) for entry in entries))


def _read(entry: _Entry) -> KeyEpoch:
    if not entry.epoch.isascii() or not entry.epoch.isdigit() or not 0 < int(entry.epoch) <= MAX_EPOCH:
        raise BadConfiguration("an epoch is a number: 1, 2, 3 …")
    name = f"epoch {entry.epoch}"
    try:
        begins = datetime.fromisoformat(entry.from_)
    except ValueError:
        allowed = ["2026-07-01", "2026-07-01T00:00:00+07:00"]
        raise BadConfiguration(f"{name}: from is no date", allowed=allowed) from None
    days = entry.overlap_days
    if not (days.isascii() and days.isdigit() and int(days) <= MOST_OVERLAP_DAYS):
        raise BadConfiguration(f"{name}: overlap_days is out of range", allowed=[f"0 to {MOST_OVERLAP_DAYS}"])
    from_ms = int((begins if begins.tzinfo else begins.replace(tzinfo=UTC)).timestamp() * 1_000)
    return KeyEpoch(int(entry.epoch), from_ms, _key(entry.key, name), int(days) * DAY_MS)


def _key(text: str, name: str) -> bytes | None:
    if text == DESTROYED:
        return None
    try:
        return _sized(bytes.fromhex(text), "a file")
    except (ValueError, BadConfiguration):
        cure = f"{name}: its key is not {2 * KEY_BYTES} or more hex digits"
        raise BadConfiguration(cure, allowed=[f"openssl rand -hex {KEY_BYTES}", DESTROYED]) from None


def _in_order(keys: Keys) -> Keys:
    if not keys or keys[-1].key is None:
        raise BadConfiguration("the last epoch has no key: nothing could be named from now on")
    for before, after in pairwise(keys):
        if after.epoch <= before.epoch or after.from_ms <= before.from_ms:
            raise BadConfiguration(f"epoch {after.epoch} does not follow epoch {before.epoch} in number and time")
        if after.key is not None and after.key == before.key:
            raise BadConfiguration(f"epoch {after.epoch} has the key of epoch {before.epoch}")
    return keys
