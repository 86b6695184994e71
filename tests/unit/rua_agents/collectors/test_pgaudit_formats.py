"""One run of PostgreSQL 15 in all three of its log formats: the same events, but for what a format cannot tell."""

from __future__ import annotations

import pytest
from rua_agents.pseudonyms import KeyRing

from tests.agent_rig import KEY, START_MS, pg_line, sample_of, stamp
from tests.pg_rig import LIMIT_BYTES, PREFIX, csv_line, read, text_line, told

NAMES = KeyRing(KEY, "lazada").at(0)
SOURCES = ("pgaudit-jsonlog", "pgaudit-csvlog", "pgaudit-stderr")


def line_of(source: str, at_ms: int, message: str, *, user: str = "ana", severity: str = "LOG") -> bytes:
    """The same record in this format."""
    if source == "pgaudit-jsonlog":
        return pg_line(at_ms, message, user=user, error_severity=severity)
    write = csv_line if source == "pgaudit-csvlog" else text_line
    return write(at_ms, message, user=user, severity=severity)


def test_csvlog_and_stderr_tell_the_same_of_the_same_run() -> None:
    """Every field but the session's name: a session is known by its process where the prefix has no %c."""
    csv, _ = read("pgaudit-csvlog", sample_of("pgaudit-csvlog"))
    text, _ = read("pgaudit-stderr", sample_of("pgaudit-stderr"))
    assert len(csv) == 68
    assert told(csv) == told(text)
    pairs = {(a.session, b.session) for a, b in zip(csv, text, strict=True)}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_jsonlog_tells_the_same_as_far_as_its_sample_goes() -> None:
    """Sessions included."""
    csv, _ = read("pgaudit-csvlog", sample_of("pgaudit-csvlog"))
    made, _ = read("pgaudit-jsonlog", sample_of("pgaudit-jsonlog"))
    assert len(made) == 49
    assert told(made) == told(csv[:49])
    assert [e.session for e in made] == [e.session for e in csv[:49]]


def test_with_the_session_in_the_prefix_stderr_knows_it_too() -> None:
    """%c is what the other formats call session_id."""
    (csv,), _ = read("pgaudit-csvlog", csv_line(START_MS, "AUDIT: SESSION,1,1,READ,SELECT,,,x,<none>,1"))
    line = text_line(START_MS, "AUDIT: SESSION,1,1,READ,SELECT,,,x,<none>,1").replace(b"[7]", b"[7] 6b0613c7.7", 1)
    (text,), _ = read("pgaudit-stderr", line, prefix=PREFIX.replace("[%p]", "[%p] %c"))
    assert text.session == csv.session is not None


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("written", "zone", "at_ms"),
    [
        ("2026-10-25 02:30:00.250 CEST", "Europe/Berlin", 1_792_888_200_250),
        ("2026-10-25 02:30:00.250 CET", "Europe/Berlin", 1_792_891_800_250),
        ("2569-03-02 17:00:00.250 +07", None, 1_772_445_600_250),
        ("2026-03-02 15:45:00.250 +0545", None, 1_772_445_600_250),
        ("2026-03-02 17:00:00.250 ICT", "Asia/Bangkok", 1_772_445_600_250),
        ("2026-03-02 17:00:00.250 ICT", None, None),
    ],
)
def test_times_are_read_as_the_server_writes_them(source: str, written: str, zone: str | None, at_ms: int) -> None:
    """Both hours that a clock shows twice, Buddhist years, zones as numbers, and names where a zone is configured."""
    line = line_of(source, START_MS, "AUDIT: SESSION,1,1,READ,SELECT,,,x,<none>,1")
    made, tally = read(source, line.replace(stamp(START_MS).encode(), written.encode()), zone=zone)
    assert [e.occurred_at for e in made] == ([at_ms] if at_ms else [])
    assert tally.failed == ({} if at_ms else {"no_time": 1})


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("message", "denied"),
    [
        ('password authentication failed for user "ana"', True),
        ('SCRAM authentication failed for user "ana"', True),
        ('role "ana" does not exist', True),
        ('role "ana" is not permitted to log in', True),
        ('no pg_hba.conf entry for host "10.1.2.3", user "ana", database "shop", no encryption', True),
        ('pg_hba.conf rejects connection for host "10.1.2.3", user "ana", database "shop"', True),
        ("terminating connection due to administrator command", False),
        ("the database system is starting up", False),
    ],
)
def test_a_login_that_failed_is_an_event(source: str, message: str, denied: bool) -> None:
    """Other ends of a session are none."""
    made, tally = read(source, line_of(source, START_MS, message, severity="FATAL"))
    ana = NAMES.pseudonym("actor", "ana")
    expected = [("authentication", "unknown", "denied", ana, "10.1.2.0/24")] if denied else []
    assert [(e.kind, e.action, e.outcome, e.actor, e.source_network) for e in made] == expected
    assert (tally.records, tally.events, tally.open) == (1, int(denied), 0)


@pytest.mark.parametrize("source", SOURCES)
def test_who_connected_is_an_event_where_it_is_wanted(source: str) -> None:
    """By default it is not: applications connect all day."""
    data = line_of(source, START_MS, "connection authorized: user=ana database=shop application_name=psql")
    data += line_of(source, START_MS, 'password authentication failed for user "ana"', severity="FATAL")
    for logins, outcomes in (("none", []), ("failed", ["denied"]), ("all", ["ok", "denied"])):
        made, tally = read(source, data, logins=logins)
        assert [e.outcome for e in made] == outcomes
        assert tally.open == 0


@pytest.mark.parametrize("source", SOURCES)
def test_a_statement_s_error_is_no_failed_login(source: str) -> None:
    """Only the server itself ends a session with FATAL."""
    message = 'password authentication failed for user "ana"'
    made, _ = read(source, line_of(source, START_MS, message, severity="ERROR"))
    assert made == []


@pytest.mark.parametrize("source", SOURCES)
def test_logins_come_in_the_order_of_their_positions(source: str) -> None:
    """A failed login waits for an open statement that began before it."""
    audit = "AUDIT: SESSION,1,1,READ,SELECT,,,x,<none>,{}"
    fatal = line_of(source, START_MS, 'role "ana" does not exist', user="eve", severity="FATAL").replace(b"[7]", b"[8]")
    fatal = fatal.replace(b'"s1"', b'"s2"').replace(b"6b0613c7.7", b"6b0613c7.8")
    first, second = (line_of(source, START_MS, audit.format(n)) for n in (1, 2))
    made, _ = read(source, first + fatal + second)
    assert [(e.kind, e.rows) for e in made] == [("authentication", None), ("data_access", 2)]
    assert made[0].source_position < made[1].source_position


@pytest.mark.parametrize("source", SOURCES)
def test_a_new_session_of_the_same_process_has_no_role_of_the_old_one(source: str) -> None:
    """Processes come again; the role that was set ended with its session."""
    audit = "AUDIT: SESSION,{},1,{},,,{},<none>,1"
    lines = [audit.format(1, "MISC,SET", "SET ROLE boss"), audit.format(2, "READ,SELECT", "SELECT 1")]
    lines += ["connection received: host=10.1.2.3 port=5000", audit.format(3, "READ,SELECT", "SELECT 1")]
    made, _ = read(source, b"".join(line_of(source, START_MS, one) for one in lines))
    assert [[label.key for label in e.labels] for e in made] == [["role"], []]


@pytest.mark.parametrize("source", SOURCES)
def test_a_function_cannot_end_its_session(source: str) -> None:
    """Nor shake off the role that was set: what RAISE writes has a context."""
    audit, said = "AUDIT: SESSION,{},1,{},,,{},<none>,1", "disconnection: session time: 0:00:01"
    lines = [line_of(source, START_MS, audit.format(1, "MISC,SET", "SET ROLE boss"))]
    lines += [
        {
            "pgaudit-jsonlog": pg_line(START_MS, said, context="PL/pgSQL"),
            "pgaudit-csvlog": csv_line(START_MS, said, context="PL/pgSQL"),
            "pgaudit-stderr": text_line(START_MS, said, ("CONTEXT", "PL/pgSQL")),
        }[source]
    ]
    lines += [line_of(source, START_MS, audit.format(2, "READ,SELECT", "SELECT 1"))]
    made, _ = read(source, b"".join(lines))
    assert [[label.key for label in e.labels] for e in made] == [["role"]]


@pytest.mark.parametrize("source", SOURCES)
def test_a_mark_of_utf_8_before_the_first_record_costs_nothing(source: str) -> None:
    """An editor or a copy may have put it there."""
    line = line_of(source, START_MS, "AUDIT: SESSION,1,1,READ,SELECT,,,x,<none>,1")
    made, tally = read(source, b"\xef\xbb\xbf" + line)
    assert ([e.rows for e in made], tally.failed.total()) == ([1], 0)


@pytest.mark.parametrize("source", SOURCES)
def test_a_record_above_the_limit_is_an_event_marked_truncated(source: str) -> None:
    """Who, when and what are read; its rows stand behind the cut. The next record is whole."""
    audit = "AUDIT: SESSION,{},1,READ,SELECT,,,{},<none>,7"
    data = line_of(source, START_MS, audit.format(1, "x" * LIMIT_BYTES))
    made, tally = read(source, data + line_of(source, START_MS, audit.format(2, "x")))
    assert [(e.truncated, e.rows, e.actor) for e in made] == [
        (True, None, NAMES.pseudonym("actor", "ana")),
        (False, 7, NAMES.pseudonym("actor", "ana")),
    ]
    assert (tally.records, tally.failed.total()) == (2, 0)
