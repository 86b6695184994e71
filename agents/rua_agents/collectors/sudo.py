"""sudo's own message: `ana : TTY=pts/0 ; PWD=/srv ; USER=root ; COMMAND=/usr/bin/id`.

sudo escapes nothing in it, so a directory called `x ; USER=bob ; COMMAND=/bin/true` looks like fields. sudo writes the
fields in one order and COMMAND last; if a field stands there twice, nobody can tell which one is sudo's, and the event
says so: as whom the command ran is then unknown, but for the worst that it may have been.
"""

from __future__ import annotations

from collections.abc import Sequence

from rua_schemas.events import Outcome

from rua_agents.collectors.commands import words_of
from rua_agents.collectors.drafting import Ignored, Unreadable
from rua_agents.collectors.host import ROOT, Deed
from rua_agents.collectors.sudo_event import event_of
from rua_agents.jsontext import NotJson, read_object

JSON = "@cee:"
SEPARATOR = " ; "
FIRST_FIELDS = ("TTY=", "PWD=", "USER=", "CHROOT=", "HOST=")
"""What a message without a reason begins with; HOST with `Defaults log_host`."""
CONTINUED = "(command continued) "
DENIED = ("command not allowed", "user NOT in sudoers", "incorrect password attempt", "user NOT authorized on host")
DENIED_WORDS = ("a password is required", "authentication failure", "no tty present", "account validation failure")


def deed(message: str) -> Deed:
    """Who ran what as whom.

    Raises:
        Ignored: a line that only goes on with the one before, or of another kind.
        Unreadable, NotJson, msgspec.ValidationError: no message of sudo.
    """
    if message.startswith(JSON):
        return _json_deed(message[len(JSON) :].strip().encode())
    user, colon, rest = message.partition(" : ")
    if not colon:
        raise Ignored("other_message")
    if not user:
        raise Unreadable("no_user")
    if rest.startswith(CONTINUED):
        raise Ignored("command_continued")
    if not any(mark in f"; {rest}" for mark in ("; PWD=", "; USER=", "; COMMAND=")):
        raise Ignored("other_message")
    said = f"{SEPARATOR}{rest}"
    runs, commands = said.split(f"{SEPARATOR}USER=")[1:], said.split(f"{SEPARATOR}COMMAND=")[1:]
    run_as = [one.partition(SEPARATOR)[0].rstrip(" ;") for one in runs]
    certain = len(runs) <= 1 and len(commands) <= 1
    reason = "" if rest.startswith(FIRST_FIELDS) else rest.partition(SEPARATOR)[0]
    return Deed(
        "privileged_access",
        user=user.strip(),
        outcome=_outcome(reason, has_command=bool(commands)),
        run_as=_run_as(run_as, certain=certain),
        words=words_of(commands[0].replace("#012", " ")) if certain and commands else (),
        partial=not certain,
    )


def _json_deed(data: bytes) -> Deed:
    """Of a JSON message. Syslog daemons cut long ones (rsyslog at 8 KB), and arguments are as long as one likes."""
    try:
        return event_of(read_object(data)[0]).deed()
    except NotJson:
        event = event_of(read_object(data, truncated=True)[0])
        if event.submituser is None:
            raise
        return event.deed()._replace(partial=True)


def _outcome(reason: str, *, has_command: bool) -> Outcome:
    if not reason:
        return "ok" if has_command else "unknown"
    denied = any(one in reason for one in DENIED) or any(one in reason for one in DENIED_WORDS)
    return "denied" if denied else "failed"


def _run_as(named: Sequence[str], *, certain: bool) -> str | None:
    """The user that is named; of several root if it is among them, else none of them."""
    if certain:
        return named[0] if named else None
    return ROOT if ROOT in named else None
