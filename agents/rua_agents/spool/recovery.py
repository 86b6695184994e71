"""What a spool finds when it is opened: its segments, where its sequence goes on, how far its sources were read."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from rua_agents.spool import groups, segments
from rua_agents.spool.segments import Segment

log = logging.getLogger(__name__)


class Recovered(NamedTuple):
    """An opened spool."""

    segments: list[Segment]
    next: int
    """Sequence of the next event."""
    marks: dict[str, Any]
    torn_bytes: int
    """What was cut off the end: written, but as far as anybody can tell never acknowledged to its source."""


def recover(directory: Path) -> Recovered:
    """Opens a directory, whatever a crash or a disk has left there.

    The torn tail of the last segment is cut; a last segment without one readable group is put aside. Damage further
    up is found when it is read.
    """
    directory.mkdir(parents=True, exist_ok=True)
    found, least, torn = segments.found_in(directory), segments.last_bad(directory), 0
    while found:
        last = found[-1]
        end, following = _end_of(last)
        least = max(least, last.first, following)
        if end:
            torn += last.size - end
            _cut(last, end)
            break
        torn += last.size
        _put_aside(found.pop())
    return Recovered(found, least, _marks(found), torn)


def _end_of(segment: Segment) -> tuple[int, int]:
    """Where its last readable group ends, and the sequence after it."""
    end, following = 0, segment.first
    for one in segment.groups():
        end = one.end
        events = _events_of(one.payload)
        following = one.first + events
    return end, following


def _events_of(payload: bytes) -> int:
    try:
        return len(groups.peek(payload).events)
    except msgspec.DecodeError:
        return 0


def _cut(segment: Segment, end: int) -> None:
    if end < segment.size:
        log.warning("%s: %d bytes of its end were never completed and are cut off", segment.path, segment.size - end)
        os.truncate(segment.path, end)
        segment.size = end


def _put_aside(segment: Segment) -> None:
    segment.close()
    if segment.size:
        log.error("%s: nothing in it can be read; it is kept as %s", segment.path, segments.BAD)
        segments.quarantine(segment.path)
    else:
        segment.path.unlink()


def _marks(found: list[Segment]) -> dict[str, Any]:
    """The newest marks of every source. A segment starts with all of them, so the last one usually tells everything."""
    known: dict[str, Any] = {}
    for segment in reversed(found):
        whole, newer = _marks_in(segment)
        known = {**newer, **known}
        if whole:
            break
    return {name: mark for name, mark in known.items() if mark is not None}


def _marks_in(segment: Segment) -> tuple[bool, Mapping[str, Any]]:
    whole, known = False, dict[str, Any]()
    for one in segment.groups():
        try:
            group = groups.peek(one.payload)
        except msgspec.DecodeError:
            continue
        whole = whole or group.whole
        known = {**({} if group.whole else known), **group.marks}
    segment.close()
    return whole, known
