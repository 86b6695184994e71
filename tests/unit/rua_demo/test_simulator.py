"""The simulator: repeatable, in real formats, labelled line by line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from rua_demo import world
from rua_demo.attacks import NOTIFIABLE, PATTERNS
from rua_demo.simulator import month_end, simulate
from rua_demo.world import Account, Label, Ticket

CLIENT_KEYS = (
    *("timestamp", "user", "dbname", "pid", "remote_host", "remote_port", "session_id", "line_num", "ps"),
    *("session_start", "vxid", "txid", "error_severity", "message", "application_name", "backend_type", "query_id"),
)
"""Of a client's record, as PostgreSQL 15 wrote it in a real log."""
WEB_KEYS = (
    *("ts", "msec", "addr", "user", "req", "uri", "args", "status", "bytes_sent", "body_bytes_sent", "sent_cl"),
    *("sent_ct", "sent_cd", "range", "completion", "rt", "urt", "ua", "xff", "rid", "gzr", "app", "merchant"),
)


def digest(folder: Path) -> str:
    """Of every byte of a folder."""
    state = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        state.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return state.hexdigest()


def records(folder: Path, pattern: str) -> list[tuple[str, int, dict[str, Any]]]:
    """Path, line number and object of every line."""
    found = []
    for path in sorted(folder.glob(pattern)):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            found.append((str(path.relative_to(folder)), number, json.loads(line.decode("utf-8", "replace"))))
    return found


def attacks(folder: Path) -> list[Label]:
    """What was planted."""
    return world.labels(folder)


def test_the_same_seed_gives_the_same_bytes(small_world: Path, tmp_path: Path) -> None:
    """Labels, context and arrivals included; another seed gives another world."""
    simulate(tmp_path / "again", 7, days=3, scale=0.1)
    simulate(tmp_path / "other", 8, days=3, scale=0.1)
    assert digest(tmp_path / "again") == digest(small_world)
    assert digest(tmp_path / "other") != digest(small_world)


def test_postgresql_records_have_the_keys_of_a_real_server(small_world: Path) -> None:
    """In its order; AUDIT payloads have ten fields; multi-line SQL, Thai names, +07."""
    found = [r for _, _, r in records(small_world, "*/db-1/*.json")]
    audits = [r for r in found if r["message"].startswith("AUDIT: ")]
    assert {tuple(r) for r in audits} == {CLIENT_KEYS}
    assert all(r["timestamp"].endswith(" +07") for r in found)
    assert any("\n" in r["message"] for r in audits)
    assert any("ลูกค้า" in r["message"] for r in audits)
    assert {"not initialized", "checkpointer", "client backend"} == {r["backend_type"] for r in found}
    assert any(
        r["message"].startswith("AUDIT: SESSION,2,1,READ,COPY,,,COPY public.customers TO stdout;") for r in audits
    )


def test_line_numbers_of_a_session_grow_by_one(small_world: Path) -> None:
    """As a server writes them, in time order within a file."""
    last: dict[str, int] = {}
    for _, _, record in records(small_world, "jd/db-1/*.json"):
        session = record["session_id"]
        if record["backend_type"] != "checkpointer":
            assert record["line_num"] == last.get(session, 0) + 1
            last[session] = record["line_num"]


def test_nginx_records_have_the_keys_of_a_real_log(small_world: Path) -> None:
    """Aborted downloads, HEAD and odd clients are among them."""
    found = [r for _, _, r in records(small_world, "*/web-1/*.json")]
    assert {tuple(r) for r in found} == {WEB_KEYS}
    assert {"OK", ""} == {r["completion"] for r in found}
    assert any(r["req"].startswith("HEAD ") for r in found)


def test_some_request_is_not_utf8(tmp_path: Path) -> None:
    """As with real clients."""
    simulate(tmp_path, 1, days=9, scale=0.05)
    assert any(b"\xff\xfe" in p.read_bytes() for p in tmp_path.glob("*/web-1/*.json"))


def test_lines_stand_in_order_of_time_and_arrive_in_order(small_world: Path) -> None:
    """One arrival for each line, never going back."""
    for path in small_world.glob("*/*/*.json"):
        arrivals = np.fromfile(small_world / "arrivals" / f"{path.relative_to(small_world)}.u32", "<u4")
        assert len(arrivals) == path.read_bytes().count(b"\n")
        assert (np.diff(arrivals.astype(np.int64)) >= 0).all()
    times = [r["timestamp"] for _, _, r in records(small_world, "lazada/db-1/*.json")]
    assert times == sorted(times)


def test_every_pattern_is_planted_by_people_who_are_planted_only_once(small_world: Path) -> None:
    """At least one of each of the five."""
    found = attacks(small_world)
    assert {a.pattern for a in found} == set(PATTERNS)
    culprits = [(a.platform, *a.entities) for a in found]
    assert len(culprits) == len(set(culprits))


def test_labels_point_at_exactly_the_lines_of_the_attack(small_world: Path) -> None:
    """Each labelled line is of a session or request of the attacker, or of the grant before."""
    lines = {(path, number): record for path, number, record in records(small_world, "*/*/*.json")}
    for attack in attacks(small_world):
        numbers = [(path, n) for path, parts in attack.files.items() for a, b in parts for n in range(a, b + 1)]
        assert numbers
        named = [json.dumps(lines[place], ensure_ascii=False) for place in numbers]
        sessions = {lines[place].get("session_id") for place in numbers}
        owners = {r["session_id"] for r in lines.values() if r.get("user") == attack.entities[0] and "session_id" in r}
        by_grant = {s for s in sessions - owners if s is not None}
        assert any(attack.entities[0] in text for text in named)
        assert not by_grant or attack.pattern == "privilege-then-export"


def test_an_attack_takes_more_than_may_go_without_notice(small_world: Path) -> None:
    """Rows in the labelled AUDIT records, or bytes in the labelled requests."""
    lines = {(path, number): record for path, number, record in records(small_world, "*/*/*.json")}
    for attack in attacks(small_world):
        rows = size = 0
        for path, parts in attack.files.items():
            for record in (lines[path, n] for a, b in parts for n in range(a, b + 1)):
                message = record.get("message", "")
                rows += int(message.rpartition(",")[2]) if message.startswith("AUDIT: ") else 0
                size += record.get("body_bytes_sent", 0)
        assert rows > NOTIFIABLE or size > 1_000_000_000


def test_first_and_last_are_the_times_of_the_labelled_lines(small_world: Path) -> None:
    """Within the world, and in order."""
    described = world.read(small_world)
    for attack in attacks(small_world):
        assert described.start_ms <= attack.first_ms <= attack.last_ms <= described.end_ms


def test_innocent_oddities_are_always_there_and_never_labelled(small_world: Path) -> None:
    """A monthly report and an on-call night with a ticket, a new joiner in the directory, at every platform."""
    tickets = world.read_lines(small_world / "context" / "tickets.jsonl", Ticket)
    accounts = world.read_lines(small_world / "context" / "directory.jsonl", Account)
    culprits = {(a.platform, a.entities[0]) for a in attacks(small_world)}
    for platform in world.read(small_world).platforms:
        mine = [t for t in tickets if t.platform == platform]
        assert {t.kind for t in mine} == {"on-call", "change"}
        assert not {(platform, t.who) for t in mine} & culprits
        staff = [a for a in accounts if a.platform == platform and a.role in ("analyst", "support", "dba")]
        assert [a.last_seen_before_world_days for a in staff].count(None) == 1


def test_a_ticket_is_named_where_the_format_has_room(small_world: Path) -> None:
    """In PostgreSQL's application_name."""
    tickets = {t.ticket for t in world.read_lines(small_world / "context" / "tickets.jsonl", Ticket)}
    programs = {r.get("application_name", "") for _, _, r in records(small_world, "*/db-1/*.json")}
    assert tickets <= {name.rpartition(" ")[2] for name in programs}


def test_reports_are_due_on_the_last_working_day() -> None:
    """31 May 2026 is a Sunday."""
    assert month_end(2026, 5).isoformat() == "2026-05-29"
    assert month_end(2026, 12).isoformat() == "2026-12-31"
