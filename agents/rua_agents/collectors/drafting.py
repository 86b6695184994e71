"""What collectors share: a parser of records that stand for themselves, and drafts with their identity filled in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Required, TypedDict, Unpack

import msgspec
from rua_schemas.events import Action, ActorType, Kind, Label, Outcome, Privilege, Quality

from rua_agents import labels
from rua_agents.collectors.contract import Draft, Place
from rua_agents.identity import position
from rua_agents.jsontext import NotJson
from rua_agents.records import RawRecord
from rua_agents.times import BadTime


class Ignored(Exception):
    """A record that is read and is no event; the argument says why in one word, for the tally."""


class Unreadable(ValueError):
    """A record that breaks its format's grammar; the argument says how in one word, for the tally."""


UNREADABLE = (Unreadable, NotJson, BadTime, msgspec.ValidationError)


class RecordParser(ABC):
    """Parser of a format whose records stand each for itself: nothing waits, nothing is remembered."""

    waiting = False

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The events of one record, one at least.

        Raises:
            Ignored: it is none.
            Unreadable, NotJson, BadTime, msgspec.ValidationError: it cannot be read.
        """

    def feed(self, record: RawRecord, observed_at: int) -> list[Draft]:
        """The drafts of this record; it is counted once, whatever it is."""
        tally = self.place.tally
        tally.records += 1
        if not record.data.strip():
            tally.ignored["blank"] += 1
            return []
        try:
            made = list(self.read(record, observed_at))
        except Ignored as why:
            tally.ignored[str(why)] += 1
            return []
        except UNREADABLE as why:
            tally.fail(reason_of(why), self.place.source, record.offset, record.data)
            return []
        tally.events += 1
        tally.split += len(made) - 1
        return made

    def flush(self) -> list[Draft]:
        """Nothing waits."""
        return []

    def dump(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Likewise, so whatever a checkpoint holds is not for this parser."""
        del state


def reason_of(why: Exception) -> str:
    """The word under which a record that cannot be read is counted."""
    if isinstance(why, NotJson):
        return "not_json"
    if isinstance(why, BadTime):
        return "no_time"
    return "unexpected_type" if isinstance(why, msgspec.ValidationError) else str(why)


class Facts(TypedDict, total=False):
    """Fields of an event that a collector fills in; what it does not know it leaves out."""

    kind: Required[Kind]
    action: Required[Action]
    merchant: str | None
    app: str | None
    channel: str | None
    outcome: Outcome
    actor: str | None
    actor_type: ActorType
    privilege: Privilege
    ticket: str | None
    session: str | None
    dataset: str | None
    pii_categories: tuple[str, ...]
    rows: int | None
    rows_quality: Quality
    bytes: int | None
    bytes_quality: Quality
    subjects: int | None
    subjects_quality: Quality
    statement_fingerprint: str | None
    tool: str | None
    truncated: bool
    destination: str | None
    destination_external: bool | None
    source_ip: str | None
    source_network: str | None
    labels: tuple[Label, ...]


def draft(
    place: Place, record: RawRecord, observed_at: int, at_ms: int, *, index: int = 0, **facts: Unpack[Facts]
) -> Draft:
    """An event that stands at this record.

    Args:
        place: the file.
        record: the one that completes the event.
        observed_at: when the record was read, ms.
        at_ms: when it happened, ms.
        index: place among the events of this record.
        facts: everything else that is known; names are pseudonyms already.
    """
    at = position(record.offset, index)
    facts.setdefault("truncated", record.truncated)
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
        key_epoch=place.keys.at(at_ms).epoch,
        occurred_at=at_ms,
        observed_at=observed_at,
        **facts,
    )


class Party(NamedTuple):
    """Who speaks, as pseudonyms, and from where."""

    actor: str | None
    source_ip: str | None
    source_network: str | None
    """None if it is the host itself."""
    destination: str
    """`client:…`, where what is read goes."""
    external: bool | None
    """False if that is the host itself; else nobody knows here."""


def party(place: Place, at_ms: int, user: str | None, address: str | None) -> Party:
    """The pseudonyms of a user and an address (None or empty if the source tells none)."""
    names = place.keys.at(at_ms)
    network = names.network(address) if address else None
    return Party(
        names.pseudonym("actor", user) if user else None,
        names.pseudonym("address", address) if address else None,
        network if network != "local" else None,
        f"client:{network or 'unknown'}",
        False if network == "local" else None,
    )


def registered(place: Place, field: str, value: str | None, at_ms: int) -> str | None:
    """A company's id (`field` is merchant or app) in clear; what looks like a person's becomes a pseudonym."""
    if not value:
        return None
    return labels.registry_id(value) or place.keys.at(at_ms).pseudonym(field, value)


def login(
    place: Place,
    record: RawRecord,
    observed_at: int,
    at_ms: int,
    *,
    who: tuple[str | None, str | None, str | None],
    session: str,
    outcome: Outcome,
    superuser: bool,
    tool: str | None = None,
) -> Draft:
    """Somebody was let into a database, or not.

    Args:
        place: the file.
        record: the one that says so.
        observed_at: when it was read, ms.
        at_ms: when it happened, ms.
        who: actor, address and network, as pseudonyms.
        session: the connection, as a pseudonym.
        outcome: denied if not.
        superuser: whether the name is one of a superuser.
        tool: the client's program.
    """
    actor, source_ip, source_network = who
    return draft(
        place,
        record,
        observed_at,
        at_ms,
        kind="authentication",
        action="unknown",
        channel="db",
        outcome=outcome,
        actor=actor,
        privilege="superuser" if superuser else "unknown",
        session=session,
        tool=tool,
        source_ip=source_ip,
        source_network=source_network,
    )
