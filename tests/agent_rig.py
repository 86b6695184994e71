"""What the agent's tests share: an origin with a fixed key, made-up log lines, parsing of bytes."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rua_agents.collectors import Draft
from rua_agents.parse import drafts, number
from rua_agents.pseudonyms import KeyRing
from rua_agents.reader import FileStatus
from rua_agents.settings import collector_of, options_of, zone_of
from rua_agents.status import SourceStatus, Status
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


def a_status(**changed: Any) -> Status:
    """What an agent with one file, a little behind, and some of everything, says of itself."""
    fates = {"records": 9, "events": 2, "merged": 2}
    ignored, failed = {"static": 1}, {"no_time": 1, "not_json": 2}
    status = Status(
        platform="lazada",
        agent_id="agent-1",
        agent_epoch=START_MS,
        files=[FileStatus("/var/log/a.log", "nginx-json", "0" * 32, 90, 5_000_100, acked_offset=100, lag_ms=75_000)],
        problems={},
        events_produced=3,
        events_acked=2,
        events_failed=0,
        records=9,
        merged=2,
        split=0,
        ignored=ignored,
        failed=failed,
        lag_bytes=5_000_000,
        watermark_done_ms=0,
        drained=False,
        clock_offset_ms=-7,
        clock_error_ms=2,
        at_ms=START_MS + 7_260_000,
        lag_ms=75_000,
        sources={"nginx-json": SourceStatus(read_bytes=10, ignored=ignored, failed=failed, **fates)},
        dropped={"spool_full": 4},
        chain_seq=3,
        checkpoint_ms=START_MS + 7_257_500,
        spool_records=12,
        spool_bytes=4_096,
        rss_bytes=40 << 20,
        started_ms=START_MS,
        version="1.2.3",
    )
    return msgspec.structs.replace(status, **changed)
