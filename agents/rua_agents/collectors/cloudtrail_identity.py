"""Who speaks in a CloudTrail record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from rua_schemas.events import ActorType, Privilege

from rua_agents.collectors.json_values import inside, text

_ANONYMOUS = frozenset(("anonymous", "ANONYMOUS_PRINCIPAL"))
_HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
# names of sessions that programs make up anew each time: the role says more
_MADE_UP = re.compile(
    r"(?:botocore|aws-go-sdk|AWSCLI|aws-sdk|session|i)[-_].*\d{6,}.*|\d+|[0-9a-f]{16,}|i-[0-9a-f]{8,}"
)
_CONSOLE = ("console.amazonaws.com", "signin.amazonaws.com", "S3Console", "AWS-Console", "Mozilla/")
SSO_ROLE = "AWSReservedSSO_"


class Identity(NamedTuple):
    """Who it is, before names become pseudonyms."""

    name: str | None
    role: str | None
    """The role in which somebody acts."""
    actor_type: ActorType
    privilege: Privilege
    account: str | None
    """The account of whoever speaks."""
    session: str | None = None
    """Its credentials: of a role, new for each session."""


def identity_of(record: Mapping[str, Any]) -> Identity:
    """Who made this call; nobody if the call was anonymous."""
    told = record.get("userIdentity")
    kind, arn, account = text(inside(told, "type")), text(inside(told, "arn")), text(inside(told, "accountId"))
    principal, service = text(inside(told, "principalId")), text(inside(told, "invokedBy"))
    if kind == "AWSService":
        return Identity(service or principal, None, "service", "unknown", account)
    if account in _ANONYMOUS or principal in _ANONYMOUS:
        return Identity(None, None, "network", "unknown", None)
    role = text(inside(told, "sessionContext", "sessionIssuer", "arn"))
    session = arn.rpartition("/")[2] if arn and role else ""
    name = role if role and _MADE_UP.fullmatch(session) else arn or _named(told) or principal
    return Identity(
        None if name == _HIDDEN else name,
        role,
        _actor_type(record, role, service),
        "superuser" if kind == "Root" else "unknown",
        account,
        text(inside(told, "accessKeyId")),
    )


def _named(told: object) -> str | None:
    """Of users that have no ARN: of the identity centre, of a federation, or of a login that failed."""
    return text(inside(told, "onBehalfOf", "userId")) or text(inside(told, "userName"))


def _actor_type(record: Mapping[str, Any], role: str | None, service: str | None) -> ActorType:
    """By what AWS itself says: the name of a session is its owner's choice, and says nothing about people."""
    if service or inside(record, "userIdentity", "sessionContext", "ec2RoleDelivery") is not None:
        return "service"
    agent = (text(record.get("userAgent")) or "").lstrip("[")
    console = agent.startswith(_CONSOLE) or record.get("sessionCredentialFromConsole") in (True, "true")
    return "interactive" if console or (role and f"/{SSO_ROLE}" in role) else "unknown"


def partition_of(record: Mapping[str, Any]) -> str:
    """`aws`, `aws-cn` or `aws-us-gov`."""
    parts = (text(inside(record, "userIdentity", "arn")) or "").split(":")
    return parts[1] if len(parts) > 2 and parts[1].startswith("aws") else "aws"
