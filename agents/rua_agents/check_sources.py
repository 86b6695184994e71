"""What may be wrong with a source before it is read: nothing is there, nothing may be read, no record holds a time."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast

import msgspec
from rua_common.clock import Clock
from rua_common.errors import BadConfiguration, RuaError

from rua_agents.contents import opened
from rua_agents.intake.contract import PolledCollector, PollFailed
from rua_agents.keyfile import Keys
from rua_agents.patterns import problem_of
from rua_agents.pseudonyms import KeyRing
from rua_agents.records import RawRecord, check_encoding
from rua_agents.run import watched
from rua_agents.settings import AgentSettings, SourceSettings, collector_of, options_of, reads, zone_of
from rua_agents.stream import FIRST_RECORDS, Origin

SAMPLE_BYTES = 1 << 18
SAMPLE_FILES = 3
"""The newest of a source: older ones may well be of another time."""


def source_problems(settings: AgentSettings, source: SourceSettings, keys: Keys | None, clock: Clock) -> Iterator[str]:
    """Everything that is wrong with a source; its records are looked at if there are keys."""
    kind = reads(collector_of(source.source))
    if kind == "poll":
        yield from _polled(source, clock)
    elif kind == "push":
        yield from _socket(Path(source.socket or ""))
    else:
        found = [path for pattern in source.paths for path in _matching(pattern)]
        for pattern in source.paths:
            yield from _pattern(pattern)
        readable = []
        for path in found:
            wrong = list(_unreadable(path))
            yield from wrong
            readable += [] if wrong else [path]
        yield from _beside(source)
        if keys is not None:
            yield from _without_time(settings, source, keys, _newest(readable), clock.now_ms())


def _matching(pattern: str) -> list[str]:
    return sorted(path for path in glob.glob(pattern) if Path(path).is_file())


def _newest(paths: Sequence[str]) -> list[str]:
    return sorted(paths, key=os.path.getmtime)[-SAMPLE_FILES:]


def _pattern(pattern: str) -> Iterator[str]:
    trouble = problem_of(pattern)
    if trouble:
        yield trouble
    elif not _matching(pattern):
        yield f"paths: {pattern} matches no file: is the path right, and does the source write there?"


def _unreadable(path: str) -> Iterator[str]:
    if not os.path.exists(path):
        yield f"{path}: no such file"
        return
    if not os.access(path, os.R_OK):
        yield f"{path}: not readable by this user: add it to the file's group"
        return
    try:
        with opened(path) as file:
            check_encoding(file.read(4))
    except (OSError, RuaError) as why:
        yield f"{path}: {why}"


def _beside(source: SourceSettings) -> Iterator[str]:
    """A log that the source's options name, in which it looks up what its own records do not say."""
    options = options_of(collector_of(source.source), source.options)
    for name in options.__struct_fields__:
        path = getattr(options, name)
        if name.endswith("_log") and isinstance(path, str):
            yield from (f"options.{name}: {why}" for why in _unreadable(path))


def _without_time(
    settings: AgentSettings, source: SourceSettings, keys: Keys, paths: Sequence[str], now_ms: int
) -> Iterator[str]:
    """A record without a time is lost: so a missing zone, or a swapped source, must show before."""
    one = msgspec.structs.replace(settings, sources=[source])
    origins = [each.origin for each in watched(one, KeyRing(keys, settings.platform), {})]
    utc = zone_of("UTC")
    for path in paths:
        first = [(origin, record) for origin in origins for record in _first_records(origin, path, settings)]
        if not first or any(origin.time_ms(record, now_ms) is not None for origin, record in first):
            continue
        if any(replace(origin, zone=utc).time_ms(record, now_ms) is not None for origin, record in first):
            yield f"{path}: its stamps name no zone: set the source's zone, e.g. zone: Asia/Bangkok"
        else:
            yield f"{path}: none of its first {len(first)} records holds a time: is it really {source.source}?"


def _first_records(origin: Origin, path: str, settings: AgentSettings) -> list[RawRecord]:
    splitter = origin.splitter(0, settings.limits.record_bytes)
    try:
        with opened(path) as file:
            data = file.read(SAMPLE_BYTES)
    except (OSError, RuaError):
        return []  # told already, or gone meanwhile
    whole = len(data) < SAMPLE_BYTES
    records = [*splitter.feed(data), *(splitter.finish() if whole else ())]
    return list(islice((record for record in records if record.data.strip()), FIRST_RECORDS))


def _polled(source: SourceSettings, clock: Clock) -> Iterator[str]:
    """Asks once, as the agent would at its first start; nothing is kept."""
    try:
        collector = cast(PolledCollector, collector_of(source.source))
        poller = collector.poller(options_of(collector, source.options))
    except BadConfiguration as why:
        yield f"{source.source}: {why}"
        return
    try:
        poller.poll(None, clock.now_ms())
    except (PollFailed, OSError) as why:
        yield f"{source.source}: {why}"
    finally:
        poller.close()


def _socket(path: Path) -> Iterator[str]:
    if not path.parent.is_dir():
        yield f"socket: the directory {path.parent} does not exist: make it, for the agent's user"
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        yield f"socket: the directory {path.parent} is not writable by this user"
