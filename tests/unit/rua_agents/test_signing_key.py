"""The agent's own key, and what signing costs an agent that has none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from rua_agents.check import notes, problems
from rua_agents.keyfile import create_key_file
from rua_agents.settings import AgentSettings
from rua_agents.signing import Signer, create_signing_key, read_signer
from rua_common.clock import ManualClock
from rua_common.errors import BadConfiguration
from rua_common.kafka import KafkaOptions
from rua_schemas.events import Heartbeat
from rua_schemas.released import HERE
from rua_schemas.signing import signed_bytes, verify

SEED = bytes(range(32))
PAGE = Path(__file__).parents[3] / "docs" / "heartbeats.md"


def example() -> Heartbeat:
    """The one of the page."""
    path = HERE / "examples" / "heartbeat" / "signed.json"
    return msgspec.json.decode(path.read_bytes(), type=Heartbeat)


def test_an_agent_signs_the_example_as_it_stands_in_the_page() -> None:
    """Whoever writes a verifier checks it with these digits."""
    bare = msgspec.structs.replace(example(), signature=None, signing_key_id=None, signature_version=None)
    assert Signer(SEED).signed(bare) == example()
    digits = "".join(PAGE.read_text(encoding="utf-8").split())
    for shown in (SEED, Signer(SEED).public_key, signed_bytes(example())):
        assert shown.hex() in digits
    assert f"signature{example().signature}" in digits


@pytest.mark.parametrize("content", [SEED, SEED.hex().encode(), SEED.hex().encode() + b"\n"])
def test_a_key_file_is_raw_or_hex(tmp_path: Path, content: bytes) -> None:
    """As the pseudonyms' is."""
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o400)
    assert read_signer(path).public_key == Signer(SEED).public_key


@pytest.mark.parametrize(
    ("mode", "content", "says"),
    [(0o440, SEED, "chmod"), (0o400, SEED + b"x", "33 bytes"), (0o400, b"", "rua agent init")],
)
def test_a_key_that_will_not_do_is_refused_with_its_cure(tmp_path: Path, mode: int, content: bytes, says: str) -> None:
    """And with the setting that names it."""
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(BadConfiguration, match=says) as caught:
        read_signer(path)
    assert "signing_key_file" in str(caught.value)


def test_a_fresh_key_is_the_owners_and_tells_the_public_one(tmp_path: Path) -> None:
    """Which is all that may leave the machine; a key that is there is never replaced."""
    path = tmp_path / "key"
    public = create_signing_key(path)
    assert path.stat().st_mode & 0o777 == 0o400
    signer = read_signer(path)
    assert signer.public_key.hex() == public
    assert verify(signer.signed(example()), bytes.fromhex(public))
    assert path.read_text().strip() != public
    with pytest.raises(BadConfiguration, match="stays as it is"):
        create_signing_key(path)


def test_without_a_key_libsodium_is_not_loaded() -> None:
    """It is 4 MB of somebody else's machine."""
    told = "import sys, rua_agents.pulse, rua_agents.signing, rua_schemas.signing; print('nacl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout == "False\n"


def agent(folder: Path, signing_key: Path | None) -> AgentSettings:
    """Settings with a pseudonymisation key that is in order."""
    create_key_file(folder / "pseudonym.key")
    return AgentSettings(
        platform="shop",
        key_file=str(folder / "pseudonym.key"),
        state_dir=str(folder / "state"),
        kafka=KafkaOptions(bootstrap="127.0.0.1:1"),
        sources=[],
        signing_key_file=str(signing_key) if signing_key else None,
    )


def test_check_tells_the_public_key_or_that_there_is_none(tmp_path: Path) -> None:
    """An agent without a key works; that anybody can speak for it must be known."""
    public = create_signing_key(tmp_path / "signing.key")
    assert any(public in told for told in notes(agent(tmp_path, tmp_path / "signing.key")))
    (tmp_path / "other").mkdir()
    assert any("unsigned" in told for told in notes(agent(tmp_path / "other", None)))


def test_check_names_a_signing_key_that_will_not_do(tmp_path: Path) -> None:
    """Before `run` would refuse it."""
    create_signing_key(tmp_path / "signing.key")
    (tmp_path / "signing.key").chmod(0o644)
    assert "chmod 0400" in next(problems(agent(tmp_path, tmp_path / "signing.key"), ManualClock(0)))
