r"""Access logs as text: a line is read by the very format string that made it.

Quoted values are cut first: both servers' grammar keeps `"` out of them (nginx writes `\x22`). Inside a piece, values
that cannot hold a blank are taken from the left and from the right; what is left over belongs to the one value that may
hold anything, such as a user's name. So nobody can shift a column by choosing a name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from rua_schemas.codec import clean

from rua_agents.collectors.drafting import Unreadable

QUOTE = '"'
_HEX = re.compile(rb"\\x([0-9A-Fa-f]{2})")


class Part(NamedTuple):
    """A piece of a format: fixed text, or a value."""

    text: str
    """The fixed text, or the value's name."""
    is_value: bool = False
    loose: bool = False
    """Whether the value may hold blanks and anything else but a quote."""


class Format:
    """A compiled format string."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._pieces = [_whole(piece) for piece in _cut(parts)]
        self.quotes = len(self._pieces) - 1

    def read(self, line: str, *, truncated: bool = False) -> dict[str, str]:
        """The values of a line by name; of a cut line those of its whole pieces.

        Raises:
            Unreadable: the line was not made by this format.
        """
        found = line.split(QUOTE)
        whole = found[:-1] if truncated else found
        if len(found) > len(self._pieces) or (len(found) < len(self._pieces) and not truncated):
            raise Unreadable("other_format")
        values: dict[str, str] = {}
        for piece, text in zip(self._pieces, whole, strict=False):
            values.update(_match(piece, text))
        return values


def compiled(parts: Sequence[Part]) -> Format:
    """The format.

    Raises:
        ValueError: it cannot be read back; says which values must be set apart by quotes.
    """
    for one, two in pairwise(parts):
        if one.is_value and two.is_value:
            raise ValueError(f"{one.text} and {two.text} stand side by side: put a blank or quotes between them")
    for piece in _cut(parts):
        loose = [part.text for part in piece if part.loose]
        if len(loose) > 1:
            raise ValueError(f"{' and '.join(loose)} may both hold blanks: put each of them in double quotes")
    return Format(parts)


def unescaped(value: str) -> tuple[str, int]:
    r"""The value with nginx's `\xHH` undone, and how many characters had to be replaced."""
    if "\\x" in value:
        value = _HEX.sub(lambda found: bytes.fromhex(found[1].decode()), value.encode()).decode("utf-8", "replace")
    text, replaced = clean(value)
    return text, replaced + text.count("\N{REPLACEMENT CHARACTER}") - replaced


def parts_of(text: str, variable: re.Pattern[str], strict: Collection[str], names: Mapping[str, str]) -> list[Part]:
    """Cuts a format string.

    Args:
        text: the format string.
        variable: what a value looks like in it; its first non-empty group is the value's name.
        strict: names of values that never hold a blank.
        names: name in the format → name for `read`; others keep their own.
    """
    parts, at = [], 0
    for found in variable.finditer(text):
        if found.start() > at:
            parts.append(Part(text[at : found.start()]))
        name = next(filter(None, found.groups()))
        parts.append(Part(names.get(name, name), is_value=True, loose=name not in strict))
        at = found.end()
    return [*parts, Part(text[at:])] if at < len(text) else parts


def _cut(parts: Sequence[Part]) -> list[list[Part]]:
    """The parts between quotes."""
    pieces: list[list[Part]] = [[]]
    for part in parts:
        if part.is_value:
            pieces[-1].append(part)
            continue
        first, *rest = part.text.split(QUOTE)
        pieces[-1].append(Part(first))
        pieces += [[Part(text)] for text in rest]
    return pieces


def _whole(piece: list[Part]) -> tuple[Part, ...]:
    return tuple(part for part in piece if part.text)


def _match(piece: Sequence[Part], text: str) -> list[tuple[str, str]]:
    values, start, end, first = [], 0, len(text), 0
    while first < len(piece) and not piece[first].loose:
        part = piece[first]
        if part.is_value:
            stop = text.find(piece[first + 1].text, start) if first + 1 < len(piece) else end
            values.append((part.text, text[start:stop]))
        else:
            stop = start + len(part.text) if text.startswith(part.text, start) else -1
        if stop < 0:
            raise Unreadable("other_format")
        start, first = stop, first + 1
    last = len(piece) - 1
    while last > first:
        part = piece[last]
        if part.is_value:
            before = piece[last - 1].text
            stop = text.rfind(before, start, end)
            values.append((part.text, text[stop + len(before) : end]))
            stop += len(before) if stop >= 0 else 0
        else:
            stop = end - len(part.text) if text.endswith(part.text, start, end) else -1
        if stop < start:
            raise Unreadable("other_format")
        end, last = stop, last - 1
    if first < len(piece):
        values.append((piece[first].text, text[start:end]))
    elif start != end:
        raise Unreadable("other_format")
    return values
