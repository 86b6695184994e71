"""Records of every kind for tests, made up from a seed: any values that a schema allows, the awkward ones often."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import msgspec
from rua_schemas.events import Record, TelemetryEvent
from rua_schemas.released import Schema, current

TEXTS = (
    "",
    "x",
    "shop.public.customers",
    "ลูกค้า",
    "ที่อยู่ " * 9,
    "a" * 63,
    "b" * 64,
    "ก" * 3_000,
    "\N{NO-BREAK SPACE}\t\0",
)
LONGS = (0, -1, 63, 64, -64, -65, 8_191, 8_192, 1_790_000_000_000, 2**54, 2**55, -(2**55) - 1, 2**63 - 1, -(2**63))
INTS = (0, -1, 64, 2**27, 2**31 - 1, -(2**31))
DOUBLES = (0.0, -0.0, 1.5, math.inf, math.nan)


def sample(rng: random.Random, avro: Any) -> Any:
    """A value of this plain Avro type."""
    if isinstance(avro, list):
        return sample(rng, rng.choice(avro))
    kind = avro["type"] if isinstance(avro, dict) else avro
    if kind == "record":
        return {f["name"]: sample(rng, f["type"]) for f in avro["fields"]}
    if kind == "array":
        return [sample(rng, avro["items"]) for _ in range(rng.choice((0, 0, 1, 2, 3, 17)))]
    if kind == "enum":
        return rng.choice(avro["symbols"])
    choices: dict[str, tuple[Any, ...]] = {
        "null": (None,),
        "boolean": (True, False),
        "int": INTS,
        "long": LONGS,
        "double": DOUBLES,
        "string": TEXTS,
        "bytes": (b"", b"\0\xff", bytes(200)),
    }
    return rng.choice(choices[kind])


def some_value(seed: int, schema: Schema) -> Any:
    """A value of the schema's record."""
    return sample(random.Random(seed), schema.plain)


def some_record(seed: int, kind: type[Record] = TelemetryEvent) -> Record:
    """A record of this kind."""
    record: Record = msgspec.convert(some_value(seed, current(kind)), kind, builtin_types=(bytes,))
    return record


def event(**facts: Any) -> TelemetryEvent:
    """A plain event with these facts."""
    plain: dict[str, Any] = {
        "event_id": "e" * 32,
        "source_id": "5" * 32,
        "source_position": 1_024,
        "source": "pgaudit-jsonlog",
        "agent_id": "shop-db-1",
        "agent_epoch": 1_790_000_000_000,
        "agent_seq": 1,
        "platform": "shop",
        "occurred_at": 1_790_000_000_000,
        "observed_at": 1_790_000_000_250,
    }
    return TelemetryEvent(**plain | facts)


def comparable(row: Any) -> str:
    """Text that is equal for equal rows, NaN, tuples and bytes included."""
    return json.dumps(msgspec.to_builtins(row, builtin_types=(bytes,)), sort_keys=True, default=repr)
