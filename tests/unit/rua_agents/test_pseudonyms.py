"""Keyed pseudonyms."""

from __future__ import annotations

from pathlib import Path

import pytest
from rua_agents.pseudonyms import KeyRing, Pseudonymiser, read_key
from rua_common.errors import BadConfiguration

KEY = b"k" * 32


def test_the_same_name_in_other_spellings_is_one_pseudonym() -> None:
    """Case, blanks and Unicode composition do not make another person."""
    names = Pseudonymiser(KEY, "lazada")
    assert names.pseudonym("actor", "Jos\u00e9 ") == names.pseudonym("actor", "jose\u0301")
    assert names.pseudonym("address", "::ffff:10.0.0.1") == names.pseudonym("address", "10.0.0.1")
    assert names.pseudonym("address", "2001:DB8::1") == names.pseudonym("address", "2001:db8:0:0:0:0:0:1")


def test_platform_field_epoch_and_key_each_give_another_pseudonym() -> None:
    """So nobody can join what must stay apart."""
    made = {
        Pseudonymiser(KEY, "lazada").pseudonym("actor", "ana"),
        Pseudonymiser(KEY, "shopee").pseudonym("actor", "ana"),
        Pseudonymiser(KEY, "lazada").pseudonym("session", "ana"),
        Pseudonymiser(KEY, "lazada", epoch=2).pseudonym("actor", "ana"),
        Pseudonymiser(b"q" * 32, "lazada").pseudonym("actor", "ana"),
    }
    assert len(made) == 5
    assert all(len(one) == 32 and "ana" not in one for one in made)


def test_networks_are_prefixes() -> None:
    """/24 and /48 in clear; local and host names are no network."""
    names = Pseudonymiser(KEY, "lazada")
    assert names.network("203.0.113.77") == "203.0.113.0/24"
    assert names.network("2001:db8:1:2::3") == "2001:db8:1::/48"
    assert names.network("[local]") == names.network("127.0.0.1") == "local"
    assert names.network("db.example") is None


def test_the_observer_sees_each_spelling_once() -> None:
    """For replays of simulated data."""
    seen: list[tuple[str, str, str]] = []
    names = KeyRing(KEY, "lazada", lambda *one: seen.append(one)).at(0)
    made = [names.pseudonym("actor", name) for name in ("Ana", "ana", "Ana")]
    assert seen == [("actor", "Ana", made[0]), ("actor", "ana", made[0])]


def test_a_key_file_is_read_as_hex_or_raw(tmp_path: Path) -> None:
    """Whatever made it."""
    for content in (KEY, KEY.hex().encode(), KEY.hex().encode() + b"\n"):
        path = tmp_path / f"{len(content)}"
        path.write_bytes(content)
        path.chmod(0o400)
        assert read_key(path) == KEY


@pytest.mark.parametrize(("mode", "content", "says"), [(0o644, KEY, "chmod"), (0o600, b"short", "needs 32")])
def test_a_key_that_others_can_read_or_guess_is_refused(tmp_path: Path, mode: int, content: bytes, says: str) -> None:
    """The text names the cure."""
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(BadConfiguration, match=says):
        read_key(path)
