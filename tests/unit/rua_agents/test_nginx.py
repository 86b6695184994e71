"""nginx's JSON access log to events."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from rua_agents.collectors import Draft
from rua_agents.pseudonyms import KeyRing

from tests.agent_rig import DATA, KEY, NGINX_SAMPLE, PG_SAMPLE, START_MS, origin, parse, web_line

NAMES = KeyRing(KEY, "lazada").at(0)
T = START_MS


def event(request: str = "GET /export/a.csv HTTP/1.1", **fields: object) -> Draft:
    """The one event of one request."""
    (made,), tally = parse("nginx-json", web_line(T, request, **fields))
    assert tally.open == 0
    return made


def test_every_record_of_the_sample_is_accounted_for() -> None:
    """Of nginx 1.22: the line that is no UTF-8 and the aborted download included."""
    made, tally = parse("nginx-json", NGINX_SAMPLE.read_bytes())
    assert (tally.records, len(made), tally.ignored, tally.failed) == (11, 10, {"not_http": 1}, {})
    assert tally.replaced > 0
    assert [e.outcome for e in made] == ["ok"] * 5 + ["aborted", "ok", "failed", "failed", "ok"]
    assert [e.bytes for e in made[:6]] == [1097789, 208039, 0, 100000, 100000, 262144]
    assert [e.bytes_quality for e in made[:3]] == ["exact", "lower_bound", "exact"]


def test_nothing_personal_of_the_sample_leaves() -> None:
    """Query strings are dropped, users and addresses are pseudonyms, quotes cannot break out."""
    made, _ = parse("nginx-json", NGINX_SAMPLE.read_bytes())
    for secret in ("example", "token", "ops user", "203.0.113", "127.0.0.1", "ids=", "khách"):
        assert secret not in str(made), secret


def test_an_odd_user_agent_cannot_hide_an_export() -> None:
    """Default escaping writes hexadecimal escapes, which are no JSON (case WB-01)."""
    made, tally = parse("nginx-json", (DATA / "nginx_json_hex_escape.log").read_bytes())
    assert [e.bytes for e in made] == [1001, 52428801, 1003]
    assert tally.failed == {}


def test_an_oversize_record_is_one_truncated_event_among_whole_ones() -> None:
    """Case KF-01: a line of 1.4 MB with the default limit."""
    made, tally = parse("nginx-json", gzip.decompress((DATA / "nginx_json_oversize.log.gz").read_bytes()))
    assert [(e.bytes, e.truncated) for e in made] == [(11, False), (77, True), (12, False), (13, False)]
    assert tally.open == 0


def test_a_file_of_135_bytes_is_read() -> None:
    """Case TL-01: identity needs no more than the first record."""
    made, _ = parse("nginx-json", (DATA / "tail_tiny.log").read_bytes())
    assert len(made) == 1


def test_a_byte_order_mark_is_no_part_of_the_first_record() -> None:
    """Case TL-05."""
    made, tally = parse("nginx-json", (DATA / "tail_utf8_bom.log").read_bytes())
    assert (len(made), tally.failed) == (3, {})
    assert "\ufeff" not in str(made)


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, "ok"),
        ({"completion": ""}, "aborted"),
        ({"completion": None, "sent_cl": "11"}, "aborted"),
        ({"completion": None, "sent_cl": "10"}, "ok"),
        ({"completion": None, "sent_cl": "99", "gzr": "5.2"}, "ok"),
        ({"completion": None, "sent_cl": "99", "req": "HEAD /export/a.csv HTTP/1.1"}, "ok"),
        ({"status": 499}, "aborted"),
        ({"status": 403}, "denied"),
        ({"status": 404, "completion": None}, "failed"),
        ({"status": None}, "unknown"),
    ],
)
def test_how_a_request_ended(fields: dict[str, Any], outcome: str) -> None:
    """An aborted download still says 200; its completion and its length tell."""
    (made,), _ = parse("nginx-json", web_line(T, **fields))
    assert made.outcome == outcome


@pytest.mark.parametrize(
    ("request_line", "fields", "kind", "action"),
    [
        ("GET /export/a.csv HTTP/1.1", {}, "data_export", "export"),
        ("GET /x HTTP/1.1", {"sent_cd": 'attachment; filename="x"'}, "data_export", "export"),
        ("GET /x HTTP/1.1", {"sent_ct": "text/csv"}, "data_export", "export"),
        ("POST /api/v2/orders/export HTTP/2.0", {}, "data_export", "export"),
        ("GET /customers/somchai.csv HTTP/1.1", {}, "data_export", "export"),
        ("GET /profile/somchai.jaidee HTTP/1.1", {}, "data_access", "read"),
        ("HEAD /export/a.csv HTTP/1.1", {}, "data_access", "read"),
        ("GET /api/orders HTTP/1.1", {}, "data_access", "read"),
        ("POST /graphql HTTP/1.1", {}, "data_access", "query"),
        ("PUT /api/orders/5 HTTP/1.1", {}, "data_change", "alter"),
        ("DELETE /api/orders/5 HTTP/1.1", {}, "data_change", "delete"),
    ],
)
def test_what_a_request_did(request_line: str, fields: dict[str, object], kind: str, action: str) -> None:
    """Downloads are exports, by path, type or disposition."""
    made = event(request_line, **fields)
    assert (made.kind, made.action) == (kind, action)
    assert (made.destination is not None) == (action == "export")


@pytest.mark.parametrize(
    ("request_line", "reason"),
    [
        ("\x16\x03\x01garbage", "not_http"),
        ("OPTIONS /api HTTP/1.1", "carries_no_data"),
        ("GET /s/a.png?x=1 HTTP/1.1", "static"),
    ],
)
def test_what_is_no_event(request_line: str, reason: str) -> None:
    """Ignored with its reason, never in silence."""
    made, tally = parse("nginx-json", web_line(T, request_line))
    assert (made, tally.ignored, tally.open) == ([], {reason: 1}, 0)


def test_the_user_is_the_actor_and_else_the_address() -> None:
    """Both as pseudonyms; an address says that it is one."""
    named, bare = event(user="ops user"), event(user="-")
    assert (named.actor, named.actor_type) == (NAMES.pseudonym("actor", "ops user"), "unknown")
    assert (bare.actor, bare.actor_type) == (NAMES.pseudonym("address", "192.0.2.7"), "network")
    assert bare.source_network == "192.0.2.0/24"
    assert event(user="ana", ua="Mozilla/5.0 Chrome/1").actor_type == "interactive"


def test_merchant_and_app_are_registry_ids_and_never_a_phone_number() -> None:
    """Companies in clear; what looks like a person becomes a pseudonym."""
    made = event(app="app-7", merchant="m-12")
    assert (made.app, made.merchant) == ("app-7", "m-12")
    assert event(merchant="0812345678").merchant == NAMES.pseudonym("merchant", "0812345678")


def test_other_spellings_of_fields_are_known_and_can_be_given() -> None:
    """There is no standard log_format."""
    line = (
        b'{"time_iso8601":"2026-03-02T10:00:00+00:00","remote_addr":"192.0.2.7","remote_user":"ana",'
        b'"request":"GET /export/a.csv HTTP/1.1",'
        b'"status":"200","body_bytes_sent":"10","http_user_agent":"curl/8","x_shop":"m-1"}\n'
    )
    (made,), _ = parse("nginx-json", line, fields={"merchant": "x_shop"})
    assert (made.bytes, made.outcome, made.tool, made.merchant) == (10, "ok", "curl", "m-1")
    assert made.occurred_at == 1_772_445_600_000


def test_missing_fields_are_unknown_not_a_failure() -> None:
    """Only a time and a sign of a request are needed."""
    (made,), _ = parse("nginx-json", b'{"msec":1772445600.5,"status":200}\n')
    assert (made.kind, made.bytes, made.bytes_quality, made.outcome) == ("unknown", None, "unknown", "ok")
    _, tally = parse("nginx-json", b'{"req":"GET / HTTP/1.1"}\n')
    assert tally.failed == {"no_time": 1}


@pytest.mark.parametrize(
    ("rest", "made", "failed"),
    [
        (b"", 0, {"no_request": 1}),
        (b',"hello":"world","user":"ana","addr":"192.0.2.7"', 0, {"no_request": 1}),
        (b',"req":"","uri":"-","status":null', 0, {"no_request": 1}),
        (b',"req":"","status":400', 1, {}),
        (b',"uri":"/x"', 1, {}),
        (b',"req":"GET /x HTTP/1.1"', 1, {}),
    ],
)
def test_a_record_without_a_sign_of_a_request_fails(rest: bytes, made: int, failed: dict[str, int]) -> None:
    """A request line, a path or a status is one; a time and a user are not."""
    events, tally = parse("nginx-json", b'{"msec":1772445600.5' + rest + b"}\n")
    assert (len(events), tally.failed, tally.open) == (made, failed, 0)


def test_a_request_behind_the_limit_is_still_an_event() -> None:
    """Nobody can hide one behind a long user agent."""
    line = b'{"msec":1772445600.5,"addr":"192.0.2.7","ua":"' + b"x" * 2_000 + b'","req":"GET /x HTTP/1.1"}\n'
    (made,), tally = parse("nginx-json", line, limit_bytes=1_024)
    assert (made.truncated, made.kind, tally.failed) == (True, "unknown", {})


def test_a_log_of_a_database_holds_no_request() -> None:
    """A swapped source must not make web events of the database's users."""
    events, tally = parse("nginx-json", PG_SAMPLE.read_bytes())
    assert (events, tally.failed) == ([], {"no_request": 145})


def test_query_keys_stay_only_if_allowed_and_without_literals() -> None:
    """By default none does."""
    line = web_line(T, "GET /export/a.csv?type=full&phone=0812345678&email=a%40b.c HTTP/1.1")
    (made,), _ = parse("nginx-json", line)
    assert made.labels == ()
    (made,), _ = parse("nginx-json", line, query_keys=["type", "phone"])
    assert [(one.key, one.value) for one in made.labels] == [("query.type", "full"), ("query.phone", "{n}")]


def test_a_time_that_cannot_be_read_gives_way_to_one_that_can() -> None:
    """The record stays as long as it says when; without any time it fails."""
    line = web_line(T, ts="2026-09-21T14:13:20+00:00").replace(b'"msec": 1790000000.0', b'"msec": 1e300')
    made, tally = parse("nginx-json", line + web_line(T).replace(b'"msec": 1790000000.0', b'"msec": 1e300'))
    assert [e.occurred_at for e in made] == [T]
    assert tally.failed == {"no_time": 1}


@pytest.mark.parametrize(("request_line", "kind"), [("GET /export/a.csv?q=", "data_export"), ("GE", "unknown")])
def test_a_request_that_is_cut_is_an_event(request_line: str, kind: str) -> None:
    """And none that is no HTTP."""
    line = web_line(START_MS, request_line + "x" * 5_000 + " HTTP/1.1")
    made, tally = parse(
        "nginx-json", line, limit_bytes=len(line) - 2_000 if kind != "unknown" else line.index(b"GE") + 2
    )
    assert [(event.kind, event.truncated) for event in made] == [(kind, True)]
    assert tally.ignored.total() == 0


def test_a_time_under_a_name_of_ones_own_names_the_file_too() -> None:
    """Else its id would be random, and a lost checkpoint would double its events."""
    line = b'{"when_it_ended": "2026-03-02T10:00:00Z", "req": "GET / HTTP/1.1"}\n'
    own, known = origin("nginx-json", fields={"iso": "when_it_ended"}), origin("nginx-json")
    record = own.splitter(0, 1 << 20).feed(line)[0]
    assert own.time_ms(record, START_MS) == 1_772_445_600_000
    assert known.time_ms(record, START_MS) is None
