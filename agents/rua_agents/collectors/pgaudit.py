"""pgaudit's AUDIT payload to events, whatever log format carried it.

The payload is a CSV record of 9 fields, or 10 with `pgaudit.log_rows`:
`type,statement,substatement,class,command,object type,object,text,parameters[,rows]`.
"""

from __future__ import annotations

import csv
from typing import NamedTuple

csv.field_size_limit(1 << 30)  # statements of megabytes occur; the record's size is bounded elsewhere

PREFIX = "AUDIT: "
SENTINELS = frozenset(("<none>", "<not logged>", "<previously logged>"))
PREVIOUSLY_LOGGED = "<previously logged>"
WITHOUT_ROWS, WITH_ROWS, CUT = 9, 10, 8
MOST_ROWS = 1 << 62


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
    text: str | None
    """The statement, None if it was not logged, `<previously logged>` if the record before had it."""
    rows: int | None
    """As reported; None without log_rows or if the record was cut."""


def read_audit(message: str, *, truncated: bool = False) -> Audit:
    """Parses what follows `AUDIT: `.

    Raises:
        BadAudit: wrong number of fields, or a number that is none.
    """
    try:
        fields = next(csv.reader((message[len(PREFIX) :],), strict=not truncated))
        n = len(fields)
        if n not in (WITHOUT_ROWS, WITH_ROWS) and not (truncated and n >= CUT):
            raise BadAudit(f"{n} fields")
        kind, statement, substatement, klass, command, _, table, text = fields[:8]
        rows = int(fields[9]) if n == WITH_ROWS and not (truncated and not fields[9].isdigit()) else None
        if rows is not None and not 0 <= rows <= MOST_ROWS:
            raise BadAudit("rows out of range")
        known = None if text in SENTINELS and text != PREVIOUSLY_LOGGED else text
        return Audit(
            kind == "OBJECT", int(statement), int(substatement), klass, command.upper(), table or None, known, rows
        )
    except (csv.Error, StopIteration, ValueError) as why:
        raise why if isinstance(why, BadAudit) else BadAudit(type(why).__name__) from why
