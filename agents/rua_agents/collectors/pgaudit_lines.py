"""What the three log formats of PostgreSQL share: the fate of a record once its fields are told apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import Ignored, Unreadable, reason_of
from rua_agents.collectors.pgaudit import PREFIX, BadAudit
from rua_agents.collectors.pgaudit_logins import AUTHORIZED, denied_of
from rua_agents.collectors.pgaudit_parser import LogLine, PgauditParser
from rua_agents.jsontext import NotJson
from rua_agents.records import RawRecord
from rua_agents.times import BadTime

LOCAL = "[local]"
RECEIVED, DISCONNECTED = "connection received:", "disconnection:"
ERRORS = frozenset(("ERROR", "FATAL", "PANIC"))


class Line(NamedTuple):
    """The fields of a record; what the format does not tell is None or empty."""

    message: str
    session: str
    user: str | None = None
    database: str | None = None
    address: str | None = None
    program: str | None = None
    severity: str = ""
    context: bool = False
    """Whether a function raised it."""
    replaced: int = 0
    """How many characters were replaced to read it."""
    admits: bool = False
    """Whether it may say that a connection is authorised, although that is not certain."""


class LineParser(ABC):
    """Parser of one log format of PostgreSQL."""

    names_can_forge = False
    """Whether a name with a line feed in it can look like a whole record."""

    def __init__(self, place: Place) -> None:
        self._place, self._core = place, PgauditParser(place)
        self._logins = {"none": (), "failed": (True,), "all": (True, False)}[place.options.logins]

    @abstractmethod
    def read(self, record: RawRecord) -> tuple[int, Line]:
        """The time in ms and the fields of a record.

        Raises:
            Unreadable, NotJson, BadTime, msgspec.ValidationError: it cannot be read.
        """

    @property
    def waiting(self) -> bool:
        """Whether a draft waits for a record that would complete it."""
        return self._core.waiting

    def flush(self) -> list[Draft]:
        """The drafts that wait."""
        return self._core.flush()

    def dump(self) -> dict[str, Any]:
        """What is remembered; pseudonyms only."""
        return self._core.dump()

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on where `dump` was taken."""
        self._core.load(state)

    def feed(self, record: RawRecord, observed_at: int) -> list[Draft]:
        """The drafts that this record completes."""
        tally = self._place.tally
        tally.records += 1
        if not record.data.strip():
            tally.ignored["blank"] += 1
            return []
        try:
            at_ms, line = self.read(record)
        except Ignored as why:
            tally.ignored[str(why)] += 1
            return []
        except (Unreadable, NotJson, BadTime, msgspec.ValidationError) as why:
            tally.fail(reason_of(why), self._place.source, record.offset, record.data)
            return []
        tally.replaced += line.replaced
        found = (line.session, line.message, line.user, line.database, line.address, line.program)
        facts = LogLine(record, observed_at, at_ms, *found, truncated=record.truncated)
        return self._audit(facts, line) if line.message.startswith(PREFIX) else self._other(facts, line)

    def _audit(self, facts: LogLine, line: Line) -> list[Draft]:
        try:
            reason = self._refused(line)
            if not reason:
                return self._core.feed(facts)
        except BadAudit:
            reason = "bad_audit"
        self._place.tally.fail(reason, self._place.source, facts.record.offset, facts.record.data)
        return self._core.time_passes(facts.at_ms)

    def _refused(self, line: Line) -> str:
        """Why an AUDIT text is not pgaudit's; empty if it is."""
        # pgaudit hides its context; a function that writes this text with RAISE cannot
        if line.context or line.severity in ERRORS:
            return "not_from_pgaudit"
        return "not_authorized" if self.names_can_forge and self._core.is_stranger(line.session) else ""

    def _other(self, facts: LogLine, line: Line) -> list[Draft]:
        if not line.context:
            self._session_of(line)
            denied = denied_of(line.severity, line.message)
            if denied is not None and denied in self._logins:
                return self._core.login(facts, denied=denied)
        self._place.tally.ignored["not_audit"] += 1
        return self._core.time_passes(facts.at_ms)

    def _session_of(self, line: Line) -> None:
        """Takes note of where a session begins and ends."""
        if line.admits or line.message.startswith(AUTHORIZED):
            self._core.admit(line.session)
        elif line.message.startswith(RECEIVED):
            self._core.begin_session(line.session)
        elif line.message.startswith(DISCONNECTED):
            self._core.end_session(line.session)
