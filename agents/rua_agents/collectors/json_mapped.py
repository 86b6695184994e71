"""Any JSON log, mapped to events by jmespath expressions: order access logs of seller platforms, a shop's own audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rua_schemas.events import POSITIONS_PER_RECORD, Label

from rua_agents import destinations, labels
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import Facts, Ignored, RecordParser, draft, party, registered
from rua_agents.collectors.json_mapping import Item, Rules
from rua_agents.collectors.json_options import JsonOptions, Meaning
from rua_agents.elements import ElementSplitter
from rua_agents.jsontext import read_object
from rua_agents.records import LineSplitter, RawRecord, Splitter
from rua_agents.times import BadTime

_LEVELS = {"array": 0, "wrapped": 1}
_BULK = Meaning(kind="bulk_query", action="query")


class Json(LineCollector):
    """The collector."""

    name = "json"
    options: type[msgspec.Struct] = JsonOptions

    def splitter(self, offset: int, limit_bytes: int, options: JsonOptions) -> Splitter:
        """Lines, or the objects of arrays."""
        if options.layout == "lines":
            return LineSplitter(offset, limit_bytes)
        return ElementSplitter(offset, limit_bytes, levels=_LEVELS[options.layout])

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: JsonOptions) -> int | None:
        """That of its first event."""
        del now_ms
        value, _ = read_object(record.data, truncated=record.truncated)
        return next((item.time_ms(zone) for item in Rules(options).items(value)), None)

    def parser(self, place: Place) -> RecordParser:
        """A parser for one file."""
        return _Parser(place)


class _Parser(RecordParser):
    """Every wanted item of every record is an event."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._rules = Rules(place.options)
        self._at_ms: int | None = None
        """The last time that was read: of a record that is cut, its own may be lost."""

    def dump(self) -> dict[str, Any]:
        """The last time."""
        return {"at_ms": self._at_ms}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where `dump` was taken."""
        self._at_ms = state.get("at_ms")

    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The events of this record."""
        value, replaced = read_object(record.data, truncated=record.truncated)
        items = list(islice(self._rules.wanted(value, cut=record.truncated), POSITIONS_PER_RECORD + 1))
        if not items:
            raise Ignored("not_wanted")
        more = len(items) > POSITIONS_PER_RECORD
        timed = self._timed(items[:POSITIONS_PER_RECORD], record)
        made = []
        for index, (item, at_ms) in enumerate(timed):
            facts = self._facts(item, at_ms)
            facts["truncated"] = record.truncated or more or len(timed) < len(items)
            made.append(draft(self.place, record, observed_at, at_ms, index=index, **facts))
            replaced += item.wrong
        self.place.tally.replaced += replaced
        return made

    def _timed(self, items: Sequence[Item], record: RawRecord) -> list[tuple[Item, int]]:
        """The items whose time can be read.

        Raises:
            BadTime: there is none.
        """
        timed: list[tuple[Item, int]] = []
        wrong = BadTime("no time")
        for item in items:
            try:
                timed.append((item, item.time_ms(self.place.zone)))
            except BadTime as why:
                wrong = why
        if not timed and record.truncated and self._at_ms is not None:
            timed = [(item, self._at_ms) for item in items]
        if not timed:
            raise wrong
        self._at_ms = timed[-1][1]
        return timed

    def _facts(self, item: Item, at_ms: int) -> Facts:
        place, constants, names = self.place, self._rules.constants, self.place.keys.at(at_ms)
        rows, sent, subjects = item.count("rows"), item.count("bytes"), item.count("subjects")
        means = item.meaning()
        if means.kind == "data_access" and rows.value is not None and rows.value >= self._rules.bulk_rows:
            means = _BULK
        who = party(place, at_ms, item.text("actor"), item.text("address"))
        session, tool, ticket = item.text("session"), item.text("tool"), item.text("ticket")
        dataset = item.text("dataset")
        leaves = means.kind == "bulk_query" or means.action in ("export", "transfer")
        sent_to = item.text("destination")
        to = (destinations.of_text(sent_to, names) if sent_to else None) or constants.destination
        return Facts(
            kind=means.kind,
            action=means.action,
            outcome=item.outcome(),
            channel=constants.channel,
            merchant=registered(place, "merchant", item.text("merchant"), at_ms) or constants.merchant,
            app=registered(place, "app", item.text("app"), at_ms) or constants.app,
            actor=who.actor or who.source_ip,
            actor_type="network" if who.actor is None and who.source_ip else constants.actor_type,
            privilege=constants.privilege,
            ticket=labels.ticket(ticket) if ticket else None,
            session=names.pseudonym("session", session) if session else None,
            dataset=dataset_shape(dataset) if dataset else constants.dataset,
            pii_categories=tuple(constants.pii_categories),
            rows=rows.value,
            rows_quality=rows.quality,
            bytes=sent.value,
            bytes_quality=sent.quality,
            subjects=subjects.value,
            subjects_quality=subjects.quality,
            tool=labels.product(tool) if tool else constants.tool,
            destination=(to or who.destination) if leaves else None,
            destination_external=(constants.destination_external if to else who.external) if leaves else None,
            source_ip=who.source_ip,
            source_network=who.source_network,
            labels=tuple(Label(key=key, value=value) for key, value in item.labels()),
        )


def dataset_shape(told: str) -> str:
    """A name, a path, or an address on the web, of which the path is kept."""
    _, scheme, rest = told.partition("://")
    if scheme:
        return labels.path_shape("/" + rest.partition("/")[2])
    return labels.path_shape(told) if "/" in told else labels.name_shape(told)[: labels.MAX_CHARACTERS]
