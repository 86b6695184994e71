r"""JSON objects as log writers really write them: invalid UTF-8, `\xHH` escapes, lone surrogates, cut in the middle."""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # documented in the module's source, not in its stubs
from typing import Any

import msgspec
from rua_schemas.codec import clean

_STRICT: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_TOLERANT = json.JSONDecoder(strict=False)
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_LAST_ESCAPE = re.compile(r"(?:\\u[dD][89abAB][0-9A-Fa-f]{2})?(?:\\(?:u[0-9A-Fa-f]{0,3})?)?\Z")
"""What a cut leaves of an escape, or of a surrogate pair."""
LONGEST_ESCAPE = 12
_REST_OF_NUMBER = re.compile(r"[0-9.eE+-]*\Z")
_BLANKS = re.compile(r"[\s,:]*")
MAX_CUT_DEPTH = 8
"""So deep a cut object is looked into: each level reads the rest once more."""
_NOTHING = object()
_MUST_BE_ESCAPED = frozenset(b'"\\') | frozenset(range(0x20))


class NotJson(ValueError):
    """These bytes are no JSON object, not even a cut one."""


def read_object(data: bytes, *, truncated: bool = False) -> tuple[dict[str, Any], int]:
    """The object, and how many characters had to be replaced to read it.

    Raises:
        NotJson: it is none.
    """
    if not truncated and b"\\u0000" not in data:
        try:
            value = _STRICT.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            return _mapping(value), 0
    text = (
        _ESCAPE.sub(_unescaped, data).decode("utf-8", "replace") if b"\\x" in data else data.decode("utf-8", "replace")
    )
    try:
        value = _cut_object(text) if truncated else _TOLERANT.decode(text)
    except (ValueError, RecursionError) as why:
        raise NotJson(type(why).__name__) from why
    return _cleaned(_mapping(value))


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NotJson("no object")
    return value


def _unescaped(found: re.Match[bytes]) -> bytes:
    r"""`\xE0` to its byte; a byte that JSON must escape to its `\u00HH`. nginx's default escaping writes such."""
    if found[1] is None:
        return found[0]
    byte = int(found[1], 16)
    return b"\\u%04x" % byte if byte in _MUST_BE_ESCAPED else bytes([byte])


def _cut_object(text: str) -> dict[str, Any]:
    """What stands before the cut, in nested objects too; a string that is cut counts with what is left.

    A list that is cut is not told: somebody may count it.
    """
    at = _after_blanks(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("no object")
    return _members(text, at + 1, MAX_CUT_DEPTH)


def _after_blanks(text: str, at: int) -> int:
    return _BLANKS.match(text, at).end()  # type: ignore[union-attr]  # the pattern matches the empty text


def _members(text: str, at: int, depth: int) -> dict[str, Any]:
    """Of an object whose brace has been read."""
    found: dict[str, Any] = {}
    while (at := _after_blanks(text, at)) < len(text) and text[at] == '"':
        try:
            key, at = scanstring(text, at + 1, False)
        except ValueError:
            break
        value, at = _value(text, _after_blanks(text, at), depth)
        if value is not _NOTHING:
            found[key] = value
    return found


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    """A value and where it ends; where it is cut or broken that is the text's end."""
    end = len(text)
    try:
        value, stop = _TOLERANT.raw_decode(text, at)
    except (ValueError, IndexError, RecursionError):
        first = text[at : at + 1]
        if first == '"':
            return _cut_string(text[at + 1 :]), end
        if first == "{" and depth:
            return _members(text, at + 1, depth - 1), end
        return _NOTHING, end
    # of a number that touches the cut nobody knows how it went on
    cut = type(value) in (int, float) and _REST_OF_NUMBER.match(text, stop)
    return (_NOTHING, end) if cut else (value, stop)


def _cut_string(rest: str) -> Any:
    rest = rest[:-LONGEST_ESCAPE] + _LAST_ESCAPE.sub("", rest[-LONGEST_ESCAPE:])
    try:
        return scanstring(rest + '"', 0, False)[0]
    except ValueError:
        return _NOTHING


def _cleaned(value: dict[str, Any]) -> tuple[dict[str, Any], int]:
    replaced, made = 0, {}
    for key, one in value.items():
        made[key], n = clean(one) if isinstance(one, str) else (one, 0)
        # U+FFFD came from bytes that are no UTF-8
        replaced += n + (one.count("\N{REPLACEMENT CHARACTER}") if isinstance(one, str) else 0)
    return made, replaced
