"""Many requests at once: the same events and the same account as one by one, byte for byte."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.collectors import COLLECTORS, BatchParser, jsonlines, weblines
from rua_agents.collectors.weblines import ODD, REMEMBERED, TOGETHER, Memory
from rua_agents.keyfile import KeyEpoch
from rua_agents.pseudonyms import KeyRing
from rua_agents.records import RawRecord
from rua_agents.sealing import Sealer, Written, written
from rua_agents.stream import Origin, SourceStream
from rua_agents.tally import Tally

from tests.agent_rig import KEY, START_MS, origin, sample_of, zone_name

BATCHED = [
    name for name in sorted(COLLECTORS) if isinstance(COLLECTORS[name].parser(origin(name).place("0")), BatchParser)
]
WEB = "nginx-json"
SCALARS: tuple[Any, ...] = (
    None,
    "",
    "-",
    "x",
    "7",
    "Ünïcode ชื่อ",
    0,
    1,
    7,
    -5,
    1.0,
    0.5,
    True,
    False,
    1 << 40,
    1 << 63,
    1e300,
)
FIELDS: dict[str, tuple[Any, ...]] = {
    "msec": (START_MS / 1_000, START_MS / 1_000 + 0.001, START_MS // 1_000, "1790000000.5", 4_102_444_800.0, 5e9),
    "ts": ("2026-09-21T14:13:20+00:00", "2026-09-21 14:13:20"),
    "addr": ("192.0.2.7", "2001:db8::1", "127.0.0.1", "unix:", "[::ffff:192.0.2.7]"),
    "user": ("ana", "Ana ", "x" * 600),
    "req": (
        "GET /export/a.csv?x=1 HTTP/1.1",
        "GET /api/orders/123/items HTTP/1.1",
        "GET /api/orders/456/items HTTP/2.0",
        "POST /graphql HTTP/1.1",
        "HEAD /export/a.csv HTTP/1.1",
        "OPTIONS / HTTP/1.1",
        "GET /a.png HTTP/1.1",
        "GET HTTP/1.1",
        "GET  HTTP/1.1",
        "get /x HTTP/1.1",
        "GET /x y HTTP/1.1",
        "GET /x HTTP/1.9",
        "BREW /pot/12 HTTP/1.1",
        "\x16\x03",
        "PUT /users/somchai?" + "y" * 3_000 + " HTTP/1.1",
    ),
    "uri": ("/x/12/y.zip", "/s/a.css", "/q?phone=0812345678"),
    "request_method": ("GET", "HEAD", "DELETE"),
    "status": (200, 206, 403, 404, 499, "200"),
    "body_bytes_sent": (0, 10, 5_000_000, "10"),
    "bytes_sent": (0, 310, "310"),
    "sent_cl": ("10", "11", 11),
    "sent_ct": ("text/html", "text/csv; charset=utf-8", "application/zip"),
    "sent_cd": ('attachment; filename="ลูกค้า.csv"', "inline", "ATTACHMENT"),
    "completion": ("OK",),
    "gzr": ("3.21",),
    "ua": ("curl/8.1", "Mozilla/5.0 (X11) Chrome/1"),
    "session": ("s1", "s2"),
    "merchant": ("m-1", "0812345678"),
    "app": ("app-7", 7),
    "rid": ("8097c84c91820e99",),
}
USUAL = ("msec", "addr", "user", "req", "status", "body_bytes_sent", "bytes_sent", "completion", "ua", "sent_ct", "app")


def sealed(made: Sequence[Any]) -> list[bytes]:
    """The messages that would be sent."""
    sealer = Sealer(START_MS)
    return [sealer.sealed(one if isinstance(one, Written) else written(one)) for one in made]


def account(tally: Tally) -> tuple[Any, ...]:
    """All that was counted."""
    return tally.records, tally.events, tally.split, tally.replaced, dict(tally.ignored), dict(tally.failed)


def both(data: bytes, source: str = WEB, sizes: Sequence[int] = (1 << 16,), **options: Any) -> tuple[list[Any], Tally]:
    """What many at once gave, after one by one gave the same."""
    results = []
    for at_once in (False, True):
        tally = Tally()
        made: list[Any] = []
        given = origin(source, tally, zone=zone_name(source), **options)
        stream, splitter, at, turn = SourceStream(given, "log"), given.splitter(0, 1 << 14), 0, 0
        stream.load({"source_id": "5" * 32, "last_observed_at": 0, "parser": {}})
        while at < len(data):
            size = sizes[turn % len(sizes)]
            records = splitter.feed(data[at : at + size])
            made += take(stream, records, at_once=at_once)
            at, turn = at + size, turn + 1
        made += take(stream, splitter.finish(), at_once=at_once)
        results.append((made, tally))
    (slow, slow_tally), (quick, quick_tally) = results
    assert sealed(quick) == sealed(slow)
    assert [one.occurred_at for one in quick] == [one.occurred_at for one in slow]
    assert account(quick_tally) == account(slow_tally)
    return quick, quick_tally


def take(stream: SourceStream, records: Sequence[RawRecord], *, at_once: bool) -> Sequence[Any]:
    """One by one, or not."""
    if at_once:
        return stream.feed_all(records, START_MS)
    return [draft for record in records for draft in stream.feed(record, START_MS)]


@st.composite
def logs(draw: st.DrawFn) -> bytes:
    """Lines of a log: mostly the same keys and values that come again, now and then anything."""
    keys = draw(st.one_of(st.just(USUAL), st.lists(st.sampled_from(list(FIELDS)), min_size=2, unique=True)))
    rng = random.Random(draw(st.integers(0, 2**32)))
    odd = draw(st.sampled_from([0.0, 0.02, 0.3]))
    lines = []
    for _ in range(draw(st.integers(1, 150))):
        values = {key: rng.choice(SCALARS) if rng.random() < odd else rng.choice(FIELDS[key][:3]) for key in keys}
        values |= {key: rng.choice(FIELDS[key]) for key in keys if rng.random() < 0.2}
        if rng.random() < odd / 4:
            values[rng.choice([*FIELDS, "more"])] = rng.choice([*SCALARS, [1], {"a": 1}])
        line = json.dumps(values, ensure_ascii=rng.random() < 0.5).encode()
        lines.append(line if rng.random() >= odd / 4 else damaged(rng, line))
    return b"\n".join(lines) + rng.choice([b"\n", b""])


def damaged(rng: random.Random, line: bytes) -> bytes:
    """Something that is no longer such a line."""
    at = rng.randrange(len(line))
    hostile = b"\0", b"\xff", b"\\x41", b"\\ud800", b"\\u0000", b"},{", b"},\n{", b",\n", b'"', b"\n", b"\r", b"[", b"}"
    return line[:at] + rng.choice(hostile) + line[at + rng.choice([0, 0, 1]) :]


@settings(max_examples=150, deadline=None)
@given(data=logs(), sizes=st.lists(st.sampled_from([1, 100, 4_000, 1 << 16]), min_size=1, max_size=3))
def test_many_requests_at_once_are_the_same_events(data: bytes, sizes: list[int]) -> None:
    """Whatever stands in the log, and however its bytes come."""
    both(data, sizes=sizes if len(data) < 5_000 or 1 not in sizes else [100])


@pytest.mark.parametrize("source", BATCHED)
def test_a_sample_gives_the_same_at_once_and_one_by_one(source: str) -> None:
    """Of each source that can take many; four times over, so that what was learnt is used."""
    data = sample_of(source) * 4
    made, _ = both(data, source)
    assert made


def test_the_quick_way_is_taken() -> None:
    """Else all this would prove nothing."""
    lines = [line(n) for n in range(400)]
    made, tally = both(b"".join(lines))
    assert sum(isinstance(one, Written) for one in made) > 300
    assert (tally.records, tally.events) == (400, 400)


def line(n: int, **fields: Any) -> bytes:
    """A usual line."""
    usual: dict[str, Any] = {"msec": START_MS / 1_000 + n, "addr": f"192.0.2.{n % 7}", "user": f"u{n % 5}"}
    usual |= {"req": f"GET /api/orders/{n}/items?p={n} HTTP/1.1", "status": 200, "body_bytes_sent": n, "ua": "curl/8"}
    return json.dumps(usual | fields).encode() + b"\n"


def test_a_line_cannot_be_another_lines_event() -> None:
    """Two objects in one line, an object over two, a list over three: no record gets another one's event."""
    usual = [line(n) for n in range(TOGETHER)]
    two = line(70)[:-1] + b"," + line(71)
    apart = line(72).replace(b', "ua"', b'\n"ua"')
    listed = line(73)[:-2] + b', "x": [{}\n' + b"{}\n" + b'{"c": 1}]}\n'
    for forged in (two + apart, apart + two, listed + two + two, b"".join((two, listed, two))):
        both(b"".join(usual) + forged + b"".join(usual))


@pytest.mark.parametrize(
    "fields",
    [
        {"sent_cl": ["10", "99", ""]},
        {"sent_cl": [10, 99, 0]},
        {"gzr": ["", "-", "3.2"]},
        {"sent_cd": ["", "inline", "attachment; filename=a.csv"]},
        {"sent_ct": ["text/html", "text/csv", ""]},
        {"status": [1, True, 200]},
        {"status": [True, 1, 200]},
        {"status": ["200", 200, "404"]},
        {"completion": ["OK", "", None]},
        {"user": ["ana", "a\0na", "-"]},
        {"ua": ["curl/8", "Mozilla/5.0 Chrome/1", ""]},
        {"app": [1, True, 1.0]},
        {"app": ["app-1", "app-2", 1]},
        {"merchant": ["m-1", "0812345678", None]},
        {"body_bytes_sent": [7, -1, None]},
        {"req": ["GET /a.css HTTP/1.1", "HEAD /a HTTP/1.1", "OPTIONS /a HTTP/1.1"]},
        {"msec": [START_MS / 1_000, START_MS // 1_000, 1e300]},
    ],
)
def test_lines_that_differ_in_one_value_keep_apart(fields: dict[str, list[Any]]) -> None:
    """Also after each of them was seen."""
    ((name, values),) = fields.items()
    usual = {"bytes_sent": 50, "sent_cl": "", "gzr": "", "sent_cd": "", "sent_ct": "", "completion": "OK"}
    both(b"".join(line(15, **usual | {name: value}) for value in values * 40))
    for value in values:
        both(line(15, **usual | {name: value}) + b"".join(line(15, **usual | {name: one}) for one in values * 40))


def test_a_log_that_changes_its_format_is_learnt_anew() -> None:
    """After a reload of the server the quick way is found again."""
    before, after = (b"".join(line(n, **more) for n in range(3 * ODD)) for more in ({}, {"rid": "x"}))
    made, _ = both(before + after)
    assert sum(isinstance(one, Written) for one in made[-ODD:]) == ODD


def test_lines_that_cannot_be_taken_together_are_not_learnt_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nested value makes a log unfit; that is found out seldom, because it costs as much as many lines."""
    learnt: list[Any] = []

    def counted(*given: Any) -> Any:
        learnt.append(given)
        return jsonlines.reader(*given)

    monkeypatch.setattr(weblines, "reader", counted)
    made, tally = both(b"".join(line(n, headers={"a": 1}) for n in range(4 * ODD)))
    assert (len(made), tally.events) == (4 * ODD, 4 * ODD)
    assert 1 <= len(learnt) <= 5


@pytest.mark.parametrize("key", ['a"b', "a\\b", "a\nb", "a\0b", "", "é", "\ud800", "class", "x" * 5_000])
def test_a_log_may_name_its_fields_as_it_likes(key: str) -> None:
    """No key of a record ends the agent."""
    made, _ = both(b"".join(line(n, **{key: "x"}) for n in range(150)))
    assert len(made) == 150


@pytest.mark.parametrize("user", ["-", "", None, "ana"])
def test_without_a_user_the_address_is_the_actor(user: str | None) -> None:
    """However many came from other addresses before."""
    made, _ = both(b"".join(line(n, user=user) for n in range(200)))
    assert len({one.key for one in made if isinstance(one, Written)}) == (1 if user == "ana" else 7)


def test_a_query_key_that_is_kept_is_kept() -> None:
    """Then requests are taken one by one."""
    made, _ = both(b"".join(line(n) for n in range(200)), query_keys=["p"])
    assert made[-1].labels[0].key == "query.p"


def test_a_change_of_keys_in_the_middle_of_the_lines_is_kept() -> None:
    """Each event has the pseudonyms of its own time."""
    change_ms = START_MS + 100_000
    keys = KeyRing((KeyEpoch(1, 0, KEY), KeyEpoch(2, change_ms, KEY[::-1])), "lazada")
    data, messages = b"".join(line(n) for n in range(250)), []
    for at_once in (False, True):
        given = origin(WEB)
        given = Origin(**{name: getattr(given, name) for name in given.__slots__} | {"keys": keys})
        stream = SourceStream(given, "log")
        messages.append(sealed(take(stream, given.splitter(0, 1 << 14).feed(data), at_once=at_once)))
    assert messages[0] == messages[1]


def test_a_memory_is_bounded_in_number_and_in_size() -> None:
    """Users write the texts."""
    memory: Memory[bytes] = Memory()
    for n in range(REMEMBERED + 5):
        memory.learn((n, "x"), b"")
    memory.learn(("x" * 1_000,), b"")
    assert len(memory) == 5
