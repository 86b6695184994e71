"""What the gateway lets through to the engine."""

from __future__ import annotations

import pytest
from hypothesis import example, given, strategies as st
from rua_local.statements import StatementRefused, read, require_inside, require_reading, without_format

# how ClickHouse's lexer lets a text hide: opening, closing, what must not stand inside
HIDING = (
    ("'", "'", "'\\"),
    ('"', '"', '"\\'),
    ("`", "`", "`\\"),
    ("\N{LEFT SINGLE QUOTATION MARK}", "\N{RIGHT SINGLE QUOTATION MARK}", "\N{RIGHT SINGLE QUOTATION MARK}"),
    ("\N{LEFT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}", "\N{RIGHT DOUBLE QUOTATION MARK}"),
    ("$a$", "$a$", "$"),
    ("/*", "*/", "*"),
    ("-- ", "\n", "\n"),
    ("# ", "\n", "\n"),
    ("#!", "\n", "\n"),
)


@given(
    hiding=st.sampled_from(HIDING), text=st.text(alphabet=st.sampled_from("a;'\"`-#$/*\\ \n\u2018\u2019\u201c\u201d"))
)
@example(hiding=HIDING[3], text="'; DROP TABLE t --'")
def test_a_semicolon_that_is_text_is_no_end_and_one_after_it_is(hiding: tuple[str, str, str], text: str) -> None:
    """Whatever stands in quotes or comments hides nothing that follows it, and is not itself taken for SQL."""
    opening, closing, forbidden = hiding
    inside = "".join(letter for letter in text if letter not in forbidden)
    hidden = f"SELECT 1, {opening}{inside}{closing} "
    assert read(hidden.encode()).verb == b"SELECT"
    assert read((hidden + "; /* nothing more */ ").encode()).verb == b"SELECT"
    with pytest.raises(StatementRefused, match="Multi-statements"):
        read((hidden + "; DROP TABLE t").encode())


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("INSERT INTO t VALUES (1); DROP TABLE t", 62),
        ("DROP TABLE t; INSERT INTO t FORMAT CSV\n1", 62),
        ("  -- nothing", 62),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 48),
        ("INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", 48),
        ("SET ROLE admin", 497),
        ("SET /* */ DEFAULT ROLE admin TO default", 497),
    ],
)
def test_what_a_server_refuses_is_refused(sql: str, code: int) -> None:
    """With the number of a server's own error."""
    with pytest.raises(StatementRefused) as refused:
        read(sql.encode())
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("head", "into", "settings"),
    [
        ("INSERT INTO t FORMAT Native\n", b"INSERT INTO t", b""),
        ("INSERT INTO t (settings) SETTINGS x='a' FORMAT Native\r\n", b"INSERT INTO t (settings)", b"SETTINGS x='a'"),
        ("/* c */ insert into `FORMAT CSV` format Native ;\n", b"/* c */ insert into `FORMAT CSV`", b""),
    ],
)  # fmt: skip
def test_an_insert_ends_where_its_data_begin(head: str, into: bytes, settings: bytes) -> None:
    """The data are never read as SQL: a `;` or a quote in them means nothing."""
    data = b"\x00';DROP TABLE t;\n"
    found = read(head.encode() + data)
    assert (found.sql, found.settings, found.insert_format) == (into, settings, "Native")
    assert (head.encode() + data)[found.data_start :] == data


@pytest.mark.parametrize(
    ("sql", "output"),
    [
        ("SELECT 1 FORMAT JSON", "JSON"),
        ("SELECT 1 FORMAT JSON SETTINGS max_threads = 1;", "JSON"),
        ("SELECT 'FORMAT JSON'", None),
        ("SELECT format FROM t", None),
    ],
)
def test_the_format_of_an_answer_is_the_clause_at_its_end(sql: str, output: str | None) -> None:
    """And not a string or a column of that name."""
    assert read(sql.encode()).output_format == output


def test_a_statement_without_its_format_fits_in_parentheses() -> None:
    """A comment or `;` at its end goes too."""
    assert without_format(read(b"SELECT 1 FORMAT Native; -- x")) == b"SELECT 1 "
    assert without_format(read(b"SELECT 1 ; ")) == b"SELECT 1"


@pytest.mark.parametrize(
    "sql", ["SELECT 1", "(SELECT 1)", "/* */ with 1 as x select x", "SHOW TABLES", "EXPLAIN SELECT 1"]
)
def test_reading_is_let_through(sql: str) -> None:
    """All that a dashboard needs."""
    require_reading(read(sql.encode()))
    require_inside(read(sql.encode()))


@pytest.mark.parametrize(
    "sql", ["INSERT INTO t VALUES (1)", "DROP TABLE t", "SET readonly = 0", "SYSTEM RELOAD CONFIG", "USE x"]
)
def test_anything_else_is_not_reading(sql: str) -> None:
    """ClickHouse's code 164."""
    with pytest.raises(StatementRefused, match="Code: 164"):
        require_reading(read(sql.encode()))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM file('x')",
        "SELECT * FROM `url` ('x')",
        "SELECT * FROM '/etc/passwd'",
        'SELECT 1 FROM a JOIN "b/c.csv"',
    ],
)
def test_files_and_other_hosts_are_outside(sql: str) -> None:
    """A restricted user reads the database only."""
    with pytest.raises(StatementRefused, match="is outside"):
        require_inside(read(sql.encode()))


def test_a_column_or_a_quoted_table_is_inside() -> None:
    """Names that only look like sources are let through."""
    require_inside(read(b"SELECT file, url FROM `my-table` WHERE url IN ('file(x)', '/etc')"))
