"""Numbered SQL files, applied once each and only forwards.

Every statement must be harmless when it runs twice (`IF NOT EXISTS`): a migration that broke half-way is repeated as a
whole, and two migrators at once do the same work side by side.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

from clickhouse_connect.driver.client import Client
from rua_common.errors import BadConfiguration, Refused

from rua_sinks.client import meaning

NAME = re.compile(r"^\d{4}_[a-z0-9_]+\.sql$")
DATABASE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
END_OF_STATEMENT = re.compile(r";[ \t]*$", re.MULTILINE)
COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
RECORDS = (
    "CREATE DATABASE IF NOT EXISTS ${database} ${on_cluster};\n"
    "CREATE TABLE IF NOT EXISTS ${database}.schema_migrations ${on_cluster} "
    "(name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')) "
    "ENGINE = ${engine_prefix}ReplacingMergeTree ORDER BY name;\n"
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file as released, before names are filled in."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def released() -> list[Migration]:
    """The migrations of this release, in order."""
    folder = resources.files("rua_sinks") / "migrations"
    files = sorted((f for f in folder.iterdir() if NAME.match(f.name)), key=lambda f: f.name)
    return [Migration(f.name, f.read_text(encoding="utf-8")) for f in files]


def statements(text: str, names: dict[str, str]) -> list[str]:
    """The statements of a file, each ended by `;` at the end of a line, with `${database}` and the like filled in."""
    parts = END_OF_STATEMENT.split(COMMENT.sub("", text))
    return [Template(part.strip()).substitute(names) for part in parts if part.strip()]


def migrate(
    client: Client,
    *,
    database: str = "rua",
    cluster: str | None = None,
    migrations: Sequence[Migration] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Applies what is missing.

    Args:
        client: see `rua_sinks.client.connect`.
        database: made if it does not exist.
        cluster: name of the cluster for `ON CLUSTER` and replicated engines; none for a single node.
        migrations: other than those of this release.
        say: told what is being done.

    Returns:
        Names of the migrations that were applied now.

    Raises:
        BadConfiguration: the database or cluster name is not a plain identifier.
        Refused: a migration that was applied has been changed since.
        RetryLater: ClickHouse is away or refuses a statement. What was applied stays, so repeat.
    """
    names = substitutions(database, cluster)
    ours = released() if migrations is None else list(migrations)
    with meaning():
        for statement in statements(RECORDS, names):
            client.command(statement)
        applied = _applied(client, database)
        _refuse_changed(ours, applied)
        missing = [one for one in ours if one.name not in applied]
        for number, one in enumerate(missing, 1):
            say(f"migration {number} of {len(missing)}: {one.name}")
            for statement in statements(one.text, names):
                client.command(statement)
            client.insert("schema_migrations", [[one.name, one.checksum]], ["name", "checksum"], database=database)
    return [one.name for one in missing]


def substitutions(database: str, cluster: str | None) -> dict[str, str]:
    """What `${…}` in a migration stands for.

    Raises:
        BadConfiguration: a name that is not a plain identifier.
    """
    for key, value in (("database", database), ("cluster", cluster)):
        if value is not None and not DATABASE.match(value):
            raise BadConfiguration("letters, digits and _ only", key=f"clickhouse.{key}")
    return {
        "database": database,
        "on_cluster": f"ON CLUSTER {cluster}" if cluster else "",
        "engine_prefix": "Replicated" if cluster else "",
    }


def _applied(client: Client, database: str) -> dict[str, str]:
    rows = client.query(
        "SELECT name, checksum FROM {database:Identifier}.schema_migrations FINAL", parameters={"database": database}
    ).result_rows
    return {str(name): str(checksum) for name, checksum in rows}


def _refuse_changed(ours: Sequence[Migration], applied: dict[str, str]) -> None:
    changed = [one.name for one in ours if applied.get(one.name, one.checksum) != one.checksum]
    if changed:
        raise Refused(
            f"applied before and changed since: {', '.join(changed)}. Restore the released file and put the change "
            "into a new migration with the next number"
        )
