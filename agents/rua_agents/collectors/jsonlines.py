"""JSON objects of one shape, many records at once, into structs; whatever is unusual is left to the tolerant reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

import msgspec

from rua_agents.records import RawRecord

Scalar = str | int | float | bool | None
Read = Callable[[Sequence[RawRecord]], list[Any] | None]


def reader(
    first: Mapping[str, Any],
    names: Mapping[str, str | None],
    texts: Set[str] = frozenset(),
    ids: Set[str] = frozenset(),
) -> Read | None:
    """Reads records that are JSON objects with exactly the keys of a first one, all of them scalars.

    Args:
        first: the object.
        names: field of the struct → key of the object, or None if the log does not have it.
        texts: fields that must be texts, or null.
        ids: fields that must be texts, or all whole numbers, or null: so that no two of their values are equal that
            are not the same, such as 1 and true.

    Returns:
        A function from records to structs, one each, or None if any of them is not such an object. None, if such
        objects cannot be read together: two fields share a key, a key is odd, a value is no scalar, or no text where
        it must be.
    """
    fields = {name: field for field, name in names.items() if name in first}
    if len(fields) < sum(name in first for name in names.values()) or not all(map(_is_scalar, first.values())):
        return None
    if any(not isinstance(first[name], str | None) for name in first if fields.get(name) in texts):
        return None
    named = [(fields.get(name, f"other_{index}"), name) for index, name in enumerate(first)]
    try:
        line = msgspec.defstruct(
            "Line",
            [(field, _type_of(field, first[name], texts, ids)) for field, name in named],
            rename=dict(named),
            namespace={field: None for field, name in names.items() if name not in first},
            forbid_unknown_fields=True,
            gc=False,
        )
    except ValueError:  # a key holds a quote, a backslash or what is not printable
        return None
    decode = msgspec.json.Decoder(list[line]).decode  # type: ignore[valid-type]  # a type made at run time

    def read(records: Sequence[RawRecord]) -> list[Any] | None:
        whole = [record[1] for record in records if record[1][:1] == b"{" and not record[4]]
        text = b"[" + b"\n,".join(whole) + b"]"
        # No string of JSON holds a newline and no object a brace after a comma. So where each record begins with a
        # brace, none shares an object with its neighbour, and as many objects as records mean one in each.
        if len(whole) < len(records) or (b"\\" in text and b"\\u0000" in text):
            return None
        try:
            found = decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return found if len(found) == len(whole) else None

    return read


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _type_of(field: str, value: object, texts: Set[str], ids: Set[str]) -> Any:
    if field in texts:
        return str | None
    if field not in ids:
        return Scalar
    return int | None if isinstance(value, int) and not isinstance(value, bool) else str | None
