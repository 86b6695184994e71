"""Requests, many at once: the same events as `web.WebParser` makes of each, at a fifth of the cost.

Most lines of a log have the same keys, and most of what they say was said before. So an event is put together from
pieces of Avro that were written when `WebParser.read` made an event of such a line for the first time: who (user,
address, agent …) and what (method, path without literals, status …). Whatever is unusual about a line leaves it to
`WebParser.feed`. Tests hold both ways together, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from rua_schemas.codec import piece
from rua_schemas.events import MAX_TIME_MS, MIN_TIME_MS, POSITIONS_PER_RECORD, TelemetryEvent
from rua_schemas.writing import BYTE, long

from rua_agents.collectors.contract import Draft
from rua_agents.collectors.drafting import UNREADABLE, Ignored
from rua_agents.collectors.jsonlines import Read, reader
from rua_agents.collectors.nginx_fields import FIELDS, MOST_BYTES, count, names_of
from rua_agents.collectors.nginx_requests import (
    METHODS,
    NUMBERS,
    PATH_CHARACTERS,
    VERSION_CHARACTERS,
    VERSIONS,
    request_line,
    skeleton,
)
from rua_agents.collectors.web import WebParser, occurred
from rua_agents.records import RawRecord
from rua_agents.sealing import Written
from rua_agents.times import BadTime

T = TypeVar("T")
TOGETHER = 64
"""So many records are read at once; an odd one among them is found by halving."""
ODD = 256
"""After so many records that are not like the first one the log has another format: it is learnt anew."""
REMEMBERED, REMEMBERED_CHARACTERS = 1 << 12, 1 << 9
"""How many pieces are kept, and how long the texts together may be that they were made of."""
TEXTS = frozenset(("request", "method", "path", "completion", "content_type", "disposition", "gzip", "agent"))
IDS = frozenset(("address", "user", "status", "session", "merchant", "app"))
BESIDE = ("method", "path", "length", "gzip", "disposition")
"""What some logs tell beside the request line, and most do not."""
NULL, PRESENT = BYTE[0], BYTE[2]
NOWHERE = NULL + NULL
new = tuple.__new__

_write_id = piece(TelemetryEvent, "event_id", "event_id")
_write_source_id = piece(TelemetryEvent, "source_id", "source_id")
_write_source = piece(TelemetryEvent, "source", "agent_id")
_write_platform = piece(TelemetryEvent, "platform", "host")
_write_merchant = piece(TelemetryEvent, "merchant", "channel")
_write_kind = piece(TelemetryEvent, "kind", "outcome")
_write_actor = piece(TelemetryEvent, "actor", "session")
_write_dataset = piece(TelemetryEvent, "dataset", "rows_quality")
_write_quality = piece(TelemetryEvent, "bytes_quality", "statement_fingerprint")
_write_tool = piece(TelemetryEvent, "tool", "truncated")
_write_destination = piece(TelemetryEvent, "destination", "destination_external")
_write_whence = piece(TelemetryEvent, "source_ip", "key_epoch")
_write_labels = piece(TelemetryEvent, "labels", "labels")

# Plain tuples, because a named one is read slowly.
Who = tuple[bytes, bytes, bytes, bytes]
"""Message key, and pieces that user, agent, session, merchant and app decide, and without a user the address."""
Where = tuple[bytes, bytes]
"""Pieces that the address decides; the first one for exports only."""
What = tuple[bytes, bytes, bytes, bool]
"""Pieces that an event's request and its outcome decide, and whether it exports."""
Fixed = tuple[bytes, bytes, bytes, bytes, bytes, Draft]
"""Pieces that are the same for a whole file, and some event of it."""


def _who_of(event: Draft) -> Who:
    key = (event.actor or event.source_id).encode()
    return key, _write_merchant(event), _write_actor(event), _write_tool(event)


def _what_of(event: Draft) -> What:
    return _write_kind(event), _write_dataset(event), _write_quality(event), event.action == "export"


def _fixed_of(event: Draft) -> Fixed:
    id_start = _write_id(event)[: -len(event.event_id)]
    of_file = _write_source_id(event), _write_source(event), _write_platform(event), _write_labels(event)
    return id_start, *of_file, event


class Memory(dict[tuple[Any, ...], T]):
    """What was made of texts that came before; bounded in number and size, because users write the texts."""

    def learn(self, key: tuple[Any, ...], made: T) -> None:
        """Remembers this, unless its key is long."""
        if len(str(key)) <= REMEMBERED_CHARACTERS:
            if len(self) >= REMEMBERED:
                self.clear()
            self[key] = made


class WebLines:
    """Many records of one file to drafts.

    Args:
        parser: of single records; it must not keep any of a query string.
    """

    def __init__(self, parser: WebParser) -> None:
        self._parser, self._place = parser, parser.place
        self._read: Read | None = None
        self._asked = _asked
        self._odd = 0
        self._who: Memory[Who] = Memory()
        self._where: Memory[Where] = Memory()
        self._what: Memory[What | str] = Memory()
        self._fixed: Fixed | None = None

    def feed_all(self, records: Sequence[RawRecord], observed_at: int) -> list[Draft | Written]:
        """The drafts of these records, each counted once."""
        made: list[Draft | Written] = []
        for at in range(0, len(records), TOGETHER):
            self._take(records[at : at + TOGETHER], observed_at, made)
        return made

    def _take(self, records: Sequence[RawRecord], observed_at: int, made: list[Draft | Written]) -> None:
        lines = self._lines(records)
        if lines is not None:
            self._odd = 0
            self._assemble(records, lines, observed_at, made)
        elif len(records) == 1 or self._read is _unfit:
            self._odd += len(records)
            for record in records:
                made += self._parser.feed(record, observed_at)
        else:
            middle = len(records) // 2
            self._take(records[:middle], observed_at, made)
            self._take(records[middle:], observed_at, made)

    def _lines(self, records: Sequence[RawRecord]) -> list[Any] | None:
        """What the records say, if all of them are as usual."""
        if self._read is None or self._odd >= ODD:
            self._read, self._odd = self._learnt(records[0]) or _unfit, 0
        return self._read(records)

    def _learnt(self, first: RawRecord) -> Read | None:
        try:
            value = msgspec.json.decode(first.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if not isinstance(value, dict):
            return None
        names = dict(zip(FIELDS, names_of(tuple(value), self._parser.given), strict=True))
        self._asked = _asked if any(names[field] in value for field in BESIDE) else _requested
        return reader(value, names, TEXTS, IDS)

    def _assemble(
        self, records: Sequence[RawRecord], lines: Sequence[Any], observed_at: int, made: list[Draft | Written]
    ) -> None:
        """The hot path: a function call less is a hundredth of the agent's cost."""
        fixed, observed, zone = self._fixed, long(observed_at), self._place.zone
        what_of, who_of, where_of, asked_of = self._what.get, self._who.get, self._where.get, self._asked
        event_id, tally = self._place.ids.event_id, self._place.tally
        whens = [_when(line, zone) for line in lines]
        epoch = self._epoch(whens)
        events = 0
        for record, line, at_ms in zip(records, lines, whens, strict=True):
            asked, sent = asked_of(line)
            if at_ms is None or asked is None or epoch is None:
                made += self._parser.feed(record, observed_at)
                continue
            what = what_of(asked)
            if isinstance(what, str):
                tally.records += 1
                tally.ignored[what] += 1
                continue
            if what is None or fixed is None:
                made += self._learn(record, observed_at, asked)
                fixed = self._fixed
                continue
            user, address = line.user, line.address
            nobody = None if user and user != "-" else (address,)  # then the address is the actor
            asks = user, line.agent, line.session, line.merchant, line.app, epoch, nobody
            who, where = who_of(asks), where_of((address, epoch))
            if who is None or where is None:
                who, where = self._meet(asks, line, at_ms, fixed[5])
            events += 1
            at = record[0] * POSITIONS_PER_RECORD
            size = NULL if sent is None else PRESENT + long(sent)
            id_start, source_id, source, platform, labels, _ = fixed
            ids = id_start, event_id(at, record[1]).encode(), source_id, long(at), source
            key, merchant, actor, tool = who
            destination, whence = where
            kind, dataset, quality, exports = what
            pieces = platform, merchant, kind, actor, dataset, size, quality, tool, destination if exports else NOWHERE
            middle = b"".join((*pieces, whence, long(at_ms), observed))
            made.append(new(Written, (at_ms, key, b"".join(ids), middle, labels)))
        tally.records += events
        tally.events += events

    def _epoch(self, times: Sequence[int | None]) -> int | None:
        """The epoch of the key that holds at all of these times: keys follow one another. None if it changes."""
        known = [at_ms for at_ms in times if at_ms is not None]
        first, last = (self._place.keys.at(at).epoch for at in (min(known, default=0), max(known, default=0)))
        return first if first == last else None

    def _learn(self, record: RawRecord, observed_at: int, asked: tuple[Any, ...]) -> Sequence[Draft]:
        """The event of a record, made the ordinary way, whose pieces are remembered."""
        tally = self._place.tally
        try:
            (event,) = self._parser.read(record, observed_at)
        except Ignored as why:
            self._what.learn(asked, str(why))
            return self._parser.feed(record, observed_at)
        except UNREADABLE:
            return self._parser.feed(record, observed_at)
        tally.records += 1
        tally.events += 1
        self._what.learn(asked, _what_of(event))
        self._fixed = self._fixed or _fixed_of(event)
        return [event]

    def _meet(self, asks: tuple[Any, ...], line: Any, at_ms: int, some: Draft) -> tuple[Who, Where]:
        """The pieces of a caller who was not seen before, or not lately; whatever they are put into."""
        caller, whence = self._parser.caller(line, at_ms)
        epoch = self._place.keys.at(at_ms).epoch
        to = {"destination": whence.destination, "destination_external": whence.external, "key_epoch": epoch}
        event = msgspec.structs.replace(some, **caller, **to)
        who, where = _who_of(event), (_write_destination(event), _write_whence(event))
        self._who.learn(asks, who)
        self._where.learn((line.address, epoch), where)
        return who, where


def _unfit(_: Sequence[RawRecord]) -> None:
    """Reads nothing: for a log whose lines cannot be taken together, until it changes."""
    return


def _requested(line: Any) -> tuple[tuple[Any, ...] | None, int | None]:
    """As `_asked`, for a log that tells method and path in its request line only, and none of `BESIDE`."""
    request, body = line.request, line.body_bytes
    if not request or body.__class__ is not int:
        return _asked(line)
    blank, end = request.find(" "), len(request) - VERSION_CHARACTERS
    mark = request.find("?", 0, end)
    method, path = request[:blank], request[blank + 1 : mark if mark >= 0 else end]
    usual = method in METHODS and request[end:] in VERSIONS and 0 < len(path) <= PATH_CHARACTERS and path != "-"
    if not usual or not 0 <= body < MOST_BYTES:
        return _asked(line)
    place, kind = NUMBERS.sub("/{n}", path), line.content_type
    asked = method, place, line.status, line.completion, kind, None, None, None, False, False
    return asked, body if method != "HEAD" else 0


def _when(line: Any, zone: ZoneInfo | None) -> int | None:
    """Milliseconds since the epoch, or None if the line needs a closer look."""
    seconds = line.seconds
    if type(seconds) is float:
        at_ms: float = seconds * 1_000
        return round(at_ms) if MIN_TIME_MS <= at_ms <= MAX_TIME_MS else None
    try:
        return occurred(line, zone)
    except BadTime:
        return None


def _asked(line: Any) -> tuple[tuple[Any, ...] | None, int | None]:
    """All that decides `What`, or None if the line needs a closer look; and how many bytes were sent."""
    request, method, path = line.request, line.method, line.path
    found = request_line(request) if request else None
    if found:
        method = method if method and method != "-" else found[0]
        path = path if path and path != "-" else found[1]
    if not path or path == "-":
        return None, None
    body, gzip, length, disposition = line.body_bytes, line.gzip, line.length, line.disposition
    if body.__class__ is not int or not 0 <= body < MOST_BYTES:
        body = count(body)
    sent = count(line.bytes) if body is None else body
    cut = length and sent is not None and sent < (count(length) or 0)
    zipped = gzip and gzip != "-"
    attached = disposition and disposition.lower().startswith("attachment")
    place, kind = skeleton(path), line.content_type
    asked = method, place, line.status, line.completion, kind, attached, zipped, cut, body is None, sent is None
    return asked, sent if method != "HEAD" else 0
