"""sudo's JSON, in its own file and in syslog."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rua_agents.pseudonyms import KeyRing
from rua_agents.sealing import opened
from rua_agents.settings import Limits
from rua_agents.tail import Tail, Watched

from tests.agent_rig import KEY, origin, parse, sample_of

NAMES = KeyRing(KEY, "lazada").at(0)
EVENT: dict[str, Any] = {
    "server_time": {"seconds": 1_772_445_600, "nanoseconds": 500_000_000},
    "submituser": "ana",
    "command": "/usr/bin/pg_dump",
    "runuser": "postgres",
    "runargv": ["pg_dump", "--password=s3cret", "shop"],
    "runenv": ["PGPASSWORD=s3cret"],
}


def file_of(*events: tuple[str, dict[str, Any]]) -> bytes:
    """The file as sudo writes it: one object, keys that repeat."""
    inner = ",\n    ".join(f'"{key}": {json.dumps(event, indent=4)}' for key, event in events)
    return f"{{\n    {inner}\n}}\n".encode()


def test_the_objects_of_the_sample_are_two_events() -> None:
    """Written by sudo 1.9.13: `json.loads` would keep one of them."""
    made, tally = parse("sudo-json", sample_of("sudo-json"))
    assert [(event.tool, event.outcome, event.privilege) for event in made] == [
        ("id", "ok", "superuser"),
        ("cat", "ok", "superuser"),
    ]
    assert [event.occurred_at for event in made] == [1_795_562_072_420, 1_795_562_072_431]
    assert (tally.records, tally.failed.total()) == (2, 0)


def test_a_refusal_is_denied_and_nothing_secret_leaves() -> None:
    """A reason is what a refusal has."""
    denied = EVENT | {"reason": "user NOT in sudoers"}
    made, _ = parse("sudo-json", file_of(("accept", EVENT), ("reject", denied)))
    assert [(event.outcome, event.action, event.privilege) for event in made] == [
        ("ok", "export", "elevated"),
        ("denied", "unknown", "elevated"),
    ]
    assert "s3cret" not in str(made)
    assert {event.actor for event in made} == {NAMES.pseudonym("actor", "ana")}


def test_the_same_event_in_syslog_is_the_same_deed() -> None:
    """`@cee:` and one line."""
    line = b"2026-03-02T10:00:00+00:00 h sudo[9]: @cee:" + json.dumps({"sudo": {"accept": EVENT}}).encode() + b"\n"
    (event,) = parse("auth-log", line)[0]
    (other,) = parse("sudo-json", file_of(("accept", EVENT)))[0]
    assert (event.actor, event.tool, event.statement_fingerprint) == (
        other.actor,
        other.tool,
        other.statement_fingerprint,
    )


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        ({"submituser": None}, "other_message"),
        ({"exit_value": 0}, "other_message"),
        ({"server_time": None}, "no_time"),
        ({"submituser": 7}, "unexpected_type"),
    ],
)
def test_what_is_no_deed_is_counted(change: dict[str, Any], counted: str) -> None:
    """The end of a command, an event that names nobody, keys of another type."""
    made, tally = parse("sudo-json", file_of(("accept", EVENT | change)))
    assert made == []
    assert dict(tally.ignored | tally.failed) == {counted: 1}


def test_a_file_whose_end_is_rewritten_in_place_gives_every_event_once(tmp_path: Path) -> None:
    """Below 4 KiB too, where the start of the file is all of it."""
    log = tmp_path / "sudo.json"
    tail = Tail([Watched(origin("sudo-json"), [str(log)])], Limits())
    users, found = ["ana", "bob", "eve"], []
    for n in range(1, len(users) + 1):
        log.write_bytes(file_of(*[("accept", EVENT | {"submituser": user}) for user in users[:n]]))
        found += [opened(event).actor for made in tail.turn(n * 10_000) for event in made]
    tail.close()
    assert found == [NAMES.pseudonym("actor", user) for user in users]
