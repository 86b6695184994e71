"""Logs that can be judged again, and those in files: which file holds what of which partition, in which order."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import polars as pl
from rua_common.errors import BadConfiguration
from rua_schemas.container import OFFSET, Reader
from rua_schemas.topics import EVENTS, events_topic, platform_of

# As Kafka Connect's storage sinks name their files, and `rua backtest export`: topic, partition, first offset.
PLACED = re.compile(rf"^({re.escape(EVENTS)}[^+]+)\+(\d+)\+(\d+)\.avro$")
FIRST_LOOK = ("event_id", "observed_at")


class Slice(NamedTuple):
    """Some events of a partition, in log order, with their offsets."""

    topic: str
    partition: int
    frame: pl.DataFrame


class Log(Protocol):
    """One or more whole partitions. Can be handed to another process."""

    @property
    def size(self) -> int:
        """How much there is: bytes of packed files, or about as many."""
        ...

    def slices(self, columns: Collection[str]) -> Iterator[Slice]:
        """Its events in log order, with at least these columns; a partition's slices in order."""
        ...


@dataclass(frozen=True)
class PlacedFile:
    """A file whose name says where it stood in Kafka. Offsets count from `first` where the file does not hold them."""

    path: Path
    topic: str
    partition: int
    first: int


@dataclass(frozen=True)
class PartitionFiles:
    """The files of one partition, by their first offsets."""

    files: tuple[PlacedFile, ...]

    @cached_property
    def size(self) -> int:
        """In bytes."""
        return sum(file.path.stat().st_size for file in self.files)

    def slices(self, columns: Collection[str]) -> Iterator[Slice]:
        """File by file. What names another platform than its topic is passed over, as it is live."""
        for file in self.files:
            start, platform = file.first, platform_of(file.topic)
            for frame in Reader(file.path, columns).frames():
                numbered = frame if OFFSET in frame.columns else frame.with_columns(numbers(start, frame.height))
                start += frame.height
                own = numbered if (numbered["platform"] == platform).all() else numbered.filter(platform=platform)
                yield Slice(file.topic, file.partition, own)


@dataclass(frozen=True)
class LooseFiles:
    """Files from anywhere: each platform's events are one partition, in the order of the files' first events."""

    paths: tuple[Path, ...]

    @cached_property
    def size(self) -> int:
        """In bytes."""
        return sum(path.stat().st_size for path in self.paths)

    def slices(self, columns: Collection[str]) -> Iterator[Slice]:
        """File by file. Offsets, where the files do not hold them, are counted by platform."""
        counted: dict[str, int] = defaultdict(int)
        for path in sorted(self.paths, key=began):
            for frame in Reader(path, columns).frames():
                for part in frame.partition_by("platform", maintain_order=True):
                    platform = part["platform"][0]
                    start, counted[platform] = counted[platform], counted[platform] + part.height
                    numbered = part if OFFSET in part.columns else part.with_columns(numbers(start, part.height))
                    yield Slice(events_topic(platform), 0, numbered)


def numbers(start: int, height: int) -> pl.Expr:
    """Offsets of consecutive records."""
    return pl.int_range(start, start + height, dtype=pl.Int64).alias(OFFSET)


def began(path: Path) -> tuple[int, str]:
    """When the first event of a file was observed, and its name."""
    first = next(Reader(path, FIRST_LOOK).frames(1), None)
    return (0 if first is None else int(first["observed_at"][0]), path.name)


def logs_in(place: Path) -> Sequence[Log]:
    """The logs in a file, or in all `.avro` files in and below a folder.

    Raises:
        BadConfiguration: there is none.
    """
    paths = sorted(place.rglob("*.avro")) if place.is_dir() else [place]
    if not paths or not all(path.is_file() for path in paths):
        problem = "holds no .avro file" if place.is_dir() else "there is no such file"
        raise BadConfiguration(problem, file=str(place), key="--from")
    partitions: dict[tuple[str, int], list[PlacedFile]] = defaultdict(list)
    loose: list[Path] = []
    for path in paths:
        if named := PLACED.match(path.name):
            topic, partition, first = named[1], int(named[2]), int(named[3])
            partitions[topic, partition].append(PlacedFile(path, topic, partition, first))
        else:
            loose.append(path)
    logs: list[Log] = [PartitionFiles(in_order(files)) for _, files in sorted(partitions.items())]
    return [*logs, LooseFiles(tuple(loose))] if loose else logs


def in_order(files: Sequence[PlacedFile]) -> tuple[PlacedFile, ...]:
    """By first offset.

    Raises:
        BadConfiguration: two begin at the same one.
    """
    ordered = sorted(files, key=lambda file: file.first)
    for one, other in pairwise(ordered):
        if one.first == other.first:
            raise BadConfiguration(f"begins where {one.path} does: keep one of them", file=str(other.path))
    return tuple(ordered)


def file_name(topic: str, partition: int, first: int) -> str:
    """What `PLACED` reads."""
    return f"{topic}+{partition}+{first:010d}.avro"
