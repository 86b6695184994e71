"""nginx's text formats: read by the format itself, so that nobody shifts a column."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st
from rua_agents.collectors import COLLECTORS, Draft
from rua_agents.collectors.nginx_combined import COMBINED
from rua_agents.pseudonyms import KeyRing
from rua_agents.settings import options_of
from rua_common.errors import BadConfiguration

from tests.agent_rig import DATA, KEY, SAMPLES, parse, sample_of

NAMES = KeyRing(KEY, "lazada").at(0)
UPSTREAM = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
    '$request_time $upstream_response_time "$http_user_agent"'
)
LINE = '192.0.2.7 - {user} [02/Mar/2026:10:00:00 +0000] "{request}" 200 5 "-" "{agent}"\n'


def one(line: str) -> Draft:
    """The event of a line."""
    (event,) = parse("nginx-combined", line.encode())[0]
    return event


def test_every_record_of_the_sample_is_accounted_for() -> None:
    """Version 1.22 with its own escapes: a TLS greeting on the HTTP port is the only line that is no request."""
    made, tally = parse("nginx-combined", sample_of("nginx-combined"))
    assert (tally.records, len(made), tally.ignored, tally.failed) == (11, 10, {"not_http": 1}, {})
    assert [event.bytes for event in made[:4]] == [1_097_789, 208_039, 0, 100_000]
    assert [event.outcome for event in made[6:9]] == ["ok", "failed", "failed"]


def test_text_and_json_tell_the_same_of_the_same_requests() -> None:
    """Both samples are of one run; JSON knows more of aborted and gzipped answers, nothing else differs."""
    text, _ = parse("nginx-combined", sample_of("nginx-combined"))
    as_json, _ = parse("nginx-json", (SAMPLES / "nginx-json.log").read_bytes())
    assert [(e.kind, e.action, e.bytes, e.tool) for e in text] == [(e.kind, e.action, e.bytes, e.tool) for e in as_json]
    assert [e.dataset for e in text if e.outcome == "ok"][:5] == [e.dataset for e in as_json][:5]
    assert [(e.occurred_at // 1_000) - (j.occurred_at // 1_000) for e, j in zip(text, as_json, strict=True)] == [0] * 10


def test_upstream_times_are_a_list_and_shift_nothing() -> None:
    """Commas, colons and dashes of several upstreams (case WB-02)."""
    made, tally = parse("nginx-combined", (DATA / "nginx_upstream_times.log").read_bytes(), format=UPSTREAM)
    assert [event.bytes for event in made] == [7_340_032, 8_388_608, 512, 9_437_184, 640]
    assert {event.tool for event in made} == {"curl"}
    assert tally.failed.total() == 0


@pytest.mark.parametrize(
    "user",
    [
        "ops user",
        "- - [02/Mar/2026:10:00:00 +0000]",
        "a - b",
        "x [01/Jan/1999:00:00:00 +0000] ",
        "bi,tool",
        "[",
        "\\x22",
    ],
)
def test_a_name_is_the_whole_name_and_no_other_column(user: str) -> None:
    """Basic authentication lets anything but a quote into the name."""
    event = one(LINE.format(user=user, request="GET /export/a.csv HTTP/1.1", agent="curl/8"))
    assert event.actor == NAMES.pseudonym("actor", user.replace("\\x22", '"'))
    assert (event.occurred_at, event.bytes, event.tool) == (1_772_445_600_000, 5, "curl")


APACHE = str.maketrans({'"': '\\"', "\\": "\\\\", "\t": "\\t"})


@pytest.mark.parametrize("text", ['"', "\\", '\\"', 'x" 200 9 "-" "y', '" "', 'a "b" c\t', '\\\\" "'])
def test_apaches_escapes_hide_no_export(text: str) -> None:
    r"""Apache writes a quote of a client as `\"` and a backslash as two."""
    told = text.translate(APACHE)
    event = one(LINE.format(user=told, request=f"GET /export/a.csv?q={told} HTTP/1.1", agent=told))
    assert event.actor == NAMES.pseudonym("actor", text)
    assert (event.dataset, event.action, event.bytes, event.outcome) == ("/export/a.csv", "export", 5, "ok")


def test_a_real_apache_with_hostile_clients_hides_no_export() -> None:
    """Version 2.4, seventeen downloads of one file by agents and paths with quotes, backslashes, odd bytes, tabs."""
    made, tally = parse("nginx-combined", (DATA / "apache_combined.log").read_bytes())
    assert (tally.records, tally.failed, tally.ignored) == (19, {}, {"not_http": 1})
    assert [event.bytes for event in made if event.action == "export"] == [100_000] * 17


def test_a_column_more_is_another_format_not_a_longer_address() -> None:
    """Debian's other_vhosts_access.log begins with host and port; a format can say so."""
    line = b"shop.example:443 " + LINE.format(user="-", request="GET /export/a.csv HTTP/1.1", agent="x").encode()
    assert parse("nginx-combined", line)[1].failed == {"other_format": 1}
    (event,) = parse("nginx-combined", line, format=f"$server_name:$server_port {COMBINED}")[0]
    assert event.source_ip == NAMES.pseudonym("address", "192.0.2.7")


@given(st.text(st.characters(codec="utf-8", exclude_characters='"\\\n\r\0'), max_size=60), st.booleans())
def test_whatever_a_client_sends_stays_in_its_own_column(text: str, in_agent: bool) -> None:
    """A user agent or a name forges neither bytes nor time nor address."""
    if in_agent:
        event = one(LINE.format(user="-", request="GET /export/a.csv HTTP/1.1", agent=text))
    else:
        event = one(LINE.format(user=text, request="GET /export/a.csv HTTP/1.1", agent="-"))
    assert (event.occurred_at, event.bytes, event.outcome) == (1_772_445_600_000, 5, "ok")
    assert event.source_ip == NAMES.pseudonym("address", "192.0.2.7")


def test_escapes_are_undone_and_odd_bytes_counted() -> None:
    """The sample's user agent holds quotes and a byte that is no UTF-8."""
    made, tally = parse("nginx-combined", LINE.format(user="-", request="GET / HTTP/1.1", agent="caf\\xE9").encode())
    assert (len(made), tally.replaced) == (1, 1)
    assert json.dumps(made[0].labels) == "[]"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("$remote_addr$status [$time_local]", "side by side"),
        ("$remote_user $http_user_agent [$time_local]", "remote_user and http_user_agent"),
        ("$remote_addr $status", "no time"),
    ],
)
def test_a_format_that_could_be_read_in_two_ways_is_refused(text: str, said: str) -> None:
    """At the start, with the values that must be set apart."""
    with pytest.raises(BadConfiguration, match=said):
        options_of(COLLECTORS["nginx-combined"], {"format": text})
    options_of(COLLECTORS["nginx-combined"], {"format": COMBINED})


@pytest.mark.parametrize("line", ["no quotes at all", '1.2.3.4 - - [x] "a" b "c" "d" "e"', '{"msec": 1}', '"" "" ""'])
def test_a_line_of_another_format_is_counted_as_such(line: str) -> None:
    """It is never half an event."""
    made, tally = parse("nginx-combined", line.encode() + b"\n")
    assert (made, tally.failed) == ([], {"other_format": 1})


def test_a_cut_line_is_still_an_event() -> None:
    """Its whole pieces count."""
    line = LINE.format(user="-", request="GET /export/a.csv HTTP/1.1", agent="x" * 5_000)
    (event,) = parse("nginx-combined", line.encode(), limit_bytes=1_024)[0]
    assert (event.truncated, event.action, event.bytes, event.tool) == (True, "export", 5, None)
