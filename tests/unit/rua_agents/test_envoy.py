"""Envoy's access logs, as JSON and as text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st
from rua_agents.collectors import COLLECTORS, Draft
from rua_agents.pseudonyms import KeyRing
from rua_agents.settings import options_of
from rua_common.errors import BadConfiguration

from tests.agent_rig import KEY, parse, sample_of

NAMES = KeyRing(KEY, "lazada").at(0)
LINE = (
    '[2026-03-02T10:00:00.250Z] "GET {path} HTTP/1.1" 200 - 0 7340032 750 12 "203.0.113.9" "{agent}" "id" "shop" '
    '"10.4.0.7:8080"\n'
)
ENDED_MS = 1_772_445_601_000


def one(source: str, line: str, **options: Any) -> Draft:
    """The event of a line."""
    (event,) = parse(source, line.encode(), **options)[0]
    return event


def test_every_record_of_the_samples_is_accounted_for() -> None:
    """Nine requests, one of them static, one that never was a request."""
    for source in ("envoy-json", "envoy-text"):
        made, tally = parse(source, sample_of(source))
        assert (tally.records, len(made), tally.ignored) == (9, 7, {"not_http": 1, "static": 1})
        assert [event.bytes for event in made] == [1_097_789, 262_144, 812, 91_022, 19, 91, 0]
        assert [event.outcome for event in made] == ["ok", "aborted", "ok", "ok", "denied", "failed", "ok"]
        assert [event.action for event in made] == ["export", "export", "read", "query", "read", "read", "delete"]


def test_the_time_is_that_at_which_the_request_ended() -> None:
    """As with nginx, so that both can be compared; Envoy logs the start and how long it took."""
    made, _ = parse("envoy-json", sample_of("envoy-json"))
    assert made[0].occurred_at == 1_795_561_924_358  # 23:12:03.118 and 1.240 s
    assert one("envoy-text", LINE.format(path="/a", agent="x")).occurred_at == ENDED_MS


def test_the_peer_is_the_actor_and_a_header_is_never_believed() -> None:
    """X-Forwarded-For is what the client says; the default text format tells no peer at all."""
    made, _ = parse("envoy-json", sample_of("envoy-json"))
    assert made[0].actor == made[0].source_ip == NAMES.pseudonym("address", "203.0.113.9")
    assert made[2].source_ip == NAMES.pseudonym("address", "2001:db8:7::9")
    assert {event.actor for event in parse("envoy-text", sample_of("envoy-text"))[0]} == {None}
    shown = '[%START_TIME%] %DOWNSTREAM_REMOTE_ADDRESS% "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" %RESPONSE_CODE%'
    line = '[2026-03-02T10:00:00Z] [2001:db8::1]:443 "GET /a b HTTP/2" 200\n'
    assert one("envoy-text", line, format=shown).source_ip == NAMES.pseudonym("address", "2001:db8::1")


def test_a_quote_of_a_client_costs_certainty_never_the_event() -> None:
    """Neither a smaller size nor another path can be forged, and the request cannot be hidden."""
    forged = '/x HTTP/1.1" 404 - 0 1 1 1 "-" "-" "-" "-" "-'
    event = one("envoy-text", LINE.format(path=forged, agent="curl/8"))
    assert (event.truncated, event.bytes, event.dataset, event.outcome) == (True, None, None, "unknown")
    assert event.occurred_at == ENDED_MS - 750
    plain = one("envoy-text", LINE.format(path="/export/a.csv", agent="curl/8"))
    assert (plain.truncated, plain.bytes, plain.action, plain.tool) == (False, 7_340_032, "export", "curl")


@pytest.mark.parametrize("agent", ['a "q" b', '" "', '"', 'x" "r" "shop" "10.0.0.9:80', '"' * 400, '\\"'])
def test_a_user_agent_with_quotes_does_not_hide_an_export(agent: str) -> None:
    """Envoy's own columns stand once between two quotes: what is before them is the request."""
    event = one("envoy-text", LINE.format(path='/export/a.csv?q="', agent=agent))
    assert (event.action, event.bytes, event.dataset, event.outcome) == ("export", 7_340_032, "/export/a.csv", "ok")
    assert (event.truncated, event.tool, event.occurred_at) == (True, None, ENDED_MS)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=60), st.booleans())
def test_no_quotes_forge_a_smaller_size(text: str, in_path: bool) -> None:
    """It is what Envoy counted, or unknown."""
    line = LINE.format(**({"path": text, "agent": "x"} if in_path else {"path": "/export/a.csv", "agent": text}))
    assert one("envoy-text", line).bytes in (7_340_032, None)


ISTIO = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
ISTIO_LINE = (
    '[2026-03-02T10:00:00.000Z] "GET /export/a.csv HTTP/1.1" 200 - via_upstream - "-" 0 5326 12 10 "203.0.113.9" '
    '"curl/8" "r" "shop" "10.0.0.9:80" outbound|80||x 10.0.0.2:1 10.0.0.2:8080 203.0.113.9:51000 - default\n'
)


def test_istios_default_is_read_when_it_is_given_and_counted_when_not() -> None:
    """Another format's lines would otherwise be blurred events for ever, and nobody would be told."""
    event = one("envoy-text", ISTIO_LINE, format=ISTIO)
    assert (event.bytes, event.actor) == (5_326, NAMES.pseudonym("address", "203.0.113.9"))
    made, tally = parse("envoy-text", ISTIO_LINE.encode())
    assert (made, tally.failed) == ([], {"other_format": 1})


@given(st.text(st.characters(codec="utf-8", exclude_characters='"\n\r\0'), max_size=60))
def test_whatever_a_client_sends_stays_in_its_own_column(text: str) -> None:
    """Blanks, brackets, operators: the size is what Envoy counted."""
    event = one("envoy-text", LINE.format(path="/export/a.csv", agent=text))
    assert (event.occurred_at, event.bytes, event.outcome, event.action) == (ENDED_MS, 7_340_032, "ok", "export")


def test_names_of_a_json_format_can_be_given() -> None:
    """A user that the gateway has verified, a merchant under a name of one's own."""
    line = json.dumps(
        {"t": "2026-03-02T10:00:00Z", "method": "GET", "path": "/a", "response_code": 200, "who": "ana", "x": "m-7"}
    )
    event = one("envoy-json", line, fields={"start": "t", "user": "who", "merchant": "x"})
    assert (event.actor, event.merchant) == (NAMES.pseudonym("actor", "ana"), "m-7")


@pytest.mark.parametrize(
    ("source", "line", "reason"),
    [
        ("envoy-json", "{}", "no_time"),
        ("envoy-json", '{"start_time": "2026-03-02T10:00:00Z"}', "no_request"),
        ("envoy-json", "[half", "not_json"),
        ("envoy-text", "no start", "other_format"),
        ("envoy-text", LINE.format(path="/", agent="x").replace("2026-03", "soon"), "no_time"),
    ],
)
def test_what_cannot_be_read_is_counted_by_reason(source: str, line: str, reason: str) -> None:
    """And is no event."""
    made, tally = parse(source, line.encode())
    assert (made, tally.failed) == ([], {reason: 1})


def test_a_meaning_that_does_not_exist_is_refused() -> None:
    """A misspelt one would be silently unknown for ever."""
    with pytest.raises(BadConfiguration, match="marchant"):
        options_of(COLLECTORS["envoy-json"], {"fields": {"marchant": "x"}})
    options_of(COLLECTORS["envoy-json"], {"fields": {"merchant": "x"}})


def test_a_text_format_without_a_start_time_is_refused() -> None:
    """At the agent's start."""
    with pytest.raises(BadConfiguration, match="START_TIME"):
        options_of(COLLECTORS["envoy-text"], {"format": '"%REQ(:METHOD)%" %RESPONSE_CODE%'})
