"""auth.log or /var/log/secure: sudo, su, logins, changes of accounts, with old stamps or ISO ones.

Any local program may write a line under any program's name (`logger -t sudo`), so this source tells what was logged,
not what was done; auditd cannot be imitated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from rua_agents.collectors import accounts, sudo
from rua_agents.collectors.base import LineCollector
from rua_agents.collectors.contract import Draft, Parser, Place
from rua_agents.collectors.drafting import Ignored
from rua_agents.collectors.host import Deed, StampedParser, event_of
from rua_agents.records import RawRecord
from rua_agents.syslog import Stamps

_SESSION = re.compile(r"pam_\w+\((?P<service>[\w.@-]+):session\): session (?P<what>opened|closed) for user ", re.ASCII)
_UID = re.compile(r"\(uid=\d+\)", re.ASCII)
SERVICES_OF_OTHERS = frozenset(
    ("sudo", "sudo-i", "su", "su-l", "cron", "crond", "runuser", "runuser-l", "systemd-user")
)
"""Their sessions only follow what their own line has told."""


class AuthLog(LineCollector):
    """The collector."""

    name = "auth-log"

    def when(self, record: RawRecord, zone: ZoneInfo | None, now_ms: int, options: Any) -> int | None:
        """The daemon's stamp."""
        del options
        return Stamps(zone).read(_text(record), now_ms).at_ms

    def parser(self, place: Place) -> Parser:
        """A parser for one file."""
        return _Parser(place)


def _text(record: RawRecord) -> str:
    return record.data.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def session_opened(message: str) -> Deed:
    """`pam_unix(sshd:session): session opened for user ana(uid=10001) by (uid=0)`."""
    found = _SESSION.match(message)
    if found is None:
        raise Ignored("other_message")
    if found["what"] == "closed":
        raise Ignored("session_closed")
    if found["service"] in SERVICES_OF_OTHERS:
        raise Ignored("session_of_command")
    user = message[found.end() :].rpartition(" by ")[0] or message[found.end() :]
    return Deed("authentication", user=_UID.sub("", user))


READERS: Mapping[str, Callable[[str], Deed]] = {
    "sudo": sudo.deed,
    "su": accounts.su,
    "sshd": accounts.sshd,
    "sshd-session": accounts.sshd,
    "passwd": accounts.passwd,
    "chpasswd": accounts.passwd,
    "useradd": accounts.useradd,
    "usermod": accounts.usermod,
    "userdel": accounts.userdel,
    "groupadd": accounts.group,
    "groupdel": accounts.group,
    "groupmod": accounts.group,
    "gpasswd": accounts.gpasswd,
}
"""Program → reader of its messages."""


class _Parser(StampedParser):
    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The event of a line."""
        text = _text(record)
        line = self.stamps.read(text, observed_at)
        self.place.tally.replaced += text.count("\N{REPLACEMENT CHARACTER}")
        if line.message.startswith("pam_") and ":session)" in line.message:
            deed = session_opened(line.message)
        elif line.program in READERS:
            deed = READERS[line.program](line.message)
        else:
            raise Ignored("other_program")
        return [event_of(deed, self.place, record, observed_at, line.at_ms)]
