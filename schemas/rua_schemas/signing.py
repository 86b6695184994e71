"""What an agent signs in a heartbeat, and how anybody checks it. The page is docs/heartbeats.md.

Signed is the heartbeat's own Avro encoding without its signature: this contract gives a value one encoding only, so no
second canonical form has to be defined, and every field of a release is under the signature.
"""

from __future__ import annotations

from functools import cache

import msgspec
from rua_common.blake import blake2b

from rua_schemas.events import Heartbeat
from rua_schemas.released import released
from rua_schemas.writing import Write, compiled

FIRST_VERSION = 2
"""The number of the first release of the schema that has a signature."""
ID_BYTES = 16


def signed_bytes(heartbeat: Heartbeat) -> bytes:
    """What the signature of a heartbeat covers: a line that names its purpose, then the record without `signature`.

    Raises:
        ValueError: `signature_version` names no release that knows signatures.
    """
    version = heartbeat.signature_version
    if version is None or not FIRST_VERSION <= version <= len(released(Heartbeat)):
        raise ValueError(f"signature_version {version} is not known here")
    return b"rua-heartbeat/%d\n" % version + _writing(version)(msgspec.structs.replace(heartbeat, signature=None))


def current_version() -> int:
    """The form that this release signs: the number of its schema."""
    return len(released(Heartbeat))


def key_id(public_key: bytes) -> str:
    """The name of a public key: 32 hex digits."""
    return blake2b(public_key, digest_size=ID_BYTES).hexdigest()


def verify(heartbeat: Heartbeat, public_key: bytes) -> bool:
    """Whether this heartbeat was signed by the holder of this Ed25519 key, and not a bit of it was changed since."""
    from nacl.exceptions import BadSignatureError  # noqa: PLC0415 - who checks nothing does not load libsodium
    from nacl.signing import VerifyKey  # noqa: PLC0415 - likewise

    if heartbeat.signature is None or heartbeat.signing_key_id != key_id(public_key):
        return False
    try:
        VerifyKey(public_key).verify(signed_bytes(heartbeat), bytes.fromhex(heartbeat.signature))
    except (BadSignatureError, ValueError):
        return False
    return True


@cache
def _writing(version: int) -> Write:
    return compiled(released(Heartbeat)[version - 1].plain)
