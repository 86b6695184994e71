"""What polls a source, and what feeds the spool.

A polled source is an ordinary collector (its parser reads one JSON object a record) with a method `poller`, and the
attribute `reads = "poll"`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from rua_agents.collectors.contract import Collector

MOST_ROWS = 2_000
"""Of one poll: they become one group of the spool."""


class PollFailed(Exception):
    """The source did not answer as it should; the text tells the person what to do. It is asked again later."""


class Poll(NamedTuple):
    """What a source answered."""

    rows: list[bytes]
    """JSON objects, in the order in which they become events."""
    cursor: Any
    """Where the next poll goes on: plain JSON, made durable together with the events of these rows."""
    more: bool = False
    """Whether more waits already: the next poll comes at once."""


class Poller(Protocol):
    """Asks one source. It runs in a thread of its own and may block, but never longer than its own time-outs."""

    every_seconds: float

    def poll(self, cursor: Any, now_ms: int) -> Poll:
        """What is new after this cursor; None at the very first poll. At most about `MOST_ROWS` rows.

        Raises:
            PollFailed, OSError: it could not be asked.
        """
        ...

    def close(self) -> None:
        """Lets its connection go."""
        ...


class PolledCollector(Collector, Protocol):
    """A collector whose records are asked for."""

    def poller(self, options: Any) -> Poller:
        """What asks, for these options of the source.

        Raises:
            BadConfiguration: they cannot work.
        """
        ...


class Feed(Protocol):
    """Something that brings events to the spool. All of it runs in the intake's one thread."""

    @property
    def problems(self) -> dict[str, str]:
        """Name → why nothing comes from there."""
        ...

    def take(self, now_ms: int) -> None:
        """Appends what has come to the spool, within bounds; never blocks."""
        ...

    def committed(self) -> None:
        """What was appended is durable now: whoever sent it may forget it."""
        ...

    def close(self) -> None:
        """Stops; what was not committed will be sent or asked for again."""
        ...
