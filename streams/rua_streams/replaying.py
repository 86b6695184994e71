"""Sends dead letters back to their topics: what may be sent, and how it stays recognisable.

A letter proves nothing by itself. Whoever may write to the dead-letter queue could name any topic in one, and the
person who replays it may write where the forger may not. So a letter goes back only if its topic still holds the same
bytes at the same place; then whoever wrote them had the right to write there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from rua_common.errors import Refused
from rua_common.kafka import PRODUCER
from rua_schemas.codec import Encoder
from rua_schemas.columns import ColumnCodec
from rua_schemas.events import DeadLetter
from rua_schemas.topics import DLQ, EVENTS

from rua_streams.intake import REPLAY_HEADER, take_in
from rua_streams.letter_queue import Original
from rua_streams.letters import REPLAYED, Letter, Place

STORE = "store"
MOST_BYTES = 256 * 1024 * 1024  # of selected messages, which are held in memory
SEND_SECONDS = 60.0
AT_ONCE = 500


class Judged(NamedTuple):
    """A selected letter, and why it cannot be sent back; "" if it can."""

    one: Letter
    problem: str


@dataclass(slots=True)
class AsFetched:
    """A letter's message as the processors would see it: a `transport.Received`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    timestamp_type: int = 0
    headers: Sequence[tuple[str, bytes]] = ()


def chosen(letters: Iterable[Letter]) -> list[Letter]:
    """One letter for each message, in log order. If both roles could not use it, detection's: the store reads it too.

    Raises:
        Refused: they are too many to be held.
    """
    found: dict[Place, Letter] = {}
    size = 0
    for one in letters:
        name = one.origin if one.letter.offset >= 0 else one.at
        if name in found and found[name].letter.stage != STORE:
            continue
        size += len(one.letter.value or b"")
        if size > MOST_BYTES:
            raise Refused(f"more than {MOST_BYTES >> 20} MiB are selected: narrow it with --topic, --reason or --since")
        found[name] = one
    return [found[name] for name in sorted(found)]


@dataclass(frozen=True)
class Judge:
    """Says of each letter whether it may be sent back.

    Attributes:
        original: What a topic holds at a place; asked last, because it costs a round trip.
        replayed: Places whose messages were sent back before.
        unproven: Whether what its topic does not hold any more is sent all the same.
        again: Whether what was sent back before is sent once more.
    """

    original: Callable[[Place], Original | None]
    replayed: Collection[Place]
    unproven: bool = False
    again: bool = False
    codec: ColumnCodec = field(default_factory=ColumnCodec)

    def judge(self, one: Letter) -> Judged:
        """The first reason against it."""
        return Judged(one, self._kept(one) or self._unused(one) or self._unproven(one))

    def _kept(self, one: Letter) -> str:
        letter = one.letter
        if letter.offset < 0 or letter.partition < 0:
            return "an agent kept it back: it never was a message of its topic"
        if not letter.topic.removeprefix(EVENTS) or not letter.topic.startswith(EVENTS):
            return "only events are sent back: alerts and heartbeats are told again by whoever told them"
        if one.is_cut:
            return "only its first bytes were kept; the whole message may still stand in its topic"
        if not letter.value:
            return "it is empty"
        return ""

    def _unused(self, one: Letter) -> str:
        letter = one.letter
        if one.origin in self.replayed and not self.again:
            return "it was sent back before"
        record = AsFetched(letter.topic, letter.partition, letter.offset, letter.failed_at, letter.key, letter.value)
        if rejected := take_in(self.codec, [record]).rejected:
            return f"it still cannot be used: {rejected[0].reason}: {rejected[0].detail}"
        return ""

    def _unproven(self, one: Letter) -> str:
        try:
            found = self.original(one.origin)
        except KafkaException as why:
            if why.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise
            return "you may not read its topic, so nothing proves who wrote it: READ must be granted to this user"
        if found is None:
            gone = (
                "its topic does not hold it any more, so nothing proves who wrote it (--unproven sends it all the same)"
            )
            return "" if self.unproven else gone
        if found != Original(one.letter.key, one.letter.value):
            return "its topic holds other bytes there: the letter is forged, or the topic was re-created"
        return ""


@dataclass
class Replay:
    """Sends letters back: first the message, then, once the brokers have it, the note in the queue.

    A crash in between leaves a message without its note. It may be sent twice then, and is counted once: the workers
    remember the event ids of what was replayed, and the store keeps one row for each.
    """

    options: Mapping[str, Any]
    now_ms: Callable[[], int]
    producer: Callable[[dict[str, Any]], Any] = Producer
    done: list[Place] = field(default_factory=list)
    failed: dict[Place, str] = field(default_factory=dict)

    def send(self, letters: Sequence[Letter]) -> None:
        """Sends them. `done` holds those that the brokers have, `failed` the others with the reason."""
        client = self.producer({**self.options, **PRODUCER, "message.timeout.ms": round(SEND_SECONDS * 1_000)})
        for start in range(0, len(letters), AT_ONCE):
            some = letters[start : start + AT_ONCE]
            offsets: dict[Place, int] = {}
            for one in some:
                message = (one.letter.topic, one.letter.value, one.letter.key, one.letter.partition)
                self._produce(client, one.origin, offsets, *message, headers=headers(one))
            client.flush(SEND_SECONDS + 5)
            self.done += offsets
            noted: dict[Place, int] = {}
            for one in (one for one in some if one.origin in offsets):
                told = Encoder(DeadLetter).encode(note(one, offsets[one.origin], self.now_ms()))
                self._produce(client, one.origin, noted, DLQ, told, one.letter.topic.encode())
            client.flush(SEND_SECONDS + 5)

    def _produce(self, client: Any, name: Place, offsets: dict[Place, int], *message: Any, **more: Any) -> None:
        def delivered(error: KafkaError | None, sent: Message) -> None:
            if error is None:
                del self.failed[name]
                offsets[name] = sent.offset() or 0
            else:
                self.failed[name] = str(error)

        self.failed[name] = "no broker has acknowledged it"
        client.produce(*message, on_delivery=delivered, **more)


def headers(one: Letter) -> list[tuple[str, bytes]]:
    """What lets the message pass the fence. What only the store refused is a copy for detection, which counted it."""
    return [] if one.letter.stage == STORE else [(REPLAY_HEADER, str(one.origin).encode())]


def note(one: Letter, offset: int, now_ms: int) -> DeadLetter:
    """What tells whoever reads the queue that the letter was sent back, and where the message stands now."""
    origin = one.origin
    now_at = Place(origin.topic, origin.partition, offset)
    return DeadLetter(**origin._asdict(), reason="replayed", detail=f"as {now_at}", stage=REPLAYED, failed_at=now_ms)
