"""Copies a world into a live folder, in the order of arrival, as fast as the agents keep up.

Of each slice of world time, lines are appended to their files first, then their arrivals, and only then does the
watermark move: an agent that reads up to the watermark always finds everything.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from rua_agents.collectors import COLLECTORS
from rua_agents.records import DEFAULT_LIMIT_BYTES, UnsupportedFile, check_encoding
from rua_common.errors import BadConfiguration

from rua_demo import world
from rua_demo.check import check
from rua_demo.world import ARRIVALS, Source, World

WORLD_IS_OVER = 2**62
MOST_MS = 2**32 - 1
FIRST_SLICE_LINES, LARGEST_SLICE_LINES = 500, 8_000
READ_BYTES = 1 << 20

Arrivals = NDArray[np.uint32]
Offsets = NDArray[np.int64]


@dataclass(slots=True)
class Track:
    """One file of the world: when each of its lines arrives, and how far it has been copied."""

    path: Path
    arrivals: Arrivals
    ends: Offsets
    done: int = 0
    original: BinaryIO | None = None

    def next_lines(self, folder: Path, upto: int) -> bytes:
        """The lines from where it stands up to a line's number."""
        if self.original is None:
            self.original = world.open_log(folder / self.path)
        start = int(self.ends[self.done - 1]) if self.done else 0
        self.original.seek(start)
        return self.original.read(int(self.ends[upto - 1]) - start)

    def close(self) -> None:
        """Closes the file."""
        if self.original is not None:
            self.original.close()


@dataclass(frozen=True, slots=True)
class Slice:
    """A step of the replay. Times are of the world."""

    watermark_ms: int
    lines: int
    lines_so_far: int


@dataclass(slots=True)
class Replay:
    """A world on its way into a live folder."""

    folder: Path
    live: Path
    described: World
    tracks: list[Track]
    order: Arrivals
    skipped: list[str]
    warnings: list[str]
    unreadable: dict[Path, str]
    targets: dict[Path, tuple[BinaryIO, BinaryIO]] = field(default_factory=dict)

    @staticmethod
    def of(folder: Path, live: Path) -> Replay:
        """Reads a world's arrivals.

        Raises:
            BadConfiguration: no world, something in it is wrong, or none of its sources is known or has a file.
        """
        described = world.read(folder)
        warnings = check(folder, described)
        skipped, unreadable = skips(described), _unreadable(folder, described)
        tracks = [t for s in known(described) for t in _tracks(folder, described, s, unreadable)]
        if not tracks:
            raise BadConfiguration(
                "; ".join(["holds no log file that this release reads", *skipped, *unreadable.values()]),
                file=str(folder),
                key="sources",
                allowed=sorted(COLLECTORS),
            )
        order = np.sort(np.concatenate([t.arrivals for t in tracks]))
        for part in (logs_root(live), arrivals_root(live)):
            part.mkdir(parents=True, exist_ok=True)
        move_watermark(live, described.start_ms - 1)
        return Replay(folder, live, described, tracks, order, skipped, warnings, unreadable)

    @property
    def total_lines(self) -> int:
        """Lines of all files."""
        return len(self.order)

    @property
    def platforms(self) -> list[str]:
        """Those of which this release reads anything, sorted."""
        return sorted({s.platform for s in known(self.described)})

    def lines_until(self, world_ms: int) -> int:
        """How many lines have arrived at a time of the world."""
        since = min(max(world_ms - self.described.start_ms, -1), MOST_MS)
        return int(np.searchsorted(self.order, since, side="right")) if since >= 0 else 0

    def slices(self) -> Iterator[Slice]:
        """Copies one slice for each step: small ones first, so that the first events come soon."""
        at, size = 0, FIRST_SLICE_LINES
        try:
            while at < self.total_lines:
                until = int(self.order[min(at + size, self.total_lines) - 1])
                copied = sum(self._copy(track, until) for track in self.tracks)
                at += copied
                watermark = self.described.start_ms + until
                move_watermark(self.live, watermark)
                yield Slice(watermark, copied, at)
                size = min(size * 2, LARGEST_SLICE_LINES)
        finally:
            self.close()
        move_watermark(self.live, WORLD_IS_OVER)

    def close(self) -> None:
        """Closes every file."""
        for track in self.tracks:
            track.close()
        for two in self.targets.values():
            for one in two:
                one.close()
        self.targets.clear()

    def _copy(self, track: Track, until: int) -> int:
        upto = int(np.searchsorted(track.arrivals, until, side="right"))
        count = upto - track.done
        if count:
            logs, arrivals = self._target(track.path)
            logs.write(track.next_lines(self.folder, upto))
            arrivals.write(track.arrivals[track.done : upto].astype("<u4").tobytes())
            track.done = upto
        return count

    def _target(self, path: Path) -> tuple[BinaryIO, BinaryIO]:
        if path not in self.targets:
            places = logs_root(self.live) / path, arrivals_root(self.live) / f"{path}.u32"
            for place in places:
                place.parent.mkdir(parents=True, exist_ok=True)
            self.targets[path] = places[0].open("ab", buffering=0), places[1].open("ab", buffering=0)
        return self.targets[path]


def logs_root(live: Path) -> Path:
    """Where the live log files stand."""
    return live / "logs"


def arrivals_root(live: Path) -> Path:
    """Where the agents read arrivals."""
    return live / ARRIVALS


def watermark_file(live: Path) -> Path:
    """The world's clock."""
    return live / "watermark"


def move_watermark(live: Path, world_ms: int) -> None:
    """Every file is complete up to this time. Readers see the old value or the new one."""
    fresh = live / "watermark.new"
    fresh.write_bytes(struct.pack("<q", world_ms))
    os.replace(fresh, watermark_file(live))


def known(described: World) -> list[Source]:
    """The sources that this release reads."""
    return [s for s in described.sources if s.source in COLLECTORS]


def skips(described: World) -> list[str]:
    """One sentence for each kind of source that this release does not read."""
    unknown: dict[str, list[str]] = {}
    for source in described.sources:
        if source.source not in COLLECTORS:
            unknown.setdefault(source.source, []).append(f"{source.platform}/{source.host}")
    return [f"skipped: this release does not read {kind} ({', '.join(at)})" for kind, at in sorted(unknown.items())]


def _unreadable(folder: Path, described: World) -> dict[Path, str]:
    """Files that no agent would read, and why: packed in another way than by gzip, not UTF-8, or damaged."""
    found = {}
    for path in (path for source in known(described) for path in world.files(folder, source)):
        try:
            with world.open_log(folder / path) as log:
                check_encoding(log.read(4))
                while log.read(READ_BYTES):
                    pass
        except (UnsupportedFile, OSError, EOFError, zlib.error) as why:
            found[path] = f"{path} cannot be read: {why}"
    return found


def _tracks(folder: Path, described: World, source: Source, unreadable: Collection[Path]) -> Iterator[Track]:
    for path in world.files(folder, source):
        if path in unreadable:
            continue
        with world.open_log(folder / path) as original:
            ends = _line_ends(original)
        if len(ends):
            yield Track(path, _arrivals(folder, described, source, path=path, ends=ends), ends)


def _line_ends(original: BinaryIO) -> Offsets:
    """Where each line ends; the last one may have no line feed."""
    found, at = [], 0
    while chunk := original.read(READ_BYTES):
        found.append(np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n")) + at + 1)
        at += len(chunk)
    ends = np.concatenate(found).astype(np.int64) if found else np.zeros(0, np.int64)
    return ends if not at or (len(ends) and ends[-1] == at) else np.append(ends, at)


def _arrivals(folder: Path, described: World, source: Source, *, path: Path, ends: Offsets) -> Arrivals:
    given = folder / ARRIVALS / f"{path}.u32"
    if not given.exists():
        return _own_times(folder / path, described, source, ends)
    arrivals = np.fromfile(given, dtype="<u4")
    if len(arrivals) != len(ends):
        problem = f"has {len(arrivals)} arrivals for the {len(ends)} lines of {path}"
        raise BadConfiguration(problem, file=str(given))
    return np.maximum.accumulate(arrivals.astype(np.uint32))


def _own_times(file: Path, described: World, source: Source, ends: Offsets) -> Arrivals:
    """Each line arrives at its record's own time, but never before the line above it."""
    collector, zone = COLLECTORS[source.source], ZoneInfo(source.zone)
    options = collector.options()
    splitter = collector.splitter(0, DEFAULT_LIMIT_BYTES, options)
    records: list[tuple[int, int]] = []
    latest = described.start_ms
    with world.open_log(file) as original:
        while True:
            chunk = original.read(READ_BYTES)
            for record in splitter.feed(chunk) if chunk else splitter.finish():
                at_ms = collector.time_ms(record, zone, latest, options)
                latest = latest if at_ms is None else max(latest, at_ms)
                records.append((record.offset, latest - described.start_ms))
            if not chunk:
                break
    table = np.array(records, np.int64).reshape(-1, 2)
    starts = np.concatenate(([0], ends[:-1]))
    at = np.clip(np.searchsorted(table[:, 0], starts, side="right") - 1, 0, None)
    times = np.clip(table[at, 1], 0, MOST_MS)
    return np.maximum.accumulate(times).astype(np.uint32)


def backlog(replay: Replay, written: Slice, done_ms: Sequence[int]) -> int:
    """Lines that were written and that the slowest agent has not finished."""
    return written.lines_so_far - min((replay.lines_until(ms) for ms in done_ms), default=0)
