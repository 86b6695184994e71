"""How many different people: exactly up to 4,096, then estimated, in bounded memory.

The k smallest of evenly spread 64-bit hashes tell how many there are (k minimum values; Bar-Yossef et al., 2002): the
standard error is 1/sqrt(k - 2), 1.6 % here.
"""

from __future__ import annotations

from heapq import heappush, heappushpop

KEPT = 4_096
SPREAD = 1 << 64


class Distinct:
    """Counts different keys."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._known: set[int] = set()
        self._largest_first: list[int] = []
        self.exact = True

    def add(self, key: object) -> None:
        """Counts a key if it is new. Keys are equal if their texts are."""
        made = hash(str(key)) % SPREAD  # SipHash, keyed anew in each process
        if made in self._known:
            return
        if len(self._known) < self._kept:
            self._known.add(made)
            heappush(self._largest_first, -made)
            return
        self.exact = False
        if made < -self._largest_first[0]:
            self._known.add(made)
            self._known.discard(-heappushpop(self._largest_first, -made))

    @property
    def count(self) -> int:
        """How many they are."""
        if self.exact:
            return len(self._known)
        return round((self._kept - 1) * SPREAD / (1 - self._largest_first[0]))
