"""PostgreSQL's csvlog and stderr log, written as the server writes them (elog.c, csvlog.c)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rua_agents.collectors import Draft
from rua_agents.stream import SourceStream
from rua_agents.tally import Tally

from tests.agent_rig import START_MS, origin, stamp

LIMIT_BYTES = 1 << 20
PREFIX = "%m [%p] %q%u@%d/%a %h "
SAID = 'AUDIT: SESSION,{},1,READ,SELECT,TABLE,public.t,"SELECT 1, 2",<none>,{}'


def quoted(text: str) -> str:
    """As `appendCSVLiteral`."""
    return '"' + text.replace('"', '""') + '"'


def csv_line(
    at_ms: int,
    message: str,
    *,
    user: str = "ana",
    database: str = "shop",
    host: str = "10.1.2.3:5000",
    program: str = "psql",
    context: str = "",
    severity: str = "LOG",
    columns: int = 26,
) -> bytes:
    """One csvlog record."""
    fields = [stamp(at_ms), quoted(user), quoted(database), "7", quoted(host), "6b0613c7.7", "3", '"SELECT"']
    fields += ["2026-11-25 06:46:31 UTC", "3/136", "0", severity, "00000", quoted(message), "", "", "", ""]
    fields += [quoted(context) if context else "", "", "", "", quoted(program), '"client backend"', "", "-55"]
    return ",".join(fields[:columns]).encode() + b"\n"


def prefix_of(at_ms: int, user: str, database: str, program: str, host: str) -> str:
    """`PREFIX` filled in."""
    return f"{stamp(at_ms)} [7] {user}@{database}/{program} {host} "


def text_line(
    at_ms: int,
    message: str,
    *more: tuple[str, str],
    user: str = "ana",
    database: str = "shop",
    program: str = "psql",
    host: str = "10.1.2.3",
    severity: str = "LOG",
) -> bytes:
    """One report of the stderr log; `more` are its additions, e.g. ("CONTEXT", "PL/pgSQL …")."""
    before = prefix_of(at_ms, user, database, program, host)
    lines = [(severity, message), *more]
    return "".join(f"{before}{kind}:  " + text.replace("\n", "\n\t") + "\n" for kind, text in lines).encode()


def read(source: str, data: bytes | Iterable[bytes], **options: Any) -> tuple[list[Draft], Tally]:
    """The events of these bytes, fed chunk by chunk."""
    tally = Tally()
    place = origin(source, tally, **options)
    stream, splitter = SourceStream(place, "log", warns=False), place.splitter(0, LIMIT_BYTES)
    made: list[Draft] = []
    for chunk in [data] if isinstance(data, bytes) else data:
        for record in splitter.feed(chunk):
            made += stream.feed(record, START_MS)
    for record in splitter.finish():
        made += stream.feed(record, START_MS)
    return made + stream.flush(), tally


def told(made: Sequence[Draft]) -> list[tuple[object, ...]]:
    """What events say, without where they stand in their file and what names their session."""
    return [
        (
            *(e.occurred_at, e.kind, e.action, e.outcome, e.actor, e.actor_type, e.privilege, e.ticket, e.dataset),
            *(e.rows, e.rows_quality, e.statement_fingerprint, e.tool, e.truncated, e.destination),
            *(e.destination_external, e.source_ip, e.source_network, e.labels, e.channel),
        )
        for e in made
    ]
