"""Keyed pseudonyms."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from rua_agents.keyfile import DAY_MS, KeyEpoch, Keys
from rua_agents.pseudonyms import BRIDGED, KeyRing, Pseudonymiser
from rua_schemas.events import Label

from tests.records import event

KEY = b"k" * 32
NEW = b"n" * 32
BEFORE, ROTATION = 1_767_225_600_000, 1_782_838_800_000


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
    assert names.network("[local]") == names.network("127.0.0.1") == names.network("::1") == "local"
    assert names.network("db.example") is None


def test_the_observer_sees_each_spelling_once() -> None:
    """For replays of simulated data."""
    seen: list[tuple[str, str, str]] = []
    names = KeyRing(KEY, "lazada", lambda *one: seen.append(one)).at(0)
    made = [names.pseudonym("actor", name) for name in ("Ana", "ana", "Ana")]
    assert seen == [("actor", "Ana", made[0]), ("actor", "ana", made[0])]


def rotated(first: bytes | None = KEY, second: bytes | None = NEW, overlap_days: int = 30) -> Keys:
    """Epoch 1 until the rotation, then epoch 2; and epoch 3 much later."""
    return (
        KeyEpoch(1, BEFORE, first),
        KeyEpoch(2, ROTATION, second, overlap_days * DAY_MS),
        KeyEpoch(3, ROTATION + 365 * DAY_MS, b"3" * 32),
    )


def test_the_key_follows_the_time_of_the_event() -> None:
    """So a file that is read again after a rotation gives the same pseudonyms."""
    ring = KeyRing(rotated(), "lazada")
    times = (0, BEFORE, ROTATION - 1, ROTATION, ROTATION + 30 * DAY_MS, ROTATION + 365 * DAY_MS, 2**62)
    assert [ring.at(at).epoch for at in times] == [1, 1, 1, 2, 2, 3, 3]
    alone = KeyRing(KEY, "lazada").at(5).pseudonym("actor", "ana")
    assert ring.at(ROTATION - 1).pseudonym("actor", "ana") == alone != ring.at(ROTATION).pseudonym("actor", "ana")


def test_a_destroyed_key_names_nobody_and_loses_nothing() -> None:
    """Its time belongs to the next key: what the old one named cannot be found again, and no event fails."""
    old, new = KeyRing(rotated(), "lazada"), KeyRing(rotated(first=None), "lazada")
    assert new.at(ROTATION - 1).epoch == 2
    name = new.at(ROTATION - 1).pseudonym("actor", "ana")
    assert name == old.at(ROTATION).pseudonym("actor", "ana") != old.at(ROTATION - 1).pseudonym("actor", "ana")
    assert not new.overlaps
    assert KeyRing(rotated(first=None, second=None), "lazada").at(0).epoch == 3


def bridged(ring: KeyRing, at: int, **facts: Any) -> dict[str, str]:
    """The labels of an event of ana at that time."""
    names = ring.at(at)
    made = event(occurred_at=at, actor=names.pseudonym("actor", "ana"), **facts)
    return {label.key: label.value for label in ring.bridged(made).labels}


def test_in_an_overlap_the_old_pseudonyms_stand_beside_the_new() -> None:
    """Of every field and label that has one, so that baselines can be carried over."""
    ring = KeyRing(rotated(), "lazada")
    old, new = ring.at(BEFORE), ring.at(ROTATION)
    facts = {
        "destination": "file:" + new.pseudonym("file", "/srv/a.csv"),
        "labels": (Label(key="by", value=new.pseudonym("actor", "root")), Label(key="plain", value="x")),
        "source_ip": new.pseudonym("address", "10.0.0.1"),
    }
    labels = bridged(ring, ROTATION, **facts)
    assert labels.pop("plain") == "x"
    assert labels.pop("by") == new.pseudonym("actor", "root")
    assert labels == {
        "previous.actor": old.pseudonym("actor", "ana"),
        "previous.by": old.pseudonym("actor", "root"),
        "previous.destination": old.pseudonym("file", "/srv/a.csv"),
        "previous.source_ip": old.pseudonym("address", "10.0.0.1"),
    }


@pytest.mark.parametrize("at", [BEFORE, ROTATION - 1, ROTATION + 30 * DAY_MS, ROTATION + 365 * DAY_MS])
def test_outside_the_overlap_nothing_is_added(at: int) -> None:
    """Two pseudonyms for ever would make the rotation worthless."""
    assert bridged(KeyRing(rotated(), "lazada"), at) == {}


def test_without_an_overlap_or_the_old_key_there_is_no_bridge() -> None:
    """Whoever destroys a key wants its names gone."""
    for keys in (rotated(overlap_days=0), rotated(first=None), rotated(second=None)):
        assert bridged(KeyRing(keys, "lazada"), ROTATION) == {}


def test_an_overlap_ends_with_its_epoch() -> None:
    """However long it was meant to be."""
    ring = KeyRing(rotated(overlap_days=366), "lazada")
    assert ring.at(ROTATION + 364 * DAY_MS).bridges
    assert not ring.at(ROTATION + 365 * DAY_MS).bridges


def test_the_bridge_keeps_those_who_come_back_and_forgets_the_rest() -> None:
    """It is bounded, and the regulars are the ones that baselines know."""
    ring = KeyRing(rotated(), "lazada")
    for n in range(2 * BRIDGED):
        ring.at(ROTATION).pseudonym("actor", f"user{n}")
        if n % 1_000 == 0:
            assert "previous.actor" in bridged(ring, ROTATION)
    assert ring.at(ROTATION).before(ring.at(ROTATION).pseudonym("actor", f"user{2 * BRIDGED - 1}"))
    assert len(ring.at(ROTATION)._before) <= BRIDGED


def test_what_a_parser_remembers_is_told_by_the_key_of_each_event() -> None:
    """A session may outlive a rotation, and its names in clear are kept nowhere."""
    ring = KeyRing(rotated(), "lazada")
    kept = ring.remembered("actor", "ana")
    assert list(kept) == ["1", "2", "3"]
    for at in (BEFORE, ROTATION, ROTATION + 365 * DAY_MS):
        assert ring.recalled(kept, at) == ring.at(at).pseudonym("actor", "ana")
    young = KeyRing(rotated()[:1], "lazada").remembered("actor", "ana")
    assert ring.recalled(young, ROTATION) == young["1"]
    assert ring.recalled({}, ROTATION) is None


def test_names_of_megabytes_do_not_fill_the_memory() -> None:
    """Ten thousand names of 64 kB would be 640 MB; what is kept is bounded by bytes, not only by number."""
    names = Pseudonymiser(KEY, "lazada")
    tracemalloc.start()
    for n in range(200):
        names.pseudonym("actor", f"{n}" + "x" * 65_536)
        names.network(f"{n}" + "x" * 65_536)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1 << 20
    assert names.pseudonym("actor", "X" * 65_536) == names.pseudonym("actor", "x" * 65_536)
