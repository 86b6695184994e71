"""A world: a folder of logs that can be replayed, and judged afterwards.

`world.json` says where the logs are and in which format; `context/*.jsonl` says what a platform knows about itself;
`arrivals/…u32` says when each line reached its file; `labels.jsonl` is for the judge alone.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar, cast

import msgspec
from rua_common.errors import BadConfiguration

T = TypeVar("T")
WORLD_FILE, LABELS_FILE = "world.json", "labels.jsonl"
CONTEXT, ARRIVALS = "context", "arrivals"
GZIP = b"\x1f\x8b"
MANY_SECONDS = 100_000_000_000  # a time beyond this is in milliseconds: in seconds it would be the year 5138


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Log files of one format on one host. `glob` is relative to the world's folder."""

    platform: str
    host: str
    glob: str
    source: str
    zone: str = "UTC"
    options: dict[str, Any] = {}


class World(msgspec.Struct, frozen=True, kw_only=True):
    """`world.json`. `start` and `end` are seconds since the epoch."""

    timezone: str
    start: float
    end: float
    sources: list[Source]
    about: str | None = None
    seed: int | None = None

    @property
    def start_ms(self) -> int:
        """Milliseconds since the epoch."""
        return milliseconds(self.start)

    @property
    def end_ms(self) -> int:
        """Milliseconds since the epoch."""
        return milliseconds(self.end)

    @property
    def platforms(self) -> list[str]:
        """Every platform that has a source, sorted."""
        return sorted({s.platform for s in self.sources})


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `context/directory.jsonl`: an account and what the platform knows about it."""

    platform: str
    account: str
    role: str
    status: str = "active"
    size: str | None = None
    apps: list[str] | None = None
    last_seen_before_world_days: float | None = None


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `context/tickets.jsonl`. Times are seconds since the epoch."""

    ticket: str
    platform: str
    kind: str
    valid_from: float
    valid_to: float
    who: str


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `context/networks.jsonl`."""

    prefix: str
    what: str
    country: str | None = None
    lat: float | None = None
    lon: float | None = None


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `labels.jsonl`.

    Attributes:
        first, last: Seconds since the epoch, or ISO 8601 with an offset.
        entities: Every clear name under which an alert may speak of it.
        files: Line ranges from 1, both ends included, by path.
        kind: A `condition` is neither a hit nor false.
    """

    id: str
    pattern: str
    difficulty: str = "unknown"
    platform: str
    entities: list[str]
    first: float | str
    last: float | str
    files: dict[str, list[tuple[int, int]]] = {}
    kind: Literal["attack", "condition"] = "attack"

    @property
    def first_ms(self) -> int:
        """Milliseconds since the epoch."""
        return milliseconds(self.first)

    @property
    def last_ms(self) -> int:
        """Milliseconds since the epoch."""
        return milliseconds(self.last)


def milliseconds(given: float | str) -> int:
    """A time of a world, which is in seconds, as milliseconds; one that is clearly in milliseconds stays."""
    seconds = datetime.fromisoformat(given).timestamp() if isinstance(given, str) else given
    return int(seconds) if seconds > MANY_SECONDS else round(seconds * 1_000)


def read(folder: Path) -> World:
    """Reads `world.json`.

    Raises:
        BadConfiguration: no such file, no JSON, a missing or wrong key, no sources, or an end before the start.
    """
    path = folder / WORLD_FILE
    try:
        world = msgspec.json.decode(path.read_bytes(), type=World)
    except OSError as why:
        raise BadConfiguration(f"cannot be read: {why.strerror}", file=str(path)) from why
    except msgspec.MsgspecError as why:
        raise BadConfiguration(str(why), file=str(path)) from why
    if not world.sources:
        raise BadConfiguration("names no log files", file=str(path), key="sources")
    if world.end <= world.start:
        raise BadConfiguration("must be after start", file=str(path), key="end")
    return world


def write(folder: Path, world: World) -> None:
    """Writes `world.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(msgspec.to_builtins(world), ensure_ascii=False, indent=1)
    (folder / WORLD_FILE).write_text(text + "\n", encoding="utf-8")


def files(folder: Path, source: Source) -> list[Path]:
    """The log files of a source, relative to the world's folder, sorted."""
    return sorted(p.relative_to(folder) for p in folder.glob(source.glob) if p.is_file())


def open_log(path: Path) -> BinaryIO:
    """A log as its program wrote it: what was compressed at rotation is unpacked, whatever its name.

    Reading raises OSError, EOFError or zlib.error where it is damaged.
    """
    with path.open("rb") as head:
        packed = head.read(len(GZIP)) == GZIP
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def write_lines(path: Path, records: Iterable[msgspec.Struct]) -> None:
    """Writes JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as out:
        for record in records:
            out.write(encode(record) + b"\n")


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """Reads JSON lines. A file that does not exist has none.

    Raises:
        BadConfiguration: names file, line and what is wrong.
    """
    return list(_lines(path, kind)) if path.exists() else []


def _lines(path: Path, kind: type[T]) -> Iterator[T]:
    decode = msgspec.json.Decoder(kind).decode
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield decode(line)
            except msgspec.MsgspecError as why:
                raise BadConfiguration(str(why), file=str(path), line=number) from why


def labels(folder: Path) -> list[Label]:
    """What was planted. Only the judge may call this, and only after the run."""
    return read_lines(folder / LABELS_FILE, Label)


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Line numbers in ascending order as ranges, both ends included: 3, 4, 5, 9 → (3, 5), (9, 9)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def by_platform(sources: Iterable[Source]) -> Mapping[str, list[Source]]:
    """The sources of each platform."""
    found: dict[str, list[Source]] = {}
    for source in sources:
        found.setdefault(source.platform, []).append(source)
    return found
