"""What a record costs in the agent's own process, without Kafka: `python -m benchmarks.agent`.

Parses, pseudonymises, numbers, chains and encodes made-up lines of two sources, and compares processor time with the
bare minimum: `json.loads` and fastavro on the same lines, which neither hides anybody nor knows what happened. The
whole agent beside others, Kafka included: `make bench-agent`.
"""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import fastavro
from rua_agents.pseudonyms import KeyRing
from rua_agents.records import DEFAULT_LIMIT_BYTES
from rua_agents.sealing import Sealer, Written, written
from rua_agents.settings import collector_of, options_of
from rua_agents.stream import Origin, SourceStream
from rua_agents.tally import Tally

RECORDS = 40_000
SLICE_BYTES = 1 << 18
START_MS = 1_790_000_000_000
AGENTS = ("curl/8.1", "Mozilla/5.0 (Windows NT 10.0) Chrome/141.0", "pos-sync/2.1")


def pgaudit(rng: random.Random) -> bytes:
    """Statements of forty people, each with an OBJECT and a SESSION record, every literal another one."""
    lines = []
    for n in range(RECORDS // 2):
        at = datetime.fromtimestamp((START_MS + n * 37) / 1_000, UTC).isoformat(sep=" ", timespec="milliseconds")
        who = rng.randrange(40)
        text = (
            f"SELECT id, email FROM customers WHERE city = 'C{rng.random()}' AND id > {rng.randrange(10**6)} LIMIT 50;"  # noqa: S608 - never run
        )
        for kind in ("OBJECT", "SESSION"):
            message = f'AUDIT: {kind},{n},1,READ,SELECT,TABLE,public.customers,"{text}",<none>,{rng.randrange(50)}'
            record = {"timestamp": f"{at[:23]} UTC", "user": f"user{who}", "dbname": "shop", "pid": 24_000 + who}
            record |= {"remote_host": f"10.0.0.{who}", "remote_port": 46_302, "session_id": f"6b06.{who:x}"}
            record |= {"line_num": n, "ps": "SELECT", "session_start": "2026-11-25 06:46:29 UTC", "vxid": "3/0"}
            record |= {"txid": 0, "error_severity": "LOG", "message": message, "application_name": "psql"}
            lines.append(json.dumps(record | {"backend_type": "client backend", "query_id": 2_233_021_605_111_345_469}))
    return "\n".join(lines).encode() + b"\n"


def nginx(rng: random.Random) -> bytes:
    """Requests of many addresses, every path with another number."""
    lines = []
    for n in range(RECORDS):
        path, size = f"/api/v2/orders/{rng.randrange(10**7)}/items", rng.randrange(10**5)
        at = (START_MS + n * 20) / 1_000
        record: dict[str, Any] = {"ts": datetime.fromtimestamp(int(at), UTC).isoformat(), "msec": at}
        record |= {"addr": f"203.0.{rng.randrange(9)}.{rng.randrange(250)}", "user": f"u{rng.randrange(99)}"}
        record |= {"req": f"GET {path}?page={n} HTTP/1.1", "uri": path, "args": f"page={n}", "status": 200}
        record |= {"bytes_sent": size + 306, "body_bytes_sent": size, "sent_cl": str(size), "sent_ct": "text/html"}
        record |= {"sent_cd": "", "range": "", "completion": "OK", "rt": 0.02, "urt": "0.02", "ua": rng.choice(AGENTS)}
        lines.append(json.dumps(record | {"xff": "", "rid": f"{rng.getrandbits(128):032x}", "gzr": "", "app": "app-7"}))
    return "\n".join(lines).encode() + b"\n"


def cpu_seconds(job: Callable[[], object]) -> float:
    """The better of two runs: the machine may be busy."""
    took = []
    for _ in range(2):
        began = time.process_time()
        job()
        took.append(time.process_time() - began)
    return min(took)


def ours(source: str, data: bytes) -> Tally:
    """The agent's way, up to the bytes that go to Kafka."""
    collector, tally, sealer = collector_of(source), Tally(), Sealer(START_MS)
    keys, options = KeyRing(b"k" * 32, "lazada"), options_of(collector, {})
    origin = Origin(collector, "lazada", "agent", "host", None, options, keys, tally)
    stream, splitter = SourceStream(origin, "log"), origin.splitter(0, DEFAULT_LIMIT_BYTES)
    for at in range(0, len(data), SLICE_BYTES):
        for made in stream.feed_all(splitter.feed(data[at : at + SLICE_BYTES]), START_MS):
            sealer.sealed(made if isinstance(made, Written) else written(made))
    return tally


def bare(lines: list[bytes]) -> None:
    """`json.loads`, then fastavro with a schema of the record's own fields."""
    kinds = {str: "string", int: "long", float: "double"}
    fields = [{"name": name, "type": kinds[type(value)]} for name, value in json.loads(lines[0]).items()]
    schema = fastavro.parse_schema({"type": "record", "name": "Line", "fields": fields})
    buffer = io.BytesIO()
    for line in lines:
        buffer.seek(0)
        fastavro.schemaless_writer(buffer, schema, json.loads(line))


def main() -> None:
    """Prints one line a source."""
    for source, made in (("pgaudit-jsonlog", pgaudit), ("nginx-json", nginx)):
        data = made(random.Random(7))
        tally = ours(source, data)
        seconds = cpu_seconds(partial(ours, source, data))
        least = cpu_seconds(partial(bare, data.splitlines()))
        print(
            f"{source:16} {tally.records / seconds:9,.0f} records/CPU-s  {tally.events / seconds:9,.0f} events/CPU-s  "
            f"{seconds / tally.records * 1e6:5.1f} µs a record, {seconds / least:.1f} x json.loads + fastavro "
            f"({least / tally.records * 1e6:.1f} µs)"
        )


if __name__ == "__main__":
    main()
