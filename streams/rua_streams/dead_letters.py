"""What becomes of messages that cannot be used: kept whole, counted, and past a limit a reason to pause."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from rua_schemas.columns import Rejected
from rua_schemas.events import Alert, DeadLetter, Evidence, Number
from rua_schemas.topics import platform_of

from rua_streams.fence import KEEP_DAYS
from rua_streams.transport import Received
from rua_streams.watermark import Watermark

MAX_NAME = 200  # characters of a notice's name; what stands in it may have any length
NO_CLOCK = Watermark()
MAX_VALUE_BYTES = 900_000  # a dead letter must itself fit into a message


def dead_letter(record: Received, why: Rejected, stage: str) -> DeadLetter:
    """The message with its place and the reason. `failed_at` is Kafka's time of the message: a replay says the same."""
    value = record.value
    cut = value is not None and len(value) > MAX_VALUE_BYTES
    return DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=why.reason,
        detail=f"{why.detail} (first {MAX_VALUE_BYTES} of {len(value)} bytes)" if cut and value else why.detail,
        stage=stage,
        failed_at=record.timestamp,
        key=record.key,
        value=value[:MAX_VALUE_BYTES] if value is not None else None,
    )


@dataclass(slots=True)
class Ratio:
    """Counts bad messages in fixed windows of offsets, so that what it says depends on the log and not on batches."""

    limit: float
    window_records: int
    window: int = -1
    bad: int = 0

    def crossed(self, offset: int) -> bool:
        """Counts one bad message. True when it is the one that passes the limit in its window."""
        window = offset // self.window_records
        if window != self.window:
            self.window, self.bad = window, 0
        self.bad += 1
        return self.bad == int(self.limit * self.window_records) + 1


@dataclass(slots=True)
class Notices:
    """What happens once in a partition: notices given, events replayed. Saved with the checkpoint.

    Each is remembered for `KEEP_DAYS` of the partition's clock, as sources are (`fence.py`, which also holds what is
    replayed after that for too old). `given` holds offset and day; without a day it is of the partition's first day.
    """

    given: dict[bytes, bytes] = field(default_factory=dict)
    dirty: dict[bytes, bytes | None] = field(default_factory=dict)
    keep_days: int = KEEP_DAYS

    def first(self, key: str, offset: int, clock: Watermark = NO_CLOCK) -> bool:
        """True the first time; the offset says when that was."""
        name = key.encode() if len(key) <= MAX_NAME else hashlib.blake2b(key.encode()).hexdigest().encode()
        if name in self.given and not self._over(name, clock):
            return False
        self.given[name] = self.dirty[name] = b"%d %d" % (offset, clock.day)
        return True

    def forget(self, clock: Watermark) -> None:
        """Drops what is over, for good. Call it after each batch in which a day began."""
        for name in [name for name in self.given if self._over(name, clock)]:
            del self.given[name]
            self.dirty[name] = None

    def _over(self, name: bytes, clock: Watermark) -> bool:
        _, _, day = self.given[name].partition(b" ")
        return (int(day or b"0") or clock.lowest) < clock.day - self.keep_days

    def take_dirty(self) -> dict[bytes, bytes | None]:
        """The notices given or forgotten since the last call."""
        dirty, self.dirty = self.dirty, {}
        return dirty


def wrong_platform(record: Received, claimed: str) -> Alert:
    """Somebody who may write for one platform spoke for another."""
    return _notice(
        "wrong-platform",
        record,
        claimed,
        title=f"A producer of {platform_of(record.topic)} sent an event that names {claimed or 'no platform'}",
        reason="the payload names another platform than its topic, and only its write permission proves the sender",
        numbers=(),
    )


def too_many(record: Received, ratio: Ratio) -> Alert:
    """A topic's partition was paused."""
    return _notice(
        "dead-letter-ratio",
        record,
        str(ratio.window),
        title=f"{record.topic}-{record.partition} is paused: too many messages cannot be used",
        reason="more messages than the limit allows are undecodable; the other partitions go on",
        numbers=(Number(name="bad_messages", value=ratio.bad, limit=ratio.limit * ratio.window_records),),
    )


def _notice(
    detector: str,
    record: Received,
    what: str,
    *,
    title: str,
    reason: str,
    numbers: tuple[Number, ...],
) -> Alert:
    platform, at = platform_of(record.topic), record.timestamp
    place = f"{detector}\0{record.topic}\0{record.partition}\0{what}"
    return Alert(
        alert_id=hashlib.blake2b(place.encode(), digest_size=16).hexdigest(),
        revision=1,
        detector=detector,
        severity="high",
        platform=platform,
        subject=platform,
        subject_type="platform",
        title=title,
        reason=reason,
        runbook=f"docs/runbooks/{detector}.md",
        window_start=at,
        window_end=at,
        raised_at=at,
        numbers=numbers,
        evidence=(Evidence(event_id="", topic=record.topic, partition=record.partition, offset=record.offset),),
    )
