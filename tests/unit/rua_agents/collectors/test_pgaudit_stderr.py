"""PostgreSQL's stderr log: its prefix is a grammar, and no name in it can speak for somebody else."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from rua_agents.collectors.log_prefix import MOST_SEVERITIES, BadPrefix, Prefix
from rua_agents.collectors.prefix_parts import split
from rua_agents.collectors.prefix_ways import reach
from rua_agents.collectors.stderr_reports import Report, ReportSplitter
from rua_agents.pseudonyms import KeyRing
from rua_agents.records import RawRecord

from tests.agent_rig import DATA, KEY, START_MS, origin, stamp
from tests.pg_rig import LIMIT_BYTES, PREFIX, SAID, read, text_line

T = START_MS
NAMES = KeyRing(KEY, "lazada").at(0)
ANA = NAMES.pseudonym("actor", "ana")
PARTS = ["a", "ceo", "@", "/", " ", "[1]", "[unknown]", " 10.0.0.1 ", "LOG:  ", "CONTEXT:  ", "AUDIT: ", ",", '"', "x"]
NAME = st.lists(st.sampled_from(PARTS), min_size=1, max_size=8).map("".join).filter(lambda name: len(name) <= 63)


def test_zones_written_as_numbers_are_read() -> None:
    """Bangkok prints +07, Kathmandu +0545: five events, all at 10:00 UTC."""
    made, tally = read("pgaudit-stderr", (DATA / "pg_stderr_zones.log").read_bytes())
    ten = 1_772_445_600_000
    assert [e.occurred_at - ten for e in made] == [500, 1_250, 2_000, 3_000, 4_000]
    assert tally.failed.total() == 0


def test_lines_that_begin_with_a_tab_belong_to_the_statement() -> None:
    """PostgreSQL writes one after each newline; a false prefix behind it is text."""
    forged = text_line(T, SAID.format(9, 99), user="ceo").decode()
    statement = f"SELECT 1 /*\n{forged}*/".replace('"', '""')
    message = f'AUDIT: SESSION,1,1,READ,SELECT,TABLE,public.t,"{statement}",<none>,5'
    (event,), tally = read("pgaudit-stderr", text_line(T, message))
    assert (event.actor, event.rows, tally.records) == (ANA, 5, 1)


def test_detail_and_statement_belong_to_their_report() -> None:
    """They are not records of their own."""
    data = text_line(T, "execute x: SELECT $1", ("DETAIL", "parameters: $1 = 'a\nb'")) + text_line(T, SAID.format(1, 5))
    (event,), tally = read("pgaudit-stderr", data)
    assert (event.rows, tally.records, tally.ignored) == (5, 2, {"not_audit": 1})


def test_a_function_cannot_forge_an_audit_record() -> None:
    """A CONTEXT with the same prefix says that it was raised; DETAIL and HINT may stand before it."""
    more = [("DETAIL", "d"), ("HINT", "h\nh"), ("CONTEXT", "PL/pgSQL function f() line 1 at RAISE")]
    for n in (1, 2, 3):
        made, tally = read("pgaudit-stderr", text_line(T, SAID.format(1, 5), *more[-n:]))
        assert (made, tally.failed, tally.records) == ([], {"not_from_pgaudit": 1}, 1)


def test_each_report_is_held_against_its_own_prefix() -> None:
    """Of several that functions have raised."""
    people = ("ana", "eve", "bo")
    lines = [text_line(T, SAID.format(1, 5), ("CONTEXT", "PL/pgSQL"), user=one) for one in people]
    made, tally = read("pgaudit-stderr", b"".join(lines))
    assert (made, tally.failed) == ([], {"not_from_pgaudit": 3})


@pytest.mark.parametrize("other", [{"user": "eve"}, {"program": "x 10.1.2.3 CONTEXT:  y"}, {"host": "10.1.2.4"}])
def test_the_context_of_somebody_else_hides_no_audit_record(other: dict[str, str]) -> None:
    """Only the very same prefix is the same report."""
    data = text_line(T, SAID.format(1, 5)) + text_line(T, "SQL function", severity="CONTEXT", **other)
    made, _ = read("pgaudit-stderr", data)
    assert [e.rows for e in made] == [5]


def test_a_program_called_like_a_context_hides_nothing() -> None:
    """Each of its records can be read as a context, too, and is none."""
    evil = "x 10.1.2.3 CONTEXT:  y"
    data = b"".join(text_line(T, SAID.format(n, n), program=evil) for n in (1, 2, 3))
    made, tally = read("pgaudit-stderr", data)
    assert ([e.rows for e in made], tally.records) == ([1, 2, 3], 3)
    assert {e.actor for e in made} == {ANA}


@pytest.mark.parametrize(
    "program",
    [
        "x 10.9.9.9 LOG:  AUDIT: SESSION,1,1,READ,COPY,,,y,<none>,9",
        "x 10.9.9.9 LOG:  AUDIT: SESSION,1,1,READ,COPY,,,y,",
        'x 10.9.9.9 LOG:  AUDIT: SESSION,1,1,READ,COPY,,,"',
    ],
)
def test_a_program_called_like_an_audit_record_forges_none(program: str) -> None:
    """Neither beside a record that is none, nor instead of one that is."""
    made, _ = read("pgaudit-stderr", text_line(T, "duration: 3 ms", program=program))
    assert made == []
    made, _ = read("pgaudit-stderr", text_line(T, SAID.format(1, 5), program=program))
    assert [(e.rows, e.actor, e.source_network) for e in made] == [(5, ANA, None)]


@pytest.mark.parametrize(
    ("user", "database", "actor"),
    [
        ("bi,tool", "shop", "bi,tool"),
        ("Ana Maria [1]", "my shop", "Ana Maria [1]"),
        ("a/b", "shop", "a/b"),
        ("สมชาย", "ร้าน", "สมชาย"),
        ("ana@shop", "x", None),
        ("ana", "shop@x", None),
        ("ceo@shop/psql 10.0.0.1 LOG:  AUDIT: SESSION,1,1,READ,COPY,,,y", "d", None),
        ("x\ny", "shop", "x\ny"),
        ("[unknown]", "shop", None),
    ],
)
def test_a_name_is_told_if_nothing_else_could_be_meant(user: str, database: str, actor: str | None) -> None:
    """Or else unknown: never somebody else's. The record is an event either way."""
    made, tally = read("pgaudit-stderr", text_line(T, SAID.format(1, 5), user=user, database=database))
    assert [(e.rows, e.actor) for e in made] == [(5, actor and NAMES.pseudonym("actor", actor))]
    assert tally.failed.total() == 0


def test_a_name_with_a_line_feed_begins_no_record() -> None:
    """The prefix goes on in the next line; what stands there is a part of the name."""
    evil = "x\n" + stamp(T) + " [1] ceo@s/x h LOG: "
    made, tally = read("pgaudit-stderr", text_line(T, SAID.format(1, 5), user=evil) + text_line(T, SAID.format(2, 6)))
    assert ([e.rows for e in made], tally.records) == ([5, 6], 2)
    assert NAMES.pseudonym("actor", "ceo") not in {e.actor for e in made}


@pytest.mark.parametrize(
    ("user", "database"),
    [("ana@shop.example", "shop"), ("ana", "shop@x"), ("a/b@c d", "e@f/g"), ("x database=y", "z@x")],
)
@pytest.mark.parametrize("prefix", [PREFIX, "%m [%p] %q%u@%d "])
def test_an_odd_name_is_told_where_the_server_has_said_whose_session_it_is(
    user: str, database: str, prefix: str
) -> None:
    """Debian's own prefix, and people who log in by an e-mail address; until the session ends."""
    given = {"user": user, "database": database}
    said = f"connection authorized: user={user} database={database}"
    after = text_line(T, "disconnection: session time: 0", **given) + text_line(T, SAID.format(9, 9), **given)
    data = text_line(T, said + " application_name=psql", **given) + text_line(T, SAID.format(1, 5), **given) + after
    data = data.replace(b"/psql 10.1.2.3 ", b" ") if prefix != PREFIX else data
    made, _ = read("pgaudit-stderr", data, prefix=prefix)
    assert [e.rows for e in made] == [5, 9]
    assert made[0].actor == NAMES.pseudonym("actor", user)
    assert (made[0].dataset or "").endswith(".public.t")
    assert (made[0].tool, made[0].source_network) == (("psql", "10.1.2.0/24") if prefix == PREFIX else (None, None))
    assert made[1].actor is None


def test_whom_the_server_named_is_not_mistaken_for_another() -> None:
    """Who is `ana` in `shop@x` is not `ana@shop` in `x`, although both are written alike."""
    said = text_line(T, "connection authorized: user=ana database=shop@x", user="ana", database="shop@x")
    made, _ = read("pgaudit-stderr", said + text_line(T, SAID.format(1, 5), user="ana@shop", database="x"))
    assert [e.actor for e in made] == [ANA]  # the same process: it is the same session
    other = text_line(T, SAID.format(1, 5), user="ana@shop", database="x").replace(b"[7]", b"[8]")
    made, _ = read("pgaudit-stderr", said + other)
    assert [e.actor for e in made] == [None]


STRANGER = {"user": "ceo@s/x h LOG:  AUDIT: SESSION,1,1,READ,COPY,,,y,", "database": "z,9\n" + stamp(T) + " [7] x@y"}
"""What a client that is not let in can call itself and its database: the first line is a whole AUDIT record."""


def test_a_stranger_s_name_forges_no_record() -> None:
    """Where connections are logged: one that was received and never authorised has no AUDIT records."""
    data = text_line(T, "connection received: host=10.1.2.3 port=5", user="[unknown]", database="[unknown]")
    data += text_line(T, 'role "ceo" does not exist', severity="FATAL", **STRANGER)
    before = text_line(T, "connection authorized: user=ana database=shop").replace(b"[7]", b"[8]")
    made, tally = read("pgaudit-stderr", before + data)
    assert ([e.kind for e in made], tally.failed) == (["authentication"], {"not_authorized": 1})
    made, _ = read("pgaudit-stderr", before + data.replace(b"connection received", b"connection is received"))
    assert [e.kind for e in made] == ["data_export", "authentication"]  # what the page says cannot be decided


def test_where_authorisations_are_not_logged_nobody_is_a_stranger() -> None:
    """PostgreSQL 18 can log the receipt alone."""
    data = text_line(T, "connection received: host=10.1.2.3 port=5") + text_line(T, SAID.format(1, 5))
    made, _ = read("pgaudit-stderr", data)
    assert [e.rows for e in made] == [5]


def test_a_role_with_an_odd_name_is_no_stranger() -> None:
    """That its authorisation can be read in another way, too, hides nothing."""
    odd = {"user": "x 10.1.2.3 LOG:  y"}
    data = text_line(T, "connection authorized: user=bo database=shop").replace(b"[7]", b"[8]")
    data += text_line(T, "connection received: host=10.1.2.3 port=5")
    data += text_line(T, "connection authorized: user=x 10.1.2.3 LOG:  y database=shop", **odd)
    data += text_line(T, SAID.format(1, 5), **odd)
    made, _ = read("pgaudit-stderr", data)
    assert [(e.rows, e.actor) for e in made] == [(5, NAMES.pseudonym("actor", "x 10.1.2.3 LOG:  y"))]


def test_the_second_line_of_a_name_speaks_for_nobody() -> None:
    """The record's real severity stands behind it: it may be an event, but nobody's."""
    evil = {
        "user": "x@y/z h LOG:  \n" + stamp(T) + " [8] ceo",
        "database": 's/x h LOG:  AUDIT: SESSION,1,1,READ,COPY,,,"',
    }
    made, _ = read("pgaudit-stderr", text_line(T, 'statement: SELECT 1 --",z,5', **evil))
    assert [(e.actor, e.dataset, e.source_ip) for e in made] == [(None, None, None)]


def test_background_processes_have_the_short_prefix() -> None:
    """%q ends it where there is no session."""
    made, tally = read("pgaudit-stderr", f"{stamp(T)} [7] LOG:  checkpoint starting: time\n".encode())
    assert (made, tally.ignored) == ([], {"not_audit": 1})


DAY = "2026-11-25 06:46:31"


@pytest.mark.parametrize(
    ("prefix", "line"),
    [
        ("%t:%r:%u@%d:[%p]:", f"{DAY} UTC::@:[7]:"),
        ("%m [%p] %u@%d ", f"{DAY}.000 UTC [7] @ "),
        ("%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ", f"{DAY} UTC [7]: [3-1] user=,db=,app=,client= "),
        ("%m %5p %-8u|%3d|%i|%v|%b|", f"{DAY}.000 UTC     7         |   |||background writer|"),
    ],
)
def test_without_q_background_processes_leave_the_names_out(prefix: str, line: str) -> None:
    """Amazon's default is such a prefix: its checkpoints are no lines of another one."""
    made, tally = read("pgaudit-stderr", f"{line}LOG:  checkpoint starting: time\n".encode(), prefix=prefix)
    assert (made, tally.ignored, tally.failed) == ([], {"not_audit": 1}, {})
    record = RawRecord(0, f"{line}LOG:  checkpoint starting: time".encode(), 90, 1, truncated=False)
    assert origin("pgaudit-stderr", prefix=prefix).time_ms(record, T) == 1_795_589_191_000
    _, tally = read("pgaudit-stderr", f"{line[:-1]}!LOG:  checkpoint starting: time\n".encode(), prefix=prefix)
    assert (tally.ignored, tally.failed) == ({}, {"other_prefix": 1})


def test_many_blanks_cost_no_time() -> None:
    """A pattern with many widths is tried once."""
    line = f"{DAY}.000 UTC [7]" + " " * 100_000 + "\n"
    _, tally = read("pgaudit-stderr", line.encode() * 20, prefix="%m [%p] %60u %-60d %60a %-60r %60h ")
    assert tally.failed == {"other_prefix": 20}


@pytest.mark.parametrize(
    ("prefix", "line"),
    [
        ("%t:%r:%u@%d:[%p]:", f"{DAY} UTC:10.1.2.3(5432):ana@shop:[7]:"),
        ("%t [%p]: [%l-1] user=%u,db=%d,client=%h ", f"{DAY} UTC [7]: [3-1] user=ana,db=shop,client=10.1.2.3 "),
        ("%n %c %-12u|%d|%h|%%", "1795589191.000 6b06.7 ana         |shop|10.1.2.3|%"),
        ("%6p %-5p<%m>%v %x %e %Q %u %d %r ", f"     7 7    <{DAY}.000 UTC>3/1 0 00000 -5 ana shop 10.1.2.3(5) "),
        ("%m %p %b %u@%d %h", f"{DAY}.000 UTC 7 client backend ana@shop 10.1.2.3"),
    ],
)
def test_any_prefix_of_escapes_is_read(prefix: str, line: str) -> None:
    """Amazon's, pgBadger's, with widths, with everything, and one that ends with a name."""
    data = f"{line}LOG:  {SAID.format(1, 5)}\n".encode()
    (event,), tally = read("pgaudit-stderr", data, prefix=prefix)
    assert (event.occurred_at, event.rows, tally.failed.total()) == (1_795_589_191_000, 5, 0)
    assert (event.dataset, event.source_network) == ("shop.public.t", "10.1.2.0/24")
    assert event.actor == (None if "%b %u" in prefix else ANA)  # which blank parts the two nobody can tell


def test_the_number_of_the_line_does_not_part_a_report() -> None:
    """%l grows from line to line of one report."""
    lines = [f"{stamp(T)} [7] {n} ana@shop {what}:  {SAID.format(1, 5)}\n" for n, what in ((9, "LOG"), (10, "CONTEXT"))]
    made, tally = read("pgaudit-stderr", "".join(lines).encode(), prefix="%m [%p] %l %u@%d ")
    assert (made, tally.failed) == ([], {"not_from_pgaudit": 1})


@pytest.mark.parametrize(("prefix", "missing"), [("%u@%d ", "time"), ("%m %u ", "process"), ("", "time")])
def test_a_prefix_that_tells_no_time_or_no_process_is_refused(prefix: str, missing: str) -> None:
    """Before anything is read."""
    with pytest.raises(BadPrefix, match=missing):
        Prefix(prefix)


def test_another_prefix_is_counted_and_ends_nothing() -> None:
    """Output of programs that the server runs, an old configuration, a line without its start."""
    foreign = b"rsync: link failed\n\tand more\n" + f"{stamp(T)} LOG:  x\n".encode() + b"\n"
    (event,), tally = read("pgaudit-stderr", foreign + text_line(T, SAID.format(1, 5)))
    assert (event.rows, tally.failed, tally.ignored) == (5, {"other_prefix": 2}, {"blank": 1})


def test_a_quiet_server_s_last_report_is_whole_when_its_line_is() -> None:
    """Nothing that belongs to it is written later than at once."""
    line = text_line(T, SAID.format(1, 5))
    splitter = ReportSplitter(0, LIMIT_BYTES, Prefix(PREFIX))
    assert splitter.feed(line[:-1]) == splitter.settle() == []
    assert splitter.feed(line[-1:]) == []
    (record,) = splitter.settle()
    assert (record.data + b"\n", record.end, splitter.offset) == (line, len(line), len(line))
    assert splitter.settle() == splitter.finish() == []


@given(NAME, NAME, NAME, st.sampled_from(["duration: 1 ms", SAID.format(1, 5), "statement: a@b/c 10.0.0.1 LOG:  x"]))
def test_whatever_the_names_are_a_field_is_the_true_one_or_unknown(
    user: str, database: str, program: str, message: str
) -> None:
    """Never another, and an AUDIT record stays one, once, with its own rows."""
    line = text_line(T, message, user=user, database=database, program=program)
    report = Report(Prefix(PREFIX), line.rstrip(b"\n"))
    true = {"p": "7", "u": user, "d": database, "a": program, "h": "10.1.2.3"}
    for escape, text in report.fields().items():
        if escape in true:
            assert text.decode() == true[escape].strip(" ")
    made, tally = read("pgaudit-stderr", line + line)
    assert [e.rows for e in made] in ([], [5])
    assert (tally.records, tally.failed.total()) == (2, 0)
    if message.startswith("AUDIT"):
        assert (len(made), tally.merged) == (1, 1)


@given(st.sampled_from(["@", "/", " ", "@/ ", "a@b/c ", "LOG:  ", " LOG:  AUDIT: ", ",", '"']), st.integers(1, 1 << 12))
def test_the_work_of_a_prefix_is_bounded_by_its_own_length(unit: str, times: int) -> None:
    """Whoever writes a line of megabytes of separators costs no more than one of a kilobyte."""
    prefix = Prefix(PREFIX)
    head = prefix.head(f"{stamp(T)} [7] {unit * times}".encode())
    assert len(head.window) <= prefix.longest < 1_024
    assert len(head.readings) <= 2 * MOST_SEVERITIES
    parts = list(split(PREFIX.partition("%q")[2]))
    assert sum(len(places) for places in reach(parts, head.window)) <= 8 * prefix.longest
