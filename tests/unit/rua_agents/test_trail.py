"""What an agent sends is enough to see that somebody tampered with it: each attack is found, honest runs stay quiet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, strategies as st
from nacl.signing import SigningKey
from rua_agents.checkpoint import Checkpoint
from rua_agents.pulse import QUIET_MS, Head, Pulse
from rua_agents.sealing import Sealer, written
from rua_agents.settings import AgentSettings, SourceSettings
from rua_agents.signing import Signer
from rua_agents.status import Status
from rua_common.kafka import KafkaOptions
from rua_schemas.codec import decode, encode
from rua_schemas.events import Heartbeat, TelemetryEvent

from tests.records import event
from tests.trail import alerts, hash_of

SEED = bytes(range(32))
PUBLIC = bytes(SigningKey(SEED).verify_key)
T = 1_790_000_000_000
MINUTE_MS = 60_000
SETTINGS = AgentSettings(
    platform="shop",
    key_file="",
    state_dir="",
    kafka=KafkaOptions(bootstrap="x:1"),
    sources=[SourceSettings(source=name) for name in ("nginx-json", "pgaudit-jsonlog", "nginx-json")],
    agent_id="shop-db-1",
)


def status(at_ms: int, *, acked: int = 0) -> Status:
    """An agent's account of itself."""
    return Status(
        platform="shop",
        agent_id="shop-db-1",
        agent_epoch=T,
        files=[],
        problems={},
        events_produced=acked,
        events_acked=acked,
        events_failed=1,
        records=acked + 3,
        merged=0,
        split=0,
        ignored={"static": 1},
        failed={"not_json": 2},
        lag_bytes=0,
        watermark_done_ms=0,
        drained=True,
        clock_offset_ms=None,
        clock_error_ms=None,
        at_ms=at_ms,
        dropped={"spool_full": 7, "sdk_overflow": 0, "source_gap": 2, "replaced": 1},
    )


@dataclass
class Trail:
    """What stands in Kafka of one agent."""

    messages: list[bytes] = field(default_factory=list)
    beats: list[tuple[int, Heartbeat]] = field(default_factory=list)
    now_ms: int = T

    def alerts(self) -> set[str]:
        """The verifier's answer."""
        return alerts(self.messages, self.beats, PUBLIC, self.now_ms)

    def run(
        self,
        epoch: int,
        counts: list[int],
        *,
        before: Checkpoint | None = None,
        seed: bytes | None = SEED,
        skip: int = 0,
        stops: bool = False,
    ) -> Checkpoint:
        """The agent runs: so many events before each of its heartbeats; event number `skip` is dead-lettered."""
        sealer = Sealer(epoch)
        pulse = Pulse(SETTINGS, epoch, before, Signer(seed) if seed else None)
        for at, count in enumerate(counts):
            for _ in range(count):
                if sealer.seq + 1 == skip:
                    sealer.skip()
                    continue
                facts = {"agent_epoch": epoch, "event_id": f"{epoch}-{sealer.seq}", "occurred_at": self.now_ms}
                self.messages.append(sealer.sealed(written(event(**facts))))
            last = stops and at == len(counts) - 1
            beat = pulse.beat(status(self.now_ms, acked=sealer.seq), Head(sealer.seq, sealer.head), stops=last)
            pulse.sent()
            self.beats.append((self.now_ms, beat))
            self.now_ms += MINUTE_MS
        return Checkpoint("shop", epoch, [], agent_seq=sealer.seq, chain_head=sealer.head)


def honest(counts: list[int] | None = None) -> Trail:
    """Nobody tampered with it."""
    trail = Trail()
    trail.run(T, counts or [3, 2, 4])
    trail.now_ms = trail.beats[-1][0]
    return trail


def rechained(messages: list[bytes]) -> list[bytes]:
    """As the attacker would do it who knows the code, but no key: numbered and linked anew."""
    made: list[bytes] = []
    for number, message in enumerate(messages, 1):
        link = hash_of(made[-1]) if made else None
        made.append(encode(msgspec.structs.replace(decode(message, TelemetryEvent), agent_seq=number, chain=link)))
    return made


def edited(message: bytes) -> bytes:
    """The rows that left, made few."""
    return encode(msgspec.structs.replace(decode(message, TelemetryEvent), rows=1))


def erased(trail: Trail) -> None:
    """One from the middle."""
    del trail.messages[3]


def erased_first(trail: Trail) -> None:
    """The very first."""
    del trail.messages[0]


def changed(trail: Trail) -> None:
    """One in the middle, in place."""
    trail.messages[3] = edited(trail.messages[3])


def changed_last(trail: Trail) -> None:
    """The last one, which no event follows."""
    trail.messages[-1] = edited(trail.messages[-1])


def cut_off(trail: Trail) -> None:
    """The tail."""
    del trail.messages[-2:]


def renumbered(trail: Trail) -> None:
    """One erased, those behind it moved up, links left as they are."""
    del trail.messages[3]
    trail.messages[3:] = [
        encode(msgspec.structs.replace(decode(m, TelemetryEvent), agent_seq=number))
        for number, m in enumerate(trail.messages[3:], 4)
    ]


def chained_anew(trail: Trail) -> None:
    """One erased, all numbered and linked anew: the chain itself is flawless."""
    del trail.messages[3]
    trail.messages = rechained(trail.messages)


def changed_and_chained(trail: Trail) -> None:
    """One edited, all linked anew: numbers are flawless too."""
    trail.messages[3] = edited(trail.messages[3])
    trail.messages = rechained(trail.messages)


def other_key(trail: Trail) -> None:
    """Everything anew, heartbeats too, with a key of the attacker's own."""
    trail.messages.clear()
    trail.beats.clear()
    trail.now_ms = T
    trail.run(T, [1, 1], seed=bytes(32))


def unsigned(trail: Trail) -> None:
    """Likewise, without any."""
    at, beat = trail.beats[-1]
    trail.beats[-1] = at, msgspec.structs.replace(beat, signature=None, signing_key_id=None, signature_version=None)


def fewer_losses(trail: Trail) -> None:
    """A heartbeat that tells of no loss."""
    at, beat = trail.beats[-1]
    trail.beats[-1] = at, msgspec.structs.replace(beat, dropped=())


def beat_withheld(trail: Trail) -> None:
    """The one that the cut events stood in, with them."""
    del trail.messages[3:5], trail.beats[1]


def stopped(trail: Trail) -> None:
    """The agent was ended, and no one said so."""
    trail.now_ms += 3 * MINUTE_MS + 1


def epoch_again(trail: Trail) -> None:
    """The state was wiped, and the same epoch begun a second time."""
    trail.now_ms = T
    trail.run(T, [2])
    trail.now_ms = max(at for at, _ in trail.beats)


def state_wiped(trail: Trail) -> None:
    """The agent was killed, its state and the logs removed, and a fresh one started."""
    trail.run(T + 86_400_000, [1])
    trail.now_ms = trail.beats[-1][0]


def two_of_one_name(trail: Trail) -> None:
    """A second agent with the stolen key speaks under the same name, and the first goes on."""
    end = trail.run(T + 86_400_000, [1], before=Checkpoint("shop", T, []))
    at, beat = trail.beats[2]
    trail.beats[2:] = [*trail.beats[3:], (at, beat)]
    trail.now_ms = at
    assert end.agent_epoch > beat.agent_epoch


ATTACKS: dict[Callable[[Trail], None], set[str]] = {
    erased: {"gap"},
    erased_first: {"gap"},
    changed: {"chain-break"},
    changed_last: {"head-mismatch"},
    cut_off: {"truncated-tail"},
    renumbered: {"chain-break", "truncated-tail"},
    chained_anew: {"head-mismatch", "truncated-tail"},
    changed_and_chained: {"head-mismatch"},
    other_key: {"bad-signature", "silence"},
    unsigned: {"bad-signature"},
    fewer_losses: {"bad-signature"},
    beat_withheld: {"gap", "heartbeat-missing"},
    stopped: {"silence"},
    epoch_again: {"replay-or-fork"},
    state_wiped: {"state-lost"},
    two_of_one_name: {"replay-or-fork"},
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_each_attack_is_found(attack: Callable[[Trail], None]) -> None:
    """By its name in the page."""
    trail = honest()
    attack(trail)
    assert ATTACKS[attack] <= trail.alerts()


def test_an_honest_run_stays_quiet() -> None:
    """In any order of messages: they come from several partitions."""
    trail = honest()
    assert trail.alerts() == set()
    trail.messages.reverse()
    assert trail.alerts() == set()


def test_an_agent_without_events_only_beats() -> None:
    """Nothing happened, and nothing is missing."""
    assert honest([0, 0]).alerts() == set()


@pytest.mark.parametrize("skip", [1, 4, 5, 9])
def test_a_dead_letter_is_no_erased_event(skip: int) -> None:
    """Its number is missing, and the link of the next event shows that there never was a message."""
    trail = Trail()
    trail.run(T, [3, 2, 4], skip=skip)
    trail.now_ms = trail.beats[-1][0]
    assert trail.alerts() == set()
    del trail.messages[2]
    assert trail.alerts()


def test_a_planned_stop_is_quiet_until_it_lasts_too_long() -> None:
    """And nobody else can announce one."""
    trail = Trail()
    trail.run(T, [2, 1], stops=True)
    stopped_at = trail.beats[-1][0]
    for later, found in ((4 * MINUTE_MS, set()), (QUIET_MS, set()), (QUIET_MS + 1, {"silence"})):
        trail.now_ms = stopped_at + later
        assert trail.alerts() == found
    forged = honest()
    at, beat = forged.beats[-1]
    forged.beats[-1] = at, msgspec.structs.replace(beat, quiet_until=at + 86_400_000)
    assert "bad-signature" in forged.alerts()


def test_the_next_run_vouches_for_the_end_of_the_one_before() -> None:
    """What was sent between the last heartbeat and a crash cannot be cut off either."""
    trail = Trail()
    end = trail.run(T, [3, 2])
    del trail.beats[-1]  # the crash came before it
    trail.run(T + 86_400_000, [2, 1], before=end)
    trail.now_ms = trail.beats[-1][0]
    assert trail.alerts() == set()
    del trail.messages[4]
    assert trail.alerts() == {"truncated-tail"}


def test_a_crash_may_leave_holes_above_the_last_checkpoint() -> None:
    """Partitions are written side by side; what was not acknowledged is sent again by the next run."""
    trail = Trail()
    trail.run(T, [3, 3])
    _, last = trail.beats.pop()
    end = Checkpoint("shop", T, [], agent_seq=3, chain_head=trail.beats[-1][1].chain_head)
    trail.run(T + 86_400_000, [3], before=end)
    trail.now_ms = trail.beats[-1][0]
    del trail.messages[4]
    assert trail.alerts() == set()
    del trail.messages[2]
    assert trail.alerts() == {"head-mismatch"}
    assert last.chain_seq == 6


@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=4), draw=st.data())
def test_no_message_that_a_heartbeat_covers_can_be_touched(counts: list[int], draw: st.DataObject) -> None:
    """Whichever it is, and whatever is done to it: gone, other content, in another's place."""
    trail = honest(counts)
    assert trail.alerts() == set()
    if not trail.messages:
        return
    victim = draw.draw(st.integers(0, len(trail.messages) - 1))
    what = draw.draw(st.sampled_from(["erase", "edit", "cut", "rechain"]))
    if what == "erase":
        del trail.messages[victim]
    elif what == "edit":
        trail.messages[victim] = edited(trail.messages[victim])
    elif what == "cut":
        del trail.messages[victim:]
    else:
        del trail.messages[victim]
        trail.messages = rechained(trail.messages)
    assert trail.alerts()


def test_a_heartbeat_says_what_was_lost_and_what_is_watched() -> None:
    """Sorted, none twice, no zeros: one value, one encoding."""
    pulse = Pulse(SETTINGS, T, None, None, "c" * 32)
    beat = pulse.beat(status(T + 5, acked=4), Head(4, "a" * 32))
    assert [(one.reason, one.count) for one in beat.dropped] == [("replaced", 1), ("source_gap", 2), ("spool_full", 7)]
    assert beat.sources == ("nginx-json", "pgaudit-jsonlog")
    assert (beat.records_failed, beat.records_ignored, beat.events_dead, beat.config_digest) == (2, 1, 1, "c" * 32)
    assert (beat.signature, beat.signing_key_id, beat.quiet_until, beat.previous_epoch) == (None, None, None, None)


def test_the_first_heartbeats_come_closer_and_each_says_when_the_next_is_due() -> None:
    """The clock's offset is the best of several; a heartbeat that found no room keeps its number for the next try."""
    pulse, told = Pulse(SETTINGS, T, None), []
    for _ in range(8):
        pulse.beat(status(T), Head(0, None))
        beat = pulse.beat(status(T), Head(0, None))
        pulse.sent()
        told.append((beat.beat_seq, beat.interval_ms, pulse.seconds()))
    assert told == [(n, 10_000, 10.0) for n in range(1, 6)] + [(n, 60_000, 60.0) for n in range(6, 9)]
