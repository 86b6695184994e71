"""A verifier of an agent's trail, written from docs/heartbeats.md alone; the one for production comes with the streams.

It sees what stands in Kafka: messages of events, and heartbeats with the broker's time. It knows the public key.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import NamedTuple

from rua_schemas.codec import decode
from rua_schemas.events import Heartbeat, TelemetryEvent
from rua_schemas.signing import verify

MISSED_BEATS = 3


def hash_of(message: bytes) -> str:
    """As the next event's `chain` and a heartbeat's `chain_head` hold it."""
    return blake2b(message, digest_size=16).hexdigest()


def alerts(
    messages: Sequence[bytes], beats: Sequence[tuple[int, Heartbeat]], public_key: bytes, now_ms: int
) -> set[str]:
    """What is wrong with one agent's trail: a word for each kind of trouble; empty if nothing is.

    Args:
        messages: of its events, in any order.
        beats: (broker's time in ms, heartbeat), in order of the topic.
        public_key: the one that was enrolled for this agent.
        now_ms: the verifier's own time.
    """
    found = {"bad-signature"} if any(not verify(beat, public_key) for _, beat in beats) else set()
    good = [(at, beat) for at, beat in beats if verify(beat, public_key)]
    runs: dict[int, list[Sent]] = {beat.agent_epoch: [] for _, beat in good}
    for message in messages:
        event = decode(message, TelemetryEvent)
        runs.setdefault(event.agent_epoch, []).append(Sent(event.agent_seq, event.chain, message))
    for epoch, sent in runs.items():
        found |= set(_run(epoch, sent, [beat for _, beat in good]))
    return found | set(_runs([beat for _, beat in good])) | set(_silence(good, now_ms))


class Sent(NamedTuple):
    """An event, as far as it matters here."""

    seq: int
    chain: str | None
    message: bytes


def _runs(good: Sequence[Heartbeat]) -> Iterator[str]:
    """Epochs follow each other, and each knows the one before."""
    epochs = [beat.agent_epoch for beat in good]
    if epochs != sorted(epochs):
        yield "replay-or-fork"
    if any(beat.previous_epoch is None and beat.agent_epoch > min(epochs) for beat in good):
        yield "state-lost"


def _run(epoch: int, sent: Sequence[Sent], good: Sequence[Heartbeat]) -> Iterator[str]:
    """One run of the agent."""
    own = [beat for beat in good if beat.agent_epoch == epoch]
    by_seq = {one.seq: one for one in sent}
    if len(by_seq) < len(set(sent)) or len({beat.beat_seq for beat in own}) < len(own):
        yield "replay-or-fork"
    if [beat.beat_seq for beat in own] != list(range(1, len(own) + 1)):
        yield "heartbeat-missing"
    later = [beat for beat in good if beat.previous_epoch == epoch]
    heads = [(beat.chain_seq, beat.chain_head) for beat in own] + [(b.previous_seq, b.previous_head) for b in later]
    known = [(seq, head) for seq, head in heads if seq is not None]
    covered = max((seq for seq, _ in known), default=0)
    ordered = [by_seq[seq] for seq in sorted(by_seq) if seq <= covered]
    yield from _chain(ordered)
    for seq, head in known:
        before = bisect_right(ordered, seq, key=lambda one: one.seq)
        if not before or hash_of(ordered[before - 1].message) != head:
            yield "truncated-tail" if max(by_seq, default=0) < seq else "head-mismatch"


def _chain(ordered: Sequence[Sent]) -> Iterator[str]:
    if ordered and ordered[0].chain is not None:
        yield "gap"
    for before, after in pairwise(ordered):
        if after.chain != hash_of(before.message):
            yield "gap" if after.seq > before.seq + 1 else "chain-break"


def _silence(good: Sequence[tuple[int, Heartbeat]], now_ms: int) -> Iterator[str]:
    if not good:
        yield "silence"
        return
    at, last = good[-1]
    due = max(at + MISSED_BEATS * (last.interval_ms or 0), last.quiet_until or 0)
    if now_ms > due:
        yield "silence"
