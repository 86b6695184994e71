"""SQL texts to facts. The text never leaves: its literals are removed by the grammar, the rest is a keyed hash.

sqlglot's tokenizer takes about 50 µs a statement, so texts that differ in simple literals only share one entry of a
cache. A text that cannot be tokenised has no fingerprint: it is dropped.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from rua_agents.pseudonyms import Pseudonymiser

CACHED = 4_096
CACHED_CHARACTERS = 16_384
MAX_CHARACTERS = 1 << 16
"""Of a text are looked at: the tokenizer takes 2 µs each, and any login can write statements of megabytes."""
MAX_NAMES = 100
# what may be open where the head of a long text ends
CLOSERS = ("", "'", '"', "*/", "$$")
_LITERALS = frozenset(t for t in TokenType if t.name.endswith("_STRING") or t in (TokenType.STRING, TokenType.NUMBER))
_COMMANDS = frozenset((TokenType.COMMAND, TokenType.FETCH, TokenType.EXECUTE, TokenType.SHOW))
_SIMPLE_STRING = re.compile(r"'[^']*'")
_SIMPLE_NUMBER = re.compile(r"\b\d+(?:\.\d+)?\b", re.ASCII)
_LIST = re.compile(r"\b0(?:\s*,\s*0)+\b|'0'(?:\s*,\s*'0')+")
# where quotes and digits may mean something else, the cache is keyed by the text itself
_NOT_SIMPLE = re.compile(r"[\\\"$]|--|/\*|\b(?:[ebxnr]|u&)'", re.IGNORECASE)
_ROWS = re.compile(r"\( \? \)(?: , \( \? \))+")
_WORD = re.compile(r"[a-z_][a-z0-9_$]*")
SUPERUSERS = frozenset(("postgres", "root", "rds_superuser", "cloudsqlsuperuser", "azure_pg_admin", "alloydbsuperuser"))
_STRONG = frozenset(("SUPERUSER", "CREATEROLE", "BYPASSRLS", "REPLICATION"))
_ROLE_WORDS = frozenset(("ROLE", "USER", "GROUP"))
_STRONG_ROLES = frozenset(
    ("pg_read_all_data", "pg_write_all_data", "pg_execute_server_program", "pg_read_server_files")
)


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a statement tells. Every name in it is a pseudonym, except tables."""

    fingerprint: str | None = None
    verb: str = ""
    outward: bool | None = None
    """COPY: whether data goes TO somewhere; None if the text is not known."""
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


class Statements:
    """Facts of statement texts, cached."""

    def __init__(self, pseudonymiser: Pseudonymiser) -> None:
        self._pseudonym = pseudonymiser.pseudonym
        self._last = "", NOTHING
        self._fingerprint = lru_cache(CACHED)(self._fingerprint_of)
        self._facts = lru_cache(CACHED)(self._facts_of)

    def fingerprint(self, text: str) -> str | None:
        """Keyed hash of the text's shape, or None if it cannot be tokenised."""
        return self.plain(text).fingerprint

    def plain(self, text: str) -> Facts:
        """The fingerprint alone: all that a SELECT or a change of data tells."""
        if text != self._last[0]:  # OBJECT and SESSION records repeat the text
            self._last = text, Facts(self._shared(text) if len(text) <= MAX_CHARACTERS else None)
        return self._last[1]

    def _shared(self, text: str) -> str | None:
        """Of a text whose simple literals are replaced first, so that many texts share one entry of the cache."""
        if _NOT_SIMPLE.search(text) is None and text.count("'") % 2 == 0:
            text = _LIST.sub("0", _SIMPLE_NUMBER.sub("0", _SIMPLE_STRING.sub("'0'", text)))
        return self._fingerprint(text) if len(text) <= CACHED_CHARACTERS else self._fingerprint_of(text)

    def facts(self, text: str) -> Facts:
        """All that a utility statement (COPY, FETCH, GRANT, SET ROLE …) tells; of a long one, what its head tells."""
        if len(text) <= CACHED_CHARACTERS:
            return self._facts(text)
        if len(text) <= MAX_CHARACTERS:
            return self._facts_of(text)
        heads = (tokenise(text[:MAX_CHARACTERS] + closer) for closer in CLOSERS)
        return msgspec.structs.replace(self._told(next(filter(None, heads), [])), partial=True)

    def _fingerprint_of(self, text: str) -> str | None:
        tokens = tokenise(text)
        return self._pseudonym("statement", shape_of(tokens)) if tokens else None

    def _facts_of(self, text: str) -> Facts:
        tokens = tokenise(text)
        if not tokens:
            return NOTHING
        return msgspec.structs.replace(self._told(tokens), fingerprint=self._pseudonym("statement", shape_of(tokens)))

    def _told(self, tokens: list[Token]) -> Facts:
        if not tokens:
            return NOTHING
        verb = tokens[0].text.upper()
        read = {"COPY": self._copy, "FETCH": self._fetch, "DECLARE": self._declare, "SET": self._set}
        read |= {"RESET": self._set, "GRANT": self._grant, "REVOKE": self._grant}
        read |= dict.fromkeys(("ALTER", "CREATE", "DROP"), self._role)
        return read[verb](tokens) if verb in read else Facts(verb=verb)

    def _copy(self, tokens: list[Token]) -> Facts:
        if len(tokens) > 1 and tokens[1].token_type == TokenType.L_PAREN:
            after = _closing(tokens, 1) + 1
            table = _table_after_from(tokens[2:after])
        else:
            table, after = _name(tokens, 1)
            if after < len(tokens) and tokens[after].token_type == TokenType.L_PAREN:
                after = _closing(tokens, after) + 1
        way = tokens[after].text.upper() if after < len(tokens) else ""
        rest = tokens[after + 1 :]
        program = bool(rest) and rest[0].text.upper() == "PROGRAM"
        target = rest[1 if program else 0] if len(rest) > program else None
        destination = None
        if target is not None and target.token_type in _LITERALS:
            kind = "program" if program else "file"
            destination = f"{kind}:{self._pseudonym(kind, target.text)}"
        outward = {"TO": True, "FROM": False}.get(way)
        return Facts(verb="COPY", outward=outward, table=table, destination=destination)

    def _fetch(self, tokens: list[Token]) -> Facts:
        names = [t for t in tokens[1:] if _is_name(t)]
        return Facts(verb="FETCH", cursor=self._pseudonym("cursor", names[-1].text) if names else None)

    def _declare(self, tokens: list[Token]) -> Facts:
        cursor = self._pseudonym("cursor", tokens[1].text) if len(tokens) > 1 else None
        return Facts(verb="DECLARE", cursor=cursor, table=_table_after_from(tokens[2:]))

    def _set(self, tokens: list[Token]) -> Facts:
        words = [t.text for t in tokens[1:] if t.text not in ("=", ";") and t.text.upper() != "TO"]
        upper = [w.upper() for w in words]
        while upper and upper[0] in ("SESSION", "LOCAL") and len(upper) > 1:
            words, upper = words[1:], upper[1:]
        if not upper or upper[0] not in ("ROLE", "AUTHORIZATION", "ALL"):
            return Facts(verb="SET")
        if len(words) < 2 or upper[1] in ("NONE", "DEFAULT"):
            return Facts(verb="SET ROLE", role="")
        role = words[1]
        return Facts(verb="SET ROLE", role=self._pseudonym("actor", role), strong=role.lower() in SUPERUSERS)

    def _grant(self, tokens: list[Token]) -> Facts:
        granting = tokens[0].text.upper() == "GRANT"
        uppers = [t.text.upper() for t in tokens]
        word = "TO" if granting else "FROM"
        start = len(uppers) - uppers[::-1].index(word) if word in uppers else len(uppers)
        what = tokens[1 : start - 1]
        strong = "ALL" in uppers[1:start] or any(t.text.lower() in SUPERUSERS | _STRONG_ROLES for t in what)
        return self._about(_names(tokens, start), Facts(verb=uppers[0], raises=granting, strong=strong))

    def _role(self, tokens: list[Token]) -> Facts:
        uppers = [t.text.upper() for t in tokens]
        if len(uppers) < 3 or uppers[1] not in _ROLE_WORDS:
            return Facts(verb=uppers[0])
        start = 4 if uppers[2:4] == ["IF", "EXISTS"] else 2
        lowers = uppers[0] == "DROP" or any(u.startswith("NO") and u[2:] in _STRONG for u in uppers)
        strong = not _STRONG.isdisjoint(uppers)
        facts = Facts(verb=f"{uppers[0]} ROLE", raises=strong or not lowers, strong=strong)
        return self._about(_names(tokens, start), facts)

    def _about(self, names: list[str], facts: Facts) -> Facts:
        """The facts with the names as pseudonyms, or with their number if they are too many to be told."""
        if len(names) > MAX_NAMES:
            return msgspec.structs.replace(facts, named=len(names), partial=True)
        people = tuple(dict.fromkeys(self._pseudonym("actor", name) for name in names))
        return msgspec.structs.replace(facts, names=people, named=len(people))


def tokenise(text: str) -> list[Token]:
    """The tokens, or none if the text breaks the grammar."""
    try:
        tokens = list(Postgres().tokenize(text))
        if len(tokens) > 1 and tokens[0].token_type in _COMMANDS and tokens[1].token_type == TokenType.STRING:
            # sqlglot takes the rest of some utility statements as one text
            rest = text[tokens[0].end + 1 :]
            tokens = tokens[:1] + list(Postgres().tokenize(rest))
    except (SqlglotError, RecursionError, ValueError):
        return []
    return tokens


def shape_of(tokens: list[Token]) -> str:
    """The statement with every literal, and every list of literals, as one `?`."""
    words: list[str] = []
    for token in tokens:
        if token.token_type not in _LITERALS:
            words.append(token.text)
        elif words[-2:] == ["?", ","]:
            words.pop()
        else:
            words.append("?")
    while words and words[-1] == ";":
        words.pop()
    return _ROWS.sub("( ? )", " ".join(words))


def _is_name(token: Token) -> bool:
    return token.token_type == TokenType.IDENTIFIER or _WORD.fullmatch(token.text.lower()) is not None


def _quoted(token: Token) -> str:
    if token.token_type != TokenType.IDENTIFIER:
        return token.text.lower()
    return token.text if _WORD.fullmatch(token.text) else '"' + token.text.replace('"', '""') + '"'


def _name(tokens: list[Token], start: int) -> tuple[str | None, int]:
    """A qualified name, and where it ends."""
    if start >= len(tokens) or not _is_name(tokens[start]):
        return None, start
    parts, at = [_quoted(tokens[start])], start + 1
    while at + 1 < len(tokens) and tokens[at].token_type == TokenType.DOT and _is_name(tokens[at + 1]):
        parts.append(_quoted(tokens[at + 1]))
        at += 2
    return ".".join(parts), at


def _names(tokens: list[Token], start: int) -> list[str]:
    """The different names of a list that starts here."""
    names: dict[str, None] = {}
    while start < len(tokens):
        if tokens[start].text.upper() == "GROUP":
            start += 1
            continue
        if not (_is_name(tokens[start]) or tokens[start].token_type == TokenType.STRING):
            break
        names[tokens[start].text] = None
        if start + 1 >= len(tokens) or tokens[start + 1].token_type != TokenType.COMMA:
            break
        start += 2
    return list(names)


def _table_after_from(tokens: list[Token]) -> str | None:
    for at, token in enumerate(tokens):
        if token.text.upper() == "FROM" and token.token_type != TokenType.IDENTIFIER:
            skip = at + 1 < len(tokens) and tokens[at + 1].text.upper() in ("ONLY", "LATERAL")
            found, _ = _name(tokens, at + 1 + skip)
            if found:
                return found
    return None


def _closing(tokens: list[Token], start: int) -> int:
    depth = 0
    for at in range(start, len(tokens)):
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(tokens[at].token_type, 0)
        if depth == 0:
            return at
    return len(tokens) - 1
