"""AWS CloudTrail's files: `{"Records": [ … ]}`, minutes late, in no order, now and then twice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rua_common.settings import Struct
from rua_schemas.events import ActorType, Label, Outcome

from rua_agents import destinations, labels
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.cloudtrail_calls import CALLS, Call, Told, asked_of, name_of
from rua_agents.collectors.cloudtrail_identity import Identity, identity_of
from rua_agents.collectors.cloudtrail_sharing import PUBLIC, Target
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import Facts, Ignored, Party, RecordParser, Unreadable, draft, party
from rua_agents.collectors.json_values import inside, number, text
from rua_agents.collectors.seen import Seen
from rua_agents.elements import ElementSplitter
from rua_agents.jsontext import read_object
from rua_agents.records import RawRecord, Splitter
from rua_agents.times import stamp_ms

MAX_REMEMBERED = 128
"""Records of one file; doubles stand close together, and thousands of files have a checkpoint."""
MAX_TARGETS = 100
_DENIED = ("AccessDenied", "Unauthorized", "AuthFailure", "Client.Unauthorized", "InvalidClientTokenId")
INSIGHT = "AwsCloudTrailInsight"
"""CloudTrail's own finding about other records, no call."""
_EVENT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ACCOUNT = re.compile(r"\d{12}")
_SERVICE_HOSTS = (".amazonaws.com", "AWS Internal")


class CloudtrailOptions(Struct, frozen=True):
    """Options."""

    own_accounts: list[str] = msgspec.field(default_factory=list)
    """Accounts of the same organisation: what goes to them does not leave it."""
    wrapped: bool = True
    """Whether records stand in `{"Records": [ … ]}`; else one after another, or in a plain array."""

    def __post_init__(self) -> None:
        """Checks what a type cannot say."""
        if not all(_ACCOUNT.fullmatch(one) for one in self.own_accounts):
            raise ValueError('own_accounts: ids of 12 digits, in quotes, such as "111122223333"')


class Cloudtrail(LineCollector):
    """The collector."""

    name = "cloudtrail"
    options: type[msgspec.Struct] = CloudtrailOptions

    def splitter(self, offset: int, limit_bytes: int, options: CloudtrailOptions) -> Splitter:
        """The objects of the array."""
        return ElementSplitter(offset, limit_bytes, levels=1 if options.wrapped else 0)

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """When the call was made."""
        del now_ms, options
        value, _ = read_object(record.data, truncated=record.truncated)
        return stamp_ms(text(value.get("eventTime")) or "", zone)

    def parser(self, place: Place) -> RecordParser:
        """A parser for one file."""
        return _Parser(place)


class _Parser(RecordParser):
    """Every record is an event of its own, or one for each with whom data is shared."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        options: CloudtrailOptions = place.options
        self._own = frozenset(options.own_accounts)
        self._seen = Seen(MAX_REMEMBERED)

    def dump(self) -> dict[str, Any]:
        """Which of the last records were events, as digests."""
        return {"seen": self._seen.dump()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where `dump` was taken."""
        self._seen.load(state.get("seen", ()))

    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The events of this record."""
        value, replaced = read_object(record.data, truncated=record.truncated)
        at_ms = stamp_ms(text(value.get("eventTime")) or "", self.place.zone)
        name, event_id = name_of(value), text(value.get("eventID"))
        if value.get("eventType") == INSIGHT:
            raise Ignored("insight")
        if not all(name):
            raise Unreadable("no_event")
        if name not in CALLS:
            raise Ignored("read_only" if value.get("readOnly") is True else "not_watched")
        if event_id is not None and not self._seen.add(event_id):
            raise Ignored("told_before")
        self.place.tally.replaced += replaced
        call = Call(value, asked_of(value), text(value.get("recipientAccountId")) or "")
        told, who = CALLS[name](call), identity_of(value)
        facts = self._facts(call, told, who, at_ms)
        facts["truncated"] = record.truncated or len(told.targets) > MAX_TARGETS
        targets = told.targets[:MAX_TARGETS] or (None,)
        return [
            draft(self.place, record, observed_at, at_ms, index=i, **self._sent(facts, target, call, at_ms))
            for i, target in enumerate(targets)
        ]

    def _facts(self, call: Call, told: Told, who: Identity, at_ms: int) -> Facts:
        record, names = call.record, self.place.keys.at(at_ms)
        address = text(record.get("sourceIPAddress"))
        by_service = address is not None and address.endswith(_SERVICE_HOSTS)
        found = party(self.place, at_ms, told.grantee or who.name, None if by_service else address)
        outcome, more = outcome_of(record), record.get("additionalEventData")
        presigned = text(inside(more, "AuthenticationMethod")) == "QueryString"
        sends = told.action in ("read", "query", "export") and outcome == "ok"
        size = number(inside(more, "bytesTransferredOut")) if sends else None
        facts = Facts(kind=told.kind, action=told.action, channel="cloud", outcome=outcome, dataset=told.dataset)
        if told.action == "export" and by_service and not told.targets:
            # a service reads for somebody: nothing has left yet
            facts["kind"], facts["action"] = "data_access", "read"
        facts["actor"] = found.actor or found.source_ip
        facts["actor_type"] = _actor_type(told, who, found, presigned=presigned)
        facts["session"] = names.pseudonym("session", who.session) if who.session else None
        facts["privilege"] = told.privilege or who.privilege
        facts["bytes"], facts["bytes_quality"] = size, "unknown" if size is None else "exact"
        agent = (text(record.get("userAgent")) or "").lstrip("[").rstrip("]")
        facts["tool"] = labels.product(agent) if agent else None
        facts["destination"] = found.destination if facts["action"] == "export" else None
        facts["source_ip"], facts["source_network"] = found.source_ip, found.source_network
        notes = {"by": who.name if told.grantee else None, "role": who.role, "as": _assumed(record)}
        hashed = [Label(key=key, value=names.pseudonym("actor", name)) for key, name in notes.items() if name]
        facts["labels"] = (*hashed, *_labels(record, who, call.account, presigned=presigned))
        return facts

    def _sent(self, facts: Facts, target: Target | None, call: Call, at_ms: int) -> Facts:
        """The same with where it went."""
        if target is None:
            return facts
        sent = Facts(**facts)
        own = {call.account, *self._own}
        known = target.account is not None and (call.account or target.account == PUBLIC)
        store = "://" in target.destination
        sent["destination"] = (
            destinations.of_text(target.destination, self.place.keys.at(at_ms)) if store else target.destination
        )
        sent["destination_external"] = target.account not in own if known else None
        return sent


def _actor_type(told: Told, who: Identity, found: Party, *, presigned: bool) -> ActorType:
    """Of whom nobody names the address is the actor; a link's user is not its signer, nor is a grantee the caller."""
    if found.actor is None and found.source_ip is not None:
        return "network"
    return "unknown" if told.grantee or presigned else who.actor_type


def outcome_of(record: Mapping[str, Any]) -> Outcome:
    """How a call ended: by its error, or for a login by what the answer says."""
    error = text(record.get("errorCode"))
    if error is not None:
        return "denied" if any(mark in error for mark in _DENIED) else "failed"
    login = text(inside(record, "responseElements", "ConsoleLogin"))
    return "denied" if login == "Failure" or text(record.get("errorMessage")) == "Failed authentication" else "ok"


def _assumed(record: Mapping[str, Any]) -> str | None:
    """The session that a call opens."""
    return text(inside(record, "responseElements", "assumedRoleUser", "arn"))


def _labels(record: Mapping[str, Any], who: Identity, account: str, *, presigned: bool) -> list[Label]:
    """What may leave in clear: the call, its id, ids of accounts."""
    event_id = text(record.get("eventID"))
    other = who.account if who.account != account and _ACCOUNT.fullmatch(who.account or "") else None
    mfa = text(inside(record, "additionalEventData", "MFAUsed"))
    told = {
        "call": labels.product(text(record.get("eventName")) or ""),
        "event": event_id if event_id and _EVENT_ID.fullmatch(event_id) else None,
        "account": account if _ACCOUNT.fullmatch(account) else None,
        "from_account": other,
        "presigned": "yes" if presigned else None,
        "mfa": mfa.lower() if mfa in ("Yes", "No") else None,
    }
    return [Label(key=key, value=value) for key, value in told.items() if value]
