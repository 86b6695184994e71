"""Ranges, settings, watchdog, dead letters, outbox: the parts of the stream shell that need no broker."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError
from faust.types import TP
from hypothesis import given, strategies as st
from rua_common.errors import BadConfiguration, PoisonEvent, Refused
from rua_schemas.codec import encode
from rua_schemas.columns import ColumnCodec, Rejected
from rua_streams.app import credentials, subscribed
from rua_streams.checkpoint import TopicFacts
from rua_streams.dead_letters import MAX_VALUE_BYTES, Notices, Ratio, dead_letter, too_many, wrong_platform
from rua_streams.detect import admitted
from rua_streams.fence import Fence
from rua_streams.intake import REPLAY_HEADER, Intake, take_in
from rua_streams.outbox import Broken, Outbox
from rua_streams.ranges import Lane, halves, lane
from rua_streams.settings import from_environment
from rua_streams.testing import event, frame
from rua_streams.transport import Mark
from rua_streams.watchdog import Watchdog
from rua_streams.watermark import DAY_MS, Watermark

from tests.streams_rig import Record, made

SOURCE, FACTS = TP("rua.events.shop", 2), TopicFacts("T1", 4)
BROKERS = {"RUA_KAFKA_BOOTSTRAP": "127.0.0.1:1"}


def records(first: int, count: int) -> list[Record]:
    """Consecutive records."""
    return [Record(*SOURCE, offset, 1_000 + offset, 0, b"k", b"v%d" % offset) for offset in range(first, first + count)]


def stored(one: Lane, max_rows: int) -> tuple[int, int, str]:
    """Announces, stores and finishes the next range."""
    cut = one.cut(max_rows)
    assert cut is not None
    one.announce(cut)
    one.done(cut.last, 0.0)
    return cut.first, cut.last, cut.token


@given(batches=st.lists(st.integers(1, 9), min_size=1, max_size=12), more=st.lists(st.integers(1, 9), max_size=5))
def test_a_new_owner_repeats_exactly_the_announced_range(batches: list[int], more: list[int]) -> None:
    """Whatever batches the first owner saw, and whatever the second sees: the same records, the same token."""
    first = lane(SOURCE, FACTS, Mark(10), 0)
    for size in batches:
        first.add(records(first.cursor.next, size), 0.0)
    cut = first.cut(20)
    assert cut is not None
    first.announce(cut)
    second = lane(SOURCE, FACTS, Mark(first.stored, first.note), 0)
    while not second.due(1, 0.0, 0.0):
        size = more.pop() if more else 3
        second.add(records(second.cursor.next, size), 0.0)
    assert stored(second, 1) == (cut.first, cut.last, cut.token)
    assert (second.stored, second.note, second.until) == (cut.last + 1, "", None)


def test_an_announced_range_does_not_grow_while_its_insert_is_repeated() -> None:
    """More records arrive while the store is away: the range stays what was announced."""
    one = lane(SOURCE, FACTS, None, 0)
    one.add(records(0, 5), 0.0)
    cut = one.cut(100)
    assert cut is not None
    one.announce(cut)
    one.add(records(5, 50), 0.0)
    again = one.cut(100)
    assert again is not None
    assert again.token == cut.token
    one.done(again.last, 0.0)
    assert [batch[0].offset for batch in one.waiting] == [5]


def test_waits_for_rows_or_for_time() -> None:
    """A range is cut when enough waits, or when something has waited long enough."""
    one = lane(SOURCE, FACTS, None, 0)
    assert not one.due(10, 1.0, 100.0)
    one.add(records(0, 3), 100.0)
    assert [one.due(10, 1.0, now) for now in (100.5, 101.0)] == [False, True]
    one.add(records(3, 7), 100.5)
    assert one.due(10, 1.0, 100.6)


def test_a_note_that_is_not_ours_is_refused() -> None:
    """Somebody else commits with this group: nobody guesses what that means."""
    with pytest.raises(Refused, match="give one of them another name"):
        lane(SOURCE, FACTS, Mark(5, "pending=5-9x"), 0)


@given(size=st.integers(1, 60), bad=st.sets(st.integers(0, 59)))
def test_what_a_store_will_never_take_is_narrowed_down(size: int, bad: set[int]) -> None:
    """Every good row is stored once, every bad one named once; the same bad rows give the same tokens again."""

    def attempt() -> tuple[list[int], list[int], list[str]]:
        kept: list[int] = []
        refused: list[int] = []
        tokens: list[str] = []

        def store(start: int, end: int, token: str) -> None:
            if bad & set(range(start, end)):
                raise PoisonEvent("too odd")
            kept.extend(range(start, end))
            tokens.append(token)

        halves(store, size, "t", lambda row, _: refused.append(row))
        return kept, refused, tokens

    kept, refused, tokens = attempt()
    assert kept == [row for row in range(size) if row not in bad]
    assert refused == [row for row in range(size) if row in bad]
    assert len(set(tokens)) == len(tokens)
    assert attempt() == (kept, refused, tokens)


def test_settings_come_from_the_environment() -> None:
    """Units are in the names, values are converted."""
    found = from_environment({**BROKERS, "RUA_WORKER_CHECKPOINT_SECONDS": "0.5", "RUA_WORKER_LOG_JSON": "true"})
    assert (found.checkpoint_seconds, found.log_json, found.kafka.bootstrap) == (0.5, True, "127.0.0.1:1")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RUA_WORKER_CHEKPOINT_SECONDS", "5", "RUA_WORKER_CHEKPOINT_SECONDS: unknown setting.*RUA_WORKER_GROUP"),
        ("RUA_WORKER_STORE_ROWS", "many", "RUA_WORKER_STORE_ROWS: 'many' is not allowed"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, words: str) -> None:
    """The name, the value, and what would be allowed."""
    with pytest.raises(BadConfiguration, match=words):
        from_environment({**BROKERS, name: value})


def test_a_broker_that_does_not_answer_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust would only log "unable to bootstrap"."""
    monkeypatch.setattr("rua_streams.app.REACH_SECONDS", 0.2)
    with pytest.raises(BadConfiguration, match=r"RUA_KAFKA_BOOTSTRAP: Kafka at 127\.0\.0\.1:1: nothing listens there"):
        subscribed(from_environment(BROKERS), "detect")


def test_plaintext_needs_no_credentials() -> None:
    """And Faust is told nothing."""
    assert credentials(from_environment(BROKERS).kafka) is None


def test_the_watchdog_fires_on_lag_without_progress() -> None:
    """Nothing was processed for longer than the limit."""
    dog = Watchdog(10.0, 0.0)
    assert dog.stuck(5, 9.0) is None
    assert "5 events wait" in (dog.stuck(5, 11.0) or "")


@pytest.mark.parametrize("what", ["no lag", "progress", "declared"])
def test_the_watchdog_stays_quiet(what: str) -> None:
    """Nothing waits, something moves, or somebody said that it waits."""
    dog = Watchdog(10.0, 0.0)
    if what == "progress":
        dog.progress(8.0)
    if what == "declared":
        dog.back_off("store", 30.0)
    assert dog.stuck(0 if what == "no lag" else 5, 11.0) is None


def test_the_watchdog_counts_anew_after_a_wait() -> None:
    """A declared wait that is over does not count as time without progress; one that never ends does."""
    dog = Watchdog(10.0, 0.0)
    dog.back_off("store", 20.0)
    assert dog.stuck(5, 25.0) is None
    dog.over("store")
    assert dog.stuck(5, 34.0) is None
    assert dog.stuck(5, 36.0)


def test_the_ratio_is_crossed_once_in_a_window_of_offsets() -> None:
    """At the first bad message past the limit, however the log was cut into batches; the next window begins anew."""
    ratio = Ratio(0.5, 10)
    assert [offset for offset in range(30) if ratio.crossed(offset)] == [5, 15, 25]
    assert not any(Ratio(0.5, 10).crossed(offset) for offset in (0, 2, 4, 6, 8, 10, 12))


def test_a_notice_is_given_once_even_after_a_restore() -> None:
    """What was given is saved with the checkpoint."""
    notices = Notices()
    assert [notices.first("wrong elsewhere", 7), notices.first("wrong elsewhere", 9)] == [True, False]
    assert notices.take_dirty() == {b"wrong elsewhere": b"7 0"}
    assert notices.take_dirty() == {}
    for saved in (b"7 0", b"7"):  # the released version kept no days
        assert not Notices({b"wrong elsewhere": saved}).first("wrong elsewhere", 9)


def test_a_notice_is_over_after_its_days_by_the_partitions_clock() -> None:
    """Whether it was dropped meanwhile or not; a name of any length takes little room."""
    notices, then, later = Notices(keep_days=10), Watermark(100, lowest=90), Watermark(111, lowest=90)
    name = "wrong " + "x" * 1_000
    assert notices.first(name, 7, then)
    assert not notices.first(name, 8, Watermark(110, lowest=90))
    assert notices.first(name, 9, later)
    notices.first("old", 9, Watermark(0))
    notices.take_dirty()
    notices.forget(later)
    assert notices.take_dirty() == {b"old": None}
    assert [len(key) for key in notices.given] == [128]


def test_notices_depend_on_the_log_alone() -> None:
    """A replay raises the same alert with the same body."""
    (record,) = records(7, 1)
    assert encode(wrong_platform(record, "other")) == encode(wrong_platform(record, "other"))
    assert wrong_platform(record, "other").alert_id != wrong_platform(record, "third").alert_id
    assert too_many(record, Ratio(0.5, 10, window=3)).alert_id != too_many(record, Ratio(0.5, 10, window=4)).alert_id


def test_a_huge_message_becomes_a_dead_letter_that_fits_into_a_message() -> None:
    """Its first bytes are kept, and its size is said."""
    record = Record(*SOURCE, 1, 2, 0, None, b"x" * (MAX_VALUE_BYTES + 1))
    letter = dead_letter(record, Rejected(0, "undecodable", "odd"), "detect")
    assert len(letter.value or b"") == MAX_VALUE_BYTES
    assert letter.detail == "odd (first 900000 of 900001 bytes)"


def test_only_a_deliberate_replay_is_marked() -> None:
    """The header, and nothing else, lets an event pass the fence of source positions."""
    chance = random.Random(1)
    batch = records(0, 3)
    for position, record in enumerate(batch):
        record.value = encode(made("shop", 0, position, chance))
    assert take_in(ColumnCodec(), batch).replayed is None
    batch[1].headers = [(REPLAY_HEADER, b"1")]
    marked = take_in(ColumnCodec(), batch).replayed
    assert marked is not None
    assert marked.tolist() == [False, True, False]


def test_a_replay_passes_the_fence_once_however_the_log_is_cut() -> None:
    """An event that was missed lies below the fence: the header lets it through, its id stops it the second time."""
    chance = random.Random(1)
    missed, newer = (encode(made("shop", 0, position, chance)) for position in (1, 2))
    values = [newer, missed, missed, missed, newer]
    for cut in range(len(values) + 1):
        batch = records(0, len(values))
        for record, value in zip(batch, values, strict=True):
            record.value = value
        batch[2].headers = batch[3].headers = [(REPLAY_HEADER, b"rua.events.shop-0-1")]
        work: Any = SimpleNamespace(fence=Fence(), notices=Notices())
        parts = [take_in(ColumnCodec(), part) for part in (batch[:cut], batch[cut:]) if part]
        fresh = [admit for part in parts for admit in admitted(work, part).tolist()]
        assert fresh == [True, False, True, False, False]
        assert len(work.notices.take_dirty()) == 1


def test_a_replay_of_what_no_notice_remembers_any_more_does_not_pass() -> None:
    """It may have been replayed before: too old to tell."""
    days = [event(day * DAY_MS, event_id=f"{day:032x}") for day in (100, 101, 102, 103)]
    again = event(100 * DAY_MS, observed=103 * DAY_MS, event_id="1" * 32)
    work: Any = SimpleNamespace(fence=Fence(keep_days=2, votes=1), notices=Notices(keep_days=2))
    intake = Intake(frame([*days, again]), [], 0, 0, np.array([False] * 4 + [True]))
    assert admitted(work, intake).tolist() == [True, True, True, True, False]


class Wire:
    """A producer whose deliveries a test decides."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Callable[[Any, Any], None]]] = []

    def produce(self, topic: str, value: bytes, key: bytes, *, on_delivery: Callable[[Any, Any], None]) -> None:
        """Keeps it."""
        self.sent.append((value, on_delivery))

    def poll(self, seconds: float) -> None:
        """Nothing by itself."""


def test_the_outbox_settles_only_when_everything_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery that failed is sent again; the checkpoint waits meanwhile."""
    monkeypatch.setattr("rua_streams.outbox.AGAIN_SECONDS", 0.0)
    wire = Wire()
    box = Outbox({}, producer=lambda _: wire)
    box.send("rua.alerts", "id", b"one")
    assert not box.settle(lambda: True)
    wire.sent[0][1](KafkaError(KafkaError.NOT_LEADER_FOR_PARTITION), None)
    assert not box.settle(lambda: True)
    assert [value for value, _ in wire.sent] == [b"one", b"one"]
    wire.sent[1][1](None, None)
    assert box.settle(lambda: True)
    assert box.sent == 1


def test_a_producer_that_cannot_go_on_ends_the_worker() -> None:
    """Nothing is pretended: the next start sends it again from the last checkpoint."""
    wire = Wire()
    box = Outbox({}, producer=lambda _: wire)
    box.send("rua.alerts", "id", b"one")
    wire.sent[0][1](KafkaError(KafkaError._FATAL, "fatal", fatal=True), None)
    with pytest.raises(Broken):
        box.settle()


def test_workers_say_that_they_have_no_oauth() -> None:
    """Instead of an error of Faust's deep inside."""
    environ = BROKERS | {
        "RUA_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "RUA_KAFKA_MECHANISM": "OAUTHBEARER",
        "RUA_KAFKA_OAUTH_TOKEN_FILE": "/run/token",
    }
    with pytest.raises(BadConfiguration, match="workers cannot log in with OAUTHBEARER yet"):
        credentials(from_environment(environ).kafka)
