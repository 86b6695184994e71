"""Which schemas read which: the rules of Avro, narrowed to what our columns can hold.

FULL_TRANSITIVE: every version reads every other, so that agents and workers may be upgraded in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rua_schemas.released import Schema, short

PROMOTIONS: Mapping[str, frozenset[str]] = {
    "int": frozenset({"long", "double"}),
    "long": frozenset({"double"}),
    "float": frozenset({"double"}),
}
PRIMITIVES = frozenset({"boolean", "int", "long", "float", "double", "string", "bytes"})


def differences(writer: Schema, reader: Schema) -> list[str]:
    """Why `reader` cannot read what `writer` wrote, in words. Empty if it can."""
    return list(_record_differences(writer.plain, reader))


def full_transitive(versions: Sequence[Schema]) -> list[str]:
    """Why these versions do not all read each other, in words. Empty if they do."""
    return [
        f"version {r + 1} cannot read version {w + 1}: {why}"
        for w, writer in enumerate(versions)
        for r, reader in enumerate(versions)
        for why in differences(writer, reader)
    ]


def defaults(schema: Schema) -> dict[str, Any]:
    """Values of the fields that have one, for messages of a writer that did not know the field."""
    return {f["name"]: f["default"] for f in schema.avro["fields"] if "default" in f}


def enum_default(schema: Schema, name: str) -> str | None:
    """The symbol that stands for those which this schema does not know."""
    found = _named(schema.avro, name)
    return None if found is None else found.get("default")


def _record_differences(writer: Mapping[str, Any], reader: Schema) -> Iterator[str]:
    if writer["name"] != reader.plain["name"]:
        yield f"it is {writer['name']}, not {reader.plain['name']}"
        return
    written = {f["name"]: f["type"] for f in writer["fields"]}
    known = defaults(reader)
    for field in reader.plain["fields"]:
        name = field["name"]
        if name in written:
            yield from (f"{name}: {why}" for why in _type_differences(written[name], field["type"], reader))
        elif name not in known:
            yield f"{name}: missing, and it has no default"
    for name, avro in written.items():
        yield from (f"{name}: {why}" for why in unsupported(avro))


def _type_differences(writer: Any, reader: Any, into: Schema) -> Iterator[str]:
    if writer == reader:
        return
    nullable, inner = _unwrapped(writer)
    may_be_null, wanted = _unwrapped(reader)
    if nullable and not may_be_null:
        yield "null is written and cannot be read"
    if isinstance(inner, str) and isinstance(wanted, str):
        if inner != wanted and wanted not in PROMOTIONS.get(inner, frozenset()):
            yield f"{inner} cannot be read as {wanted}"
    elif _kind(inner) == _kind(wanted) == "enum" and inner["name"] == wanted["name"]:
        strange = [s for s in inner["symbols"] if s not in wanted["symbols"]]
        if strange and enum_default(into, wanted["name"]) is None:
            yield f"{', '.join(strange)}: unknown, and the enum has no default"
    elif inner != wanted:
        yield f"{_kind(inner)} cannot be read as this {_kind(wanted)}; what is nested must stay as it is"


def unsupported(avro: Any, *, nested: bool = False) -> Iterator[str]:
    """Why our columns cannot hold this type."""
    if isinstance(avro, list):
        others = [one for one in avro if one != "null"]
        if len(avro) != 2 or len(others) != 1:
            yield "a union of other than null and one type"
            return
        avro = others[0]
    kind = _kind(avro)
    if isinstance(avro, Mapping) and "logicalType" in avro:
        yield "a logical type; times are integers"
    elif kind == "array" and not nested:
        items = avro["items"]
        if _kind(items) == "record" and not items["fields"]:
            yield "an array of nothing, which a few bytes could make endless"
        for inner in [f["type"] for f in items["fields"]] if _kind(items) == "record" else [items]:
            yield from unsupported(inner, nested=True)
    elif kind == "enum":
        if nested:
            yield "an enum inside an array"
    elif kind not in PRIMITIVES:
        yield f"{kind} here"


def _unwrapped(avro: Any) -> tuple[bool, Any]:
    if not isinstance(avro, list):
        return False, avro
    others = [one for one in avro if one != "null"]
    return len(others) < len(avro), others[0] if len(others) == 1 else avro


def _kind(avro: Any) -> str:
    return str(avro["type"]) if isinstance(avro, Mapping) else "union" if isinstance(avro, list) else str(avro)


def _named(avro: Any, name: str) -> Mapping[str, Any] | None:
    if isinstance(avro, list):
        return next((found for one in avro if (found := _named(one, name))), None)
    if not isinstance(avro, Mapping):
        return None
    if short(avro.get("name", "")) == name and avro["type"] == "enum":
        return avro
    inner = [f["type"] for f in avro.get("fields", ())] + [avro[k] for k in ("items", "type") if k in avro]
    return next((found for one in inner if (found := _named(one, name))), None)
