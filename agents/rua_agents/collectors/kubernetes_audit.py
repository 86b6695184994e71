"""Kubernetes' audit log: the API server's own JSON lines, and as EKS, AKS and GKE wrap them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from rua_common.settings import Struct
from rua_schemas.events import POSITIONS_PER_RECORD, ActorType, Label

from rua_agents import labels
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import Facts, Ignored, RecordParser, Unreadable, draft, party
from rua_agents.collectors.kubernetes import ANONYMOUS, Entry, Request, entries, request_of, time_of
from rua_agents.collectors.kubernetes_meaning import (
    Meaning,
    actor_type_of,
    dataset_of,
    grantees,
    meaning,
    privilege_of,
    roles_named,
    run_of,
)
from rua_agents.collectors.seen import Seen
from rua_agents.jsontext import NotJson, read_object
from rua_agents.records import RawRecord
from rua_agents.times import BadTime

MAX_REQUESTS = 2_048
MAX_GRANTEES = 100
CONTROL_PLANE = ("system:node:", "system:kube-controller-manager", "system:kube-scheduler", "system:apiserver")
_STAMPED = re.compile(rb"\d{4}-\d\d-\d\dT[\d:.]{8,18}Z (?=\{)")
_TIMES = ("requestReceivedTimestamp", "stageTimestamp", "timestamp", "time")


class KubernetesOptions(Struct, frozen=True):
    """Options."""

    proxies: int = 0
    """How many proxies stand before the API server: so many of the last addresses are theirs."""
    ignore_readers: list[str] = msgspec.field(default_factory=lambda: list(CONTROL_PLANE))
    """Starts of the names of users whose reading of secrets and configmaps, and whose tokens, are no events."""

    def __post_init__(self) -> None:
        """Checks what a type cannot say."""
        if not 0 <= self.proxies < 10:
            raise ValueError("proxies: 0 to 9")


class KubernetesAudit(LineCollector):
    """The collector."""

    name = "kubernetes-audit"
    options: type[msgspec.Struct] = KubernetesOptions

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """When the request came, or was written down."""
        del now_ms, options
        value, _ = read_object(plain(record.data), truncated=record.truncated)
        told = (_written_at(entry, zone) for entry in entries(value, zone))
        return time_of(value, zone, *_TIMES) or next(filter(None, told), None)

    def parser(self, place: Place) -> RecordParser:
        """A parser for one file."""
        return _Parser(place)


def _written_at(entry: Entry, zone: ZoneInfo | None) -> int | None:
    return entry.at_ms if isinstance(entry.written, str) else time_of(entry.written, zone, *_TIMES)


def plain(data: bytes) -> bytes:
    """The record without the time that CloudWatch writes before it in a file."""
    found = _STAMPED.match(data)
    return data[found.end() :] if found else data


class _Parser(RecordParser):
    """A request is an event at the first stage that tells its outcome; its later stages are known then."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        options: KubernetesOptions = place.options
        self._proxies, self._ignored = options.proxies, tuple(options.ignore_readers)
        self._seen = Seen(MAX_REQUESTS)
        self._at_ms: int | None = None
        """The last time that was read: of a record that is cut, its own is lost."""

    def dump(self) -> dict[str, Any]:
        """Which requests were events, as digests, and the last time."""
        return {"seen": self._seen.dump(), "at_ms": self._at_ms}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where `dump` was taken."""
        self._seen.load(state.get("seen", ()))
        self._at_ms = state.get("at_ms")

    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The events of this record: mostly one; of a batch, or of rights for several people, more."""
        value, replaced = read_object(plain(record.data), truncated=record.truncated)
        made: list[Draft] = []
        lost: list[Exception] = []
        for entry in entries(value, self.place.zone):
            try:
                made += self._events(entry, record, observed_at, len(made))
            except (Ignored, Unreadable, NotJson, BadTime) as why:
                lost.append(why)
            if len(made) > POSITIONS_PER_RECORD:
                break
        failures = [why for why in lost if not isinstance(why, Ignored)]
        if not made:
            raise (failures or lost or [Ignored("no_entry")])[0]
        self.place.tally.replaced += replaced
        if failures or len(made) > POSITIONS_PER_RECORD:
            made = [msgspec.structs.replace(one, truncated=True) for one in made[:POSITIONS_PER_RECORD]]
        return made

    def _events(self, entry: Entry, record: RawRecord, observed_at: int, first: int) -> list[Draft]:
        """The events of one request, the first of them at this place in the record."""
        request = request_of(entry, self.place.zone)
        at_ms = self._time(request, record)
        means = meaning(request)
        if self._of_control_plane(request, means):
            raise Ignored("control_plane")
        if request.key and not self._seen.add(request.key):
            raise Ignored("told_before")
        people = grantees(request)
        facts = self._facts(request, means, at_ms)
        facts["truncated"] = record.truncated or request.cut or len(people) > MAX_GRANTEES
        if not people or len(people) > MAX_GRANTEES:
            return [draft(self.place, record, observed_at, at_ms, index=first, **facts)]
        return [
            draft(self.place, record, observed_at, at_ms, index=i, **self._granted(facts, one, at_ms))
            for i, one in enumerate(people, first)
        ]

    def _time(self, request: Request, record: RawRecord) -> int:
        at_ms = self._at_ms if request.at_ms is None and record.truncated else request.at_ms
        if at_ms is None:
            raise BadTime("no time")
        self._at_ms = at_ms
        return at_ms

    def _of_control_plane(self, request: Request, means: Meaning) -> bool:
        """What kubelets and controllers do all day."""
        return means.kind in ("data_access", "authentication") and (request.user or "").startswith(self._ignored)

    def _facts(self, request: Request, means: Meaning, at_ms: int) -> Facts:
        place, names = self.place, self.place.keys.at(at_ms)
        user = None if request.user == ANONYMOUS else request.user
        seen_from = request.addresses[: len(request.addresses) - self._proxies] or request.addresses[:1]
        who = party(place, at_ms, user, seen_from[-1] if seen_from else None)
        tool = labels.product(request.agent) if request.agent else None
        run = run_of(request.command, names)
        takes = run.takes and request.outcome not in ("denied", "failed")
        told = {
            "verb": request.verb if request.verb.isalpha() and len(request.verb) < 24 else None,
            "resource": labels.path_shape("/".join(filter(None, (request.resource, request.subresource)))),
            "as": names.pseudonym("actor", request.runs_as) if request.runs_as else None,
            "command": run.program,
            "role": roles_named(request) if means.kind == "privilege_change" else None,
        }
        return Facts(
            kind=means.kind,
            action="export" if takes else means.action,
            channel="cluster",
            outcome=request.outcome,
            actor=who.actor or who.source_ip,
            actor_type=actor_type_of(request, tool),
            privilege=privilege_of(request, means),
            dataset=dataset_of(request),
            statement_fingerprint=run.fingerprint,
            tool=tool,
            destination=who.destination if takes else None,
            destination_external=who.external if takes else None,
            source_ip=who.source_ip,
            source_network=who.source_network,
            labels=tuple(Label(key=key, value=value) for key, value in told.items() if value),
        )

    def _granted(self, facts: Facts, grantee: str, at_ms: int) -> Facts:
        """The same of one who gets rights: the actor is whose rights change, the label who changed them."""
        by = (Label(key="by", value=actor),) if (actor := facts.get("actor")) else ()
        actor_type: ActorType = "service" if grantee.startswith("system:serviceaccount:") else "unknown"
        changed = Facts(**facts)
        changed["actor"], changed["actor_type"] = self.place.keys.at(at_ms).pseudonym("actor", grantee), actor_type
        changed["labels"] = facts.get("labels", ()) + by
        return changed
