"""How a range of each topic becomes rows of a sink. Everything here blocks and runs in a thread, one call at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rua_common.errors import PoisonEvent
from rua_common.metrics import Metrics
from rua_common.protocols import EventSink
from rua_schemas.codec import Encoder
from rua_schemas.columns import ColumnCodec, Rejected
from rua_schemas.events import DeadLetter
from rua_schemas.topics import DLQ

from rua_streams.dead_letters import dead_letter
from rua_streams.intake import take_in
from rua_streams.outbox import Outbox
from rua_streams.ranges import Range, halves

LOG = logging.getLogger(__name__)
T = TypeVar("T")
STAGE = "store"


class Graveyard:
    """Dead-letters records of the store role, and waits for the broker to have them."""

    def __init__(self, outbox: Outbox, metrics: Metrics) -> None:
        self.outbox, self.metrics, self.encoder = outbox, metrics, Encoder(DeadLetter)

    def bury(self, cut: Range, index: int, why: PoisonEvent) -> None:
        """Sends one record of the range to the dead-letter queue, or only counts it if it comes from there."""
        record = cut.records[index]
        LOG.error("%s-%d: offset %d cannot be stored: %s", *cut.tp, record.offset, why)
        self.metrics.add("rua_worker_dead_letters_total", topic=cut.tp.topic, reason=why.reason)
        if cut.tp.topic != DLQ:
            letter = dead_letter(record, Rejected(index, why.reason, why.detail), STAGE)
            self.outbox.send(DLQ, cut.tp.topic, self.encoder.encode(letter))

    def close(self) -> None:
        """Blocks until the broker has everything."""
        self.outbox.settle()


class EventTable:
    """Events, whole columns at a time.

    What cannot be decoded is skipped here: the detect role, which sees every record too, dead-letters it.
    """

    name = "events"

    def __init__(self, sink: EventSink, graveyard: Graveyard) -> None:
        self.sink, self.graveyard, self.codec = sink, graveyard, ColumnCodec()

    def store(self, cut: Range) -> None:
        """Writes the range's usable events under its token.

        Raises:
            RetryLater: the store is slow or away.
        """
        intake = take_in(self.codec, cut.records)
        frame = intake.frame
        if not frame.height:
            return
        places = {record.offset: index for index, record in enumerate(cut.records)}

        def bad(row: int, why: PoisonEvent) -> None:
            self.graveyard.bury(cut, places[frame["offset"][row]], why)

        halves(lambda a, b, token: self.sink.write(frame[a:b], token), frame.height, cut.token, bad)
        self.graveyard.close()


class RecordTable(Generic[T]):
    """Small records, one by one: alerts, heartbeats, dead letters."""

    def __init__(
        self, name: str, read: Callable[[bytes], T], write: Callable[[Sequence[T], str], None], graveyard: Graveyard
    ) -> None:
        self.name, self.read, self.write, self.graveyard = name, read, write, graveyard

    def store(self, cut: Range) -> None:
        """Writes the range's records under its token.

        Raises:
            RetryLater: the store is slow or away.
        """
        good: list[tuple[int, T]] = []
        for index, record in enumerate(cut.records):
            if record.value is None:
                continue
            try:
                good.append((index, self.read(record.value)))
            except PoisonEvent as why:
                self.graveyard.bury(cut, index, why)

        def write(start: int, end: int, token: str) -> None:
            self.write([record for _, record in good[start:end]], token)

        if good:
            halves(write, len(good), cut.token, lambda row, why: self.graveyard.bury(cut, good[row][0], why))
        self.graveyard.close()
