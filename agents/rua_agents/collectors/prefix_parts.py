"""The parts of PostgreSQL's `log_line_prefix`: what each escape can look like (elog.c)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

NAME_BYTES = 63  # NAMEDATALEN - 1: the server cuts longer names
HOST_BYTES = 270
TAG_BYTES = 96
LONGEST_FIXED = 64
ESCAPED_NAME_BYTES = 4 * NAME_BYTES  # PostgreSQL 16 writes \xc3 for a byte of an application's name
_ZONE = rb" (?:[A-Za-z]{1,10}|[+-]\d{2,6})"
_DAY = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
_FIXED: Mapping[str, bytes] = {
    "m": _DAY + rb"\.\d{1,6}" + _ZONE,
    "t": _DAY + _ZONE,
    "s": _DAY + _ZONE,
    "n": rb"\d{1,12}\.\d{1,6}",
    "p": rb"\d{1,10}",
    "P": rb"\d{0,10}",
    "l": rb"\d{1,20}",
    "c": rb"[0-9a-f]{1,16}\.[0-9a-f]{1,16}",
    "v": rb"(?:-?\d{1,20}/\d{1,20})?",
    "x": rb"\d{1,20}",
    "Q": rb"-?\d{1,20}",
    "e": rb"[0-9A-Z]{5}",
}
_TEXTS = {"u": NAME_BYTES, "d": NAME_BYTES, "a": ESCAPED_NAME_BYTES, "h": HOST_BYTES, "r": HOST_BYTES, "b": TAG_BYTES}
_TEXTS |= {"i": TAG_BYTES}
OF_SESSION = frozenset("udarhi")
"""What a process without a session leaves out, but for blanks up to the width."""
_ESCAPE = re.compile(r"%(-?\d{1,3})?(.)|%$", re.DOTALL)
_HOST = re.compile(rb"[][0-9A-Za-z.:%_()-]+")
_ESCAPED_BYTE = re.compile(rb"\\x[0-9a-f]{2}")


class Part(NamedTuple):
    """A literal, an escape of fixed form, or one that may hold any text."""

    escape: str
    literal: bytes = b""
    fixed: re.Pattern[bytes] | None = None
    longest: int = 0
    width: int = 0
    """Least number of characters; negative if blanks follow them instead of going before."""

    def fixed_end(self, window: bytes, at: int) -> int | None:
        """Where the fixed form that begins here ends."""
        start = at
        if self.width > 0:
            start = min(at + self.width, len(window) - len(window[at:].lstrip(b" ")))
        found = self.fixed.match(window, start) if self.fixed else None
        if found is None or (self.width > 0 and found.end() - at < self.width):
            return None
        end = max(found.end(), at - self.width)
        return end if not window[found.end() : end].strip(b" ") and end <= len(window) else None

    @property
    def without_session(self) -> bytes:
        """The pattern of what a process without a session writes."""
        blanks = b" {%d}" % abs(self.width)
        if self.literal or self.escape in OF_SESSION:
            return re.escape(self.literal) or blanks
        form = self.fixed.pattern if self.fixed else rb"[^\n]{1,%d}?" % self.longest
        return b" {0,%d}(?:%b) {0,%d}" % (max(0, self.width), form, max(0, -self.width))

    def fits(self, text: bytes) -> bool:
        """Whether the server could have written this for the escape."""
        if not text or len(text) > self.longest:
            return False
        if self.escape in ("h", "r"):
            return _HOST.fullmatch(text) is not None
        return self.escape != "a" or len(_ESCAPED_BYTE.sub(b"?", text.strip(b" "))) <= NAME_BYTES


def split(text: str) -> Iterator[Part]:
    """The parts of a `log_line_prefix`."""
    literal, at = "", 0
    for found in _ESCAPE.finditer(text):
        literal += text[at : found.start()]
        at = found.end()
        letter = found[2] or ""
        if letter == "%":
            literal += "%"
        if letter == "q" or letter in _FIXED or letter in _TEXTS:
            if literal:
                yield Part("", literal.encode())
            literal = ""
            yield _escape(letter, int(found[1] or 0))
    literal += text[at:]
    if literal:
        yield Part("", literal.encode())


def _escape(letter: str, width: int) -> Part:
    if letter == "q":
        return Part("q")
    if letter in _TEXTS:
        return Part(letter, longest=max(_TEXTS[letter], abs(width)), width=width)
    return Part(letter, fixed=re.compile(_FIXED[letter]), longest=max(LONGEST_FIXED, abs(width)), width=width)
