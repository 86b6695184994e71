"""A dialect's grammar of SQL texts: tokens, the shape of a statement without its literals, and names.

The texts come from users. What cannot be tokenised has no tokens, and nothing is guessed about it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

DEFAULT_DIALECT = "postgres"
LITERALS = frozenset(t for t in TokenType if t.name.endswith("_STRING") or t in (TokenType.STRING, TokenType.NUMBER))
_COMMANDS = frozenset(
    (
        *(TokenType.COMMAND, TokenType.FETCH, TokenType.EXECUTE, TokenType.SHOW),
        *(TokenType.RENAME, TokenType.REPLACE),
    )
)
_QUOTED = frozenset((TokenType.STRING, TokenType.IDENTIFIER))
_SIMPLE_STRING = re.compile(r"'[^']*'")
_SIMPLE_NUMBER = re.compile(r"(?<![^\x00-\x7f])\b\d+(?:\.\d+)?\b(?![^\x00-\x7f])", re.ASCII)
_SIMPLE_BACKTICKS = re.compile(r"`[A-Za-z_]\w*`", re.ASCII)
_LIST = re.compile(r"\b0(?:\s*,\s*0)+\b|(?<!')'0'(?:\s*,\s*'0')+(?!')")
# where quotes and digits may mean something else, a text is not simple
_NOT_SIMPLE = re.compile(r"[\\\"$]|--|/\*|\b(?:[ebxnr]|u&)'", re.IGNORECASE)
_NOT_SIMPLE_MYSQL = re.compile(r"[\\\"$#]|--|/\*|\b[bxn]'|\b\d\w*[^\W\d]", re.IGNORECASE)
_ROWS = re.compile(r"\( \? \)(?: , \( \? \))+")
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")
_PLAIN_MYSQL = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_WORD = re.compile(r"(?:[A-Za-z_]|[^\x00-\x7f])(?:[\w$]|[^\x00-\x7f])*", re.ASCII)
# `/*!40001 SQL_NO_CACHE */` and MariaDB's `/*M!100100 … */` are executed; strings, names and comments are not searched
_EXECUTABLE = re.compile(
    r"""'(?:[^'\\]|\\.)*+(?:'|\Z) | "(?:[^"\\]|\\.)*+(?:"|\Z) | `[^`]*+(?:`|\Z) | (?:\#|--(?=\s))[^\n]*+ """
    r"""| (?P<open>/\*M?!\d{0,6}) | /\*(?:[^*]|\*(?!/))*+(?:\*/|\Z) | (?P<close>\*/)""",
    re.VERBOSE | re.DOTALL,
)


def tokenise(text: str, dialect: str = DEFAULT_DIALECT) -> list[Token]:
    """The tokens, or none if the text breaks the grammar."""
    tokenize = _dialect(dialect).tokenize
    try:
        if dialect == "mysql" and "!" in text:
            text = _EXECUTABLE.sub(_executed, text)
        tokens = list(tokenize(text))
        if len(tokens) > 1 and tokens[0].token_type in _COMMANDS and tokens[1].token_type == TokenType.STRING:
            # sqlglot takes the rest of some utility statements as one text
            rest = text[tokens[0].end + 1 :]
            tokens = tokens[:1] + list(tokenize(rest))
    except (SqlglotError, RecursionError, ValueError):
        return []
    return tokens


@cache
def _dialect(name: str) -> Dialect:
    return Dialect.get_or_raise(name)


def _executed(part: re.Match[str]) -> str:
    """Blanks instead of the marks of an executable comment, so that what is in it is read."""
    return " " * len(part[0]) if part["open"] or part["close"] else part[0]


def without_simple_literals(text: str, dialect: str = DEFAULT_DIALECT) -> str:
    """The text with its simple literals replaced, so that many texts share one; unchanged if any is not simple."""
    mysql = dialect == "mysql"
    if (_NOT_SIMPLE_MYSQL if mysql else _NOT_SIMPLE).search(text) is not None or text.count("'") % 2:
        return text
    if "`" in text and text.count("`") != 2 * len(_SIMPLE_BACKTICKS.findall(text)):
        return text
    return _LIST.sub("0", _SIMPLE_NUMBER.sub("0", _SIMPLE_STRING.sub("'0'", text)))


def shape_of(tokens: Sequence[Token]) -> str:
    """The statement with every literal, and every list of literals, as one `?`."""
    words: list[str] = []
    for token in tokens:
        if token.token_type not in LITERALS:
            words.append(token.text)
        elif words[-2:] == ["?", ","]:
            words.pop()
        else:
            words.append("?")
    while words and words[-1] == ";":
        words.pop()
    return _ROWS.sub("( ? )", " ".join(words))


def keywords(tokens: Sequence[Token]) -> list[str]:
    """Each token in capitals; empty where it is quoted, so that no name or string can pass for a keyword."""
    return ["" if token.token_type in _QUOTED else token.text.upper() for token in tokens]


def is_name(token: Token) -> bool:
    """Whether the token can be a name."""
    if token.token_type == TokenType.IDENTIFIER:
        return True
    return token.token_type not in LITERALS and _WORD.fullmatch(token.text) is not None


def quoted_name(name: str, dialect: str = DEFAULT_DIALECT) -> str:
    """One part of a name as SQL's standard quotes it: only if it must be."""
    plain = _PLAIN_MYSQL if dialect == "mysql" else _PLAIN
    return name if plain.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def name_at(tokens: Sequence[Token], start: int, dialect: str = DEFAULT_DIALECT) -> tuple[str | None, int]:
    """A qualified name, and where it ends."""
    if start >= len(tokens) or not is_name(tokens[start]):
        return None, start
    parts, at = [_part(tokens[start], dialect)], start + 1
    while at + 1 < len(tokens) and tokens[at].token_type == TokenType.DOT and is_name(tokens[at + 1]):
        parts.append(_part(tokens[at + 1], dialect))
        at += 2
    return ".".join(parts), at


def _part(token: Token, dialect: str) -> str:
    # MySQL's names keep their case, the others' fold it unless they are quoted
    fold = token.token_type != TokenType.IDENTIFIER and dialect != "mysql"
    return quoted_name(token.text.lower() if fold else token.text, dialect)


def people_at(tokens: Sequence[Token], start: int) -> list[str]:
    """The different users of a list that starts here: `a, "b"`, `'c'@'host' IDENTIFIED BY '…', d`."""
    names: dict[str, None] = {}
    while start < len(tokens):
        token = tokens[start]
        if token.text.upper() == "GROUP" and token.token_type not in _QUOTED:
            start += 1
            continue
        if not (is_name(token) or token.token_type == TokenType.STRING):
            break
        names[token.text] = None
        start = _after_account(tokens, start + 1)
        if start >= len(tokens) or tokens[start].token_type != TokenType.COMMA:
            break
        start += 1
    return list(names)


def _after_account(tokens: Sequence[Token], at: int) -> int:
    """Behind MySQL's `@'host'` and `IDENTIFIED …` of one account."""
    if at < len(tokens) and tokens[at].text == "@":
        at += 2
        while at + 1 < len(tokens) and tokens[at].token_type == TokenType.DOT:
            at += 2
    if at < len(tokens) and tokens[at].text.upper() == "IDENTIFIED" and tokens[at].token_type not in _QUOTED:
        while at < len(tokens) and tokens[at].token_type != TokenType.COMMA:
            at += 1
    return at


def table_after(word: str, tokens: Sequence[Token], dialect: str = DEFAULT_DIALECT) -> str | None:
    """The first table behind this keyword; what FROM calls (`FROM f(1)`) is none."""
    upper = keywords(tokens)
    for at, found in enumerate(upper):
        if found == word:
            skip = at + 1 < len(tokens) and upper[at + 1] in ("ONLY", "LATERAL", "TABLE")
            table, after = name_at(tokens, at + 1 + skip, dialect)
            called = word == "FROM" and after < len(tokens) and tokens[after].token_type == TokenType.L_PAREN
            if table and not called:
                return table
    return None


def closing(tokens: Sequence[Token], start: int) -> int:
    """Where the parenthesis that opens here is closed, or the last token."""
    depth = 0
    for at in range(start, len(tokens)):
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(tokens[at].token_type, 0)
        if depth == 0:
            return at
    return len(tokens) - 1
