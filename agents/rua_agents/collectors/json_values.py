"""Values out of JSON that anybody may have written: each is of the wanted type, or unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rua_schemas.codec import clean

MAX_CHARACTERS = 1_024
"""Of a name are looked at: it becomes a pseudonym or a label, and both are remembered."""
MOST, MOST_ID = 1 << 62, 1 << 64
_EXTENDED = ("$numberLong", "$numberInt", "$numberDouble")


def text(value: object) -> str | None:
    """What a string or a whole number says, cleaned and cut; None for anything else and for blanks."""
    if isinstance(value, str):
        return clean(value[:MAX_CHARACTERS])[0].strip() or None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MOST_ID:
        return str(value)
    return None


def number(value: object) -> int | None:
    """A whole number from 0 to 2^62, also as digits or in MongoDB's extended JSON; None for anything else."""
    if isinstance(value, Mapping):
        value = next((value[key] for key in _EXTENDED if key in value), None)
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < MOST else None


def inside(value: object, *keys: str) -> Any:
    """What stands under these keys, one in another, or None."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def listed(value: object) -> list[Any]:
    """The items of a list; a single thing is a list of one, nothing is none."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def mappings(value: object) -> Iterator[Mapping[str, Any]]:
    """Those items that are objects."""
    return (item for item in listed(value) if isinstance(item, Mapping))
