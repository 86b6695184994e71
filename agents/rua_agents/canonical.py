"""One spelling for each name, so that one person has one pseudonym whatever a log writes.

Whoever compares values with a key at hand (leak tracing) must spell them in the same way.
"""

from __future__ import annotations

import re
import socket
from unicodedata import decimal, normalize

THAILAND = "66"
IPV4_MAPPED = bytes(10) + b"\xff\xff"
BLANKS_AND_DASHES = r" \u00a0\u2009\u202f\u2010-\u2015-"
"""What people put between the digits of a number, as a part of a character class."""
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(rf"[+(]?\d[\d().{BLANKS_AND_DASHES}]{{7,24}}")
_SEPARATORS = re.compile(rf"[().{BLANKS_AND_DASHES}]")
# the numbering plan of Thailand (NBTC): 0 and 8 digits for fixed lines, 06, 08 or 09 and 8 digits for mobiles
_FIXED, _MOBILE = r"[2-57]\d{7}", r"[689]\d{8}"
_THAI = re.compile(rf"(?:\+660?|00660?|66(?={_MOBILE}$)|660(?={_MOBILE}$|{_FIXED}$)|0)({_FIXED}|{_MOBILE})", re.ASCII)
_EMAIL = re.compile(r"(?:mailto:)?<?([^\s<>@:]+)@([^\s<>@]*[^\s<>@.])\.?>?")
_ABROAD = re.compile(r"\+[1-9]\d{7,14}", re.ASCII)


def canonical_text(value: str) -> str:
    """NFC, lower case, without blanks at the ends."""
    if value.isascii():
        return value.strip().lower()
    return normalize("NFC", value.strip().lower())


def canonical_name(value: str) -> str:
    """As `canonical_text`; a telephone number in E.164, an e-mail address with its domain as DNS has it."""
    text = canonical_text(value)
    if "@" in text:
        return canonical_email(text) or text
    return text if text[:1].isalpha() else canonical_phone(text) or text  # nearly all names begin with a letter


def canonical_phone(text: str) -> str | None:
    """The number in E.164 (+66812345678), or None if this is none.

    Thai numbers are known with 0, 66, +66, +66 (0) and 0066 before them, in Arabic and Thai digits, grouped by blanks,
    dashes, dots and brackets; others only after a +, for nobody can tell them from an id.
    """
    if not _NUMBER.fullmatch(text):
        return None
    digits = _SEPARATORS.sub("", western_digits(text))
    if thai := _THAI.fullmatch(digits):
        return f"+{THAILAND}{thai[1]}"
    return digits if _ABROAD.fullmatch(digits) else None


def western_digits(text: str) -> str:
    """The text with Thai (and all other scripts') digits as 0 to 9."""
    return text if text.isascii() else _DIGIT.sub(lambda digit: str(decimal(digit[0])), text)


def canonical_email(text: str) -> str | None:
    """The address without `mailto:` and angle brackets, its domain in ASCII; None if this (in lower case) is none."""
    found = _EMAIL.fullmatch(text)
    if not found:
        return None
    local, domain = found.groups()
    try:
        return f"{local}@{domain if domain.isascii() else domain.encode('idna').decode('ascii')}"
    except UnicodeError:
        return None


def canonical_address(value: str) -> str:
    """One spelling for an IP address; other text (a host name) as `canonical_text`."""
    packed = packed_address(value)
    if packed is None:
        return canonical_text(value)
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def packed_address(value: str) -> bytes | None:
    """The 4 or 16 bytes of an IP address; None if it is none. The C library is 10 times faster than `ipaddress`."""
    text = value.strip().strip("[]").partition("%")[0]
    try:
        if ":" not in text:
            return socket.inet_pton(socket.AF_INET, text)
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate in it
        return None
    return packed[12:] if packed.startswith(IPV4_MAPPED) else packed
