"""SQL texts to facts, without their literals."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings, strategies as st
from rua_agents import statements
from rua_agents.pseudonyms import Pseudonymiser
from rua_agents.statements import MAX_CHARACTERS, MAX_NAMES, Facts, Statements, shape_of, tokenise
from sqlglot.tokenizer_core import Token

NAMES = Pseudonymiser(b"k" * 32, "lazada")


def facts(text: str) -> Facts:
    """The facts of one statement."""
    return Statements(NAMES).facts(text)


WORDS = st.sampled_from(
    [
        *(
            "SELECT",
            "*",
            "FROM t1",
            "WHERE",
            "a",
            "=",
            "<",
            "'x'",
            "'it''s'",
            "''",
            "12",
            "1.5",
            "1e5",
            "-3",
            "$1",
            "(",
        ),
        *(")", ",", "IN (1, 2,3)", "IN ('a','b')", "VALUES (1,'a'), (2,'b')", '"Quoted 12"', "E'a\\'b'", "$$x 1$$"),
        *("--c", "/*1*/", "B'101'", "x'1F'", "N'n'", "U&'d'", "t.c1", "a1", "\n", "'บาท 12'", "0x1F", "1_000"),
    ]
)


@settings(max_examples=150)
@given(st.lists(WORDS, min_size=1, max_size=10).map(" ".join))
@example("SELECT 'a")
@example("SELECT 'a' 'b'")
@example("'a' , 'it''s'")
@example("'it''s' , 'a'")
def test_the_cached_way_gives_the_same_fingerprint_as_the_grammar(text: str) -> None:
    """Replacing simple literals before the cache changes nothing but speed."""
    tokens = tokenise(text)
    expected = NAMES.pseudonym("statement", shape_of(tokens)) if tokens else None
    assert Statements(NAMES).fingerprint(text) == expected


@settings(max_examples=60)
@given(st.integers(10_000, 10**9), st.from_regex(r"[a-z]{6,12}@[a-z]{3,8}\.(com|th)", fullmatch=True))
def test_literals_do_not_change_a_fingerprint(number: int, email: str) -> None:
    """Two people's queries of one shape are one statement."""
    one = f"SELECT id FROM t WHERE email = '{email}' AND id > {number} AND c IN (1,{number})"  # noqa: S608 - never run
    shape = shape_of(tokenise(one))
    assert email not in shape
    assert str(number) not in shape
    other = "SELECT id FROM t WHERE email = 'x' AND id > 1 AND c IN (1,2,3,4)"
    assert Statements(NAMES).fingerprint(one) == Statements(NAMES).fingerprint(other)


def test_another_statement_has_another_fingerprint() -> None:
    """Or it would tell nothing."""
    texts = ["SELECT a FROM t", "SELECT b FROM t", "SELECT a FROM u", "DELETE FROM t"]
    assert len({Statements(NAMES).fingerprint(text) for text in texts}) == len(texts)


@pytest.mark.parametrize("text", ["SELECT 'open", "SELECT $$open", "/* open", "\0"])
def test_a_text_that_breaks_the_grammar_is_dropped(text: str) -> None:
    """No fingerprint is better than one with a literal in it."""
    made = Statements(NAMES).fingerprint(text)
    assert made is None or text == "\0"


def test_copy_tells_direction_table_and_destination() -> None:
    """File and program names become pseudonyms."""
    out = facts('COPY public."we ird" (id, "x y") TO STDOUT;')
    assert (out.outward, out.table, out.destination) == (True, 'public."we ird"', None)
    file = facts("COPY customers TO '/srv/a.csv' CSV;")
    assert file.destination == "file:" + NAMES.pseudonym("file", "/srv/a.csv")
    program = facts("COPY (SELECT * FROM ONLY shop.c WHERE x = ')') TO PROGRAM 'gzip > /x'")
    assert (program.table, program.destination) == ("shop.c", "program:" + NAMES.pseudonym("program", "gzip > /x"))
    assert facts("COPY t FROM STDIN").outward is False


@settings(max_examples=100)
@given(
    st.sampled_from(["COPY", "FETCH", "DECLARE", "SET", "RESET", "GRANT", "REVOKE", "ALTER", "CREATE", "DROP", "MOVE"]),
    st.lists(st.one_of(WORDS, st.sampled_from(["TO", "FROM", "ROLE", "USER", "PROGRAM", ";", "IF", "EXISTS", "."]))),
)
def test_facts_never_raise(verb: str, words: list[str]) -> None:
    """Whatever a client may write after a verb."""
    facts(" ".join([verb, *words]))


HOSTILE = [
    "GRANT a TO " + ",".join(f"u{n}" for n in range(200_000)),
    "COPY " + "(" * 1_000_000,
    "COPY t TO " + "$" * 1_000_000,
    "COPY " + "a." * 500_000 + "b TO STDOUT",
    "SET ROLE " + "a " * 500_000,
    "SELECT " + "$a " * 300_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:14] for text in HOSTILE])
def test_the_work_on_a_statement_has_a_bound_that_its_length_does_not_move(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any login can write one of megabytes: few characters are tokenised, few names are hashed."""
    characters, names = [0], [0]

    def counted(part: str, dialect: str = "postgres") -> list[Token]:
        characters[0] += len(part)
        return tokenise(part, dialect)

    def pseudonym(field: str, value: str) -> str:
        names[0] += 1
        return NAMES.pseudonym(field, value)

    monkeypatch.setattr(statements, "tokenise", counted)
    pseudonymiser = Pseudonymiser(b"k" * 32, "lazada")
    pseudonymiser.pseudonym = pseudonym  # type: ignore[method-assign]  # a counter in front of the cached function
    made = Statements(pseudonymiser)
    assert made.facts(text).partial
    assert made.plain(text).fingerprint is None
    assert characters[0] <= len(statements.CLOSERS) * (MAX_CHARACTERS + 2)
    assert names[0] <= MAX_NAMES + 2


def test_the_head_of_a_long_statement_tells_what_it_can() -> None:
    """Padding hides neither the way nor the program; a hash of a part would be no fingerprint."""
    padding = "x" * MAX_CHARACTERS
    for text in (f"COPY t TO PROGRAM 'curl {padding}'", f"COPY t TO PROGRAM 'curl' /* {padding} */"):
        found = facts(text)
        assert (found.outward, found.table, found.fingerprint, found.partial) == (True, "t", None, True)
        assert (found.destination or "").startswith("program:")
    assert facts(f"COPY /* {padding} */ t TO '/x'").outward is None
    whole = facts("COPY t TO PROGRAM 'curl' /* short */")
    assert (whole.partial, whole.fingerprint is None) == (False, False)


def test_a_list_of_names_is_kept_up_to_a_limit_and_counted_beyond() -> None:
    """A hundred grantees are a hundred; one more is nobody in particular."""
    most, more = (facts("GRANT a TO " + ",".join(f"u{i}" for i in range(n))) for n in (MAX_NAMES, MAX_NAMES + 1))
    assert (len(most.names), most.named, most.partial) == (MAX_NAMES, MAX_NAMES, False)
    assert (more.names, more.named, more.partial) == ((), MAX_NAMES + 1, True)
    assert len(facts("GRANT a TO " + ",".join(["u"] * (MAX_NAMES + 1))).names) == 1


def test_grants_name_who_gets_them() -> None:
    """As pseudonyms, the same as actors have."""
    ana, bob = NAMES.pseudonym("actor", "ana"), NAMES.pseudonym("actor", "b o b")
    assert facts('GRANT analyst TO ana, "b o b" WITH ADMIN OPTION').names == (ana, bob)
    assert facts("GRANT SELECT ON ALL TABLES IN SCHEMA public TO ana").strong
    assert not facts("GRANT SELECT ON t TO ana").strong
    assert facts("ALTER ROLE ana SUPERUSER").strong
    assert facts("CREATE USER ana").raises
    assert not facts("REVOKE analyst FROM ana").raises
    assert not facts("DROP ROLE IF EXISTS ana").raises
    assert facts("DROP ROLE IF EXISTS ana").names == (ana,)
    assert facts("ALTER ROLE ana PASSWORD <REDACTED>").names == (ana,)


def test_roles_are_set_and_reset() -> None:
    """In every spelling."""
    ana = NAMES.pseudonym("actor", "ana")
    for text in (
        "SET ROLE ana",
        "SET ROLE 'ana'",
        "SET LOCAL ROLE ana;",
        "SET role TO ana",
        "set session authorization ana",
    ):
        assert facts(text).role == ana, text
    for text in (
        "RESET ROLE",
        "SET ROLE NONE",
        "RESET SESSION AUTHORIZATION;",
        "RESET ALL",
        "SET SESSION AUTHORIZATION DEFAULT",
    ):
        assert facts(text).role == "", text
    assert facts("SET statement_timeout='50ms'").role is None
    assert facts("SET ROLE postgres").strong


def test_cursors_are_told_apart() -> None:
    """FETCH finds the table that DECLARE named."""
    declared, fetched = facts('DECLARE "srv" CURSOR FOR SELECT * FROM customers'), facts('FETCH FORWARD 9 FROM "srv"')
    assert declared.cursor == fetched.cursor
    assert declared.table == "customers"
    assert facts("FETCH 5 FROM other").cursor != fetched.cursor
