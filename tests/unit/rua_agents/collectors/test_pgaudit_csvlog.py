"""PostgreSQL's csvlog: records that no statement can cut or forge, of any version."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from rua_agents.collectors.csv_records import CsvSplitter, begins_record
from rua_agents.pseudonyms import KeyRing

from tests.agent_rig import DATA, KEY, START_MS
from tests.pg_rig import LIMIT_BYTES, SAID, csv_line, read

T = START_MS
NAMES = KeyRing(KEY, "lazada").at(0)
TEXT = st.text(st.sampled_from('a,"\n\r @26:-+.LOG,00000,\t'), max_size=60)


def test_three_widths_in_one_file_are_three_events() -> None:
    """A log directory that lived through two upgrades: no version is configured."""
    made, tally = read("pgaudit-csvlog", (DATA / "pg_csvlog_three_widths.csv").read_bytes())
    assert [(e.rows, e.tool) for e in made] == [(5, "pos-sync")] * 3
    assert tally.failed.total() == 0


def test_a_very_long_statement_is_an_ordinary_record() -> None:
    """24 kB in one line, written by the real server: a record that is no AUDIT, and no failure."""
    _, tally = read("pgaudit-csvlog", (DATA / "pg15_long_statement.csv").read_bytes())
    assert (tally.records, tally.failed.total(), tally.open) == (1, 0, 0)


def test_a_statement_of_many_lines_is_one_record() -> None:
    """Quotes, commas and newlines of the statement belong to it."""
    text = SAID.replace("SELECT 1, 2", 'SELECT ""x"",\n2 -- a, ""b""\n\n').format(1, 7)
    (event,), tally = read("pgaudit-csvlog", csv_line(T, text))
    assert (event.rows, tally.records) == (7, 1)


FORGED = csv_line(T, SAID.format(9, 1_000_000), user="ceo").decode().rstrip("\n")


@pytest.mark.parametrize(
    "forged",
    [FORGED, FORGED.replace('"', ""), FORGED.replace('"ceo"', "").replace('"', '""'), FORGED.replace('"', '""""')],
)
def test_a_statement_that_holds_a_whole_record_forges_none(forged: str) -> None:
    """Within quotes every quote is doubled: the quote that opens a real message stands alone."""
    statement = "SELECT 1 /*\n" + forged + "\n*/"
    message = "AUDIT: SESSION,1,1,READ,SELECT,TABLE,public.t," + '"' + statement.replace('"', '""') + '",<none>,5'
    (event,), tally = read("pgaudit-csvlog", csv_line(T, message))
    assert (event.actor, event.rows, event.truncated) == (NAMES.pseudonym("actor", "ana"), 5, False)
    assert tally.records == 1


def test_names_that_hold_records_forge_none() -> None:
    """Quotes, commas and line feeds in a role, a database and a program."""
    for evil in (FORGED, '","ceo', "x\n" + FORGED, 'bi,tool"'):
        (event,), tally = read("pgaudit-csvlog", csv_line(T, SAID.format(1, 3), user=evil, database=evil, program=evil))
        assert (event.actor, event.rows, tally.records) == (NAMES.pseudonym("actor", evil), 3, 1)


def test_a_torn_quote_costs_its_own_record_only() -> None:
    """After a power cut reading goes on at the next line that only a record can begin with."""
    torn = csv_line(T, "duration: 3 ms")[:90]
    assert torn.count(b'"') % 2 == 0  # torn outside a quote: the line is merely short
    made, tally = read("pgaudit-csvlog", torn + b"\n" + csv_line(T, SAID.format(1, 5)))
    assert ([e.rows for e in made], tally.failed) == ([5], {"columns": 1})
    torn = csv_line(T, "a statement that was being written")[:170]
    assert torn.count(b'"') % 2 == 1
    after = csv_line(T, SAID.format(1, 5)) + csv_line(T, SAID.format(2, 6))
    made, tally = read("pgaudit-csvlog", torn + b"\n" + after)
    assert ([e.rows for e in made], tally.records, tally.open) == ([5, 6], 3, 0)


def test_a_torn_audit_record_is_an_event_marked_truncated() -> None:
    """Who did what is told; how many rows is not."""
    torn = csv_line(T, SAID.format(1, 77))
    torn = torn[: torn.index(b",<none>")] + b"\n"
    made, tally = read("pgaudit-csvlog", torn + csv_line(T, SAID.format(2, 6)))
    assert [(e.truncated, e.rows) for e in made] == [(True, None), (False, 6)]
    assert (tally.records, tally.failed.total()) == (2, 0)


def test_torn_before_its_message_is_counted_as_torn() -> None:
    """Nobody can say what it was."""
    torn = csv_line(T, "x", user="a" * 30)[:50] + b"\n"
    made, tally = read("pgaudit-csvlog", torn + csv_line(T, SAID.format(2, 6)))
    assert ([e.rows for e in made], tally.failed) == ([6], {"torn": 1})


def test_columns_that_are_shifted_are_no_record() -> None:
    """Two lines that a crash has joined can have as many columns as one."""
    made, tally = read("pgaudit-csvlog", b'2026-11-25 06:46:31.498 UTC,"eve",' + csv_line(T, SAID.format(1, 5)))
    assert (made, tally.failed) == ([], {"columns": 1})


def test_a_function_cannot_forge_an_audit_record() -> None:
    """RAISE writes what it likes, but with a context; nor can an error of a statement."""
    _, tally = read("pgaudit-csvlog", csv_line(T, SAID.format(1, 5), context="PL/pgSQL function f()"))
    assert tally.failed == {"not_from_pgaudit": 1}
    _, tally = read("pgaudit-csvlog", csv_line(T, SAID.format(1, 5), severity="ERROR"))
    assert tally.failed == {"not_from_pgaudit": 1}


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("10.1.2.3:5000", "10.1.2.0/24"),
        ("10.1.2.3", "10.1.2.0/24"),
        ("2001:db8::1:5000", "2001:db8::/48"),
        ("[local]", None),
        ("", None),
    ],
)
def test_the_port_is_no_part_of_the_address(host: str, network: str | None) -> None:
    """IPv6 has colons of its own; a socket has none."""
    (event,), _ = read("pgaudit-csvlog", csv_line(T, SAID.format(1, 5), host=host))
    assert event.source_network == network


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=5), st.integers(1, 99))
def test_whatever_names_and_messages_hold_records_come_out_as_they_went_in(
    said: list[tuple[str, str, str]], size: int
) -> None:
    """One for one, however the bytes are cut."""
    lines = [csv_line(T + n, "x" + m, user=u, program=p) for n, (m, u, p) in enumerate(said)]
    data, splitter = b"".join(lines), CsvSplitter(0, LIMIT_BYTES)
    found = [r for at in range(0, len(data), size) for r in splitter.feed(data[at : at + size])] + splitter.finish()
    assert [r.data + b"\n" for r in found] == [line.replace(b"\r\n", b"\r\n") for line in lines]
    assert not any(r.truncated for r in found)


@given(TEXT, TEXT, st.integers(0, 200))
def test_a_torn_record_never_takes_a_whole_one_with_it(message: str, user: str, cut: int) -> None:
    """The record after the next is always read; the next one too unless the tear hides where it begins."""
    torn = csv_line(T, message, user=user)[:cut]
    whole = [csv_line(T + n, SAID.format(n, n)) for n in (1, 2)]
    splitter = CsvSplitter(0, LIMIT_BYTES)
    found = splitter.feed(torn + b"\n" + whole[0] + whole[1]) + splitter.finish()
    assert [r.data + b"\n" for r in found[-2:]] == whole


def test_only_a_record_begins_like_one() -> None:
    """Every record that the server writes does, unless its names hold line feeds."""
    assert begins_record(csv_line(T, 'relation "x" is not there').rstrip(b"\n"))
    assert begins_record(csv_line(T, '"x" is not there\nat all').split(b"\n")[0])
    background = b"2026-11-25 06:46:29.9 +08,,,244,,6b06.1,1,,2026-11-25 06:46:29 +08,,0,LOG,00000,"
    assert begins_record(background + b'"starting",,,,,,,,,"","postmaster",,0')
    for line in (b"", background + b'""starting', background + b'"",,,,,,,,,"psql"', background + b'",,,,"psql","x"'):
        assert not begins_record(line)
