"""Command lines to facts. Arguments hold passwords and names: of them only options leave, as a keyed hash."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from rua_agents import labels
from rua_agents.pseudonyms import Pseudonymiser

MAX_WORDS = 64
MAX_CHARACTERS = 4_096
DUMPERS = frozenset(
    (
        *("pg_dump", "pg_dumpall", "pg_basebackup", "mysqldump", "mariadb-dump", "mydumper", "mariadb-backup"),
        *("mongodump", "mongoexport", "clickhouse-backup", "sqlite3", "bcp", "expdp", "redis-dump", "xtrabackup"),
    )
)
"""Programs whose only work is to take data out of a database."""
_LONG_OPTION = re.compile(r"--[a-z][a-z0-9-]{1,30}", re.ASCII)
_SHORT_OPTION = re.compile(r"-[A-Za-z]", re.ASCII)


class Command(NamedTuple):
    """What a command line tells."""

    tool: str | None
    """The program's name without its directory."""
    dumps: bool
    fingerprint: str
    """Keyed hash of program and options, without any argument."""


def command_of(words: Sequence[str], names: Pseudonymiser) -> Command:
    """The facts of an argument vector."""
    program = (words[0] if words else "").rpartition("/")[2]
    tool = labels.product(program)
    shape = [tool or "?", *(option_of(word) for word in words[1:MAX_WORDS])]
    return Command(tool, program in DUMPERS, names.pseudonym("statement", " ".join(shape)))


def words_of(line: str) -> list[str]:
    """The words of a command line as sudo logs it: blanks separate, quotes are not sudo's own and prove nothing."""
    return line[:MAX_CHARACTERS].split()


def option_of(word: str) -> str:
    """A word's option without its value: `-psecret` is `-p`, `--password=x` is `--password`, all else is `?`."""
    found = _LONG_OPTION.match(word) if word.startswith("--") else _SHORT_OPTION.match(word)
    return found.group() if found else "?"
