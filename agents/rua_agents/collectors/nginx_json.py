"""nginx's access log in a JSON `log_format`, with `escape=json` or without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import msgspec
from rua_common.settings import Struct
from rua_schemas.events import Label

from rua_agents import labels
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.nginx_fields import FIELDS, Fields, fields_of, text
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
from rua_agents.identity import position
from rua_agents.jsontext import NotJson, read_object
from rua_agents.records import LineSplitter, RawRecord, Splitter
from rua_agents.times import BadTime, common_log_ms, epoch_seconds_ms, stamp_ms


class NginxOptions(Struct, frozen=True):
    """Options of the nginx sources."""

    fields: dict[str, str] = msgspec.field(default_factory=dict)
    """Meaning → the log's own field name, e.g. `merchant: x_seller`."""
    query_keys: list[str] = msgspec.field(default_factory=list)
    """Keys of the query string that may be kept, with numbers and tokens replaced. None by default."""


class NginxJson:
    """The collector."""

    name = "nginx-json"
    options: type[msgspec.Struct] = NginxOptions

    def splitter(self, offset: int, limit_bytes: int) -> Splitter:
        """One JSON object a line."""
        return LineSplitter(offset, limit_bytes)

    def time_ms(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int) -> int | None:
        """When the request ended."""
        del now_ms
        try:
            return occurred(fields_of(read_object(record.data, truncated=record.truncated)[0]), zone)
        except (NotJson, BadTime):
            return None

    def parser(self, place: Place) -> _Parser:
        """A parser for one file."""
        return _Parser(place)


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


class _Parser:
    """Every request is an event of its own: nothing waits, nothing is remembered."""

    waiting = False

    def __init__(self, place: Place) -> None:
        self._place = place
        options: NginxOptions = place.options
        self._given = tuple((field, name) for field, name in options.fields.items() if field in FIELDS)
        self._query_keys = frozenset(options.query_keys)

    def flush(self) -> list[Draft]:
        """Nothing waits."""
        return []

    def dump(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing to go on with."""

    def feed(self, record: RawRecord, observed_at: int) -> list[Draft]:
        """The event of this request."""
        tally = self._place.tally
        tally.records += 1
        if not record.data.strip():
            tally.ignored["blank"] += 1
            return []
        try:
            value, replaced = read_object(record.data, truncated=record.truncated)
            fields = fields_of(value, self._given)
            at_ms = occurred(fields, self._place.zone)
        except NotJson:
            return self._failed("not_json", record)
        except BadTime:
            return self._failed("no_time", record)
        # what was cut off may have been the request
        if not record.truncated and not any(map(text, (fields.request, fields.path, fields.status))):
            return self._failed("no_request", record)
        tally.replaced += replaced
        request = self._request(fields)
        if isinstance(request, str):
            tally.ignored[request] += 1
            return []
        tally.events += 1
        return [self._event(record, observed_at, at_ms, fields, request)]

    def _request(self, fields: Fields) -> Request | str:
        """The request, or why it is no event."""
        method, path = text(fields.method), text(fields.path)
        request = text(fields.request)
        line = request_line(request) if request else None
        if request and not line and not path:
            return "not_http"
        if line:
            method, path = method or line[0], path or line[1]
        if method in NO_DATA:
            return "carries_no_data"
        where = target(path) if path else None
        if where and where.static and not where.downloads:
            return "static"
        return Request(method, where)

    def _event(self, record: RawRecord, observed_at: int, at_ms: int, fields: Fields, request: Request) -> Draft:
        place, (method, where) = self._place, request
        names, at = place.keys.at(at_ms), position(record.offset)
        address, user = text(fields.address), text(fields.user)
        network = names.network(address) if address else None
        source_ip = names.pseudonym("address", address) if address else None
        agent = text(fields.agent)
        tool = labels.product(agent) if agent else None
        kind, action = kind_of(fields, method, where)
        sent, quality = bytes_of(fields, method)
        return Draft(
            event_id=place.ids.event_id(at, record.data),
            source_id=place.source_id,
            source_position=at,
            source=place.source,
            agent_id=place.agent_id,
            agent_epoch=0,
            agent_seq=0,
            platform=place.platform,
            host=place.host,
            merchant=self._registered("merchant", fields.merchant, at_ms),
            app=self._registered("app", fields.app, at_ms),
            channel="web",
            kind=kind,
            action=action,
            outcome=outcome_of(fields, method),
            actor=names.pseudonym("actor", user) if user else source_ip,
            actor_type=actor_type_of(user, source_ip, tool),
            session=names.pseudonym("session", session) if (session := text(fields.session)) else None,
            dataset=where.shape if where else None,
            bytes=sent,
            bytes_quality=quality,
            tool=tool,
            truncated=record.truncated,
            destination=f"client:{network or 'unknown'}" if action == "export" else None,
            destination_external=False if action == "export" and network == "local" else None,
            source_ip=source_ip,
            source_network=network if network != "local" else None,
            key_epoch=names.epoch,
            occurred_at=at_ms,
            observed_at=observed_at,
            labels=self._labels(fields) if self._query_keys else (),
        )

    def _registered(self, field: str, value: object, at_ms: int) -> str | None:
        """A company's id in clear; what looks like a person's number or address becomes a pseudonym."""
        found = text(value)
        if found is None:
            return None
        return labels.registry_id(found) or self._place.keys.at(at_ms).pseudonym(field, found)

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

    def _failed(self, reason: str, record: RawRecord) -> list[Draft]:
        self._place.tally.fail(reason, NginxJson.name, record.offset, record.data)
        return []
