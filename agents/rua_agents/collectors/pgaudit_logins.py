"""Who connected to PostgreSQL, and who was not let in (`log_connections`; failures are always logged)."""

from __future__ import annotations

import re
from typing import Literal

from rua_agents.collectors.contract import Draft, Place
from rua_agents.collectors.drafting import login
from rua_agents.collectors.pgaudit_statements import Session
from rua_agents.records import RawRecord

Logins = Literal["none", "failed", "all"]

AUTHORIZED = ("connection authorized:", "replication connection authorized:")
# auth.c and postinit.c of PostgreSQL 9.6 to 18; only the server itself can end a session with FATAL
_DENIED = re.compile(
    r"(?:[A-Za-z0-9]+ ){0,3}authentication failed for user \"|no pg_hba\.conf entry for |pg_hba\.conf rejects "
    r"|role \".*\" (?:does not exist|is not permitted to log in)$|permission denied for database \"",
    re.DOTALL,
)


def denied_of(severity: str, message: str) -> bool | None:
    """Whether this message of the server says that somebody was not let in (True) or was (False); else None."""
    if message.startswith(AUTHORIZED):
        return False
    return True if severity == "FATAL" and _DENIED.match(message) else None


def login_event(
    place: Place, record: RawRecord, observed_at: int, at_ms: int, session: Session, *, denied: bool
) -> Draft:
    """A connection as an event; the server's message itself stays on the host."""
    network = session.network if session.network != "local" else None
    return login(
        place,
        record,
        observed_at,
        at_ms,
        who=(session.actor, session.source_ip, network),
        session=session.name,
        outcome="denied" if denied else "ok",
        superuser=session.superuser,
    )
