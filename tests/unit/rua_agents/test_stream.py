"""Identity, restarts and secrecy of whole streams, whatever the input."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.collectors import COLLECTORS, Draft
from rua_agents.stream import SILENCE_MS, SourceStream
from rua_agents.tally import Tally, shape

from tests.agent_rig import NGINX_SAMPLE, PG_SAMPLE, START_MS, audit, origin, parse, pg_line, web_line

T = START_MS


@st.composite
def pg_logs(draw: st.DrawFn) -> bytes:
    """A file in which a few sessions work at the same time."""
    lines, at = [pg_line(T, "a first record with a time: the id of the file follows from it")], T
    numbers = {"s1": 0, "s2": 0, "s3": 0}
    for _ in range(draw(st.integers(1, 25))):
        at += draw(st.sampled_from([0, 0, 5, 400, 1_200]))
        session = draw(st.sampled_from(sorted(numbers)))
        numbers[session] += draw(st.sampled_from([0, 1, 1]))
        what = draw(st.sampled_from(["select", "copy", "inner", "other", "role", "bad", "grant"]))
        n = numbers[session]
        common: dict[str, Any] = {"session_id": session, "rows": draw(st.integers(0, 50))}
        lines.append(_line(what, at, n, common))
    return b"".join(lines)


COPY = "COPY (SELECT 1 FROM t) TO STDOUT"


def _line(what: str, at: int, n: int, common: dict[str, Any]) -> bytes:
    if what == "bad":
        return b"{half a record\n"
    if what == "other":
        return pg_line(at, "duration: 1 ms", session_id=common["session_id"])
    fields: dict[str, dict[str, Any]] = {
        "select": {"text": "SELECT 1 FROM t"},
        "copy": {"text": COPY, "sub": 2, "command": "COPY", "table": ""},
        "inner": {"text": COPY},
        "role": {"text": "SET ROLE x", "klass": "MISC", "command": "SET"},
        "grant": {"text": "GRANT a TO b, c", "klass": "ROLE", "command": "GRANT ROLE"},
    }
    return audit(at, n, **fields[what], **common)


def feed(stream: SourceStream, data: bytes, offset: int = 0) -> list[Draft]:
    """Everything from an offset on, without the end of the file."""
    splitter = stream.origin.splitter(offset, 1 << 20)
    return [draft for record in splitter.feed(data[offset:]) for draft in stream.feed(record, T)]


@settings(max_examples=40)
@given(pg_logs(), st.data())
def test_a_restart_from_any_checkpoint_gives_the_same_events(data: bytes, draw: st.DataObject) -> None:
    """Same ids, same order, same content; the checkpoint is what JSON makes of it."""
    whole, _ = parse("pgaudit-jsonlog", data)
    cut = draw.draw(st.sampled_from([i + 1 for i, byte in enumerate(data) if byte == 10]))
    before = SourceStream(origin("pgaudit-jsonlog"), "log")
    first = feed(before, data[:cut])
    state = msgspec.json.decode(msgspec.json.encode(before.dump()))
    after = SourceStream(origin("pgaudit-jsonlog"), "log")
    after.load(state)
    rest = [*feed(after, data, cut), *after.flush()]
    assert [facts(d) for d in first + rest] == [facts(d) for d in whole]


def facts(draft: Draft) -> dict[str, Any]:
    """All that does not depend on when and by whom the record was read."""
    made = msgspec.structs.asdict(draft)
    return {k: v for k, v in made.items() if k not in ("observed_at", "agent_seq", "agent_epoch")}


@settings(max_examples=40)
@given(pg_logs())
def test_positions_grow_ids_differ_and_every_record_is_accounted_for(data: bytes) -> None:
    """The promises of the contract, for any file."""
    made, tally = parse("pgaudit-jsonlog", data)
    positions = [event.source_position for event in made]
    assert positions == sorted(set(positions))
    assert len({event.event_id for event in made}) == len(made)
    assert tally.open == 0
    assert tally.records == len(data.splitlines())


@settings(max_examples=40)
@given(pg_logs(), st.integers(1, 700))
def test_any_chunking_of_the_bytes_gives_the_same_events(data: bytes, size: int) -> None:
    """A read may end anywhere."""
    stream = SourceStream(origin("pgaudit-jsonlog"), "log")
    splitter = stream.origin.splitter(0, 1 << 20)
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    made = [d for chunk in chunks for record in splitter.feed(chunk) for d in stream.feed(record, T)]
    whole, _ = parse("pgaudit-jsonlog", data)
    assert [facts(d) for d in made + stream.flush()] == [facts(d) for d in whole]


SECRETS = ("0812345678", "1103700012345", "somchai@example.co.th", "hunter2x", "บ้านเลขที่")


@settings(max_examples=40)
@given(st.sampled_from(SECRETS), st.sampled_from(sorted(COLLECTORS)), st.data())
def test_what_is_personal_never_leaves(secret: str, source: str, draw: st.DataObject) -> None:
    """In no event, no checkpoint, no account: wherever a user may write it."""
    place = draw.draw(st.sampled_from(["literal", "user", "file", "password", "broken", "path", "query", "agent"]))
    pg = {
        "literal": audit(T, 1, f"SELECT 1 FROM t WHERE a = '{secret}' AND b = $${secret}$$"),  # noqa: S608 - never run
        "user": audit(T, 1, "SELECT 1 FROM t", user=secret),
        "file": audit(T, 1, f"COPY t TO '/{secret}'", command="COPY", table=""),
        "password": audit(T, 1, f"ALTER ROLE x PASSWORD '{secret}'", klass="ROLE", command="ALTER ROLE", table=""),
        "broken": pg_line(T, f"AUDIT: SESSION,{secret},1"),
    }
    web = {
        "path": web_line(T, f"GET /users/{secret}/a.csv HTTP/1.1"),
        "query": web_line(T, f"GET /export?x={secret} HTTP/1.1", args=f"x={secret}"),
        "user": web_line(T, user=secret),
        "agent": web_line(T, ua=f"{secret}/1 (x)") if secret != SECRETS[3] else web_line(T),
        "broken": f'{{"ts":"{secret}","user":"{secret}'.encode() + b"\n",
    }
    lines = pg if source == "pgaudit-jsonlog" else web
    line = lines.get(place, lines["user"])
    tally = Tally()
    stream = SourceStream(origin(source, tally), "log")
    made = feed(stream, line)
    told = [*map(str, made), json.dumps(stream.dump(), default=str), *map(str, stream.flush()), tally.line()]
    assert secret not in " ".join(told)
    assert secret not in shape(line.decode())


def test_two_live_files_never_share_an_id() -> None:
    """The second one with the same first record is told apart by its path; without a time in it, by chance."""
    first = web_line(T)
    record = origin("nginx-json").splitter(0, 1 << 20).feed(first)[0]
    one = SourceStream(origin("nginx-json"), "/a").identify(record)
    assert one == SourceStream(origin("nginx-json"), "/b").identify(record)
    assert one != SourceStream(origin("nginx-json"), "/b", taken=lambda _: True).identify(record)
    timeless = record._replace(data=b"{}")
    made = {SourceStream(origin("nginx-json"), "/a").identify(timeless) for _ in range(2)}
    assert len(made) == 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{half\n" * 60, 1),
        (b"\n" + b"{half\n" * 20, 1),
        (b"{half\n" * 19, 0),
        (b"{half\n" * 19 + web_line(T) + b"{half\n" * 40, 0),
        (web_line(T) + b"{half\n" * 40, 0),
    ],
)
def test_a_file_whose_first_records_all_fail_is_named_once(
    data: bytes, said: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A swapped `source` in the configuration; a damaged stretch later on is none."""
    feed(SourceStream(origin("nginx-json"), "/var/log/x"), data)
    found = [r.getMessage() for r in caplog.records if "/var/log/x does not look like nginx-json" in r.getMessage()]
    assert len(found) == said


def test_a_file_that_goes_on_from_a_checkpoint_is_not_judged_again(caplog: pytest.LogCaptureFixture) -> None:
    """It was when it began."""
    before = SourceStream(origin("nginx-json"), "/x")
    feed(before, web_line(T))
    after = SourceStream(origin("nginx-json"), "/x")
    after.load(before.dump())
    feed(after, b"{half\n" * 40)
    assert "does not look like" not in caplog.text


def test_silence_completes_what_waits() -> None:
    """Two seconds after the last record, and not if nothing waits."""
    stream = SourceStream(origin("pgaudit-jsonlog"), "log")
    assert feed(stream, audit(T, 1, "SELECT 1 FROM t")) == []
    assert stream.silent_at == T + SILENCE_MS
    assert len(stream.flush()) == 1
    assert stream.silent_at is None


@pytest.mark.parametrize(("source", "sample"), [("pgaudit-jsonlog", PG_SAMPLE), ("nginx-json", NGINX_SAMPLE)])
@settings(max_examples=25)
@given(st.data())
def test_damaged_files_never_stop_a_parser(source: str, sample: Any, draw: st.DataObject) -> None:
    """Bytes replaced, lost or doubled: counted, never an exception."""
    data = bytearray(sample.read_bytes()[:6_000])
    for _ in range(draw.draw(st.integers(1, 8))):
        at = draw.draw(st.integers(4, len(data) - 1))  # the first bytes tell the encoding
        data[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=4))
    _, tally = parse(source, bytes(data))
    assert tally.open == 0
