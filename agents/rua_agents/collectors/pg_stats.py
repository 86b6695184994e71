"""PostgreSQL's own counters, asked for: how many rows COPY and FETCH have sent, which pgaudit does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rua_common.settings import Struct
from rua_schemas.events import Label

from rua_agents import labels
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import RecordParser, Unreadable, draft, party
from rua_agents.collectors.pg_counters import Row
from rua_agents.intake.contract import Poller
from rua_agents.records import RawRecord
from rua_agents.statements import NOTHING, SUPERUSERS, Statements
from rua_agents.times import checked

MOST_ROWS = 10**18


class PgStatsOptions(Struct, frozen=True):
    """Options of pg-stats."""

    host: str = "127.0.0.1"
    """Name or address, or the directory of the server's Unix socket."""
    port: int = 5432
    database: str = "postgres"
    """Where the extension pg_stat_statements is; it counts for all databases."""
    user: str = "rua"
    password_file: str | None = None
    ca_file: str | None = None
    """Certificates that the server's must descend from; without, those of the system."""
    tls: bool = True
    every_seconds: float = 10.0
    bulk_rows: int = 1_000

    def __post_init__(self) -> None:
        if not 1 <= self.every_seconds <= 3_600:
            raise ValueError(f"every_seconds {self.every_seconds} is not between 1 and 3600")


class PgStats(LineCollector):
    """The collector."""

    name = "pg-stats"
    reads = "poll"
    options: type[msgspec.Struct] = PgStatsOptions

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """When the counters were read, by the server's clock."""
        del zone, now_ms, options
        return checked(_row(record).at_ms)

    def parser(self, place: Place) -> _Parser:
        """A parser of its rows."""
        return _Parser(place)

    def poller(self, options: Any) -> Poller:
        """What asks the server."""
        from rua_agents.collectors.pg_stats_poller import PgStatsPoller  # noqa: PLC0415 - the driver is only for this

        return PgStatsPoller(options)


_DECODER = msgspec.json.Decoder(Row)


def _row(record: RawRecord) -> Row:
    try:
        return _DECODER.decode(record.data)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as why:
        raise Unreadable("not_json") from why


class _Parser(RecordParser):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._texts: dict[int, Statements] = {}

    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The event of one row."""
        row = _row(record)
        at_ms = checked(row.at_ms)
        if not 0 <= row.rows < MOST_ROWS or not 0 <= (row.bytes or 0) < MOST_ROWS:
            raise Unreadable("impossible_count")
        names = self.place.keys.at(at_ms)
        texts = self._texts.get(names.epoch) or self._texts.setdefault(names.epoch, Statements(names))
        facts = texts.facts(row.query) if row.query else NOTHING
        who = party(self.place, at_ms, row.user, row.address)
        table = row.relation or facts.table
        event = draft(
            self.place,
            record,
            observed_at,
            at_ms,
            kind="bulk_query" if row.rows >= self.place.options.bulk_rows else "data_access",
            action="query",
            channel="db",
            outcome="ok",
            actor=who.actor,
            privilege="superuser" if row.user.lower() in SUPERUSERS else "unknown",
            dataset=f"{labels.name_shape(row.database)}.{labels.table_shape(table)}" if table else None,
            rows=row.rows,
            rows_quality="exact" if row.exact else "lower_bound",
            bytes=row.bytes,
            bytes_quality="unknown" if row.bytes is None else "lower_bound",
            statement_fingerprint=facts.fingerprint,
            tool=labels.product(row.program) if row.program else None,
            source_ip=who.source_ip,
            source_network=who.source_network,
            labels=_labels(row),
        )
        return [event]


def _labels(row: Row) -> tuple[Label, ...]:
    seconds = max(0, row.at_ms - row.since_ms) // 1_000
    found = [("upgrades", "rows"), ("command", row.command), ("within_seconds", str(seconds))]
    found += [("calls", str(row.calls))] if row.calls else []
    return tuple(Label(key=key, value=value) for key, value in found)
