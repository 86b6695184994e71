"""What a heartbeat's signature covers, by a test vector that stands in docs/heartbeats.md too."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from nacl.signing import SigningKey
from rua_schemas.codec import decode, encode
from rua_schemas.events import Count, Heartbeat
from rua_schemas.released import HERE
from rua_schemas.signing import current_version, key_id, signed_bytes, verify

EXAMPLE = HERE / "examples" / "heartbeat" / "signed.json"
SEED = bytes(range(32))
PUBLIC = bytes(SigningKey(SEED).verify_key)


def example() -> Heartbeat:
    """The signed heartbeat that everybody may check their verifier with."""
    return msgspec.json.decode(EXAMPLE.read_bytes(), type=Heartbeat)


def test_the_example_verifies_with_the_key_of_the_page() -> None:
    """Also after a way over the wire."""
    assert PUBLIC.hex() == "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
    assert example().signing_key_id == key_id(PUBLIC)
    assert verify(example(), PUBLIC)
    assert verify(decode(encode(example()), Heartbeat), PUBLIC)


def test_signing_the_example_again_gives_its_signature() -> None:
    """The encoding does not drift: what is signed today is what was signed at release 2."""
    assert example().signature_version == 2
    assert SigningKey(SEED).sign(signed_bytes(example())).signature.hex() == example().signature


@pytest.mark.parametrize("field", [f for f in Heartbeat.__struct_fields__ if f != "signature"])
def test_no_field_can_be_changed_under_the_signature(field: str) -> None:
    """Whichever it is, by the smallest step."""
    value = getattr(example(), field)
    changes: dict[type, Any] = {
        int: lambda v: v + 1,
        str: lambda v: v[:-1] + chr(ord(v[-1]) ^ 1),
        tuple: lambda v: v[1:],
    }
    forged = None if value is None else changes[type(value)](value)
    if forged is None:
        forged = {"quiet_until": 1_790_100_000_000}[field]
    assert not verify(msgspec.structs.replace(example(), **{field: forged}), PUBLIC)


def test_a_count_cannot_be_lowered() -> None:
    """Nor moved to a harmless reason."""
    for count in (Count(reason="sdk_overflow", count=6), Count(reason="spool_full", count=7)):
        assert not verify(msgspec.structs.replace(example(), dropped=(count,)), PUBLIC)


def test_another_key_or_none_or_rubbish_does_not_verify() -> None:
    """And nothing raises."""
    other = SigningKey(bytes(32))
    forged = msgspec.structs.replace(example(), signing_key_id=key_id(bytes(other.verify_key)))
    forged = msgspec.structs.replace(forged, signature=other.sign(signed_bytes(forged)).signature.hex())
    assert verify(forged, bytes(other.verify_key))
    assert not verify(forged, PUBLIC)
    for signature in (None, "", "zz", "00" * 64, "ก"):
        assert not verify(msgspec.structs.replace(example(), signature=signature), PUBLIC)


@pytest.mark.parametrize("version", [None, 0, 1, current_version() + 1])
def test_a_form_that_is_not_known_is_not_guessed(version: int | None) -> None:
    """Release 1 has no signature; a later one than this is for later readers."""
    odd = msgspec.structs.replace(example(), signature_version=version)
    assert not verify(odd, PUBLIC)
    with pytest.raises(ValueError, match="signature_version"):
        signed_bytes(odd)
