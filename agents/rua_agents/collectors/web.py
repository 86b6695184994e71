"""Requests to events, whatever web server wrote them and in whatever spelling."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypedDict
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import msgspec
from rua_common.settings import Struct
from rua_schemas.events import ActorType, Label

from rua_agents import labels
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Parser, Place
from rua_agents.collectors.drafting import Ignored, Party, RecordParser, Unreadable, draft, party, registered
from rua_agents.collectors.nginx_fields import FIELDS, Fields, text
from rua_agents.collectors.nginx_requests import (
    NO_DATA,
    Request,
    actor_type_of,
    bytes_of,
    kind_of,
    outcome_of,
    request_line,
    target,
)
from rua_agents.records import RawRecord
from rua_agents.times import BadTime, common_log_ms, epoch_seconds_ms, stamp_ms


class WebOptions(Struct, frozen=True):
    """Options of every source of requests."""

    fields: dict[str, str] = msgspec.field(default_factory=dict)
    """Meaning → the log's own field name, e.g. `merchant: x_seller`."""
    query_keys: list[str] = msgspec.field(default_factory=list)
    """Keys of the query string that may be kept, with numbers and tokens replaced. None by default."""
    meanings: ClassVar[frozenset[str]] = frozenset(FIELDS)

    def __post_init__(self) -> None:
        """Refuses what nobody would look at.

        Raises:
            ValueError: `fields` names no meaning of this source.
        """
        unknown = sorted(set(self.fields) - self.meanings)
        if unknown:
            raise ValueError(
                f"fields: nothing is called {', '.join(unknown)}; known: {', '.join(sorted(self.meanings))}"
            )


def occurred(fields: Fields, zone: ZoneInfo | None) -> int:
    """Milliseconds since the epoch at which the request ended.

    Raises:
        BadTime: no field holds a time that can be read.
    """
    try:
        if fields.seconds is not None:
            return epoch_seconds_ms(fields.seconds)
    except BadTime:
        if fields.iso is None and fields.clf is None:
            raise
    if isinstance(fields.iso, str):
        return stamp_ms(fields.iso, zone)
    if isinstance(fields.iso, int | float):
        return epoch_seconds_ms(fields.iso)
    if isinstance(fields.clf, str):
        return common_log_ms(fields.clf)
    raise BadTime("no time")


class Caller(TypedDict):
    """Fields of an event that its caller decides."""

    merchant: str | None
    app: str | None
    actor: str | None
    actor_type: ActorType
    session: str | None
    tool: str | None
    source_ip: str | None
    source_network: str | None


class WebCollector(LineCollector):
    """A collector of requests: what a line says is all that differs from server to server."""

    options: type[msgspec.Struct] = WebOptions

    @abstractmethod
    def fields(self, record: RawRecord, options: Any) -> tuple[Fields, int]:
        """What the record says, and how many characters had to be replaced to read it.

        Raises:
            Unreadable, NotJson, BadTime: the record breaks the format's grammar.
        """

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """When the request ended."""
        del now_ms
        return occurred(self.fields(record, options)[0], zone)

    def parser(self, place: Place) -> Parser:
        """A parser for one file."""
        return WebParser(place, self.fields)


class WebParser(RecordParser):
    """Every request is an event of its own."""

    def __init__(self, place: Place, fields: Callable[[RawRecord, Any], tuple[Fields, int]]) -> None:
        super().__init__(place)
        self._fields = fields
        options: WebOptions = place.options
        self.given = tuple(options.fields.items())
        self._query_keys = frozenset(options.query_keys)

    @property
    def keeps_queries(self) -> bool:
        """Whether something of a request's query string is kept."""
        return bool(self._query_keys)

    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The event of this request."""
        fields, replaced = self._fields(record, self.place.options)
        fields = _with_cut_request(fields) if record.truncated else fields
        at_ms = occurred(fields, self.place.zone)
        # what was cut off may have been the request
        if not record.truncated and not any(map(text, (fields.request, fields.path, fields.status))):
            raise Unreadable("no_request")
        self.place.tally.replaced += replaced
        return [self._event(record, observed_at, at_ms, fields, _request(fields))]

    def _event(self, record: RawRecord, observed_at: int, at_ms: int, fields: Fields, request: Request) -> Draft:
        method, where = request
        who, whence = self.caller(fields, at_ms)
        kind, action = kind_of(fields, method, where)
        sent, quality = bytes_of(fields, method)
        exports = action == "export"
        return draft(
            self.place,
            record,
            observed_at,
            at_ms,
            **who,
            channel="web",
            kind=kind,
            action=action,
            outcome=outcome_of(fields, method),
            dataset=where.shape if where else None,
            bytes=sent,
            bytes_quality=quality,
            destination=whence.destination if exports else None,
            destination_external=whence.external if exports else None,
            labels=self._labels(fields) if self._query_keys else (),
        )

    def caller(self, fields: Fields, at_ms: int) -> tuple[Caller, Party]:
        """Who asked and from where: what hangs on nothing else that the record says."""
        place, session = self.place, text(fields.session)
        user, address, agent = text(fields.user), text(fields.address), text(fields.agent)
        whence = party(place, at_ms, user, address)
        tool = labels.product(agent) if agent else None
        who = Caller(
            merchant=registered(place, "merchant", text(fields.merchant), at_ms),
            app=registered(place, "app", text(fields.app), at_ms),
            actor=whence.actor or whence.source_ip,
            actor_type=actor_type_of(user, whence.source_ip, tool),
            session=place.keys.at(at_ms).pseudonym("session", session) if session else None,
            tool=tool,
            source_ip=whence.source_ip,
            source_network=whence.source_network,
        )
        return who, whence

    def _labels(self, fields: Fields) -> tuple[Label, ...]:
        query = text(fields.query)
        if query is None:
            request = request_line(text(fields.request) or "")
            query = request[1].partition("?")[2] if request else ""
        pairs = parse_qsl(query, keep_blank_values=False) if query else []
        return tuple(
            Label(key=f"query.{key}", value=labels.segment_shape(value)[: labels.MAX_CHARACTERS])
            for key, value in pairs
            if key in self._query_keys
        )


def _with_cut_request(fields: Fields) -> Fields:
    """Of a record that is cut inside of its request line: nobody hides behind the length of a query string."""
    request = text(fields.request)
    if request is None or request_line(request):
        return fields
    whole = f"{request} HTTP/1.1"
    return fields._replace(request=whole if request_line(whole) else None)


def _request(fields: Fields) -> Request:
    """Method and target.

    Raises:
        Ignored: the request is no event.
    """
    method, path = text(fields.method), text(fields.path)
    request = text(fields.request)
    line = request_line(request) if request else None
    if request and not line and not path:
        raise Ignored("not_http")
    if line:
        method, path = method or line[0], path or line[1]
    if method in NO_DATA:
        raise Ignored("carries_no_data")
    where = target(path) if path else None
    if where and where.static and not where.downloads:
        raise Ignored("static")
    return Request(method, where)
