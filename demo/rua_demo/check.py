"""Checks a world before anything is started: what cannot work is refused with its key, what looks wrong is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

from rua_agents.collectors import COLLECTORS
from rua_agents.settings import PLATFORM, collector_of, options_of
from rua_common.errors import BadConfiguration

from rua_demo import world
from rua_demo.world import ARRIVALS, WORLD_FILE, Source, World

BYTES_PER_ARRIVAL = 4


def check(folder: Path, described: World) -> list[str]:
    """Checks all of `world.json`, and the files that it names.

    Returns:
        Warnings: what is read all the same, but is hardly meant so.

    Raises:
        BadConfiguration: names file, key and what would be allowed.
    """
    file = str(folder / WORLD_FILE)
    _zone(described.timezone, file, "timezone")
    for key, value in (("start", described.start), ("end", described.end)):
        if abs(value) > world.MANY_SECONDS:
            raise BadConfiguration("looks like milliseconds; it must be seconds since 1970", file=file, key=key)
    claimed: dict[Path, int] = {}
    for number, source in enumerate(described.sources):
        _source(file, number, source)
        for path in _files(folder, number, source):
            if source.source in COLLECTORS:
                first = claimed.setdefault(path, number)
                if first != number:
                    problem = f"{path} belongs to sources[{first}] already: a file must have one source only"
                    raise BadConfiguration(problem, file=file, key=f"sources[{number}].glob")
    _arrivals(folder, claimed)
    return _unknown_keys(folder / WORLD_FILE)


def _zone(name: str, file: str, key: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as why:  # OSError: the name of a folder, such as `Asia`
        problem = f'unknown time zone "{name}"'
        raise BadConfiguration(problem, file=file, key=key, allowed=["an IANA name, e.g. Asia/Bangkok"]) from why


def _source(file: str, number: int, source: Source) -> None:
    key = f"sources[{number}]"
    if not PLATFORM.fullmatch(source.platform):
        problem = f'"{source.platform}" is no name for a platform'
        allowed = ["up to 63 lower-case letters a-z, digits, - and _, a letter or digit first"]
        raise BadConfiguration(problem, file=file, key=f"{key}.platform", allowed=allowed)
    _zone(source.zone, file, f"{key}.zone")
    if source.source in COLLECTORS:
        try:
            options_of(collector_of(source.source), source.options)
        except BadConfiguration as why:
            raise BadConfiguration(why.problem, file=file, key=f"{key}.{why.key}", allowed=why.allowed) from why


def _files(folder: Path, number: int, source: Source) -> list[Path]:
    """The source's files, none of them outside of the folder: the replay writes to the same places of its own."""

    def refused(problem: str) -> BadConfiguration:
        return BadConfiguration(problem, file=str(folder / WORLD_FILE), key=f"sources[{number}].glob")

    pattern = PurePosixPath(source.glob)
    if pattern.is_absolute() or ".." in pattern.parts:
        raise refused(f'"{source.glob}" must be relative and stay inside of the folder')
    try:
        found = world.files(folder, source)
    except (ValueError, NotImplementedError) as why:
        raise refused(f'"{source.glob}" is no pattern of file names: {why}') from why
    root = folder.resolve()
    for path in found:
        if not (folder / path).resolve().is_relative_to(root):
            raise refused(f"{path} is a link to a file outside of the folder")
    return found


def _arrivals(folder: Path, paths: Iterable[Path]) -> None:
    for path in paths:
        given = folder / ARRIVALS / f"{path}.u32"
        if given.exists() and given.stat().st_size % BYTES_PER_ARRIVAL:
            problem = f"has {given.stat().st_size} bytes, no multiple of {BYTES_PER_ARRIVAL}: one uint32 for each line"
            raise BadConfiguration(problem, file=str(given))


def _unknown_keys(file: Path) -> list[str]:
    """Keys that this release does not know: a slip of the pen, or of a later format."""
    raw: Mapping[str, Any] = json.loads(file.read_bytes())
    places = [("", raw, World), *((f"sources[{k}].", one, Source) for k, one in enumerate(raw["sources"]))]
    found = []
    for place, given, kind in places:
        known = kind.__struct_fields__
        found += [
            f"warning: {file}: {place}{key} is not known and ignored (known: {', '.join(known)})"
            for key in given
            if key not in known
        ]
    return found
