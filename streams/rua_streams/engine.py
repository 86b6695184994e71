"""Frames in, findings out: facts once per batch, features once per key, verdicts row by row, then episodes.

Everything depends on the order of the log alone: however a partition's log is cut into frames, and whether the state
was packed and restored in between, the findings and the state are the same. That holds for what is forgotten too: it
goes when the partition's day changes, which is between two events of the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rua_schemas.events import Number, Severity, SubjectType

from rua_streams.facts import USABLE, facts
from rua_streams.features import AnyFeature, Feature
from rua_streams.marks import ANCHOR, Anchor
from rua_streams.runs import DAY, HOUR, SPAN, Run
from rua_streams.state import PARTITION, SUBJECT, Columns, Ints, Layout, State
from rua_streams.watermark import LATE_DAYS, VOTES, Turn, Watermark, days_of, stamped, turns

T = TypeVar("T")
KEYS = ("actor", "lane")
BEHIND = "\0behind"  # names a subject's second lane, for events that come long after they occurred
COMPUTED = {"watched", "id_high", "id_low"}  # facts that no expression gives
IDENTITY = ("event_id", "platform", "actor", "app", "merchant")

# Whom an event is about, the first that is known. An unknown actor must not merge people who have nothing in common.
FALLBACKS: Mapping[str, tuple[str, SubjectType]] = {
    "merchant": ("merchant", "merchant"),
    "app": ("app", "app"),
    "source_ip": ("address", "network"),
    "source_network": ("network", "network"),
    "source_id": ("source", "unknown"),
}
SUBJECT_TYPES: Mapping[str, SubjectType] = dict(FALLBACKS.values())


@dataclass(frozen=True)
class Rule:
    """What a reader of an alert needs to know.

    `on` names the events that are judged; `by` whose episodes they are; `severities` those of level 1, 2, …; `quiet`
    the seconds without a hit after which an episode is over; `reads` the facts that `judge` takes from the view.
    """

    id: str
    title: str
    on: str
    attack: tuple[str, ...]
    severities: tuple[Severity, ...]
    reads: tuple[str, ...] = ()
    quiet: int = 6 * HOUR
    by: str = "lane"

    @property
    def runbook(self) -> str:
        """Its path in the documentation."""
        return f"docs/runbooks/{self.id}.md"


class Measured(NamedTuple):
    """A number per judged event, what it was compared with, and for which of the events it is told at all."""

    value: NDArray[Any]
    limit: NDArray[Any] | float | None = None
    where: NDArray[np.bool_] | None = None


class Verdict(NamedTuple):
    """Per judged event: 0 is quiet, higher is worse; the numbers that decided; the first event that they count.

    `cause` is an event of another kind without which the pattern is none: a change of privileges.
    """

    level: Ints
    numbers: Mapping[str, Measured]
    first: Anchor
    cause: Anchor | None = None


class View:
    """The events that a detector judges, in log order, with their facts and features aligned event by event."""

    def __init__(self, values: Mapping[str, NDArray[Any]], features: Mapping[AnyFeature, Any], places: Ints) -> None:
        self._facts, self._features, self._places = values, features, places

    def __getitem__(self, fact: str) -> NDArray[Any]:
        """A fact of each judged event. Those that are no feature's must be among the rule's `reads`."""
        return self._facts[fact][self._places]

    def of(self, feature: Feature[T]) -> T:
        """The feature's value at each judged event."""
        if not self[feature.on].all():
            raise ValueError(f"{feature} is not advanced by every event that is judged")
        value: Any = self._features[feature]
        at = self._places
        return type(value)(*(v[at] for v in value)) if isinstance(value, tuple) else value[at]  # type: ignore[return-value]  # the value is rebuilt as its own type


class Detector(Protocol):
    """A frozen dataclass: thresholds and features are its fields. `judge` keeps nothing and compares row by row."""

    rule: ClassVar[Rule]

    def judge(self, view: View) -> Verdict:
        """The level of each event of the view."""
        ...

    def reason(self, numbers: Mapping[str, Number]) -> str:
        """Why it fired, in plain words with the numbers that decided."""
        ...


class Seen(NamedTuple):
    """An event and its offset in the partition."""

    event_id: str
    offset: int


@dataclass(frozen=True)
class Finding:
    """A level reached for the first time in an episode. Same alert id, same incident: the higher level replaces it.

    Times are milliseconds since the epoch. `alert_id` is BLAKE2b-128 of detector, platform, subject and `opener`, the
    episode's first hit. The window reaches from the cause, or the first event counted at that hit, to the deciding one.
    """

    detector: Detector
    level: int
    alert_id: str
    platform: str
    subject: str
    subject_type: SubjectType
    actor: str | None
    app: str | None
    merchant: str | None
    cause: Seen | None
    first: Seen | None
    opener: Seen
    deciding: Seen
    numbers: tuple[Number, ...]
    window_start: int
    window_end: int
    raised_at: int

    @property
    def rule(self) -> Rule:
        """The detector's."""
        return self.detector.rule


def features_of(detector: Detector) -> list[AnyFeature]:
    """The features among a detector's fields."""
    values = (getattr(detector, f.name) for f in fields(detector))  # type: ignore[arg-type]  # a detector is a dataclass
    return [v for v in values if hasattr(v, "advance")]


class Engine:
    """Applies a fixed set of detectors. All that it remembers is in the `State` handed to it."""

    def __init__(
        self,
        detectors: Sequence[Detector],
        *,
        zone: str = "Asia/Bangkok",
        keep_days: int | None = None,
        votes: int = VOTES,
    ) -> None:
        """Prepares the detectors.

        Args:
            detectors: what to apply.
            zone: the IANA zone that the platform lives by.
            keep_days: after so many days of silence a subject is forgotten, by the partition's clock (`watermark.py`);
                by default when nothing of it can matter to the detectors any more.
            votes: how many events make a day.

        Raises:
            BadConfiguration: there is no such zone.
        """
        self.detectors = tuple(detectors)
        self.features = {f: str(f) for d in detectors for f in features_of(d)}
        keeps = (*(f.keeps for f in self.features), *(d.rule.quiet for d in detectors))
        self.keep_days = keep_days or -(-max(keeps, default=0) // DAY) + LATE_DAYS
        self.votes = votes
        wanted = {"at", "at_ms", "wall", "behind", "observed", "offset"}
        wanted |= {fact for d in detectors for fact in (d.rule.on, *d.rule.reads)}
        wanted |= {fact for f in self.features for fact in (f.on, *f.facts())}
        wanted -= COMPUTED
        known = facts(zone)
        self.facts = [known[name].alias(name) for name in sorted(wanted)]
        self.layout: Layout = (
            *((PARTITION, name, "<i8", ()) for name in ("since", *Watermark._fields)),
            (SUBJECT, "seen", "<i4", ()),
            *((by, clock, "<i8", ()) for by in KEYS for clock in ("clock", "wall")),
            *((name, n, *c) for f, name in self.features.items() for n, c in f.columns().items()),
            *((d.rule.id, n, "<i8", ()) for d in detectors for n in ("hit", "level")),
            *((d.rule.id, f"{k}_{n}", *c) for d in detectors for k in ("opener", "first") for n, c in ANCHOR.items()),
        )

    def apply(self, frame: pl.DataFrame, state: State) -> list[Finding]:
        """Advances the state over the frame's events, in log order, and gives what they revealed, in log order.

        Args:
            frame: the columns of `TelemetryEvent` and `offset`; one partition, one platform, no duplicates. Events
                without a usable `observed_at` are passed over.
            state: the partition's, made with this engine's `layout`.
        """
        frame = frame.filter(USABLE)
        found: list[Finding] = []
        if not frame.height:
            return found
        begun = 0
        for place, day in self.turned(frame, state):
            found += self.within_day(frame[begun:place], state) if place > begun else []
            state.columns[PARTITION]["day"][state.intern([PARTITION])] = day
            state.forget(day - self.keep_days)
            begun = place
        return found + self.within_day(frame[begun:], state)

    def turned(self, frame: pl.DataFrame, state: State) -> list[Turn]:
        """Where the partition's day changes within the frame. Its clock goes on, but for the day: `apply` turns it."""
        row, columns = state.intern([PARTITION]), state.columns[PARTITION]
        before = Watermark(*(int(columns[name][row][0]) for name in Watermark._fields))
        found, after = turns(days_of(frame["observed_at"].to_numpy()), before, self.votes)
        if after != before:
            columns["votes"][row], columns["lowest"][row] = after.votes, after.lowest
            state.touch(row)
        return found

    def within_day(self, frame: pl.DataFrame, state: State) -> list[Finding]:
        """Events of one day of the partition's clock."""
        values = {c.name: c.to_numpy() for c in frame.select(self.facts)}
        values["watched"] = watched(values["observed"], state)
        values["seen"] = stamped(days_of(values["observed"]), day_of(state))
        values["id_high"], values["id_low"] = id_words(frame["event_id"])
        runs = keyed_runs(subjects(frame), values, state)
        advanced: dict[AnyFeature, Any] = {}
        for feature, name in self.features.items():
            events = runs[feature.by].on(feature.on)
            if len(events):
                advanced[feature] = advance(feature, events, frame.height, state.columns[name])
        found: list[tuple[int, Finding]] = []
        identity = frame.select(IDENTITY)
        for detector in self.detectors:
            places = np.flatnonzero(values[detector.rule.on])
            if len(places):
                verdict = detector.judge(View(values, advanced, places))
                hits = np.flatnonzero(verdict.level)
                if len(hits):
                    run = runs[detector.rule.by]
                    found += episodes(detector, run, places[hits], taken(verdict, hits), identity, state)
        return [finding for _, finding in sorted(found, key=lambda f: (f[0], f[1].rule.id))]


def taken(verdict: Verdict, which: Ints) -> Verdict:
    """Some rows of a verdict."""

    def rows(parts: tuple[Any, ...]) -> Iterator[Any]:
        return (part[which] if isinstance(part, np.ndarray) else part for part in parts)

    numbers = {name: Measured(*rows(measured)) for name, measured in verdict.numbers.items()}
    cause = None if verdict.cause is None else Anchor(*rows(verdict.cause))
    return Verdict(verdict.level[which], numbers, Anchor(*rows(verdict.first)), cause)


def watched(observed_ms: Ints, state: State) -> Ints:
    """Seconds for which this partition had been watched when each event was observed."""
    (row,) = state.intern([PARTITION])
    since = state.columns[PARTITION]["since"]
    if not since[row]:
        since[row] = observed_ms[0] // 1_000 or 1
        state.touch(np.array([row]))
    return np.asarray(np.maximum(observed_ms // 1_000 - since[row], 0))


def day_of(state: State) -> int:
    """The partition's day."""
    return int(state.columns[PARTITION]["day"][state.intern([PARTITION])][0])


def subjects(frame: pl.DataFrame) -> pl.Series:
    """The name of each event's subject: the actor's own, else NUL, type, colon, name. Boundary checks leave no NUL."""
    actor = pl.when(pl.col("actor").str.len_bytes() > 0).then("actor")
    names = frame.select(actor).to_series()
    if not names.null_count():
        return names
    others = (
        pl.when(pl.col(column).str.len_bytes() > 0).then(pl.lit(f"\0{kind}:") + pl.col(column))
        for column, (kind, _) in FALLBACKS.items()
    )
    return frame.select(pl.coalesce(actor, *others, pl.lit("\0source:"))).to_series()


def parted(name: str) -> tuple[str, SubjectType]:
    """A subject's own name and its type, from its name in the state."""
    if not name.startswith("\0"):
        return name, "actor"
    kind, _, own = name[1:].partition(":")
    return own, SUBJECT_TYPES[kind]


def keyed_runs(names: pl.Series, values: Mapping[str, NDArray[Any]], state: State) -> dict[str, Run]:
    """The batch by subject, and by lane: what comes late must neither be lost behind a clock nor disturb it."""
    codes = names.to_arrow().dictionary_encode()
    # not `to_numpy`, by which pyarrow imports pandas: a second and 40 MB
    row = state.intern(codes.dictionary.to_pylist())[np.from_dlpack(codes.indices)]
    runs = {"actor": keyed("actor", row, values, state)}
    if (behind := values["behind"]).any():
        late, inverse = np.unique(row[behind], return_inverse=True)
        row = row.copy()
        row[behind] = state.intern([state.names[r] + BEHIND for r in late.tolist()])[inverse]
    lane = keyed("lane", row, values, state)
    same = np.array_equal(lane.row, runs["actor"].row) and np.array_equal(lane.clock, runs["actor"].clock)
    return {**runs, "lane": runs["actor"] if same else lane}


def keyed(by: str, row: Ints, values: Mapping[str, NDArray[Any]], state: State) -> Run:
    """The batch sorted by state row, each event with the key's clocks: the latest times seen from the key so far."""
    order, stored = np.argsort(row, kind="stable"), state.columns[by]
    run = Run(values, order, row[order], values["at"][order], values["wall"][order])
    rows, last = run.rows, run.end - 1
    run.clock = run.highest(run.clock, stored["clock"][rows])
    run.wall = run.highest(run.wall, stored["wall"][rows])
    stored["clock"][rows], stored["wall"][rows] = run.clock[last], run.wall[last]
    seen = state.columns[SUBJECT]["seen"]
    seen[rows] = np.maximum(seen[rows], np.maximum.reduceat(run["seen"], run.first))
    state.touch(rows)
    return run


def advance(feature: AnyFeature, events: Run, height: int, columns: Columns) -> Any:
    """The feature's values, event by event in log order; where it is not advanced they mean nothing."""
    parts = [(run.place, feature.advance(run, columns)) for run in (events.rounds if feature.daily else [events])]

    def scattered(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        whole = np.zeros(height, arrays[0].dtype)
        for (place, _), values in zip(parts, arrays, strict=True):
            whole[place] = values
        return whole

    value = parts[0][1]
    if isinstance(value, tuple):
        return type(value)(*(scattered(field) for field in zip(*(v for _, v in parts), strict=True)))
    return scattered([v for _, v in parts])


def id_words(event_ids: pl.Series) -> NDArray[np.uint64]:
    """Event ids as two words each. One that is not 32 hex digits is hashed, so that it cannot stop the worker."""
    raw = event_ids.str.decode("hex", strict=False)
    parsed = raw.to_list()
    for i in (raw.bin.size() != 16).fill_null(value=True).arg_true():
        parsed[i] = hashlib.blake2b(event_ids[i].encode(), digest_size=16).digest()
    return np.frombuffer(b"".join(parsed), "<u8").reshape(-1, 2).T


def seen(anchor: Anchor, row: int) -> Seen:
    """One of the anchors as evidence."""
    words = np.array((anchor.id_high[row], anchor.id_low[row]), "<u8")
    return Seen(words.tobytes().hex(), int(anchor.offset[row]))


def episodes(  # noqa: PLR0917 - a batch, what is judged in it, and where it is kept
    detector: Detector, batch: Run, places: Ints, worst: Verdict, identity: pl.DataFrame, state: State
) -> list[tuple[int, Finding]]:
    """Joins a key's hits into episodes, which end after `quiet` seconds of the key's clock without a hit."""
    hit = np.full(len(batch), -1)
    hit[places] = np.arange(len(places))
    run, columns = batch.take(np.flatnonzero(hit[batch.place] >= 0)), state.columns[detector.rule.id]
    which, rows, last, here = hit[run.place], run.rows, run.end - 1, np.arange(len(places))
    level = worst.level[which]
    before = np.concatenate(([0], run.clock[:-1]))
    before[run.first] = columns["hit"][rows]
    opens = run.clock - before > detector.rule.quiet  # `before` is 0, decades ago, at a first hit
    opened = np.maximum.accumulate(np.where(opens, here, -1))
    inside = opened >= run.first[run.key]

    def at_opening(kind: str, now: Sequence[NDArray[Any]]) -> Anchor:
        known = (columns[f"{kind}_{name}"] for name in Anchor._fields)
        found = [np.where(inside, n[opened], k[run.row]) for n, k in zip(now, known, strict=True)]
        for name, values in zip(Anchor._fields, found, strict=True):
            columns[f"{kind}_{name}"][rows] = values[last]
        return Anchor(*found)

    opener = at_opening("opener", [run[name] for name in Anchor._fields])
    first = at_opening("first", [values[which] for values in worst.first])
    carried = np.zeros(len(places), np.int64)
    carried[run.first] = np.where(opens[run.first], 0, columns["level"][rows])
    begins = opens.copy()
    begins[run.first] = True
    floor = np.cumsum(begins) * SPAN
    top = np.maximum.accumulate(np.maximum(level, carried) + floor) - floor
    held = np.where(begins, carried, np.concatenate(([0], top[:-1])))
    columns["hit"][rows], columns["level"][rows] = run.clock[last], top[last]

    def finding(i: int) -> Finding:
        place = int(run.place[i])
        event_id, platform, actor, app, merchant = identity.row(place)
        name = state.names[run.row[i]]
        own, kind = parted(name.removesuffix(BEHIND))
        opened_by, at = seen(opener, i), int(run["at_ms"][i])
        key = "\0".join((detector.rule.id, platform, name, opened_by.event_id))
        cause, row = worst.cause, int(which[i])
        begun = first.at_ms[i] if cause is None else min(first.at_ms[i], cause.at_ms[row])
        return Finding(
            detector=detector,
            level=int(level[i]),
            alert_id=hashlib.blake2b(key.encode(), digest_size=16).hexdigest(),
            platform=platform,
            subject=own,
            subject_type=kind,
            actor=actor,
            app=app,
            merchant=merchant,
            cause=None if cause is None else seen(cause, row),
            first=None if first.offset[i] < 0 else seen(first, i),
            opener=opened_by,
            deciding=Seen(event_id, int(run["offset"][i])),
            numbers=numbers_of(worst.numbers, row),
            window_start=min(int(begun), int(opener.at_ms[i]), at),
            window_end=max(int(opener.at_ms[i]), at),
            raised_at=int(run["observed"][i]),
        )

    return [(int(run.place[i]), finding(i)) for i in np.flatnonzero(level > held).tolist()]


def numbers_of(measured: Mapping[str, Measured], row: int) -> tuple[Number, ...]:
    """The numbers of one judged event, without those that are not told of it."""

    def limit_at(limit: NDArray[Any] | float | None) -> float | None:
        return float(limit[row]) if isinstance(limit, np.ndarray) else limit

    return tuple(
        Number(name=name, value=float(value[row]), limit=limit_at(limit))
        for name, (value, limit, where) in measured.items()
        if where is None or where[row]
    )
