"""Messages of su, sshd, passwd and the tools that change accounts. Each reader takes one message and gives a deed."""

from __future__ import annotations

import re

from rua_agents.collectors.drafting import Ignored
from rua_agents.collectors.host import Deed

_FROM = re.compile(r" from (\S+) port \d+(?: ssh2)?(?:: .*)?", re.ASCII)
_ACCEPTED = re.compile(r"Accepted [\w/-]+ for ", re.ASCII)
_FAILED = re.compile(r"Failed [\w/-]+ for (?:invalid user )?", re.ASCII)
_SU = re.compile(r"(FAILED SU )?\(to (.+)\) (.+) on \S+")


def su(message: str) -> Deed:
    """`(to postgres) root on none`, `FAILED SU (to root) ana on pts/0`."""
    found = _SU.fullmatch(message)
    if found is None:
        raise Ignored("other_message")
    return Deed("privileged_access", user=found[3], run_as=found[2], outcome="denied" if found[1] else "ok")


def sshd(message: str) -> Deed:
    """`Accepted publickey for ana from 203.0.113.7 port 50112 ssh2: …`, `Failed password for invalid user x from …`."""
    for start, outcome in ((_ACCEPTED, "ok"), (_FAILED, "denied")):
        found = start.match(message)
        if found is not None:
            user, address = _user_and_address(message[found.end() :])
            return Deed("authentication", user=user, address=address, outcome="ok" if outcome == "ok" else "denied")
    raise Ignored("other_message")


def _user_and_address(text: str) -> tuple[str, str | None]:
    """The last ` from ` is sshd's own: a name may hold one, an address may not."""
    at = text.rfind(" from ")
    found = _FROM.fullmatch(text, at) if at >= 0 else None
    return (text[:at], found[1]) if found else (text, None)


def passwd(message: str) -> Deed:
    """`password for 'ana' changed by 'root'`; PAM's: `pam_unix(passwd:chauthtok): password changed for ana`."""
    if message.startswith("password for '") and "' changed by '" in message:
        user, _, by = message.removeprefix("password for '").rpartition("' changed by '")
        return Deed("privilege_change", user=user, by=by.removesuffix("'"))
    user = message.partition("): password changed for ")[2]
    if message.startswith("pam_") and user:
        return Deed("privilege_change", user=user)
    raise Ignored("other_message")


def useradd(message: str) -> Deed:
    """`new user: name=ana, UID=1001, …`; the new group of a new user tells nothing more."""
    name = message.removeprefix("new user: name=")
    if name == message:
        raise Ignored("other_message")
    return Deed("privilege_change", user=name.partition(", UID=")[0])


def usermod(message: str) -> Deed:
    """`add 'ana' to group 'adm'`; the same of the shadow group is no second change."""
    if message.startswith("add '") and "' to group '" in message:
        return Deed("privilege_change", user=message.removeprefix("add '").rpartition("' to group '")[0])
    if message.startswith(("add '", "change user '", "delete '")):
        user = message.partition(" '")[2].partition("'")[0]
        shadow = "' to shadow group '" in message or "' from shadow group '" in message
        if not shadow:
            return Deed("administration", user=user)
    raise Ignored("other_message")


def gpasswd(message: str) -> Deed:
    """`user ana added by root to group adm`."""
    found = re.fullmatch(r"user (.+) (added|removed) by (.+) (?:to|from) group \S+", message)
    if found is None:
        raise Ignored("other_message")
    kind = "privilege_change" if found[2] == "added" else "administration"
    return Deed("privilege_change" if kind == "privilege_change" else "administration", user=found[1], by=found[3])


def userdel(message: str) -> Deed:
    """`delete user 'ana'`."""
    if not message.startswith("delete user '"):
        raise Ignored("other_message")
    return Deed("administration", user=message.removeprefix("delete user '").removesuffix("'"))


def group(message: str) -> Deed:
    """`new group: name=adm2, GID=1002`: nobody is named."""
    if message.startswith(("new group: ", "group changed", "removed group", "group '")):
        return Deed("administration")
    raise Ignored("other_message")
