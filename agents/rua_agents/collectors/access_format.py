r"""Access logs as text: a line is read by the very format string that made it.

Quoted values are cut first: both servers' grammar keeps `"` out of them (nginx writes `\x22`, Apache `\"`). Inside a
piece, values that cannot hold a blank are taken from the left and from the right; what is left over belongs to the one
value that may hold anything, such as a user's name. So nobody can shift a column by choosing a name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from rua_schemas.codec import clean

from rua_agents.collectors.drafting import Unreadable

QUOTE = '"'
COLUMNS, MIN_COLUMNS = 2, 3
"""The piece behind the first quoted value, and how many columns tell it from a text with blanks in it."""
BLANK_INSIDE = frozenset(("time_local",))
"""Values that hold one blank of their own: `02/Mar/2026:10:00:00 +0000`."""
_MARK = re.compile(r'\\.|"', re.DOTALL)
_ESCAPE = re.compile(rb'\\(?:x([0-9A-Fa-f]{2})|(["\\bfnrtv]))')
_CONTROLS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


class Part(NamedTuple):
    """A piece of a format: fixed text, or a value."""

    text: str
    """The fixed text, or the value's name."""
    is_value: bool = False
    loose: bool = False
    """Whether the value may hold blanks and anything else but a quote."""


class Format:
    r"""A compiled format string.

    Args:
        parts: its pieces.
        escapes: whether the server writes a quote inside of a value as `\x22` or `\"`, not as it came.
    """

    def __init__(self, parts: Sequence[Part], *, escapes: bool = True) -> None:
        self._pieces = [_whole(piece) for piece in _cut(parts)]
        self._escapes = escapes
        self.quotes = len(self._pieces) - 1

    def read(self, line: str, *, truncated: bool = False) -> dict[str, str]:
        """The values of a line by name; of a cut line those of its whole pieces.

        Raises:
            Unreadable: the line was not made by this format.
        """
        found = _split(line) if self._escapes and '\\"' in line else line.split(QUOTE)
        whole = found[:-1] if truncated else found
        if len(found) > len(self._pieces) or (len(found) < len(self._pieces) and not truncated):
            raise Unreadable("other_format")
        values: dict[str, str] = {}
        for piece, text in zip(self._pieces, whole, strict=False):
            values.update(_match(piece, text))
        return values

    def certain(self, line: str, *, truncated: bool = False) -> dict[str, str]:
        """What is certain of a line into which a client has written quotes.

        Behind the first quoted value, the request, stand the server's own columns. If only one place between two quotes
        can be these, then what stands before it is the request, quotes and all. What comes after it is not read.

        Returns:
            The values by name; none if a client has written such columns, too.

        Raises:
            Unreadable: a whole line that has no such columns was not made by this format.
        """
        if len(self._pieces) <= COLUMNS or not _is_own(self._pieces[COLUMNS]):
            return {}
        found = line.split(QUOTE)
        places = [at for at in range(COLUMNS, len(found)) if _fits(self._pieces[COLUMNS], found[at])]
        if not places and not truncated:
            raise Unreadable("other_format")
        if len(places) != 1:
            return {}
        texts = found[0], QUOTE.join(found[1 : places[0]]), found[places[0]]
        try:
            return {
                name: value
                for piece, text in zip(self._pieces, texts, strict=False)
                for name, value in _match(piece, text)
            }
        except Unreadable:
            return {}


def compiled(parts: Sequence[Part], *, escapes: bool = True) -> Format:
    """The format; the arguments are those of `Format`.

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
    return Format(parts, escapes=escapes)


def unescaped(value: str) -> tuple[str, int]:
    r"""The value with `\xHH`, and Apache's `\"` and its like, undone; and how many characters had to be replaced."""
    if "\\" in value:
        value = _ESCAPE.sub(_plain, value.encode()).decode("utf-8", "replace")
    text, replaced = clean(value)
    return text, replaced + text.count("\N{REPLACEMENT CHARACTER}") - replaced


def _plain(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1].decode()) if escape[1] else _CONTROLS.get(escape[2], escape[2])


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


def _split(line: str) -> list[str]:
    """The line cut at its quotes, but for those behind a backslash."""
    pieces, start = [], 0
    for found in _MARK.finditer(line):
        if found[0] == QUOTE:
            pieces.append(line[start : found.start()])
            start = found.end()
    return [*pieces, line[start:]]


def _whole(piece: list[Part]) -> tuple[Part, ...]:
    return tuple(part for part in piece if part.text)


def _is_own(piece: Sequence[Part]) -> bool:
    """Whether a piece holds values that no client chooses, and enough of them."""
    return not any(part.loose for part in piece) and sum(part.is_value for part in piece) >= MIN_COLUMNS


def _fits(piece: Sequence[Part], text: str) -> bool:
    try:
        values = dict(_match(piece, text))
    except Unreadable:
        return False
    return values.get("status", "0").isdigit()


def _solid(part: Part, value: str) -> str:
    if " " in value and part.text not in BLANK_INSIDE:
        raise Unreadable("other_format")
    return value


def _match(piece: Sequence[Part], text: str) -> list[tuple[str, str]]:
    values, start, end, first = [], 0, len(text), 0
    while first < len(piece) and not piece[first].loose:
        part = piece[first]
        if part.is_value:
            stop = text.find(piece[first + 1].text, start) if first + 1 < len(piece) else end
            values.append((part.text, _solid(part, text[start:stop])))
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
            values.append((part.text, _solid(part, text[stop + len(before) : end])))
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
