"""Events to messages: numbered, chained, in Avro.

An event's number and its link to the message before it are known only when it is sent; everything else can be written
earlier, and what repeats only once (see `rua_agents.collectors.weblines`).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from rua_common.blake import blake2b
from rua_common.errors import PoisonEvent
from rua_schemas.codec import UNENCODABLE, Encoder, decode, piece
from rua_schemas.events import TelemetryEvent
from rua_schemas.writing import long, varint

from rua_agents.heartbeat import Offset

CHAIN_BYTES = 16
KEPT_CHARACTERS = 256
HEX_CHARACTERS = 2 * CHAIN_BYTES
SEAL_BYTES = 100
"""Prefix, epoch, number, clock and chain together are shorter."""

write_first = piece(TelemetryEvent, None, "agent_id")
write_middle = piece(TelemetryEvent, "platform", "observed_at")
write_labels = piece(TelemetryEvent, "labels", "labels")
_write_clock = piece(TelemetryEvent, "clock_offset_ms", "clock_error_ms")
_write_chain = piece(TelemetryEvent, "chain", "chain")


class _Own(NamedTuple):
    """Fields that the agent itself adds to an event."""

    clock_offset_ms: int | None = None
    clock_error_ms: int | None = None
    chain: str | None = None


class Written(NamedTuple):
    """An event in Avro, but for what is added when it is sent: number, the clock's offset, chain."""

    occurred_at: int
    """Milliseconds since the epoch."""
    key: bytes
    """The message's key: the actor, or else the source."""
    first: bytes
    """Fields up to `agent_id`."""
    middle: bytes
    """From `platform` to `observed_at`."""
    labels: bytes

    @property
    def message_bytes(self) -> int:
        """How long its message will be at most."""
        return len(self.first) + len(self.middle) + len(self.labels) + SEAL_BYTES


def written(event: TelemetryEvent) -> Written:
    """The event in Avro.

    Raises:
        PoisonEvent: a value does not fit the schema.
    """
    try:
        key = (event.actor or event.source_id).encode()
        return Written(event.occurred_at, key, write_first(event), write_middle(event), write_labels(event))
    except ValueError as why:
        raise PoisonEvent(UNENCODABLE, f"{TelemetryEvent.__name__}: {why}") from why


class Sealer:
    """Numbers the events of one agent epoch and chains them: each tells the hash of the message before it.

    Args:
        epoch: `agent_epoch`, milliseconds.
    """

    def __init__(self, epoch: int) -> None:
        self.seq = 0
        """Number of the last event."""
        self.head: str | None = None
        """BLAKE2b-128 of the last message, in hex digits. It belongs to `seq`, unless that one was skipped."""
        self._epoch = long(epoch)
        self._prefix = Encoder(TelemetryEvent).prefix
        self._empty = blake2b(digest_size=CHAIN_BYTES)
        self._link = _link(None)
        self._linked = _link("0" * HEX_CHARACTERS)[:-HEX_CHARACTERS]
        self._offset: Offset | None = None
        self._clock = _clock(None)

    def clock(self, offset: Offset | None) -> None:
        """The offset of this host's clock that the next events carry."""
        if offset != self._offset:
            self._offset, self._clock = offset, _clock(offset)

    def skip(self) -> None:
        """Uses up the number of an event that cannot be sent, so that its loss is seen."""
        self.seq += 1

    def sealed(self, one: Written) -> bytes:
        """The message of the next event."""
        seq = self.seq = self.seq + 1
        # indices, because a named tuple is unpacked slowly
        parts = self._prefix, one[2], self._epoch, varint(2 * seq), one[3], self._clock, one[4], self._link
        message = b"".join(parts)
        hashed = self._empty.copy()
        hashed.update(message)
        self.head = head = hashed.hexdigest()
        self._link = self._linked + head.encode()
        return message


def _clock(offset: Offset | None) -> bytes:
    return _write_clock(_Own(*offset) if offset else _Own())


def _link(head: str | None) -> bytes:
    return _write_chain(_Own(chain=head))


def opened(one: TelemetryEvent | Written) -> TelemetryEvent:
    """The event that it is, not numbered: for whoever does not send it. Slow; see `Origin.drafts_only`."""
    if not isinstance(one, Written):
        return one
    event = decode(Sealer(0).sealed(one), TelemetryEvent)
    return msgspec.structs.replace(event, agent_seq=0)


def cut(event: TelemetryEvent) -> TelemetryEvent:
    """The event with its long texts shortened, marked as truncated."""
    short = {
        name: value[:KEPT_CHARACTERS]
        for name, value in msgspec.structs.asdict(event).items()
        if isinstance(value, str) and len(value) > KEPT_CHARACTERS
    }
    return msgspec.structs.replace(event, truncated=True, labels=(), pii_categories=(), **short)
