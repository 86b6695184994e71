"""The Linux audit log: commands, watched files, logins, changes of accounts and of the audit rules themselves.

The records of one event share time and serial number and may stand between those of others. An event is complete at
its PROCTITLE or EOE record, which the kernel writes last, or when the file has gone on for two seconds. It stands at
its last record, and events come in the order of their positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from rua_agents.collectors.audit_events import Pending, add, facts_of
from rua_agents.collectors.audit_records import AuditRecord, read_record
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Parser, Place
from rua_agents.collectors.drafting import Ignored, Unreadable, draft, reason_of
from rua_agents.identity import position
from rua_agents.records import RawRecord
from rua_agents.times import BadTime

CLOSE_AFTER_MS = 2_000
"""libauparse closes an event after the same time."""
MAX_OPEN = 1_000
LAST_TYPES = frozenset(("PROCTITLE", "EOE"))
FIRST_TYPES = frozenset(("SYSCALL", "EXECVE", "CWD", "PATH", "SOCKADDR", "PROCTITLE", "EOE", "FD_PAIR", "OPENAT2"))
"""Records of which several make an event; every other type is one by itself."""


class Auditd(LineCollector):
    """The collector."""

    name = "auditd"

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """The kernel's time."""
        del zone, now_ms, options
        return read_record(_text(record)).at_ms

    def parser(self, place: Place) -> Parser:
        """A parser for one file."""
        return _Parser(place)


def _text(record: RawRecord) -> str:
    return record.data.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


class _Ready(msgspec.Struct, array_like=True):
    position: int
    event: Draft


class _Memory(msgspec.Struct):
    open: dict[str, Pending] = {}
    """By serial, the oldest first; pseudonyms only."""
    ready: list[_Ready] = []
    """Complete events that wait for those before them."""


class _Parser:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._memory = _Memory()

    @property
    def waiting(self) -> bool:
        """Whether an event may still get records."""
        return bool(self._memory.open or self._memory.ready)

    def feed(self, record: RawRecord, observed_at: int) -> list[Draft]:
        """The events that this record completes."""
        tally = self._place.tally
        tally.records += 1
        if not record.data.strip():
            tally.ignored["blank"] += 1
            return []
        text = _text(record)
        try:
            found = read_record(text)
        except (Unreadable, BadTime) as why:
            tally.fail(reason_of(why), self._place.source, record.offset, record.data)
            return []
        tally.replaced += text.count("\N{REPLACEMENT CHARACTER}")
        self._expire(found.at_ms)
        if found.type in FIRST_TYPES:
            self._group(found, record, observed_at)
        else:
            self._alone(found, record, observed_at)
        return self._due()

    def flush(self) -> list[Draft]:
        """Completes everything."""
        for serial in list(self._memory.open):
            self._close(serial)
        return self._due()

    def dump(self) -> dict[str, Any]:
        """What waits; pseudonyms only."""
        plain: dict[str, Any] = msgspec.to_builtins(self._memory)
        return plain

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where `dump` was taken."""
        self._memory = msgspec.convert(state, _Memory) if state else _Memory()

    def _group(self, found: AuditRecord, record: RawRecord, observed_at: int) -> None:
        pending = self._memory.open.get(found.serial)
        if pending is None:
            if found.type == "EOE":  # it ended with its PROCTITLE
                self._place.tally.merged += 1
                return
            pending = self._memory.open[found.serial] = Pending(found.at_ms, position(record.offset))
        add(pending, found, self._place)
        pending.records += 1
        pending.truncated |= record.truncated
        pending.event = self._event(pending, record, observed_at)
        if found.type in LAST_TYPES:
            self._close(found.serial)
        while len(self._memory.open) > MAX_OPEN:
            self._close(next(iter(self._memory.open)))

    def _alone(self, found: AuditRecord, record: RawRecord, observed_at: int) -> None:
        pending = Pending(found.at_ms, position(record.offset), truncated=record.truncated)
        add(pending, found, self._place)
        pending.records = 1
        pending.event = self._event(pending, record, observed_at)
        self._told(pending)

    def _event(self, pending: Pending, record: RawRecord, observed_at: int) -> Draft | str:
        """The event as far as it is known, or why it is none."""
        try:
            facts = facts_of(pending, self._place)
        except Ignored as why:
            return str(why)
        return draft(self._place, record, observed_at, pending.at_ms, **facts)

    def _expire(self, now_ms: int) -> None:
        done = [s for s, pending in self._memory.open.items() if abs(now_ms - pending.at_ms) > CLOSE_AFTER_MS]
        for serial in done:
            self._close(serial)

    def _close(self, serial: str) -> None:
        self._told(self._memory.open.pop(serial))

    def _told(self, pending: Pending) -> None:
        tally, event = self._place.tally, pending.event
        if isinstance(event, str):
            tally.ignored[event] += pending.records
            return
        tally.events += 1
        tally.merged += pending.records - 1
        self._memory.ready.append(_Ready(event.source_position, event))

    def _due(self) -> list[Draft]:
        """The events before which nothing else can come."""
        memory = self._memory
        if not memory.ready:
            return []
        lowest = min([p.first_position for p in memory.open.values()], default=None)
        memory.ready.sort(key=lambda one: one.position)
        due = [one.event for one in memory.ready if lowest is None or one.position < lowest]
        memory.ready = memory.ready[len(due) :]
        return due
