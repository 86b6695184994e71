"""Names become keyed pseudonyms before anything touches a disk or a network.

Keyed BLAKE2b, one subkey for each platform, field and key epoch: the same person at two platforms, or the same text in
two fields, gives two pseudonyms that nobody can join. Destroying a key erases what it named.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from rua_common.errors import BadConfiguration

MEMO = 1 << 16
KEY_BYTES = 32
MAX_KEY_BYTES = 64
READABLE_BY_OTHERS = 0o077
FIRST_EPOCH = 1

Observer = Callable[[str, str, str], None]
"""Called with (field, value in clear, pseudonym): only for replays of simulated data."""


class Pseudonymiser:
    """One platform's pseudonyms of one key epoch."""

    def __init__(self, key: bytes, platform: str, epoch: int = FIRST_EPOCH, observer: Observer | None = None) -> None:
        self.epoch = epoch
        self._key, self._platform, self._observer = key, platform, observer
        self._subkeys: dict[str, bytes] = {}
        self.pseudonym = lru_cache(MEMO)(self._pseudonym)
        """`pseudonym(field, value)`: 32 hex digits."""
        self.network = lru_cache(MEMO)(_network)
        """`network(address)`: its /24 or /48 prefix in clear, `local`, or None if it is no address."""

    def _pseudonym(self, field: str, value: str) -> str:
        canonical = canonical_address(value) if field == "address" else canonical_text(value)
        made = blake2b(canonical.encode("utf-8", "replace"), key=self._subkey(field), digest_size=16).hexdigest()
        if self._observer is not None:
            self._observer(field, value, made)
        return made

    def _subkey(self, field: str) -> bytes:
        if field not in self._subkeys:
            purpose = "\0".join(("rua.pseudonym", self._platform, field, str(self.epoch))).encode()
            self._subkeys[field] = blake2b(purpose, key=self._key, digest_size=KEY_BYTES).digest()
        return self._subkeys[field]


class KeyRing:
    """Which key holds at which time. Thin: one epoch; a key file may list more later."""

    def __init__(self, key: bytes, platform: str, observer: Observer | None = None) -> None:
        self._first = Pseudonymiser(key, platform, FIRST_EPOCH, observer)

    def at(self, occurred_at_ms: int) -> Pseudonymiser:
        """The pseudonymiser of an event's own time, so that reading it again uses the same key."""
        del occurred_at_ms
        return self._first


def canonical_text(value: str) -> str:
    """NFC, lower case, without blanks at the ends."""
    return unicodedata.normalize("NFC", value).strip().lower()


def canonical_address(value: str) -> str:
    """One spelling for an IP address; other text (a host name) as `canonical_text`."""
    address = _address(value)
    return canonical_text(value) if address is None else str(address)


def _address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(value.strip().strip("[]").split("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(value: str) -> str | None:
    if value in ("[local]", "local", "localhost") or value.startswith("unix:"):
        return "local"
    address = _address(value)
    if address is None:
        return None
    if address.is_loopback:
        return "local"
    bits = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((address, bits), strict=False))


def read_key(path: Path) -> bytes:
    """The key: 32 or more random bytes, raw or as hex digits, in a file that only its owner may read.

    Raises:
        BadConfiguration: missing, readable by others, or too short.
    """
    try:
        mode, raw = path.stat().st_mode & 0o777, path.read_bytes()
    except OSError as why:
        raise BadConfiguration(f"cannot be read: {why.strerror}", file=str(path), key="key_file") from why
    if mode & READABLE_BY_OTHERS:
        raise BadConfiguration(
            f"mode {mode:04o} lets others read it: chmod 0400", file=str(path), key="key_file", allowed=["0400", "0600"]
        )
    try:
        key = bytes.fromhex(raw.decode("ascii"))
    except ValueError:
        key = raw
    if len(key) < KEY_BYTES:
        raise BadConfiguration(
            f"{len(key)} bytes; it needs {KEY_BYTES} or more: head -c {KEY_BYTES} /dev/urandom > {path}",
            file=str(path),
            key="key_file",
        )
    return key if len(key) <= MAX_KEY_BYTES else blake2b(key, digest_size=MAX_KEY_BYTES).digest()
