"""Replays a world of logs by its own clock: a watermark, and when each line reached its file.

Only lines that arrived up to the watermark are taken, merged over all files of the agent in order of (arrival, path,
position); `observed_at` is the arrival. So what comes out, and in which order, depends on the world alone.
"""

from __future__ import annotations

import glob
from array import array
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from pathlib import Path
from sys import byteorder

from rua_common.errors import BadConfiguration, RuaError

from rua_agents.checkpoint import FileState
from rua_agents.collectors import Draft
from rua_agents.reader import FileStatus
from rua_agents.records import RawRecord, UnsupportedFile, check_encoding
from rua_agents.settings import Limits, ReplaySettings
from rua_agents.stream import Origin, SourceStream, Taken
from rua_agents.tail import Watched

END_MS = 1 << 62
SLICE_RECORDS = 1_024
ARRIVAL_BYTES = 4

Due = tuple[int, str, int, RawRecord]
"""Arrival, path, physical line, record."""


class ReplayedFile:
    """One file of the world."""

    def __init__(self, origin: Origin, path: str, settings: ReplaySettings, limits: Limits, taken: Taken) -> None:
        self.origin, self.path = origin, path
        self.stream = SourceStream(origin, path, taken)
        self.offset = self.line = 0
        """Up to where records are taken, in bytes and physical lines."""
        self.problem: str | None = None
        self._settings, self._limits = settings, limits
        if not Path(path).is_relative_to(settings.logs_root):
            raise RuaError(f"{path} does not lie under replay.logs_root {settings.logs_root}: correct sources.paths")
        relative = Path(path).relative_to(settings.logs_root)
        self._arrivals = Path(settings.arrivals_root, f"{relative}.u32") if settings.arrivals_root else None
        self._known: array[int] = array("I")
        self._known_from = 0
        self._file = open(path, "rb")  # noqa: SIM115 - stays open as long as the replay
        self._splitter = origin.splitter(0, limits.record_bytes)
        self._ahead: list[RawRecord] = []
        self._next_line = 0
        self._last_arrival = settings.start_ms

    def load(self, state: FileState) -> None:
        """Goes on where a checkpoint stands."""
        self.offset, self.line = state.offset, state.line
        self.stream.load(state.stream)
        self._last_arrival = max(self._last_arrival, self.stream.last_observed_at)
        self._file.seek(state.offset)
        self._splitter = self.origin.splitter(state.offset, self._limits.record_bytes)
        self._ahead, self._next_line = [], state.line

    def dump(self) -> FileState:
        """For the checkpoint. Records before the id is known are not taken yet."""
        begun = not self.stream.holds
        return FileState(
            path=self.path,
            source=self.origin.collector.name,
            offset=self.offset if begun else 0,
            stream=self.stream.dump(),
            line=self.line if begun else 0,
        )

    def due(self, watermark_ms: int) -> Iterator[Due]:
        """The records that arrived up to the watermark; none of a file that cannot be read."""
        while self.problem is None:
            if not self._ahead and not self._read(to_the_end=watermark_ms >= END_MS):
                return
            while self._ahead:
                record = self._ahead[-1]
                line = self._next_line + record.lines
                arrival = self._arrival(line - 1, record)
                if arrival is None or arrival > watermark_ms:
                    return
                self._ahead.pop()
                self._next_line, self._last_arrival = line, arrival
                yield arrival, self.path, line, record

    def taken(self, line: int, record: RawRecord) -> None:
        """The record is parsed: a checkpoint may stand behind it."""
        self.offset, self.line = record.end, line

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def size(self) -> int:
        """Bytes in the file now."""
        return Path(self.path).stat().st_size

    def _read(self, *, to_the_end: bool) -> bool:
        """Reads ahead until there is a record; the last one comes first, so that taking one is cheap."""
        while chunk := self._file.read(self._limits.read_bytes):
            try:
                check_encoding(chunk[:4] if self._splitter.offset == 0 else b"")
            except UnsupportedFile as why:
                self.problem = str(why)
                return False
            self._ahead = self._splitter.feed(chunk)[::-1]
            if self._ahead:
                return True
        if to_the_end:
            self._ahead = self._splitter.finish()
        return bool(self._ahead)

    def _arrival(self, line: int, record: RawRecord) -> int | None:
        if self._arrivals is None:
            own = self.origin.time_ms(record, self._last_arrival)
            return max(self._last_arrival, own or 0)
        if not 0 <= line - self._known_from < len(self._known):
            self._load_arrivals(line)
            if not self._known:
                return None
        return self._settings.start_ms + self._known[line - self._known_from]

    def _load_arrivals(self, line: int) -> None:
        if self._arrivals is None or not self._arrivals.exists():
            self._known = array("I")
            return
        with self._arrivals.open("rb") as file:
            file.seek(line * ARRIVAL_BYTES)
            data = file.read(self._limits.read_bytes)
        self._known = array("I", data[: len(data) // ARRIVAL_BYTES * ARRIVAL_BYTES])
        self._known_from = line
        if byteorder == "big":
            self._known.byteswap()


class Replay:
    """All files of one platform, by the world's clock."""

    def __init__(self, watched: Sequence[Watched], settings: ReplaySettings, limits: Limits) -> None:
        self._watched, self._settings, self._limits = watched, settings, limits
        self._files: dict[str, ReplayedFile] = {}
        self._restored: dict[str, FileState] = {}
        self._silent_at: int | None = None
        self.watermark_ms = 0
        self._unopened: dict[str, str] = {}

    @property
    def problems(self) -> dict[str, str]:
        """Path → why it cannot be read."""
        return self._unopened | {f.path: f.problem for f in self._files.values() if f.problem is not None}

    @property
    def finished(self) -> bool:
        """Whether the world is over and everything is taken."""
        return self.watermark_ms >= END_MS

    def restore(self, files: Sequence[FileState]) -> None:
        """Goes on where `dump` was taken."""
        self._restored = {state.path: state for state in files}

    def turn(self, now_ms: int) -> Iterator[list[Draft]]:
        """Everything up to the watermark, if it has moved."""
        del now_ms
        watermark = self._read_watermark()
        if watermark <= self.watermark_ms:
            return
        self._scan()
        due = merge(*[file.due(watermark) for file in self._files.values()])
        while some := list(islice(due, SLICE_RECORDS)):
            yield self._take(some)
        last = self._silence(watermark)
        for file in self._in_order() if watermark >= END_MS else []:
            last += file.stream.flush()
        self.watermark_ms = watermark
        yield last

    def dump(self) -> list[FileState]:
        """For the checkpoint."""
        return [file.dump() for file in self._files.values()] + list(self._restored.values())

    def reconfigure(self, watched: Sequence[Watched], limits: Limits) -> None:
        """A world's logs are what they are.

        Raises:
            BadConfiguration: always.
        """
        raise BadConfiguration("a replay's configuration does not change", key="replay")

    def acked(self, files: Sequence[FileState]) -> None:
        """Logs are not this agent's to delete."""
        del files

    def files(self) -> list[FileStatus]:
        """For the status."""
        return [
            FileStatus(f.path, f.origin.collector.name, f.stream.source_id, f.offset, f.size())
            for f in self._files.values()
        ]

    def close(self) -> None:
        """Closes all files."""
        for file in self._files.values():
            file.close()

    def _take(self, some: list[Due]) -> list[Draft]:
        made: list[Draft] = []
        for arrival, path, line, record in some:
            if self._silent_at is not None and self._silent_at < arrival:
                made += self._silence(arrival - 1)
            file = self._files[path]
            made += file.stream.feed(record, arrival)
            file.taken(line, record)
            silent_at = file.stream.silent_at
            if silent_at is not None and (self._silent_at is None or silent_at < self._silent_at):
                self._silent_at = silent_at
        return made

    def _silence(self, until_ms: int) -> list[Draft]:
        """What silence has completed by then, in order of (when, path); finds when to look next."""
        made: list[Draft] = []
        silent = sorted((f.stream.silent_at, f.path) for f in self._files.values() if f.stream.silent_at is not None)
        for at, path in silent:
            if at <= until_ms:
                made += self._files[path].stream.flush()
        self._silent_at = next((at for at, _ in silent if at > until_ms), None)
        return made

    def _scan(self) -> None:
        for origin, patterns in self._watched:
            for path in sorted({p for pattern in patterns for p in glob.glob(pattern)}):
                if path in self._files or path in self._unopened or not Path(path).is_file():
                    continue
                try:
                    file = ReplayedFile(origin, path, self._settings, self._limits, self._taken)
                except OSError as why:
                    self._unopened[path] = why.strerror or str(why)
                    continue
                if path in self._restored:
                    file.load(self._restored.pop(path))
                    silent_at = file.stream.silent_at
                    if silent_at is not None:
                        self._silent_at = min(self._silent_at or silent_at, silent_at)
                self._files[path] = file

    def _taken(self, source_id: str) -> bool:
        return any(file.stream.source_id == source_id for file in self._files.values())

    def _in_order(self) -> list[ReplayedFile]:
        return [self._files[path] for path in sorted(self._files)]

    def _read_watermark(self) -> int:
        try:
            data = Path(self._settings.watermark_file).read_bytes()
        except FileNotFoundError:
            return 0
        if len(data) != 8:
            if not data:
                return 0
            raise RuaError(f"{self._settings.watermark_file}: {len(data)} bytes; a watermark is 8, little-endian")
        return int.from_bytes(data, "little", signed=True)
