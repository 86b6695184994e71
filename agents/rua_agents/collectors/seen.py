"""What was seen lately, in bounded memory: sources that may tell one thing twice."""

from __future__ import annotations

from collections.abc import Iterable

from rua_common.blake import blake2b

DIGEST_BYTES = 10


class Seen:
    """The last `limit` keys. What was forgotten is new again: a double is better than a loss."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._keys: dict[str, None] = {}

    def add(self, *parts: str) -> bool:
        """Whether these parts are new; they are remembered."""
        key = digest(*parts)
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._limit:
            del self._keys[next(iter(self._keys))]
        return True

    def dump(self) -> list[str]:
        """The keys, oldest first."""
        return list(self._keys)

    def load(self, keys: Iterable[str]) -> None:
        """Goes on where `dump` was taken."""
        self._keys = dict.fromkeys(keys)


def digest(*parts: str) -> str:
    """A short name of these parts, which none can imitate; one must be random, so that nobody can guess the others."""
    framed = b"".join(len(p).to_bytes(4, "big") + p for p in (part.encode("utf-8", "replace") for part in parts))
    return blake2b(framed, digest_size=DIGEST_BYTES).hexdigest()
