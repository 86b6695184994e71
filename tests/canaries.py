"""Personal data that is planted in logs, and the search for it in every byte that leaves, however it is spelled."""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any
from urllib.parse import quote, quote_plus

THAI_DIGITS = str.maketrans("0123456789", "๐๑๒๓๔๕๖๗๘๙")

EMAIL = "somsri.canary+7@mail.example.co.th"
PHONE = "0897531246"
NATIONAL_ID = "1103702468134"
PASSWORD = "Tr0ub4dor&3-canary"  # noqa: S105 - planted to be found
THAI_NAME = "สมศรีใจดีคานารี"

SHAPED = {
    "email": EMAIL,
    "email in capitals": EMAIL.upper(),
    "phone": PHONE,
    "phone with dashes": "089-753-1246",
    "phone with blanks": "+66 89 753 1246",
    "phone in E.164": "+66897531246",
    "phone without plus": "66897531246",
    "phone in Thai digits": PHONE.translate(THAI_DIGITS),
    "national id": NATIONAL_ID,
    "national id with dashes": "1-1037-02468-13-4",
    "national id in Thai digits": NATIONAL_ID.translate(THAI_DIGITS),
}
"""What can be told by its looks: it may not leave from anywhere."""
FREE = {"password": PASSWORD, "Thai name": THAI_NAME}
"""What looks like any other word: it may not leave from anywhere but where a schema's or a program's name stands."""
ALL: Mapping[str, str] = SHAPED | FREE


@dataclass(frozen=True)
class Needle:
    """Bytes that would give a canary away."""

    canary: str
    how: str
    data: bytes


def needles() -> list[Needle]:
    """Every canary in every spelling, encoding and escaping that a program might choose."""
    texts = dict(ALL)
    texts |= {"phone, its digits": PHONE[1:], "phone, its Thai digits": PHONE[1:].translate(THAI_DIGITS)}
    texts |= {"email, its name": EMAIL.partition("@")[0]}
    found: dict[bytes, Needle] = {}
    for name, text in texts.items():
        for how, data in _encodings(text):
            found.setdefault(data.lower(), Needle(name, how, data.lower()))
    return list(found.values())


def _encodings(text: str) -> Iterator[tuple[str, bytes]]:
    octets = text.encode()
    yield "clear", octets
    yield "percent", quote(text, safe="").encode()
    yield "percent all", "".join(f"%{b:02x}" for b in octets).encode()
    yield "form", quote_plus(text).encode()
    yield "json", json.dumps(text)[1:-1].encode()
    yield "python", repr(octets)[2:-1].encode()
    yield "octal", "".join(f"\\{b:03o}" if b >= 0x80 else chr(b) for b in octets).encode()
    yield "hex", octets.hex().encode()
    for name in ("utf-16-le", "utf-16-be"):
        yield name, text.encode(name)
    for shift in range(3):
        yield f"base64 +{shift}", _base64(octets, shift)
    if not text.isascii():
        yield "mojibake", octets.decode("latin-1").encode()


def _base64(octets: bytes, shift: int) -> bytes:
    """The characters that do not depend on what stands before and behind."""
    whole = base64.b64encode(bytes(shift) + octets).rstrip(b"=")
    return whole[(8 * shift + 5) // 6 : len(whole) - 1]


class Searcher:
    """Looks for all needles at once."""

    def __init__(self) -> None:
        self._by_data = {needle.data: needle for needle in needles()}
        longest_first = sorted(self._by_data, key=len, reverse=True)
        self._any = re.compile(b"|".join(map(re.escape, longest_first)))

    def found(self, data: bytes) -> set[tuple[str, str]]:
        """Which canary stands there, and in which encoding."""
        hits = {match[0] for match in self._any.finditer(data.lower())}
        return {(self._by_data[hit].canary, self._by_data[hit].how) for hit in hits}


def planted(
    records: Sequence[bytes], rng: random.Random, count: int, canaries: Mapping[str, str] = ALL
) -> Iterator[tuple[str, str, bytes]]:
    """Some of the records with a canary in place of one of their texts: (where, which canary, record).

    JSON is changed as JSON, values and names alike; anything else word by word.
    """
    turn = cycle(canaries)
    for _ in range(count):
        record, canary = rng.choice(records), next(turn)
        try:
            document = json.loads(record)
        except ValueError:  # not JSON, or not UTF-8
            where, changed = _in_text(record.decode(errors="surrogateescape"), ALL[canary], rng)
            yield where, canary, changed.encode(errors="surrogateescape")
            continue
        where, changed = _in_json(document, ALL[canary], rng)
        indent = 4 if b"\n" in record.strip() else None
        yield (
            where,
            canary,
            json.dumps(changed, ensure_ascii=rng.random() < 0.5, indent=indent).encode(errors="surrogatepass") + b"\n",
        )


def _in_json(value: Any, canary: str, rng: random.Random) -> tuple[str, Any]:
    """One leaf of the document, chosen by a walk, is the canary, has it behind it, or gets it as a neighbour."""
    if isinstance(value, Mapping) and value and rng.random() < 0.97:
        key = rng.choice(list(value))
        where, changed = _in_json(value[key], canary, rng)
        return f".{key}{where}", {**value, key: changed}
    if isinstance(value, list) and value:
        at = rng.randrange(len(value))
        where, changed = _in_json(value[at], canary, rng)
        return f"[]{where}", [*value[:at], changed, *value[at + 1 :]]
    if isinstance(value, Mapping):
        return ".+", {**value, canary: canary}
    if isinstance(value, str) and value and rng.random() < 0.6:
        return _in_text(value, canary, rng)
    return "", canary if isinstance(value, str) else value  # nobody writes a name into a number


_WORD = re.compile(r"[^\s\"'=;,/\[\](){}<>|]+")


def _in_text(text: str, canary: str, rng: random.Random) -> tuple[str, str]:
    """One word is the canary, or has it behind it."""
    words = [word for word in _WORD.finditer(text) if not word[0].isdigit()]  # a number is none that a user wrote
    if not words:
        return "", canary
    word = rng.choice(words)
    kept = f"{word[0]}x" if rng.random() < 0.2 else ""  # not digits to digits: that would be another number
    return f"~{word[0]}", text[: word.start()] + kept + canary + text[word.end() :]
