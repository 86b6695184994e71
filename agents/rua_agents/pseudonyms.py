"""Names become keyed pseudonyms before anything touches a disk or a network.

Keyed BLAKE2b, one subkey for each platform, field and key epoch: the same person at two platforms, or the same text in
two fields, gives two pseudonyms that nobody can join. Destroying a key erases what it named.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from socket import AF_INET6, inet_ntop

import msgspec
from rua_common.blake import blake2b
from rua_schemas.events import Label, TelemetryEvent

from rua_agents.canonical import canonical_address, canonical_name, packed_address
from rua_agents.keyfile import FIRST_EPOCH, KEY_BYTES, KeyEpoch, Keys, single
from rua_agents.memo import CHARACTERS, memo

MEMO = 1 << 13
NETWORKS_MEMO = 1 << 12
BRIDGED = 1 << 14
BRIDGED_FIELDS = ("actor", "app", "destination", "merchant", "session", "source_ip", "statement_fingerprint")
PREVIOUS = "previous."
LOCAL_NAMES = frozenset(("[local]", "local", "localhost"))
IPV6_LOOPBACK = bytes(15) + b"\x01"
IPV6_PREFIX_BYTES = 6

Observer = Callable[[str, str, str], None]
"""Called with (field, value in clear, pseudonym): only for replays of simulated data."""


class Pseudonymiser:
    """One platform's pseudonyms of one key epoch.

    Args:
        key: 32 to 64 random bytes.
        platform: whose names these are.
        epoch: the number of the key.
        observer: told of every pseudonym that is made.
        previous: in a rotation's overlap the one of the key before: then the pseudonyms of both are kept side by side.
    """

    def __init__(
        self,
        key: bytes,
        platform: str,
        epoch: int = FIRST_EPOCH,
        observer: Observer | None = None,
        previous: Pseudonymiser | None = None,
    ) -> None:
        self.epoch = epoch
        self._key, self._platform, self._observer, self._previous = key, platform, observer, previous
        self._subkeys: dict[str, bytes] = {}
        self._before: OrderedDict[str, str] = OrderedDict()
        self._remembered = lru_cache(MEMO)(self._made)

    @staticmethod
    def network(address: str) -> str | None:
        """Its /24 or /48 prefix in clear, `local`, or None if it is no address."""
        return network(address)

    def pseudonym(self, field: str, value: str) -> str:
        """32 hex digits. Long values, which users may send to fill the memory, are made each time."""
        return self._remembered(field, value) if len(value) <= CHARACTERS else self._made(field, value)

    @property
    def bridges(self) -> bool:
        """Whether the pseudonyms of the key before are kept beside."""
        return self._previous is not None

    def before(self, pseudonym: str) -> str | None:
        """What the key before would have made of the same value; None outside an overlap, or if it was long ago."""
        found = self._before.get(pseudonym)
        if found is not None:
            self._before.move_to_end(pseudonym)
        return found

    def _made(self, field: str, value: str) -> str:
        canonical = canonical_address(value) if field == "address" else canonical_name(value)
        made = blake2b(canonical.encode("utf-8", "replace"), key=self._subkey(field), digest_size=16).hexdigest()
        if self._observer is not None:
            self._observer(field, value, made)
        if self._previous is not None:
            self._bridge(made, self._previous.pseudonym(field, value))
        return made

    def _bridge(self, made: str, before: str) -> None:
        self._before[made] = before
        self._before.move_to_end(made)
        if len(self._before) > BRIDGED:
            self._before.popitem(last=False)

    def _subkey(self, field: str) -> bytes:
        if field not in self._subkeys:
            purpose = "\0".join(("rua.pseudonym", self._platform, field, str(self.epoch))).encode()
            self._subkeys[field] = blake2b(purpose, key=self._key, digest_size=KEY_BYTES).digest()
        return self._subkeys[field]


class KeyRing:
    """Which key holds at which time.

    A time whose key was destroyed, or that lies before the first, belongs to the next epoch that has its key: no event
    is lost or nameless, and nothing of it can be joined with what the destroyed key named.
    """

    def __init__(self, keys: bytes | Keys, platform: str, observer: Observer | None = None) -> None:
        spans = list(_spans(single(keys) if isinstance(keys, bytes) else keys, platform, observer))
        self._changes = [start_ms for start_ms, _ in spans[1:]]
        self._names = [names for _, names in spans]

    def at(self, occurred_at_ms: int) -> Pseudonymiser:
        """The pseudonymiser of an event's own time, so that reading it again uses the same key."""
        return self._names[bisect_right(self._changes, occurred_at_ms)]

    def remembered(self, field: str, value: str) -> dict[str, str]:
        """Its pseudonyms by all keys there are, epoch → pseudonym: what a parser may keep in the checkpoint."""
        return {str(names.epoch): names.pseudonym(field, value) for names in self._names}

    def recalled(self, remembered: Mapping[str, str], occurred_at_ms: int) -> str | None:
        """The pseudonym of an event's own time; if its key came later than the memory, the newest there was."""
        found = remembered.get(str(self.at(occurred_at_ms).epoch))
        return found or next(reversed(list(remembered.values())), None)

    @property
    def overlaps(self) -> bool:
        """Whether there is any time with two keys."""
        return any(names.bridges for names in self._names)

    def bridged(self, event: TelemetryEvent) -> TelemetryEvent:
        """The event; in an overlap with a label `previous.FIELD` for each pseudonym that the key before made."""
        names = self.at(event.occurred_at)
        if not names.bridges:
            return event
        told = [(field, getattr(event, field)) for field in BRIDGED_FIELDS]
        told += [(label.key, label.value) for label in event.labels]
        found = [(field, names.before(value.rpartition(":")[2])) for field, value in told if value]
        more = tuple(Label(key=PREVIOUS + field, value=before) for field, before in found if before)
        return msgspec.structs.replace(event, labels=event.labels + more) if more else event


def _spans(keys: Keys, platform: str, observer: Observer | None) -> Iterator[tuple[int, Pseudonymiser]]:
    """From when each pseudonymiser holds; the first one also for what was before."""
    for at, one in enumerate(keys):
        living = next(later for later in keys[at:] if later.key is not None)
        plain = _named(living, platform, observer)
        before = keys[at - 1] if at else None
        if one is not living or before is None or before.key is None or not one.overlap_ms:
            yield one.from_ms, plain
            continue
        yield one.from_ms, _named(one, platform, observer, _named(before, platform, None))
        ends = one.from_ms + one.overlap_ms
        if at + 1 == len(keys) or ends < keys[at + 1].from_ms:
            yield ends, plain


def _named(
    one: KeyEpoch, platform: str, observer: Observer | None, previous: Pseudonymiser | None = None
) -> Pseudonymiser:
    if one.key is None:
        raise ValueError(f"epoch {one.epoch} has no key")
    return Pseudonymiser(one.key, platform, one.epoch, observer, previous)


@memo(NETWORKS_MEMO)
def network(address: str) -> str | None:
    """Its /24 or /48 prefix in clear, `local`, or None if it is no address."""
    if address in LOCAL_NAMES or address.startswith("unix:"):
        return "local"
    packed = packed_address(address)
    if packed is None:
        return None
    if packed == IPV6_LOOPBACK or (len(packed) == 4 and packed[0] == 127):
        return "local"
    if len(packed) == 4:
        return f"{packed[0]}.{packed[1]}.{packed[2]}.0/24"
    return inet_ntop(AF_INET6, packed[:IPV6_PREFIX_BYTES].ljust(16, b"\0")) + "/48"
