"""The independent count, and that it is independent."""

from __future__ import annotations

import ast
import json
from collections import Counter
from pathlib import Path

import pytest
from rua_demo import count, world
from rua_demo.count import differences, expected, nginx, pgaudit

FORBIDDEN = {"rua_agents", "rua_schemas", "rua_streams", "rua_sinks"}


def audit(payload: str, session: str = "s.1", second: float = 1, **more: str) -> bytes:
    """A record of a PostgreSQL JSON log."""
    stamp = f"2026-11-25 06:46:{second:06.3f} +07"
    return json.dumps({"timestamp": stamp, "session_id": session, "message": f"AUDIT: {payload}", **more}).encode()


def request(line: str, **more: str | int | None) -> bytes:
    """A record of an access log."""
    return json.dumps({"ts": "2026-11-25T06:46:01+07:00", "req": line, **more}).encode()


def imported(source: str) -> set[str]:
    """Packages that a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_the_count_shares_no_code_with_what_it_checks() -> None:
    """Neither directly nor through `world`."""
    for module in (count, world):
        assert not imported(Path(str(module.__file__)).read_text(encoding="utf-8")) & FORBIDDEN


def test_a_count_that_shared_code_would_be_noticed() -> None:
    """The guard's broken twin."""
    assert imported("from rua_agents.parse import run\nimport csv") & FORBIDDEN


READ = "READ,SELECT,TABLE,public.a"
COPY = "COPY (SELECT 1) TO STDOUT,<none>"


@pytest.mark.parametrize(
    ("payloads", "events"),
    [
        ([f"OBJECT,1,1,{READ},SELECT 1,<none>,5", f"SESSION,1,1,{READ},SELECT 1,<none>,5"], 1),
        ([f"SESSION,1,1,{READ},SELECT 1,<none>", "SESSION,2,1,READ,SELECT,,,SELECT 2,<none>,1"], 2),
        ([f"SESSION,6,1,{READ},{COPY},9", f"SESSION,6,2,READ,COPY,,,{COPY},0"], 1),
        (["SESSION,1,1,MISC,FETCH,,,FETCH 500 FROM c,<none>,0"], 1),
        (["SESSION,1,1,MISC,BEGIN,,,BEGIN,<none>,0", "SESSION,2,1,MISC,SET,,,SET ROLE analyst,<none>,0"], 0),
        (["SESSION,1,1,MISC,SET,,,SET ROLE postgres,<none>,0"], 1),
        (['SESSION,1,1,ROLE,GRANT ROLE,,,"GRANT a TO b, ""c.d""",<none>,0'], 2),
        ([f'SESSION,1,1,ROLE,GRANT ROLE,,,"GRANT a TO {", ".join(["b"] * 101)}",<none>,0'], 1),
        (["SESSION,1,1,READ,PREPARE,,,PREPARE q AS SELECT 1,<none>,0"], 0),
        (["SESSION,1,1,FUNCTION,DO,,,DO $$ $$,<none>,0", "SESSION,1,2,WRITE,UPDATE,TABLE,a,UPDATE a,<none>,1"], 1),
    ],
)
def test_audit_records_are_counted_by_statement(payloads: list[str], events: int) -> None:
    """Each case is a statement, or two, as pgaudit writes it."""
    assert pgaudit(iter([audit(p) for p in payloads])) == events


def test_statements_of_two_sessions_are_two() -> None:
    """Numbers start again in each session; what is no AUDIT record, or forged, is none."""
    payload = "SESSION,1,1,READ,SELECT,TABLE,public.a,SELECT 1,<none>,1"
    other = b'{"session_id":"s.3","message":"duration: 1 ms"}\n'
    forged = audit(payload, "s.4", context="PL/pgSQL function f() line 1 at RAISE")
    assert pgaudit(iter([audit(payload), audit(payload, "s.2"), other, forged])) == 2


@pytest.mark.parametrize(
    ("line", "events"),
    [
        (request("GET /export/a.csv HTTP/1.1", uri="/export/a.csv"), 1),
        (request("HEAD /a HTTP/1.1", uri="/a"), 1),
        (request("GET /static/app.js?v=1 HTTP/1.1", uri="/static/app.js"), 0),
        (request("OPTIONS /a HTTP/1.1", uri="/a"), 0),
        (request("\x16\x03\x01garbage", uri=""), 0),
        (request("GET /exports/a.png HTTP/1.1", uri="/exports/a.png"), 1),  # nobody hides an export behind .png
        (request("GET /a HTTP/1.1", uri="/a", ts=""), 0),
        (b'{"msec":1.5,"req":"GET /\xff\xfe HTTP/1.1","uri":"/\xff\xfe"}\n', 1),
        (rb'{"msec":1.5,"req":"GET /\x22 HTTP/1.1","uri":"/\x22"}', 1),
        (request("GET /a HTTP/1.1", ts=None), 0),
        (request("GET /a HTTP/1.1", ts="2026-13-45 99:00:00 +07"), 0),
        (request("GET /a HTTP/1.1", ts="2569-11-25T06:46:01+07:00"), 1),  # the Thai calendar
        (request("GET /a HTTP/1.1", ts=None, time_local="24/Nov/2026:23:12:03 +0000"), 1),
        (request("GET /a HTTP/1.1", ts=None, msec="1795561923.995"), 1),
        (request("GET /a HTTP/1.1", ts=1795561923995), 0),  # milliseconds: the year 58,000
        (b'{"ts":null,"status":"x"}', 0),
        (b'{"msec":1.5,"status":200}', 1),
        (b'{"time":"2026-11-24T23:12:03+07:00","hello":"world"}', 0),
        (audit("SESSION,1,1,READ,SELECT,,,SELECT 1,<none>,1"), 0),  # the wrong file
        (b"not json\n", 0),
        (b"\n", 0),
    ],
)
def test_requests_that_can_carry_data_are_counted(line: bytes, events: int) -> None:
    """Static files and noise are not; bytes that are no UTF-8 do not matter."""
    assert nginx(iter([line])) == events


def test_of_a_line_longer_than_an_agent_keeps_the_beginning_counts() -> None:
    """A request that is cut in the middle shows no request; one that stands before the cut does."""
    long = "/x?ids=" + "1," * (1 << 19)
    assert nginx(iter([request(f"GET {long} HTTP/1.1")])) == 0
    assert nginx(iter([request("GET /a HTTP/1.1", args=long)])) == 1


def test_a_statement_ends_when_the_log_is_more_than_a_second_further() -> None:
    """What then comes under its number is another event; a record without a time is none."""
    first, late = (
        audit(f"SESSION,1,1,{READ},SELECT 1,<none>,1"),
        audit(f"SESSION,1,1,{READ},SELECT 1,<none>,1", second=4),
    )
    between = b'{"timestamp":"2026-11-25 06:46:03.000 +07","message":"checkpoint"}'
    assert pgaudit(iter([first, between, late])) == 2
    assert pgaudit(iter([first, late])) == 2
    assert pgaudit(iter([b'{"session_id":"s","message":"AUDIT: SESSION,1,1,READ,SELECT,,,SELECT 1,<none>,1"}'])) == 0


@pytest.mark.parametrize("stamp", ["2026-13-45 99:00:00 +07", "2026-11-25 24:00:00 +07", "soon", "", None])
def test_a_record_whose_time_cannot_be_read_is_no_event(stamp: str | None) -> None:
    """And the ones around it are; the Thai calendar's leap days are read."""
    payload = f"AUDIT: SESSION,1,1,{READ},SELECT 1,<none>,1"
    broken = json.dumps({"timestamp": stamp, "session_id": "s.9", "message": payload}).encode()
    leap = json.dumps({"timestamp": "2567-02-29 08:00:00 +07", "session_id": "s.8", "message": payload}).encode()
    whole = audit(f"SESSION,1,1,{READ},SELECT 1,<none>,1")
    assert pgaudit(iter([broken])) == 0
    assert pgaudit(iter([leap, broken, whole])) == 2


def test_a_world_is_counted_by_platform_and_file(small_world: Path) -> None:
    """Every file of every source."""
    found = expected(small_world, world.read(small_world))
    assert {file for _, file in found.events} == {
        str(p.relative_to(small_world)) for p in small_world.glob("*/*/*.json")
    }
    assert not found.uncounted
    assert min(found.events.values()) > 10


def test_nothing_differs_when_all_is_stored_once() -> None:
    """The quiet case."""
    same = Counter({("jd", "a"): 3})
    assert differences(same, same, same) == []


def test_a_lost_or_doubled_event_names_platform_and_file() -> None:
    """The broken twins."""
    want = Counter({("jd", "a"): 3, ("jd", "b"): 4})
    lost = differences(want, Counter({("jd", "a"): 2, ("jd", "b"): 4}), Counter({("jd", "a"): 2, ("jd", "b"): 4}))
    doubled = differences(want, want, Counter({("jd", "a"): 3, ("jd", "b"): 5}))
    unknown = differences(want, want + Counter({("jd", "c"): 1}), want + Counter({("jd", "c"): 1}))
    assert [(d.file, d.expected, d.stored, d.rows) for d in (*lost, *doubled, *unknown)] == [
        ("a", 3, 2, 2),
        ("b", 4, 4, 5),
        ("c", 0, 1, 1),
    ]
    assert str(lost[0]) == "jd: a: expected 3 events, stored 2 (in 2 rows)"
