"""Which dead letters are sent back, and how: forged, cut, useless and repeated ones are not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException
from rua_common.errors import Refused
from rua_schemas.codec import decode, encode
from rua_schemas.columns import Rejected
from rua_schemas.events import DeadLetter
from rua_streams import replaying
from rua_streams.dead_letters import MAX_VALUE_BYTES, dead_letter
from rua_streams.letter_queue import Original
from rua_streams.letters import Letter, Place
from rua_streams.replaying import AsFetched, Judge, Replay, chosen

from tests.streams_rig import made

EVENT = encode(made("shop", 0, 1, random.Random(1)))
HELD = Original(b"k", EVENT)
ORIGIN = Place("rua.events.shop", 2, 40)


def letter(offset: int = 40, **changes: Any) -> Letter:
    """A letter whose message can be used by now."""
    about = {"reason": "unknown_schema", "detail": "fingerprint 00", "stage": "detect", "failed_at": 5, "key": b"k"}
    place = {"topic": ORIGIN.topic, "partition": ORIGIN.partition, "offset": offset}
    return Letter(Place("rua.dlq", 0, 7), DeadLetter(**{**place, **about, "value": EVENT, **changes}))


def problem(one: Letter, held: Original | None = HELD, **more: Any) -> str:
    """What the judge says while the topic holds this."""
    return Judge(lambda _: held, more.pop("replayed", ()), **more).judge(one).problem


def test_what_can_be_used_now_and_stands_in_its_topic_is_sent() -> None:
    """The release that knows the schema has come."""
    assert not problem(letter())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"partition": -1, "offset": -1, "stage": "agent"}, "an agent kept it back"),
        ({"topic": "rua.alerts"}, "only events are sent back"),
        ({"topic": "rua.events."}, "only events are sent back"),
        ({"topic": "rua.state.shop"}, "only events are sent back"),
        ({"value": None}, "it is empty"),
        ({"value": b"{}"}, "still cannot be used: undecodable"),
        ({"value": EVENT[:-1]}, "still cannot be used: undecodable"),
        ({"topic": "rua.events.mall"}, "still cannot be used: wrong_platform"),
    ],
)
def test_what_cannot_be_sent_says_why(changes: dict[str, Any], said: str) -> None:
    """Each with its own words, and without asking the topic."""
    one = letter()
    assert said in problem(Letter(one.at, msgspec.structs.replace(one.letter, **changes)))


def test_a_message_that_was_cut_is_never_sent() -> None:
    """Its first bytes are another message, even if they could be read."""
    record = AsFetched(*ORIGIN, 5, b"k", EVENT + b"x" * MAX_VALUE_BYTES)
    cut = dead_letter(record, Rejected(0, "undecodable", "odd"), "detect")
    assert "only its first bytes were kept" in problem(Letter(Place("rua.dlq", 0, 7), cut))
    whole = dead_letter(AsFetched(*ORIGIN, 5, b"k", EVENT), Rejected(0, "unknown_schema", "odd"), "detect")
    assert not problem(Letter(Place("rua.dlq", 0, 7), whole))


@pytest.mark.parametrize("held", [Original(b"k", EVENT + b"x"), Original(b"other", EVENT), Original(None, EVENT)])
def test_a_forged_letter_is_not_sent_whatever_the_options(held: Original) -> None:
    """Whoever may write dead letters must not borrow the rights of the person who sends them back."""
    assert "forged" in problem(letter(), held, unproven=True, again=True)


def test_what_the_topic_has_let_go_proves_nothing() -> None:
    """It is sent only if the person says so."""
    assert "--unproven" in problem(letter(), None)
    assert not problem(letter(), None, unproven=True)


@pytest.mark.parametrize("unproven", [False, True])
def test_a_topic_that_the_person_may_not_read_proves_nothing(unproven: bool) -> None:
    """Only that letter is refused: a forged one must not stop the others. A broker that is away stops all."""

    def held(code: int) -> Callable[[Place], Original | None]:
        def original(_: Place) -> Original | None:
            raise KafkaException(KafkaError(code))

        return original

    denied = Judge(held(KafkaError.TOPIC_AUTHORIZATION_FAILED), (), unproven=unproven)
    assert "READ must be granted" in denied.judge(letter()).problem
    with pytest.raises(KafkaException):
        Judge(held(KafkaError._TIMED_OUT), (), unproven=unproven).judge(letter())


def test_what_was_sent_back_before_is_refused() -> None:
    """Unless the person insists: it is counted once all the same."""
    assert problem(letter(), replayed={ORIGIN}) == "it was sent back before"
    assert not problem(letter(), replayed={ORIGIN}, again=True)


def test_one_message_is_sent_once_whoever_could_not_use_it() -> None:
    """Detection's letter stands for both: what is sent for it passes the fence, and the store reads it too."""
    both = [letter(stage="store"), letter(), letter(stage="store"), letter(39)]
    assert [(one.letter.offset, one.letter.stage) for one in chosen(both)] == [(39, "detect"), (40, "detect")]


def test_too_many_are_refused_before_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way to select fewer."""
    monkeypatch.setattr(replaying, "MOST_BYTES", 2 * len(EVENT))
    assert len(chosen(letter(n) for n in range(2))) == 2
    with pytest.raises(Refused, match="--topic"):
        chosen(letter(n) for n in range(3))


@dataclass
class Wire:
    """A producer; `refuses` says what the broker does not take."""

    refuses: Callable[[str, bytes], bool] = lambda topic, value: False
    sent: list[tuple[Any, ...]] = field(default_factory=list)
    waiting: list[Callable[[], None]] = field(default_factory=list)

    def produce(self, topic: str, value: bytes, *rest: Any, on_delivery: Any, headers: Any = ()) -> None:
        """Takes it; the answer comes with `flush`."""
        refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED) if self.refuses(topic, value) else None
        self.waiting.append(lambda: on_delivery(refused, self))
        self.sent.append((topic, value, *rest, headers))

    def offset(self) -> int:
        """Of a message that was delivered."""
        return 99

    def flush(self, _: float) -> None:
        """Answers."""
        for answer in self.waiting:
            answer()
        self.waiting.clear()


def replay(wire: Wire, *letters: Letter) -> Replay:
    """Sends them."""
    sending = Replay({}, lambda: 1_234, lambda _: wire)
    sending.send(letters)
    return sending


def test_the_bytes_go_back_to_their_partition_and_the_queue_learns_of_it() -> None:
    """The same key and bytes, the header with the place of the original, and after it the note."""
    wire = Wire()
    sending = replay(wire, letter())
    back, noted = wire.sent
    header = ("rua-replay", b"rua.events.shop-2-40")
    assert back == ("rua.events.shop", EVENT, b"k", 2, [header])
    told = decode(noted[1], DeadLetter)
    assert (noted[0], told.stage, told.detail, told.failed_at) == (
        "rua.dlq",
        "replay",
        "as rua.events.shop-2-99",
        1_234,
    )
    assert (told.topic, told.partition, told.offset, told.value) == (*ORIGIN, None)
    assert (sending.done, sending.failed) == ([ORIGIN], {})


def test_what_only_the_store_refused_is_sent_without_the_header() -> None:
    """Detection has counted it: there the copy must meet the fence."""
    wire = Wire()
    replay(wire, letter(stage="store"))
    assert wire.sent[0] == ("rua.events.shop", EVENT, b"k", 2, [])


def test_what_the_broker_refuses_is_said_and_not_noted() -> None:
    """The others are sent."""
    other = encode(made("shop", 0, 2, random.Random(2)))
    wire = Wire(lambda topic, value: value == other)
    sending = replay(wire, letter(), letter(41, value=other))
    assert sending.done == [ORIGIN]
    assert list(sending.failed) == [Place("rua.events.shop", 2, 41)]
    assert [sent[0] for sent in wire.sent] == ["rua.events.shop", "rua.events.shop", "rua.dlq"]


def test_what_was_sent_but_could_not_be_noted_is_said() -> None:
    """Somebody who sends it again is not surprised."""
    sending = replay(Wire(lambda topic, value: topic == "rua.dlq"), letter())
    assert sending.done == [ORIGIN]
    assert list(sending.failed) == [ORIGIN]
