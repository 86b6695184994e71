"""pgaudit's AUDIT payload to events, whatever log format carried it.

The payload is a CSV record of 9 fields, or 10 with `pgaudit.log_rows`:
`type,statement,substatement,class,command,object type,object,text,parameters[,rows]`.
"""

from __future__ import annotations

import csv
import re
from typing import NamedTuple

from rua_agents import labels

csv.field_size_limit(1 << 30)  # statements of megabytes occur; the record's size is bounded elsewhere

PREFIX = "AUDIT: "
SENTINELS = frozenset(("<none>", "<not logged>", "<previously logged>"))
PREVIOUSLY_LOGGED = "<previously logged>"
WITHOUT_ROWS, WITH_ROWS, CUT = 9, 10, 8
MOST_DIGITS = 18
_WORDS = re.compile(r"[A-Z_ ]{1,48}")
UNKNOWN = "???"
"""PostgreSQL's own word for a command that it has no name for."""
_NEGATIVE = re.compile(r"-\d+", re.ASCII)


class BadAudit(ValueError):
    """An AUDIT record that breaks pgaudit's grammar."""


class Audit(NamedTuple):
    """One AUDIT payload."""

    by_object: bool
    statement: int
    substatement: int
    klass: str
    command: str
    table: str | None
    """Its shape: it is remembered in the checkpoint, and leaves."""
    text: str | None
    """The statement, None if it was not logged, `<previously logged>` if the record before had it."""
    rows: int | None
    """As reported; None without log_rows, if the record was cut, or if no server can have counted so many."""


def read_audit(message: str, *, truncated: bool = False) -> Audit:
    """Parses what follows `AUDIT: `.

    Raises:
        BadAudit: wrong number of fields, or a number that is none. A row count that cannot be true is unknown: whoever
            could forge it would hide the record with it.
    """
    try:
        fields = next(csv.reader((message[len(PREFIX) :],), strict=not truncated))
        n = len(fields)
        if n not in (WITHOUT_ROWS, WITH_ROWS) and not (truncated and n >= CUT):
            raise BadAudit(f"{n} fields")
        kind, statement, substatement, klass, command, _, table, text = fields[:8]
        # of a cut record the last digits may be missing
        rows = _natural(fields[9]) if n == WITH_ROWS and not truncated else None
        number, sub = _natural(statement), _natural(substatement)
        if number is None or sub is None:
            raise BadAudit("statement number out of range")
        known = None if text in SENTINELS and text != PREVIOUSLY_LOGGED else text
        shape = labels.table_shape(table) if table else None
        return Audit(kind == "OBJECT", number, sub, _word(klass), _word(command.upper()), shape, known, rows)
    except (csv.Error, StopIteration, ValueError) as why:
        raise why if isinstance(why, BadAudit) else BadAudit(type(why).__name__) from why


def _word(told: str) -> str:
    """A class or a command: it is remembered and leaves in clear, and no server writes anything but words there."""
    return told if _WORDS.fullmatch(told) else UNKNOWN


def is_unmistakable(message: str) -> bool:
    """Whether this is an AUDIT record even where a name could make other text look like one.

    Such text has the rest of its line behind it: as a number of rows that is none, as too many fields, or as parameters
    that hold the line's real severity.
    """
    if not message.startswith(PREFIX):
        return False
    try:
        read_audit(message)
        return ":  " not in next(csv.reader((message[len(PREFIX) :],)))[8]
    except BadAudit:
        return False


def _natural(field: str) -> int | None:
    """The number, or None if it is negative or has more digits than 64 bits surely hold."""
    if field.isdigit() and field.isascii():
        return int(field) if len(field) <= MOST_DIGITS else None
    if _NEGATIVE.fullmatch(field):
        return None
    raise BadAudit("no number")
