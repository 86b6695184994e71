"""What the agent's tests share: an origin with a fixed key, made-up log lines, parsing of bytes."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rua_agents.collectors import Draft
from rua_agents.parse import drafts, number
from rua_agents.pseudonyms import KeyRing
from rua_agents.settings import collector_of, options_of, zone_of
from rua_agents.stream import Origin
from rua_agents.tally import Tally
from rua_common.clock import ManualClock

DATA = Path(__file__).parent / "data" / "agents"
SAMPLES = DATA / "samples"
"""For each source `<source>.log`, written by the real program; `<source>.zone` names the IANA zone if it needs one."""
PG_SAMPLE = SAMPLES / "pgaudit-jsonlog.log"
NGINX_SAMPLE = SAMPLES / "nginx-json.log"
KEY = bytes(range(32))
START_MS = 1_790_000_000_000


def sample_of(source: str) -> bytes:
    """What a real program wrote for this source."""
    return (SAMPLES / f"{source}.log").read_bytes()


def zone_name(source: str) -> str | None:
    """The zone that its sample needs."""
    path = SAMPLES / f"{source}.zone"
    return path.read_text().strip() if path.exists() else None


def origin(source: str, tally: Tally | None = None, *, zone: str | None = None, **options: Any) -> Origin:
    """A source as the configuration would give it."""
    collector = collector_of(source)
    ring = KeyRing(KEY, "lazada")
    made = tally if tally is not None else Tally()
    return Origin(collector, "lazada", "agent-1", "db-1", zone_of(zone), options_of(collector, options), ring, made)


def parse(source: str, data: bytes, *, limit_bytes: int = 1 << 20, **options: Any) -> tuple[list[Draft], Tally]:
    """The events of these bytes, and the account."""
    tally = Tally()
    made = drafts(
        io.BytesIO(data), origin(source, tally, **options), ManualClock(START_MS), path="log", limit_bytes=limit_bytes
    )
    return list(number(made, START_MS)), tally


def stamp(at_ms: int) -> str:
    """As PostgreSQL writes it in UTC."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(sep=" ", timespec="milliseconds")[:23] + " UTC"


def pg_line(at_ms: int, message: str, **fields: Any) -> bytes:
    """One jsonlog record."""
    record: dict[str, Any] = {"timestamp": stamp(at_ms), "user": "ana", "dbname": "shop", "pid": 1}
    record |= {"remote_host": "10.1.2.3", "session_id": "s1", "message": message, "application_name": "psql"} | fields
    return json.dumps({k: v for k, v in record.items() if v is not None}, ensure_ascii=False).encode() + b"\n"


def audit(
    at_ms: int,
    number: int,
    text: str,
    *,
    sub: int = 1,
    klass: str = "READ",
    command: str = "SELECT",
    table: str = "public.customers",
    rows: int | None = 0,
    kind: str = "SESSION",
    **fields: Any,
) -> bytes:
    """One AUDIT record; `rows` None leaves the tenth field out."""
    quoted = '"' + text.replace('"', '""') + '"'
    tail = "" if rows is None else f",{rows}"
    message = f"AUDIT: {kind},{number},{sub},{klass},{command},TABLE,{table},{quoted},<none>{tail}"
    return pg_line(at_ms, message, **fields)


def web_line(at_ms: int, req: str = "GET /export/a.csv HTTP/1.1", **fields: Any) -> bytes:
    """One access log record."""
    record: dict[str, Any] = {"msec": at_ms / 1_000, "addr": "192.0.2.7", "user": "", "req": req, "status": 200}
    record |= {"body_bytes_sent": 10, "completion": "OK", "ua": "curl/8.1"} | fields
    return json.dumps({k: v for k, v in record.items() if v is not None}).encode() + b"\n"
