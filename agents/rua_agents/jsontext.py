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
_LAST_ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{0,3})?$")
_BLANKS = re.compile(r"[\s,:]*")
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
    """The pairs before the cut; a string that is cut itself counts with what is left of it."""
    at = _BLANKS.match(text, 0).end()  # type: ignore[union-attr]  # the pattern matches the empty text
    if text[at : at + 1] != "{":
        raise ValueError("no object")
    found: dict[str, Any] = {}
    at += 1
    while True:
        at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]  # likewise
        if text[at : at + 1] != '"':
            return found
        try:
            key, at = scanstring(text, at + 1, False)
            at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]  # likewise
            if text[at : at + 1] == '"':
                found[key] = _LAST_ESCAPE.sub("", text[at + 1 :])
                found[key], at = scanstring(text, at + 1, False)
            else:
                found[key], at = _TOLERANT.raw_decode(text, at)
        except (ValueError, IndexError):
            return _with_cut_string(found)


def _with_cut_string(found: dict[str, Any]) -> dict[str, Any]:
    """Decodes the escapes of the last value, if it is the raw rest of a cut string."""
    for key in list(found)[-1:]:
        value = found[key]
        if isinstance(value, str) and "\\" in value:
            try:
                found[key] = scanstring(value + '"', 0, False)[0]
            except ValueError:
                del found[key]
    return found


def _cleaned(value: dict[str, Any]) -> tuple[dict[str, Any], int]:
    replaced, made = 0, {}
    for key, one in value.items():
        made[key], n = clean(one) if isinstance(one, str) else (one, 0)
        # U+FFFD came from bytes that are no UTF-8
        replaced += n + (one.count("\N{REPLACEMENT CHARACTER}") if isinstance(one, str) else 0)
    return made, replaced
