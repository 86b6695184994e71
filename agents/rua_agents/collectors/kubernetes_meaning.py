"""What a request to a Kubernetes API server means for personal data, and who gets rights by it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rua_schemas.events import Action, ActorType, Kind, Privilege

from rua_agents import labels
from rua_agents.collectors.commands import command_of, words_of
from rua_agents.collectors.drafting import Ignored
from rua_agents.collectors.json_values import inside, mappings, text
from rua_agents.collectors.kubernetes import ANONYMOUS, Request
from rua_agents.pseudonyms import Pseudonymiser

INTERACTIVE = frozenset(("kubectl", "oc", "k9s", "Lens", "OpenLens", "Headlamp"))
MASTERS = "system:masters"
_INTO_PODS = frozenset(("exec", "attach", "portforward", "proxy"))
_DATA = frozenset(("secrets", "configmaps"))
_BINDINGS = frozenset(("rolebindings", "clusterrolebindings"))
_ROLES = frozenset(("roles", "clusterroles"))
_WRITES = frozenset(("create", "update", "patch"))
_PRIVILEGES: Mapping[str, Privilege] = {"cluster-admin": "superuser", "admin": "elevated", "edit": "elevated"}
# what controllers append to the names of pods; the letters are those that Kubernetes draws from
_GENERATED = re.compile(r"(?:-[a-z0-9]{6,10})?-[bcdfghjklmnpqrstvwxz2-9]{5}$")
_SHELLS = frozenset(("sh", "bash", "ash", "zsh", "dash"))


class Meaning(NamedTuple):
    """What sort of event a request is."""

    kind: Kind
    action: Action


_INSIDE = Meaning("privileged_access", "unknown")
_GRANT = Meaning("privilege_change", "alter")
_ADMINISTER = Meaning("administration", "alter")
_CUT = Meaning("unknown", "unknown")
"""Of a request whose verb lies behind the cut."""
_CREDENTIAL = Meaning("authentication", "unknown")
_OF_DATA = {
    "get": Meaning("data_access", "read"),
    "list": Meaning("data_access", "query"),
    "watch": Meaning("data_access", "query"),
    **dict.fromkeys(_WRITES, Meaning("data_change", "alter")),
    **dict.fromkeys(("delete", "deletecollection"), Meaning("data_change", "delete")),
}


def meaning(request: Request) -> Meaning:  # noqa: PLR0911 - a table of cases, one a line
    """What sort of event it is.

    Raises:
        Ignored: it has nothing to do with data or rights.
    """
    resource, subresource, writes = request.resource, request.subresource, request.verb in _WRITES
    if request.unauthenticated:
        return _CREDENTIAL
    if subresource in _INTO_PODS or (subresource == "ephemeralcontainers" and writes):
        return _INSIDE
    if (resource, subresource) == ("pods", "log"):
        return _OF_DATA["get"]
    if (resource, subresource) == ("serviceaccounts", "token") and writes:
        return _CREDENTIAL
    if (resource, subresource) == ("certificatesigningrequests", "approval") and writes:
        return _GRANT
    if resource in _DATA and not subresource and request.verb in _OF_DATA:
        return _OF_DATA[request.verb]
    if resource in _BINDINGS | _ROLES and (writes or request.verb.startswith("delete")):
        return _GRANT if writes else _ADMINISTER
    if not request.verb and resource in _DATA | _BINDINGS | _ROLES:
        return _CUT
    raise Ignored("not_watched")


def grantees(request: Request) -> list[str]:
    """Who gets rights by a binding, each once; none if the record does not hold the request's body."""
    if request.resource not in _BINDINGS or request.verb not in _WRITES:
        return []
    return list(dict.fromkeys(filter(None, map(_subject, _subjects(request.body)))))


def _subjects(body: object) -> Iterator[Mapping[str, Any]]:
    """Of a whole binding, of a merge patch, or of the operations of a JSON patch."""
    if isinstance(body, list):
        for step in mappings(body):
            if (text(step.get("path")) or "").startswith("/subjects"):
                yield from mappings(step.get("value"))
    else:
        yield from mappings(inside(body, "subjects"))


def _subject(subject: Mapping[str, Any]) -> str | None:
    """Its name, spelt as when it is the user of a request."""
    name = text(subject.get("name"))
    if name is None or subject.get("kind") != "ServiceAccount":
        return name
    return f"system:serviceaccount:{text(subject.get('namespace')) or ''}:{name}"


def privilege_of(request: Request, means: Meaning) -> Privilege:
    """Rights used; of a binding the rights that it gives."""
    if means == _GRANT:
        return _PRIVILEGES.get(text(inside(request.body, "roleRef", "name")) or "", "unknown")
    return "superuser" if MASTERS in request.groups else "unknown"


def actor_type_of(request: Request, tool: str | None) -> ActorType:
    """A name that only the cluster or a platform's service accounts have is a service."""
    user = request.user
    if user is None or user == ANONYMOUS:
        return "network" if request.addresses else "unknown"
    if user.startswith("system:") or user.endswith(".gserviceaccount.com"):
        return "service"
    return "interactive" if tool in INTERACTIVE else "unknown"


def dataset_of(request: Request) -> str | None:
    """`namespace/resource/name`; a pod's name without what its controller appended."""
    name = _GENERATED.sub("", request.name) if request.name and request.resource == "pods" else request.name
    parts = (request.namespace, request.resource, name)
    return labels.path_shape("/".join(filter(None, parts))) or None


class Run(NamedTuple):
    """What is run in a container."""

    program: str | None
    fingerprint: str | None
    takes: bool
    """Whether all that it does is to take data out: a dump, or `kubectl cp`, which runs tar."""


def run_of(command: Sequence[str], names: Pseudonymiser) -> Run:
    """The facts of a command, looked up in the shell's if it is one that is handed to a shell."""
    words = list(command)
    if len(words) > 2 and words[0].rpartition("/")[2] in _SHELLS and words[1].startswith("-") and "c" in words[1]:
        words = words_of(words[2])
    if not words:
        return Run(None, None, takes=False)
    found = command_of(words, names)
    packs = found.tool == "tar" and len(words) > 1 and "c" in words[1].partition("=")[0] and "x" not in words[1]
    return Run(found.tool, found.fingerprint, takes=found.dumps or packs)


def roles_named(request: Request) -> str | None:
    """The role that a binding gives, as it may leave."""
    role = text(inside(request.body, "roleRef", "name"))
    return labels.segment_shape(role)[: labels.MAX_CHARACTERS] if role else None
