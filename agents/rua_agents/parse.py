"""`rua agent parse`: what a file gives, as JSON lines, without any broker."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec
from rua_common.clock import Clock
from rua_common.errors import PoisonEvent
from rua_schemas.codec import UNENCODABLE, encode

from rua_agents.collectors import Draft
from rua_agents.contents import opened
from rua_agents.keyfile import KEY_BYTES, read_keys
from rua_agents.pseudonyms import KeyRing
from rua_agents.records import DEFAULT_LIMIT_BYTES, check_encoding
from rua_agents.settings import collector_of, options_of, zone_of
from rua_agents.stream import Origin, SourceStream
from rua_agents.tally import Tally

log = logging.getLogger(__name__)
CHUNK_BYTES = 1 << 20


def drafts(
    file: BinaryIO, origin: Origin, clock: Clock, *, path: str = "-", limit_bytes: int = DEFAULT_LIMIT_BYTES
) -> Iterator[Draft]:
    """Every draft of a file, to its end.

    Raises:
        UnsupportedFile: it is not UTF-8.
    """
    stream = SourceStream(origin, path, warns=False)
    splitter = origin.splitter(0, limit_bytes)
    first = True
    while chunk := file.read(CHUNK_BYTES):
        if first:
            check_encoding(chunk[:4])
            first = False
        for record in splitter.feed(chunk):
            yield from stream.feed(record, clock.now_ms())
    for record in splitter.finish():
        yield from stream.feed(record, clock.now_ms())
    yield from stream.flush()


def number(made: Iterator[Draft], epoch_ms: int) -> Iterator[Draft]:
    """The drafts as events, numbered from 1."""
    for n, draft in enumerate(made, 1):
        msgspec.structs.force_setattr(draft, "agent_epoch", epoch_ms)
        msgspec.structs.force_setattr(draft, "agent_seq", n)
        yield draft


def sendable(made: Iterator[Draft], tally: Tally) -> Iterator[Draft]:
    """What `run` could send: an event that does not fit the schema is counted as failed by both."""
    for event in made:
        try:
            encode(event)
        except PoisonEvent as why:
            log.warning("%s at position %d: %s", event.source, event.source_position, why)
            tally.events -= 1
            tally.failed[UNENCODABLE] += 1
        else:
            yield event


def run(
    source: str,
    path: str,
    *,
    platform: str,
    host: str,
    zone: str | None,
    options: Mapping[str, object],
    key_file: str | None,
    limit_bytes: int,
    clock: Clock,
) -> int:
    """Prints the events to stdout and the account of all records to stderr; 1 if not one of them could be read."""
    if key_file is None:
        print("rua agent parse: no --key-file: pseudonyms are made with a key that is thrown away", file=sys.stderr)  # noqa: T201 - the command's own output
    key = read_keys(Path(key_file)) if key_file else os.urandom(KEY_BYTES)
    collector, tally = collector_of(source), Tally()
    origin = Origin(
        collector, platform, host, host, zone_of(zone), options_of(collector, options), KeyRing(key, platform), tally
    )
    to_json, write = msgspec.json.Encoder().encode, sys.stdout.buffer.write
    with sys.stdin.buffer if path == "-" else opened(path) as file:
        made = number(drafts(file, origin, clock, path=path, limit_bytes=limit_bytes), clock.now_ms())
        for event in sendable(made, tally):
            write(to_json(event) + b"\n")
    sys.stdout.buffer.flush()
    print(tally.line(), file=sys.stderr)  # noqa: T201 - the command's own output
    if tally.unreadable:
        failed = tally.failed.total()
        print(f"{path} does not look like {source}: none of {failed} records could be read", file=sys.stderr)  # noqa: T201 - likewise
    return int(tally.unreadable)
