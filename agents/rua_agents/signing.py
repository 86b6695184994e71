"""The agent's own key: with it heartbeats are signed, so that nobody else can speak for it once it is silent.

libsodium (PyNaCl) is loaded only where a key is configured.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from rua_common.errors import BadConfiguration
from rua_schemas.events import Heartbeat
from rua_schemas.signing import current_version, key_id, signed_bytes

from rua_agents.keyfile import read_secret, write_secret

SEED_BYTES = 32


class Signer:
    """Signs with an Ed25519 key, which is given by its 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        from nacl.signing import SigningKey  # noqa: PLC0415 - 4 MB that an agent without a key need not pay

        self._key = SigningKey(seed)
        self.public_key = bytes(self._key.verify_key)
        self.key_id = key_id(self.public_key)

    def signed(self, heartbeat: Heartbeat) -> Heartbeat:
        """The heartbeat with the key's id and a signature over all of it."""
        named = msgspec.structs.replace(heartbeat, signing_key_id=self.key_id, signature_version=current_version())
        signature = self._key.sign(signed_bytes(named)).signature.hex()
        return msgspec.structs.replace(named, signature=signature)


def read_signer(path: Path) -> Signer:
    """The key in a file: 32 bytes, raw or as hex digits.

    Raises:
        BadConfiguration: missing, readable by others, somebody else's, or no such key.
    """
    raw = read_secret(path, "signing_key_file")
    try:
        seed = bytes.fromhex(raw.decode("ascii"))
    except ValueError:
        seed = raw
    if len(seed) != SEED_BYTES:
        cure = f"{len(seed)} bytes; an Ed25519 key has {SEED_BYTES}: make one with rua agent init"
        raise BadConfiguration(cure, file=str(path), key="signing_key_file")
    return Signer(seed)


def create_signing_key(path: Path) -> str:
    """Makes a fresh key, and tells the public key, in hex digits, that its heartbeats are verified with.

    Raises:
        BadConfiguration: there is a file already, which is never replaced; or it cannot be written.
    """
    seed = os.urandom(SEED_BYTES)
    write_secret(path, seed.hex().encode() + b"\n")
    return Signer(seed).public_key.hex()
