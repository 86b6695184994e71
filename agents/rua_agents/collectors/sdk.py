"""Exports that the platform's own code counts and hands over through `rua_agents.sdk`; see its `exporting.py`.

A process tells what it did. What the agent itself knows (platform, source, host, who it is) it cannot tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args
from zoneinfo import ZoneInfo

import msgspec
from rua_common.settings import Struct
from rua_schemas.events import Action, ActorType, Kind, Label, Outcome, Quality

from rua_agents import destinations, labels
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import RecordParser, Unreadable, draft, party, registered
from rua_agents.collectors.json_values import listed, number, text
from rua_agents.jsontext import read_object
from rua_agents.records import RawRecord
from rua_agents.times import BadTime, checked

KINDS: Mapping[Action, Kind] = {
    "export": "data_export",
    "transfer": "data_transfer",
    "read": "data_access",
    "query": "data_access",
    "alter": "data_change",
    "delete": "data_change",
}
MOST_CATEGORIES = 32
T = TypeVar("T")
OUTCOMES: frozenset[Outcome] = frozenset(get_args(Outcome))
ACTOR_TYPES: frozenset[ActorType] = frozenset(get_args(ActorType))
QUALITIES: frozenset[Quality] = frozenset(get_args(Quality))


class Stamp(Struct, frozen=True):
    """What the agent says of every export, whatever the process says.

    Attributes:
        merchant: Whose data.
        app: Who gets it.
    """

    merchant: str | None = None
    app: str | None = None


class SdkOptions(Struct, frozen=True):
    """Who may hand over.

    Attributes:
        uids: Users (numbers) whose processes may; the agent's own user always may.
        gids: Groups, likewise.
        group: Group (number) that the socket belongs to, so that its members can open it.
        stamp: What is said of every export.
        stamps: User (number) → what is said of the exports of its processes instead.
    """

    uids: list[int] = msgspec.field(default_factory=list)
    gids: list[int] = msgspec.field(default_factory=list)
    group: int | None = None
    stamp: Stamp = Stamp()
    stamps: dict[int, Stamp] = msgspec.field(default_factory=dict)

    def of_user(self, uid: int) -> SdkOptions:
        """The options for a user's processes."""
        return msgspec.structs.replace(self, stamp=self.stamps.get(uid, self.stamp))


class Sdk(LineCollector):
    """The collector."""

    name = "sdk"
    reads = "push"
    options: type[msgspec.Struct] = SdkOptions

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """When the export ended."""
        del zone, now_ms, options
        return _ended_ms(read_object(record.data, truncated=record.truncated)[0])

    def parser(self, place: Place) -> RecordParser:
        """A parser for one process."""
        return _Parser(place)


def _ended_ms(value: Mapping[str, Any]) -> int:
    """Began plus how long it took.

    Raises:
        BadTime: no such time.
    """
    began = number(value.get("began_ms"))
    if began is None:
        raise BadTime("no time")
    return checked(began + (number(value.get("took_ms")) or 0))


class _Parser(RecordParser):
    """Every export is an event of its own."""

    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The event of this export."""
        place = self.place
        value, replaced = read_object(record.data, truncated=record.truncated)
        at_ms = _ended_ms(value)
        action = value.get("action", "export")
        if action not in KINDS:
            raise Unreadable("unknown_action")
        place.tally.replaced += replaced
        names, stamp = place.keys.at(at_ms), place.options.stamp
        who = party(place, at_ms, text(value.get("actor")), text(value.get("address")))
        session, destination = text(value.get("session")), text(value.get("destination"))
        rows, rows_quality = _counted(value, "rows")
        sent, sent_quality = _counted(value, "bytes")
        subjects, subjects_quality = _counted(value, "subjects")
        return [
            draft(
                place,
                record,
                observed_at,
                at_ms,
                kind=KINDS[action],
                action=action,
                channel="api",
                outcome=_one_of(OUTCOMES, value.get("outcome"), "unknown"),
                merchant=registered(place, "merchant", stamp.merchant or text(value.get("merchant")), at_ms),
                app=registered(place, "app", stamp.app or text(value.get("app")), at_ms),
                actor=who.actor or who.source_ip,
                actor_type=_one_of(ACTOR_TYPES, value.get("actor_type"), _unnamed(who.actor, who.source_ip)),
                session=names.pseudonym("session", session) if session else None,
                dataset=_dataset(text(value.get("dataset"))),
                ticket=labels.ticket(text(value.get("ticket")) or ""),
                pii_categories=tuple(_categories(value.get("categories"))),
                rows=rows,
                rows_quality=rows_quality,
                bytes=sent,
                bytes_quality=sent_quality,
                subjects=subjects,
                subjects_quality=subjects_quality,
                destination=destinations.of_text(destination, names) if destination else None,
                destination_external=external if isinstance(external := value.get("external"), bool) else None,
                source_ip=who.source_ip,
                source_network=who.source_network,
                labels=_took(value),
            )
        ]


def _counted(value: Mapping[str, Any], what: str) -> tuple[int | None, Quality]:
    """A number and how sure it is; one without a word about that is no better than an estimate."""
    found = number(value.get(what))
    if found is None:
        return None, "unknown"
    quality = _one_of(QUALITIES, value.get(f"{what}_quality"), "estimated")
    return (found, quality) if quality != "unknown" else (None, quality)


def _one_of(allowed: frozenset[T], value: Any, otherwise: T) -> T:
    return value if isinstance(value, str) and value in allowed else otherwise


def _unnamed(actor: str | None, source_ip: str | None) -> ActorType:
    return "network" if actor is None and source_ip is not None else "unknown"


def _dataset(name: str | None) -> str | None:
    """A path or a qualified name without what names somebody."""
    if name is None:
        return None
    shape = labels.path_shape(name) if "/" in name or " " in name else labels.table_shape(name)
    return shape[: labels.MAX_CHARACTERS]


def _categories(value: object) -> list[str]:
    found = (text(one) for one in listed(value)[:MOST_CATEGORIES])
    return [name for name in found if name and name.replace("_", "").isalpha() and name.isascii()]


def _took(value: Mapping[str, Any]) -> tuple[Label, ...]:
    took = number(value.get("took_ms"))
    return () if took is None else (Label(key="took_ms", value=str(took)),)
