"""What the tests of live files share: a tail with clocks of its own, log lines told apart by a number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from rua_agents.checkpoint import FileState
from rua_agents.contents import Descriptors
from rua_agents.envelopes import Envelope
from rua_agents.sealing import opened
from rua_agents.settings import Limits
from rua_agents.tail import SCAN_MS, Tail, Watched
from rua_agents.tally import Tally

from tests.agent_rig import START_MS, origin, web_line

OPEN: list[Tail] = []
LIMITS = Limits(read_bytes=1 << 16, record_bytes=1 << 15)


def close_all() -> None:
    """Closes the files of every follower that a test made."""
    while OPEN:
        OPEN.pop().close()


class Follower:
    """A tail with a monotonic clock of its own, and what came out of it."""

    def __init__(
        self,
        *patterns: str,
        source: str = "nginx-json",
        state: list[FileState] | None = None,
        limits: Limits = LIMITS,
        descriptors: int | None = None,
        envelopes: tuple[Envelope, ...] = (),
        **options: Any,
    ) -> None:
        self.elapsed, self.tally = 1_000_000, Tally()
        self.events: list[str] = []
        self.bytes: list[int | None] = []
        one = origin(source, self.tally, **options)
        origins = [replace(one, envelope=envelope) for envelope in envelopes] or [one]
        self.tail = Tail(
            [Watched(each, patterns) for each in origins],
            limits,
            elapsed_ms=lambda: self.elapsed,
            descriptors=Descriptors(descriptors) if descriptors else None,
        )
        OPEN.append(self.tail)
        if state:
            self.tail.restore(msgspec.json.decode(msgspec.json.encode(state), type=list[FileState]))

    def poll(self, ms: int = SCAN_MS, turns: int = 3, now_ms: int = START_MS) -> Follower:
        """Lets time pass and reads."""
        self.elapsed += ms
        for _ in range(turns):
            for made in self.tail.turn(now_ms):
                events = [opened(one) for one in made]
                self.events += [event.event_id for event in events]
                self.bytes += [event.bytes for event in events]
        return self

    def restarted(self, *patterns: str) -> Follower:
        """Another process, from this one's checkpoint."""
        return Follower(*patterns, state=self.tail.dump())

    @property
    def numbers(self) -> list[int]:
        """What was read, in order of the lines' numbers; doubles stay."""
        return sorted(number for number in self.bytes if number is not None)


def lines(*numbers: int) -> bytes:
    """Requests told apart by their bytes."""
    return b"".join(web_line(START_MS + n * 10, body_bytes_sent=n) for n in numbers)


def append(path: Path, data: bytes) -> None:
    """As a log writer does."""
    with path.open("ab") as file:
        file.write(data)
