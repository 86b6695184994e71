"""What a ClickHouse statement's words tell: where rows go, who gets rights. A string is a string, whatever is in it.

The server has parsed and counted the statement already; only what its log has no column for is taken from the text.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MOST_CHARACTERS = 1 << 14
MOST_NAMES = 100
_TOKEN = re.compile(
    r"""(?P<blank>\s+|--[^\n]*|\#[!\ ][^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<string>'(?:[^'\\]|\\.|'')*(?:'|\Z)|\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z))
    |(?P<name>`(?:[^`\\]|\\.|``)*(?:`|\Z)|"(?:[^"\\]|\\.|"")*(?:"|\Z))
    |(?P<word>\w+)
    |(?P<mark>.)""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)|''", re.DOTALL)
_NAMES = ("word", "name")
_PEOPLE = frozenset(("USER", "ROLE", "ROLES", "USERS", "PROFILE", "POLICY", "QUOTA"))


class Token(NamedTuple):
    """A word of the grammar."""

    kind: str
    text: str
    """Without its quotes."""

    @property
    def word(self) -> str:
        """A bare word in capitals; empty for anything else."""
        return self.text.upper() if self.kind == "word" else ""


class Told(NamedTuple):
    """All that is taken from a text."""

    verb: str = ""
    """First word, in capitals."""
    file: str | None = None
    """INTO OUTFILE: its name, on the client's machine."""
    function: str | None = None
    """INSERT INTO FUNCTION, BACKUP … TO: what takes the rows, in small letters."""
    target: str | None = None
    """Its first string: a URL, a path, a host."""
    table: str | None = None
    """The first table after FROM or INTO, as it is written."""
    names: tuple[str, ...] = ()
    """Who gets or loses rights."""
    named: int = 0
    everything: bool = False
    """Whether that is ALL on everything."""
    people: bool = False
    """CREATE, ALTER, DROP: of users, roles and the like."""
    changes: str = ""
    """ALTER TABLE: DELETE or UPDATE, if it changes rows."""


def tokenise(text: str) -> list[Token]:
    """The words of a text, without blanks and comments."""
    found = []
    for one in _TOKEN.finditer(text[:MOST_CHARACTERS]):
        kind = one.lastgroup if one["string"] is None else "string"
        if kind != "blank" and kind is not None:
            found.append(Token(kind, _plain(kind, one[0])))
    return found


def told(text: str) -> Told:
    """Facts of a statement."""
    tokens = tokenise(text)
    if not tokens:
        return Told()
    verb = tokens[0].word
    function, target = _taker(tokens, verb)
    names = _names(tokens, verb)
    return Told(
        verb=verb,
        file=_outfile(tokens),
        function=function,
        target=target,
        table=_table(tokens),
        names=names[:MOST_NAMES],
        named=len(names),
        everything=verb == "GRANT" and _has(tokens, "ALL") and _has_marks(tokens, "*.*"),
        people=verb in ("CREATE", "ALTER", "DROP") and any(token.word in _PEOPLE for token in tokens[1:4]),
        changes=next((t.word for t in tokens if t.word in ("DELETE", "UPDATE")), "") if verb == "ALTER" else "",
    )


def _plain(kind: str, text: str) -> str:
    if kind == "string" and text[0] == "'":
        return _ESCAPED.sub(lambda found: found[1] or "'", text[1:].removesuffix("'"))
    return text[1:].removesuffix(text[0]) if kind == "name" else text


def _outfile(tokens: list[Token]) -> str | None:
    for at in range(len(tokens) - 2):
        if (tokens[at].word, tokens[at + 1].word) == ("INTO", "OUTFILE") and tokens[at + 2].kind == "string":
            return tokens[at + 2].text
    return None


def _taker(tokens: list[Token], verb: str) -> tuple[str | None, str | None]:
    """The function that an INSERT or a BACKUP writes to, and its first string."""
    before = {"INSERT": "FUNCTION", "BACKUP": "TO"}.get(verb)
    at = next((n for n, token in enumerate(tokens) if before and token.word == before), None)
    if at is None or at + 2 >= len(tokens) or tokens[at + 2].text != "(":
        return None, None
    rest = tokens[at + 3 :]
    end = next((n for n, token in enumerate(rest) if token == Token("mark", ")")), len(rest))
    return tokens[at + 1].text.lower(), next((token.text for token in rest[:end] if token.kind == "string"), None)


def _table(tokens: list[Token]) -> str | None:
    for at, token in enumerate(tokens):
        if token.word in ("FROM", "INTO", "TABLE") and at + 1 < len(tokens) and tokens[at + 1].kind in _NAMES:
            parts = [tokens[at + 1].text]
            if at + 3 < len(tokens) and tokens[at + 2].text == "." and tokens[at + 3].kind in _NAMES:
                parts.append(tokens[at + 3].text)
            after = at + 2 * len(parts)
            if tokens[at + 1].word not in ("FUNCTION", "TABLE", "OUTFILE") and (
                after >= len(tokens) or tokens[after].text != "(" or token.word == "INTO"
            ):
                return ".".join(parts)
    return None


def _names(tokens: list[Token], verb: str) -> tuple[str, ...]:
    """GRANT … TO a, b; REVOKE … FROM a, b."""
    before = {"GRANT": "TO", "REVOKE": "FROM"}.get(verb)
    at = next((n for n, token in enumerate(tokens) if before and token.word == before), len(tokens))
    found = []
    for token in tokens[at + 1 :]:
        if token.word == "WITH" or token.text == ";":
            break
        if token.kind in (*_NAMES, "string"):
            found.append(token.text)
    return tuple(found)


def _has(tokens: list[Token], word: str) -> bool:
    return any(token.word == word for token in tokens)


def _has_marks(tokens: list[Token], marks: str) -> bool:
    return marks in "".join(token.text if token.kind == "mark" else " " for token in tokens)
