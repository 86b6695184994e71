"""What the tokens of one statement tell: verb, table, destination, who gets rights."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec
from sqlglot.tokenizer_core import Token, TokenType

from rua_agents.labels import table_shape
from rua_agents.sqltext import LITERALS, closing, is_name, keywords, name_at, people_at, table_after

MAX_NAMES = 100
SUPERUSERS = frozenset(("postgres", "root", "rds_superuser", "cloudsqlsuperuser", "azure_pg_admin", "alloydbsuperuser"))
_STRONG = frozenset(("SUPERUSER", "CREATEROLE", "BYPASSRLS", "REPLICATION"))
_STRONG_RIGHTS = frozenset(("ALL", "SUPER", "FILE", "PROXY", "SYSTEM_USER", "ROLE_ADMIN"))
_ROLE_WORDS = frozenset(("ROLE", "USER", "GROUP"))
_STRONG_ROLES = frozenset(
    ("pg_read_all_data", "pg_write_all_data", "pg_execute_server_program", "pg_read_server_files")
)
_MAIN = frozenset(("SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "TABLE", "VALUES"))
# words between a verb and its table
_MODIFIERS = frozenset(("LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "QUICK", "IGNORE", "INTO", "TABLE", "ONLY", "FROM"))
# a session may set these for itself, and be silent from then on
_LOGGING = re.compile(r"(?:@@)?\.?(?:pgaudit\.|log_|long_query_time|sql_log_|min_examined_row_limit)")
Pseudonym = Callable[[str, str], str]


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a statement tells. Every name in it is a pseudonym, or a table's shape."""

    fingerprint: str | None = None
    verb: str = ""
    outward: bool | None = None
    """COPY, INTO OUTFILE, LOAD DATA: whether data goes out of the database; None if the text is not known."""
    table: str | None = None
    destination: str | None = None
    """`file:…` or `program:…`; None if the client gets it."""
    cursor: str | None = None
    names: tuple[str, ...] = ()
    """Who gets or loses rights; none if they are more than `MAX_NAMES`."""
    named: int = 0
    """How many they are, as far as the text was looked at."""
    partial: bool = False
    """Whether only a part of the text was looked at, or not all names are kept."""
    raises: bool = True
    strong: bool = False
    role: str | None = None
    """SET ROLE: the role; empty if it is reset."""


NOTHING = Facts()


class FactReader:
    """Reads facts from the tokens of one dialect."""

    def __init__(self, pseudonym: Pseudonym, dialect: str) -> None:
        self._pseudonym, self._dialect = pseudonym, dialect
        self._read = {"COPY": self._copy, "FETCH": self._fetch, "DECLARE": self._declare, "SET": self._set}
        self._read |= {"RESET": self._set, "GRANT": self._grant, "REVOKE": self._grant, "LOAD": self._load}
        self._read |= dict.fromkeys(("ALTER", "CREATE", "DROP", "RENAME"), self._role)
        self._read |= dict.fromkeys(("SELECT", "TABLE", "VALUES", "WITH"), self._select)
        self._read |= dict.fromkeys(("INSERT", "REPLACE", "UPDATE", "DELETE", "TRUNCATE", "HANDLER"), self._change)

    def read(self, tokens: Sequence[Token]) -> Facts:
        """All that they tell but the fingerprint. Facts are remembered in checkpoints: a table's name is its shape."""
        found = self._facts(tokens)
        return msgspec.structs.replace(found, table=table_shape(found.table)) if found.table else found

    def _facts(self, tokens: Sequence[Token]) -> Facts:
        start = next((at for at, token in enumerate(tokens) if token.token_type != TokenType.L_PAREN), None)
        if start is None:
            return NOTHING
        tokens = tokens[start:]
        verb = tokens[0].text.upper()
        if verb in self._read:
            return self._read[verb](tokens)
        return Facts(verb=verb if verb.isascii() and verb.isalpha() else "")  # a text may begin with anything

    def _select(self, tokens: Sequence[Token]) -> Facts:
        upper, start = keywords(tokens), 0
        if upper[0] == "WITH":
            start = _main_of(tokens, upper)
            if upper[start] not in ("SELECT", "TABLE", "VALUES"):
                return self._change(tokens[start:])
        if upper[start] == "TABLE":
            table = name_at(tokens, start + 1, self._dialect)[0]
        else:
            table = table_after("FROM", tokens[start:], self._dialect) or table_after("FROM", tokens, self._dialect)
        for at, (word, after) in enumerate(pairwise(upper)):
            if word == "INTO" and after in ("OUTFILE", "DUMPFILE"):
                destination = self._place("file", tokens[at + 2 : at + 3])
                return Facts(verb=upper[start], outward=True, table=table, destination=destination)
        return Facts(verb=upper[start], table=table)

    def _change(self, tokens: Sequence[Token]) -> Facts:
        upper, at = keywords(tokens), 1
        while at < len(upper) - 1 and upper[at] in _MODIFIERS:
            at += 1
        table, after = name_at(tokens, at, self._dialect)
        if upper[0] == "DELETE" and "FROM" in upper[after:]:  # DELETE a, b FROM a JOIN b
            table = table_after("FROM", tokens[after:], self._dialect)
        return Facts(verb=upper[0], table=table)

    def _load(self, tokens: Sequence[Token]) -> Facts:
        table = table_after("INTO", tokens, self._dialect)
        return Facts(verb="LOAD", outward=False, table=table)

    def _copy(self, tokens: Sequence[Token]) -> Facts:
        if len(tokens) > 1 and tokens[1].token_type == TokenType.L_PAREN:
            after = closing(tokens, 1) + 1
            table = table_after("FROM", tokens[2:after], self._dialect)
        else:
            table, after = name_at(tokens, 1, self._dialect)
            if after < len(tokens) and tokens[after].token_type == TokenType.L_PAREN:
                after = closing(tokens, after) + 1
        way = tokens[after].text.upper() if after < len(tokens) else ""
        rest = tokens[after + 1 :]
        program = bool(rest) and rest[0].text.upper() == "PROGRAM"
        destination = self._place("program" if program else "file", rest[program : program + 1])
        outward = {"TO": True, "FROM": False}.get(way)
        return Facts(verb="COPY", outward=outward, table=table, destination=destination)

    def _place(self, kind: str, target: Sequence[Token]) -> str | None:
        known = bool(target) and target[0].token_type in LITERALS
        return f"{kind}:{self._pseudonym(kind, target[0].text)}" if known else None

    def _fetch(self, tokens: Sequence[Token]) -> Facts:
        names = [t for t in tokens[1:] if is_name(t)]
        return Facts(verb="FETCH", cursor=self._pseudonym("cursor", names[-1].text) if names else None)

    def _declare(self, tokens: Sequence[Token]) -> Facts:
        cursor = self._pseudonym("cursor", tokens[1].text) if len(tokens) > 1 else None
        return Facts(verb="DECLARE", cursor=cursor, table=table_after("FROM", tokens[2:], self._dialect))

    def _set(self, tokens: Sequence[Token]) -> Facts:
        upper = keywords(tokens)
        if upper[1:2] == ["STATEMENT"] and "FOR" in upper:  # MariaDB: SET STATEMENT max_statement_time=1 FOR SELECT …
            return self.read(tokens[upper.index("FOR") + 1 :])
        if upper[1:2] == ["PASSWORD"]:
            people = people_at(tokens, 3) if upper[2:3] == ["FOR"] else []
            return self._about(people, Facts(verb="SET PASSWORD"))
        if upper[1:3] == ["DEFAULT", "ROLE"]:
            start = next((at for at, word in enumerate(upper) if word in ("FOR", "TO")), len(upper))
            return self._about(people_at(tokens, start + 1), Facts(verb="SET DEFAULT ROLE"))
        if "GLOBAL" in upper[1:6] or "PERSIST" in upper[1:6]:
            return Facts(verb="SET GLOBAL")
        return self._set_role(tokens[1:])

    def _set_role(self, tokens: Sequence[Token]) -> Facts:
        words = [t.text for t in tokens if t.text not in ("=", ";") and t.text.upper() != "TO"]
        upper = [w.upper() for w in words]
        while upper and upper[0] in ("SESSION", "LOCAL") and len(upper) > 1:
            words, upper = words[1:], upper[1:]
        if not upper or upper[0] not in ("ROLE", "AUTHORIZATION", "ALL"):
            return Facts(verb="SET LOGGING" if _tells_what_is_logged(tokens) else "SET")
        if len(words) < 2 or upper[1] in ("NONE", "DEFAULT"):
            return Facts(verb="SET ROLE", role="")
        role = words[1]
        return Facts(verb="SET ROLE", role=self._pseudonym("actor", role), strong=role.lower() in SUPERUSERS)

    def _grant(self, tokens: Sequence[Token]) -> Facts:
        upper = keywords(tokens)
        granting = upper[0] == "GRANT"
        word = "TO" if granting else "FROM"
        start = len(upper) - upper[::-1].index(word) if word in upper else len(upper)
        what = {t.text.lower() for t in tokens[1 : start - 1]}
        strong = not _STRONG_RIGHTS.isdisjoint(upper[1:start]) or not what.isdisjoint(SUPERUSERS | _STRONG_ROLES)
        return self._about(people_at(tokens, start), Facts(verb=upper[0], raises=granting, strong=strong))

    def _role(self, tokens: Sequence[Token]) -> Facts:
        upper, verb = keywords(tokens), tokens[0].text.upper()
        at = 3 if upper[1:3] == ["OR", "REPLACE"] else 1
        if len(upper) < at + 2 or upper[at] not in _ROLE_WORDS:
            return Facts(verb=verb)
        start = at + 1
        while start < len(upper) and upper[start] in ("IF", "NOT", "EXISTS"):
            start += 1
        lowers = verb == "DROP" or "LOCK" in upper or any(u.startswith("NO") and u[2:] in _STRONG for u in upper)
        strong = not _STRONG.isdisjoint(upper)
        facts = Facts(verb=f"{verb} ROLE", raises=strong or not lowers, strong=strong)
        return self._about(people_at(tokens, start), facts)

    def _about(self, names: list[str], facts: Facts) -> Facts:
        """The facts with the names as pseudonyms, or with their number if they are too many to be told."""
        if len(names) > MAX_NAMES:
            return msgspec.structs.replace(facts, named=len(names), partial=True)
        people = tuple(dict.fromkeys(self._pseudonym("actor", name) for name in names))
        return msgspec.structs.replace(facts, names=people, named=len(people))


def _main_of(tokens: Sequence[Token], upper: list[str]) -> int:
    """Where the statement behind its WITH clauses begins."""
    depth = 0
    for at, token in enumerate(tokens):
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if depth == 0 and upper[at] in _MAIN:
            return at
    return 0


def _tells_what_is_logged(tokens: Sequence[Token]) -> bool:
    """Whether one of the settings that are set or reset says what the server logs."""
    names, name = [], ""
    for token in tokens:
        word = token.text.lower()
        if word in ("=", ":=", "to") and token.token_type not in LITERALS:
            names.append(name)
        if word in ("=", ":=", "to", ","):
            name = ""
        elif word not in ("session", "local"):
            name += word
    return any(_LOGGING.match(one) for one in names or [name])
