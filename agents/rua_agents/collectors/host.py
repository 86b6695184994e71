"""What somebody did on a host, before names become pseudonyms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rua_schemas.events import Kind, Label, Outcome

from rua_agents.collectors.commands import command_of
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import Facts, RecordParser, draft, party
from rua_agents.records import RawRecord
from rua_agents.syslog import Stamps

ROOT = "root"
CHANGES = frozenset(("privilege_change", "administration"))


class StampedParser(RecordParser):
    """Parser of a format whose stamps may name neither year nor zone: the time before is remembered."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.stamps = Stamps(place.zone)

    def dump(self) -> dict[str, Any]:
        """The last record's time."""
        return {"last_ms": self.stamps.last_ms}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where `dump` was taken."""
        self.stamps.last_ms = state.get("last_ms", 0)


class Deed(NamedTuple):
    """One thing that somebody did, whichever log told it."""

    kind: Kind
    user: str | None = None
    address: str | None = None
    outcome: Outcome = "ok"
    run_as: str | None = None
    """As whom a command ran."""
    by: str | None = None
    """Who changed the account of `user`."""
    words: Sequence[str] = ()
    """The command."""
    partial: bool = False
    """Whether not all of it is certain."""


def event_of(deed: Deed, place: Place, record: RawRecord, observed_at: int, at_ms: int, *, index: int = 0) -> Draft:
    """The deed as an event that stands at this record."""
    names, who = place.keys.at(at_ms), party(place, at_ms, deed.user, deed.address)
    facts = Facts(kind=deed.kind, action="alter" if deed.kind in CHANGES else "unknown")
    if deed.run_as is not None:
        facts["privilege"] = "superuser" if deed.run_as == ROOT else "elevated"
    if deed.words:
        command = command_of(deed.words, names)
        facts["tool"], facts["statement_fingerprint"] = command.tool, command.fingerprint
        facts["action"] = "export" if command.dumps and deed.outcome != "denied" else facts["action"]
    notes = {"as": deed.run_as, "by": deed.by}
    facts["outcome"], facts["channel"] = deed.outcome, "host"
    facts["actor"], facts["source_ip"], facts["source_network"] = who.actor, who.source_ip, who.source_network
    facts["labels"] = tuple(Label(key=k, value=names.pseudonym("actor", v)) for k, v in notes.items() if v)
    facts["truncated"] = record.truncated or deed.partial
    return draft(place, record, observed_at, at_ms, index=index, **facts)
