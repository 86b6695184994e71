"""The migration files, read without a store."""

from __future__ import annotations

import re

import pytest
from rua_common.errors import BadConfiguration
from rua_sinks.migrate import Migration, released, statements, substitutions

HARMLESS_TWICE = re.compile(
    r"^(CREATE (TABLE|DATABASE|VIEW) IF NOT EXISTS|ALTER TABLE \S+\s+(ON CLUSTER \S+\s+)?\w+ \w+ IF (NOT )?EXISTS)\b"
)


def faults(migrations: list[Migration]) -> list[str]:
    """What a reviewer would refuse."""
    found = [
        f"{number} is missing" for number, one in enumerate(migrations, 1) if not one.name.startswith(f"{number:04}_")
    ]
    for one in migrations:
        for cluster in (None, "main"):
            for statement in statements(one.text, substitutions("rua", cluster)):
                if not HARMLESS_TWICE.match(statement):
                    found.append(f"{one.name}: not harmless when it runs twice: {statement[:60]}")
                if cluster and "ON CLUSTER main" not in statement:
                    found.append(f"{one.name}: stays on one node of a cluster")
                if re.search(r"(ORDER|PARTITION) BY[^\n]*\b(now|today|ingested_at)", statement):
                    found.append(f"{one.name}: a key that depends on the time of insertion")
    return found


def test_released_migrations_can_be_repeated_and_clustered() -> None:
    """Numbered without gaps, harmless twice, and no key depends on now()."""
    assert faults(released()) == []


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE ${database}.a ${on_cluster} (x Int8) ENGINE = Memory;\n",
        "CREATE TABLE IF NOT EXISTS ${database}.a (x Int8) ENGINE = Memory;\n",
        "CREATE TABLE IF NOT EXISTS ${database}.a ${on_cluster} (x Int8) ENGINE = MergeTree\nORDER BY (x, now());\n",
    ],
)
def test_a_careless_migration_is_found(text: str) -> None:
    """The proof of the test above."""
    assert faults([Migration("0001_a.sql", text)])


def test_statements_end_with_a_semicolon_at_the_end_of_a_line() -> None:
    """One inside a line, or in a comment, ends nothing."""
    text = "-- a comment;\nSELECT 'a;b',\n  1;\n\n-- another\nSELECT ${database};  \n"
    assert statements(text, {"database": "rua"}) == ["SELECT 'a;b',\n  1", "SELECT rua"]


@pytest.mark.parametrize("name", ["", "a b", "a;b", "ก", "a`b"])
def test_only_plain_names_reach_a_statement(name: str) -> None:
    """They are filled in as text."""
    with pytest.raises(BadConfiguration):
        substitutions(name, None)
    with pytest.raises(BadConfiguration):
        substitutions("rua", name)
