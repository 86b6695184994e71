"""MySQL's and MariaDB's statements to facts, without their literals."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings, strategies as st
from rua_agents.pseudonyms import Pseudonymiser
from rua_agents.statements import MAX_CHARACTERS, Facts, Statements, shape_of, tokenise

NAMES = Pseudonymiser(b"k" * 32, "lazada")
MYSQL = Statements(NAMES, "mysql")
WORDS = st.sampled_from(
    [
        *("SELECT", "*", "FROM t1", "=", "'x'", "'it''s'", r"'it\'s'", '"lit 5"', "12", "1.5", "1e5", "-3", "0x1F"),
        *("(", ")", ",", "IN (1, 2,3)", "VALUES (1,'a'), (2,'b')", "`na me`", "`t1`", "`2020`", "`it's`", "# c 1\n"),
        *(
            "-- c 'x\n",
            "--1",
            "/* 1 */",
            "/*!50001 1 */",
            "x'1F'",
            "b'1'",
            "N'n'",
            "_utf8'n'",
            "t.c1",
            "@a",
            "é1",
            "ชื่อ",
        ),
    ]
)


def facts(text: str) -> Facts:
    """The facts of one statement."""
    return Statements(NAMES, "mysql").facts(text)


def people(*names: str) -> tuple[str, ...]:
    """Their pseudonyms."""
    return tuple(NAMES.pseudonym("actor", name) for name in names)


@settings(max_examples=150)
@given(st.lists(WORDS, min_size=1, max_size=10).map(" ".join))
@example("SELECT `a'b`, 'c`d'")
def test_the_cached_way_gives_the_same_facts_as_the_grammar(text: str) -> None:
    """Replacing simple literals before the cache changes nothing but speed."""
    tokens = tokenise(text, "mysql")
    expected = NAMES.pseudonym("statement", shape_of(tokens)) if tokens else None
    assert MYSQL.fingerprint(text) == expected
    assert MYSQL.facts(text).fingerprint == expected


@pytest.mark.parametrize(
    ("text", "verb", "table"),
    [
        ("SELECT a FROM `shop`.`customers` c JOIN x", "SELECT", "shop.customers"),
        ("(SELECT 1 FROM a) UNION (SELECT 1 FROM b)", "SELECT", "a"),
        ("WITH x AS (SELECT 1 FROM inner_t) SELECT * FROM x", "SELECT", "x"),
        ("WITH x AS (SELECT 1) DELETE FROM Orders WHERE 1", "DELETE", "Orders"),
        ("SELECT * FROM `đơn hàng`", "SELECT", '"đơn hàng"'),
        ("SELECT * FROM ลูกค้า", "SELECT", '"ลูกค้า"'),
        ("TABLE customers", "TABLE", "customers"),
        ("INSERT IGNORE INTO t (a) VALUES (1)", "INSERT", "t"),
        ("REPLACE t SELECT 1 FROM s", "REPLACE", "t"),
        ("UPDATE LOW_PRIORITY t SET a = 1", "UPDATE", "t"),
        ("DELETE QUICK FROM t WHERE a", "DELETE", "t"),
        ("DELETE x FROM t AS x JOIN s", "DELETE", "t"),
        ("TRUNCATE TABLE t", "TRUNCATE", "t"),
        ("HANDLER customers READ FIRST LIMIT 9", "HANDLER", "customers"),
        ("SET STATEMENT max_statement_time=1 FOR SELECT * FROM t", "SELECT", "t"),
        ("# SELECT 1 FROM no\nSELECT 1 FROM yes", "SELECT", "yes"),
        ("/*!50001 SELECT * FROM t */", "SELECT", "t"),
        ("SELECT 'FROM a', \"FROM b\", `FROM` FROM c", "SELECT", "c"),
    ],
)
def test_a_statement_tells_its_verb_and_table(text: str, verb: str, table: str) -> None:
    """Backticks, comments and strings cannot pass for keywords; names keep their case."""
    found = facts(text)
    assert (found.verb, found.table) == (verb, table)
    assert found.fingerprint


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM customers INTO OUTFILE '/srv/x'",
        "SELECT * INTO OUTFILE '/srv/x' FIELDS TERMINATED BY ',' FROM customers",
        "SELECT a FROM customers INTO DUMPFILE '/srv/x'",
        "SELECT * FROM customers /*!50001 INTO OUTFILE '/srv/x' */",
        "SELECT * FROM customers /*M!100100 INTO OUTFILE '/srv/x' */",
        "SELECT '/*', * FROM customers /*! INTO OUTFILE '/srv/x' */",
        'select * from customers into/**/outfile "/srv/x"',
    ],
)
def test_a_file_that_takes_the_rows_is_told(text: str) -> None:
    """However it is spelt, inside of an executable comment too."""
    found = facts(text)
    expected = (True, "customers", "file:" + NAMES.pseudonym("file", "/srv/x"))
    assert (found.outward, found.table, found.destination) == expected


@pytest.mark.parametrize(
    "text",
    ["SELECT ' INTO OUTFILE ''x''' FROM t", "SELECT a INTO @b FROM t", "SELECT 1 FROM t -- INTO OUTFILE 'x'"],
)
def test_words_in_strings_variables_and_comments_are_no_export(text: str) -> None:
    """What looks like INTO OUTFILE and is none."""
    assert (facts(text).outward, facts(text).destination) == (None, None)


def test_load_data_comes_in() -> None:
    """The table is told; the file is none that takes data."""
    found = facts("LOAD DATA LOCAL INFILE '/srv/x' REPLACE INTO TABLE shop.t FIELDS TERMINATED BY ','")
    assert (found.verb, found.outward, found.table, found.destination) == ("LOAD", False, "shop.t", None)


@pytest.mark.parametrize(
    ("text", "verb", "names", "raises", "strong"),
    [
        ("GRANT SELECT, FILE ON *.* TO 'u'@'%', v@localhost", "GRANT", ("u", "v"), True, True),
        (
            "GRANT SELECT ON shop.* TO 'u'@'h' IDENTIFIED BY *****, `v`@`h.x` WITH GRANT OPTION",
            "GRANT",
            ("u", "v"),
            True,
            0,
        ),
        ("GRANT SELECT ON a.b TO 'TO'@'%'", "GRANT", ("TO",), True, False),
        ("GRANT analyst TO u@10.0.0.1", "GRANT", ("u",), True, False),
        ("REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'bi,tool'@'localhost'", "REVOKE", ("bi,tool",), False, True),
        ("CREATE USER IF NOT EXISTS 'u'@'h' IDENTIFIED BY 'pw', w", "CREATE ROLE", ("u", "w"), True, False),
        ("CREATE OR REPLACE ROLE r", "CREATE ROLE", ("r",), True, False),
        ("ALTER USER 'u'@'h' ACCOUNT LOCK", "ALTER ROLE", ("u",), False, False),
        ("DROP USER 'u'@'h'", "DROP ROLE", ("u",), False, False),
        ("SET PASSWORD FOR 'u'@'%' = PASSWORD(*****)", "SET PASSWORD", ("u",), True, False),
        ("SET PASSWORD = 'x'", "SET PASSWORD", (), True, False),
        ("SET DEFAULT ROLE r FOR u", "SET DEFAULT ROLE", ("u",), True, False),
        ("SET GLOBAL server_audit_logging = OFF", "SET GLOBAL", (), True, False),
        ("SET @@global.general_log = 1", "SET GLOBAL", (), True, False),
        ("SET NAMES utf8mb4", "SET", (), True, False),
        ("SET sort_buffer_size = 1, SESSION long_query_time = 9999", "SET LOGGING", (), True, False),
        ("SET @@session.log_slow_verbosity = ''", "SET LOGGING", (), True, False),
        ("SET sql_log_off = ON", "SET LOGGING", (), True, False),
        ("SET @x = 'long_query_time', @long_query_times = @@long_query_time", "SET", (), True, False),
        ("RENAME USER a TO b", "RENAME ROLE", ("a",), True, False),
    ],
)
def test_who_gets_or_loses_rights(text: str, verb: str, names: tuple[str, ...], raises: bool, strong: bool) -> None:
    """Accounts are their user names; passwords and hosts are passed over."""
    found = facts(text)
    assert (found.verb, found.names, found.raises, found.strong) == (verb, people(*names), raises, bool(strong))


def test_a_session_takes_a_role_and_gives_it_back() -> None:
    """SET ROLE is kept by the session's parser."""
    assert facts("SET ROLE `analyst`").role == people("analyst")[0]
    assert facts("SET ROLE NONE").role == ""


def test_the_tail_of_a_long_statement_is_not_needed_for_its_verb_and_table() -> None:
    """Whatever is open where its head ends."""
    for opened in ("'", '"', "`", "/*", "("):
        found = facts(" ".join(("SELECT a FROM customers WHERE b =", opened, "x" * MAX_CHARACTERS)))
        assert (found.verb, found.table, found.partial, found.fingerprint) == ("SELECT", "customers", True, None)


@pytest.mark.parametrize("part", ["/*!", "/*", "*/!", "'!", "`!", "'\\", "_a ", "1", "--", "#", "(", "IDENTIFIED "])
def test_hostile_texts_take_linear_time(part: str) -> None:
    """A megabyte of what opens and never closes."""
    started = time.process_time()
    facts("SELECT " + part * (1_000_000 // len(part)))
    facts("SELECT " + part * (16_000 // len(part)))
    assert time.process_time() - started < 2


@settings(max_examples=150)
@given(st.text(max_size=200))
def test_any_text_has_facts(text: str) -> None:
    """Nothing that a user types ends the agent."""
    MYSQL.facts(text)
    MYSQL.fingerprint(text)
