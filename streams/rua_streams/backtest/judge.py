"""One pass over a log with one or more versions of the rules: the path of live detection, but for Kafka.

State and fence are kept by partition and the events applied in the order of their offsets, as live. Findings depend on
that order alone, not on how it is cut into batches, so a stored log gives the alerts that the running one gave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl
from rua_schemas.events import Alert

from rua_streams.alerts import alert_of
from rua_streams.backtest.logs import Log, Slice
from rua_streams.backtest.rules import Rules
from rua_streams.engine import FALLBACKS, IDENTITY, Engine, subjects, watched
from rua_streams.facts import USABLE
from rua_streams.fence import Fence
from rua_streams.runs import DAY
from rua_streams.state import State

# Where two agents are not equally behind, the log is not in the order of observation: so much is read past the end.
MARGIN_MS = DAY * 1_000
FENCED = ("source_id", "source_position", "observed_at", "occurred_at")


@dataclass(frozen=True)
class Span:
    """Milliseconds since the epoch: from when on events are read, and from when until when alerts are told."""

    read_from: int | None = None
    told_from: int | None = None
    until: int | None = None
    margin_ms: int = MARGIN_MS

    @property
    def read_until(self) -> int | None:
        """Until when events are read."""
        return None if self.until is None else self.until + self.margin_ms

    def tells(self, alert: Alert) -> bool:
        """Whether an alert was raised within."""
        return (self.told_from is None or alert.raised_at >= self.told_from) and (
            self.until is None or alert.raised_at < self.until
        )

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The events that are read."""
        at, kept = pl.col("observed_at"), []
        if self.read_from is not None:
            kept.append(at >= self.read_from)
        if self.read_until is not None:
            kept.append(at < self.read_until)
        return frame.filter(*kept) if kept else frame


@dataclass(frozen=True)
class Share:
    """Which of so many parts of the subjects is judged here."""

    part: int = 0
    parts: int = 1

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The events of those subjects."""
        return frame if self.parts == 1 else frame.filter(subjects(frame).hash() % self.parts == self.part)


@dataclass
class Told:
    """What a pass gave.

    Attributes:
        alerts: for each version of the rules what it raised, in log order within a partition.
        events: how many were applied.
        copies: how many were sent again and not counted twice.
        first_ms: the earliest time of observation, 0 without any event.
        last_ms: the latest.
    """

    alerts: list[list[Alert]]
    events: int = 0
    copies: int = 0
    first_ms: int = 0
    last_ms: int = 0

    def add(self, other: Told) -> None:
        """Takes in what another pass gave."""
        for mine, more in zip(self.alerts, other.alerts, strict=True):
            mine.extend(more)
        self.events, self.copies = self.events + other.events, self.copies + other.copies
        self.saw(other.first_ms, other.last_ms)

    def saw(self, first_ms: int, last_ms: int) -> None:
        """Widens the times."""
        self.first_ms = min(filter(None, (self.first_ms, first_ms)), default=0)
        self.last_ms = max(self.last_ms, last_ms)


@dataclass
class Partition:
    """What is remembered of one."""

    states: list[State]
    fence: Fence = field(default_factory=Fence)


class Judge:
    """Applies versions of the rules to slices."""

    def __init__(self, versions: Sequence[Rules], zone: str, span: Span, share: Share | None = None) -> None:
        """Loads the rules. Errors as in `Rules.load` and `Engine`."""
        self.engines = [Engine(rules.load(), zone=zone) for rules in versions]
        self.span, self.share = span, share or Share()
        self.told = Told([[] for _ in self.engines])
        self.columns = set.union(*map(columns_of, self.engines))
        self.partitions: dict[tuple[str, int], Partition] = {}

    def judge(self, log: Log) -> Iterator[Told]:
        """Judges a log, and gives what there is so far after each slice."""
        for one in log.slices(self.columns):
            self.apply(one)
            yield self.told

    def apply(self, one: Slice) -> None:
        """As the detect role applies a batch."""
        place = one.topic, one.partition
        if place not in self.partitions:
            self.partitions[place] = Partition([State(engine.layout) for engine in self.engines])
        partition, frame = self.partitions[place], self.span.of(one.frame)
        fresh = partition.fence.admit(frame)
        usable = (frame if fresh.all() else frame.filter(fresh)).filter(USABLE)
        if usable.height:
            at = usable["observed_at"].to_numpy()
            self.told.saw(int(at.min()), int(at.max()))
            for state in partition.states:
                watched(at, state)  # since the partition's first event, whoever's it is
        own = self.share.of(usable)
        self.told.events += own.height
        self.told.copies += (frame.height - int(fresh.sum())) if self.share.part == 0 else 0
        for engine, state, told in zip(self.engines, partition.states, self.told.alerts, strict=True):
            alerts = (alert_of(finding, *place) for finding in engine.apply(own, state))
            told += [alert for alert in alerts if self.span.tells(alert)]


def columns_of(engine: Engine) -> set[str]:
    """The columns of an event that an engine looks at: the fewer are read, the faster."""
    roots = {name for fact in engine.facts for name in fact.meta.root_names()}
    return {*roots, *IDENTITY, *FALLBACKS, *FENCED, *USABLE.meta.root_names()}
