"""What a statement is, read as ClickHouse's lexer reads it. chDB runs all that it is given; a server does not.

The engine would also run a second statement, write files for a SELECT, and read any file: a server's HTTP interface
refuses the first two, and a restricted user's rights the third. Pure: bytes in, facts or a refusal out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from rua_common.errors import RuaError

# Strings in all the quotes that ClickHouse knows (typographic ones too), here-documents, every kind of comment.
_TOKEN = re.compile(
    rb"""(?P<blank>\s+|--[^\n]*|\#[\ !][^\n]*|/\*.*?\*/)
    |(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`
      |\xe2\x80\x98.*?\xe2\x80\x99|\xe2\x80\x9c.*?\xe2\x80\x9d|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<other>\d\w*|.)""",
    re.S | re.X,
)
_READING = {b"SELECT", b"WITH", b"SHOW", b"DESCRIBE", b"DESC", b"EXPLAIN", b"EXISTS", b"(", b"FROM"}
_OUTSIDE = re.compile(  # table functions that reach beyond the database
    rb"(?i)^(file|fileCluster|url|urlCluster|s3\w*|gcs|azureBlob\w*|hdfs\w*|remote|remoteSecure|cluster\w*|mysql|"
    rb"postgresql|mongodb|redis|sqlite|odbc|jdbc|input|executable|python|iceberg\w*|deltaLake\w*|hudi\w*|paimon\w*)$"
)


class StatementRefused(RuaError):
    """A statement that the gateway does not run, with ClickHouse's number for the reason."""

    def __init__(self, code: int, name: str, reason: str) -> None:
        self.code = code
        super().__init__(f"Code: {code}. DB::Exception: {reason}. ({name})")


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a statement that means something: no blanks, no comments."""

    text: bytes
    upper: bytes  # of a word or sign; empty for what is quoted
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement.

    Attributes:
        sql: the statement; of an insert with data only what stands before SETTINGS and FORMAT.
        verb: its first word, upper case.
        settings: of an insert with data its SETTINGS clause, or nothing.
        insert_format: format of the data that follow, of an insert with data.
        data_start: where these data begin in what was read.
        output_format: what a FORMAT clause at its end says.
    """

    sql: bytes
    verb: bytes
    settings: bytes = b""
    insert_format: str | None = None
    data_start: int = 0
    output_format: str | None = None


def read(sql: bytes) -> Statement:
    """Reads one statement, and refuses what a server would refuse.

    Raises:
        StatementRefused: something follows a `;`; it reads or writes files by INFILE or OUTFILE; it takes a role.
    """
    tokens: list[Token] = []
    ended = False
    for token in _tokens(sql):
        if ended:
            raise StatementRefused(62, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)")
        if token.upper == b";":
            ended = True
            continue
        _refuse_server_side(token, tokens)
        if _begins_data(token, tokens):
            return _insert(sql, tokens[:-1], token)
        tokens.append(token)
    if not tokens:
        raise StatementRefused(62, "SYNTAX_ERROR", "Empty query")
    return Statement(sql, tokens[0].upper, output_format=_output_format(tokens))


def require_reading(statement: Statement) -> None:
    """Lets only statements through that change nothing.

    Raises:
        StatementRefused: it is another one.
    """
    if statement.verb not in _READING:
        raise StatementRefused(164, "READONLY", "Cannot execute query in readonly mode: only reading is allowed")


def require_inside(statement: Statement) -> None:
    """Lets only statements through that name no source outside the database.

    Raises:
        StatementRefused: it calls such a table function.
    """
    tokens = list(_tokens(statement.sql))
    for token, following in pairwise(tokens):
        function = following.text == b"(" and _OUTSIDE.match(token.text.strip(b'`"'))
        # chDB reads files by their name: FROM 'a.csv'. A server does not, and only such names need quotes
        file = token.upper in {b"FROM", b"JOIN"} and not following.upper and re.search(rb"^'|[/.]", following.text)
        if function or file:
            name = (token if function else following).text.decode(errors="replace")
            raise StatementRefused(497, "ACCESS_DENIED", f"Not enough privileges: the source {name} is outside")


def without_format(statement: Statement) -> bytes:
    """The statement without `;` and FORMAT at its end, fit to stand in parentheses."""
    tokens = [token for token in _tokens(statement.sql) if token.upper != b";"]
    if statement.output_format is not None:
        clause = max(i for i, token in enumerate(tokens) if token.upper == b"FORMAT")
        return statement.sql[: tokens[clause].start]
    return statement.sql[: tokens[-1].end]


def _tokens(sql: bytes) -> Iterator[Token]:
    for found in _TOKEN.finditer(sql):
        if found["blank"] is None:
            yield Token(found[0], b"" if found["quoted"] else found[0].upper(), found.start(), found.end())


def _refuse_server_side(token: Token, before: list[Token]) -> None:
    previous = before[-1].upper if before else b""
    if (previous, token.upper) in {(b"INTO", b"OUTFILE"), (b"FROM", b"INFILE")}:
        raise StatementRefused(48, "NOT_IMPLEMENTED", "A server has no files of its client: send or take the data")
    if len(before) == 1 and previous == b"SET" and token.upper in {b"ROLE", b"DEFAULT"}:
        raise StatementRefused(497, "ACCESS_DENIED", "Not enough privileges: roles cannot be taken here")


def _begins_data(token: Token, before: list[Token]) -> bool:
    """Whether this is the name of the format in `INSERT INTO … FORMAT name`, after which no more SQL comes."""
    if not before or before[-1].upper != b"FORMAT" or before[0].upper != b"INSERT" or not token.upper:
        return False
    return not any(word.upper in {b"SELECT", b"WITH", b"VALUES"} for word in before)


def _insert(sql: bytes, head: list[Token], format_name: Token) -> Statement:
    start = format_name.end
    while sql[start : start + 1] in {b" ", b"\t", b";"}:
        start += 1
    start += 2 if sql[start : start + 2] == b"\r\n" else 1 if sql[start : start + 1] == b"\n" else 0
    clause = next((i for i, word in enumerate(head) if _is_settings(word, head[i - 1])), len(head))
    settings = sql[head[clause].start : head[-1].end] if clause < len(head) else b""
    return Statement(sql[: head[clause - 1].end], b"INSERT", settings, format_name.text.decode(), start)


def _is_settings(word: Token, previous: Token) -> bool:
    """Whether a SETTINGS clause begins here: not a table or column of that name."""
    return word.upper == b"SETTINGS" and previous.upper not in {b"INTO", b"TABLE", b".", b"(", b","}


def _output_format(tokens: list[Token]) -> str | None:
    words = [token.upper for token in tokens]
    end = len(words)
    if b"SETTINGS" in words[-40:]:
        after = len(words) - 1 - words[::-1].index(b"SETTINGS")
        end = after if after >= 2 and words[after - 2] == b"FORMAT" else end
    if end >= 3 and words[end - 2] == b"FORMAT" and tokens[end - 1].upper:
        return tokens[end - 1].text.decode(errors="replace")
    return None
