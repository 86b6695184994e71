"""A schema's name on the wire, as Avro's specification defines it: parsing canonical form, then CRC-64-AVRO.

fastavro does the same; an agent that only writes events does without its 8 MB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

EMPTY = 0xC15D213AA4D7A795


def fingerprint(avro: Mapping[str, Any]) -> bytes:
    """CRC-64-AVRO of the canonical form, little-endian as on the wire."""
    form = json.dumps(_canonical(avro, ""), separators=(",", ":"), ensure_ascii=False)
    return crc_64_avro(form.encode()).to_bytes(8, "little")


def crc_64_avro(data: bytes) -> int:
    """The specification's "Rabin" fingerprint."""
    mark = EMPTY
    for byte in data:
        mark ^= byte
        for _ in range(8):
            mark = mark >> 1 ^ (EMPTY & -(mark & 1))
    return mark


def _canonical(avro: Any, namespace: str) -> Any:
    """Only what decides how bytes are read, names in full, attributes in the specified order."""
    if isinstance(avro, list):
        return [_canonical(one, namespace) for one in avro]
    if isinstance(avro, str):
        return avro if avro in _PRIMITIVES else _full(avro, namespace)
    kind = avro["type"]
    if kind == "array":
        return {"type": kind, "items": _canonical(avro["items"], namespace)}
    if kind not in ("record", "enum"):
        return _canonical(kind, namespace)
    name = _full(avro["name"], avro.get("namespace", namespace))
    made: dict[str, Any] = {"name": name, "type": kind}
    if kind == "enum":
        return made | {"symbols": list(avro["symbols"])}
    inner = name.rpartition(".")[0]
    return made | {
        "fields": [{"name": field["name"], "type": _canonical(field["type"], inner)} for field in avro["fields"]]
    }


def _full(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


_PRIMITIVES = frozenset(("null", "boolean", "int", "long", "float", "double", "bytes", "string"))
