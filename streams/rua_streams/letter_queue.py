"""The dead-letter queue on Apache Kafka, read from its beginning to its end, and the messages that letters speak of."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from rua_common.errors import PoisonEvent
from rua_schemas.codec import decode
from rua_schemas.events import DeadLetter
from rua_schemas.topics import DLQ

from rua_streams.letters import Letter, Place

CALL_SECONDS = 20.0
AT_ONCE = 500


class Original(NamedTuple):
    """A message as it stands in its topic."""

    key: bytes | None
    value: bytes | None


class LetterQueue:
    """Reads with the rights of whoever runs the command, joins no group and commits nothing. Close it."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        own = {"group.id": "rua-dlq", "enable.auto.commit": False, "auto.offset.reset": "error"}
        self._consumer = Consumer({**options, **own, "enable.partition.eof": True})
        self.unreadable = 0

    def close(self) -> None:
        """Ends the connection."""
        self._consumer.close()

    def letters(self) -> Iterator[Letter]:
        """Every letter that the queue holds now. What is no letter is counted in `unreadable`.

        Raises:
            KafkaException: the brokers do not answer.
        """
        left = {}
        for number in self._consumer.list_topics(DLQ, timeout=CALL_SECONDS).topics[DLQ].partitions:
            first, end = self._bounds(DLQ, number)
            if first < end:
                left[number] = (first, end)
        self._consumer.assign([TopicPartition(DLQ, number, first) for number, (first, _) in left.items()])
        while left:
            for message in self._messages(AT_ONCE, 0.2):
                number, offset, error = message.partition() or 0, message.offset() or 0, message.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    left.pop(number, None)
                    continue
                if number in left and offset >= left[number][1] - 1:
                    del left[number]
                yield from self._letter(message)
        self._consumer.unassign()

    def _letter(self, message: Message) -> Iterator[Letter]:
        value = message.value()
        if value is None:
            return
        try:
            letter = decode(value, DeadLetter)
        except PoisonEvent:
            self.unreadable += 1
        else:
            yield Letter(Place(DLQ, message.partition() or 0, message.offset() or 0), letter)

    def original(self, place: Place) -> Original | None:
        """The message at a place; None if the topic does not hold it any more, or never did.

        Raises:
            KafkaException: the brokers do not answer, or refuse.
        """
        topic = self._consumer.list_topics(place.topic, timeout=CALL_SECONDS).topics[place.topic]
        if topic.error is not None and topic.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise KafkaException(topic.error)
        if place.partition not in topic.partitions:
            return None
        first, end = self._bounds(place.topic, place.partition)
        if not first <= place.offset < end:
            return None
        self._consumer.assign([TopicPartition(*place)])
        until = time.monotonic() + CALL_SECONDS
        try:
            while not (messages := self._messages(1, 0.2)):
                if time.monotonic() > until:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{place} was not read in time"))
        finally:
            self._consumer.unassign()
        (message,) = messages
        if (error := message.error()) is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                return None
            raise KafkaException(error)
        return Original(message.key(), message.value()) if message.offset() == place.offset else None

    def _messages(self, most: int, seconds: float) -> list[Message]:
        """What has come. The client wants a group and looks for its coordinator, which nobody needs here."""
        found = self._consumer.consume(most, seconds)
        return [m for m in found if (e := m.error()) is None or e.code() != KafkaError.GROUP_AUTHORIZATION_FAILED]

    def _bounds(self, topic: str, partition: int) -> tuple[int, int]:
        found = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=CALL_SECONDS)
        if found is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic}-{partition}: no answer"))
        return found
