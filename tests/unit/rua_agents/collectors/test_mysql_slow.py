"""The slow log of MariaDB and MySQL alone: headers of several kinds, statements as they were sent."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.collectors import Draft
from rua_agents.collectors.drafting import Unreadable
from rua_agents.collectors.slow_log import read_entry
from rua_agents.pseudonyms import Pseudonymiser
from rua_agents.times import BadTime

from tests.agent_rig import KEY, parse

NAMES = Pseudonymiser(KEY, "lazada")
AT = 1_795_611_718
BANNER = "/usr/sbin/mariadbd, Version: 10.11.19-MariaDB-log (Debian 12). started with:\nTcp port: 0  Unix socket: /s\n"
BANNER += "Time\t\t    Id Command\tArgument\n"


def entry(text: str, *, user: str = "ana", use: str = "", rows: int = 3, schema: str = "shop") -> str:
    """One of MariaDB's."""
    return (
        f"# User@Host: {user}[{user}] @ localhost [192.0.2.7]\n# Thread_id: 4  Schema: {schema}  QC_hit: No\n"
        f"# Query_time: 1.500000  Lock_time: 0.000000  Rows_sent: {rows}  Rows_examined: 9\n"
        f"# Rows_affected: 0  Bytes_sent: 91\n{use}SET timestamp={AT};\n{text};\n"
    )


def events(*parts: str, source: str = "mariadb-slow", **options: Any) -> list[Draft]:
    """The events of a log."""
    made, tally = parse(source, "".join(parts).encode(), **options)
    assert tally.failed.total() == 0
    return made


def test_an_entry_tells_who_when_and_how_much() -> None:
    """The time is when it ended: its start and how long it took."""
    (event,) = events("# Time: 261125 20:01:58\n", entry("SELECT *\nFROM customers\n\nWHERE a = '# not a header'"))
    assert (event.actor, event.dataset, event.rows, event.bytes) == (
        *(NAMES.pseudonym("actor", "ana"), "shop.customers", 3, 91),
    )
    assert (event.occurred_at, event.source_network) == (AT * 1_000 + 1_500, "192.0.2.0/24")


def test_a_banner_in_the_middle_and_lines_of_time_cost_nothing() -> None:
    """The server was started anew."""
    made = events(BANNER, entry("SELECT 1"), BANNER, "# Time: 261125 20:01:58\n", entry("SELECT 2"), entry("SELECT 3"))
    assert [event.rows for event in made] == [3, 3, 3]
    assert not any(event.truncated for event in made)


@pytest.mark.parametrize("user", ["ana", "x[y] @ z []", "bi,tool", "a]b[c", "new\nline", "ร้าน"])
def test_a_user_is_one_whatever_the_name_holds(user: str) -> None:
    """Both parts are the same as a rule, so their middle is known."""
    assert read_entry(entry("SELECT 1", user=user).encode()).user.decode() == user


def test_names_of_databases_and_tables_cannot_change_the_counts() -> None:
    """They stand in lines of their own."""
    explained = "# explain: 1\tSIMPLE\tx  Rows_sent: 0  Bytes_sent: 0\tALL\n"
    one = read_entry(entry("SELECT 1", rows=7, use=explained).encode())
    assert (one.counts.sent, one.counts.sent_bytes) == (7, 91)
    one = read_entry(entry("SELECT 1", schema="x  Rows_sent: 0  Bytes_sent: 0", rows=7, use="use `x;`;\n").encode())
    assert (one.counts.sent, one.counts.sent_bytes) == (7, 91)


@settings(max_examples=100)
@given(st.text(alphabet="abc#'\"`;: \nT/*-", max_size=60))
def test_a_statement_without_a_line_that_looks_like_a_header_is_whole(text: str) -> None:
    """Whatever else it holds, it ends where the next entry begins."""
    made = events(entry("TABLE a -- " + text), entry("SELECT 2 FROM b"))
    assert len(made) == 2
    assert made[1].dataset == "shop.b"


def test_a_statement_can_write_what_looks_like_an_entry() -> None:
    """No grammar can tell: the page says so, and the audit log is what to believe."""
    forged = entry("SELECT * FROM customers", user="root").rstrip(";\n")
    made = events(entry("SELECT 1 /*\n" + forged + " */"), entry("SELECT 2"))
    assert [event.truncated for event in made] == [True, False, False]
    assert made[1].actor == NAMES.pseudonym("actor", "root")


def test_counts_that_no_server_has_are_unknown() -> None:
    """The event stays."""
    (event,) = events(entry("SELECT * FROM t").replace("Rows_sent: 3 ", f"Rows_sent: {'9' * 40} "))
    assert (event.rows, event.bytes) == (None, 91)


@settings(max_examples=150)
@given(st.binary(max_size=80), st.integers(0, 300))
def test_any_damage_is_read_or_refused(filler: bytes, at: int) -> None:
    """Nothing else comes out."""
    data = entry("SELECT 1").encode()
    try:
        read_entry(data[:at] + filler + data[at + len(filler) // 2 :])
    except (Unreadable, BadTime):
        return


@pytest.mark.parametrize("part", ["# User@Host: ", "] @ ", "[", "\n# Schema: ", "  x: ", "\n", "SET timestamp=1", " "])
def test_hostile_entries_take_linear_time(part: str) -> None:
    """Whatever fills them."""
    started = time.process_time()
    filler = part * (60_000 // len(part))
    for text in (f"# User@Host: {filler}", f"# User@Host: a[a] @ b []\n{filler}", entry(filler), BANNER + filler):
        parse("mariadb-slow", text.encode())
    assert time.process_time() - started < 5
