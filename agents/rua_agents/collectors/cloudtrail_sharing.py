"""With whom a call shares data: other accounts, everybody, or a bucket."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import unquote

from rua_agents import labels
from rua_agents.collectors.json_values import inside, listed, mappings, text
from rua_agents.jsontext import NotJson, read_object

PUBLIC = "public"
MAX_RESOURCES = 1_000
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_OPEN_ACLS = frozenset(("public-read", "public-read-write", "authenticated-read"))
_OPEN_GROUPS = ("/AllUsers", "/AuthenticatedUsers")
_GRANTS = ("x-amz-grant-read", "x-amz-grant-full-control", "x-amz-grant-write", "x-amz-grant-read-acp")


class Target(NamedTuple):
    """Where data can go from now on, or goes."""

    destination: str
    """In clear; a bucket as `s3://name`, which becomes a pseudonym before it leaves."""
    account: str | None = None
    """Whose it is; `public` for everybody's, None if nobody knows."""


EVERYBODY = Target(PUBLIC, PUBLIC)


def account(value: object) -> Target | None:
    """An account's id, an ARN in it, or one of the words for everybody."""
    told = text(value)
    if told is None:
        return None
    if told in ("*", "all"):
        return EVERYBODY
    number = told.split(":")[4] if told.count(":") >= 5 else told
    return Target(f"account:{number}", number) if _ACCOUNT.fullmatch(number) else None


def owners_of(record: Mapping[str, Any]) -> Mapping[str, str]:
    """Bucket → its account, as the record's `resources` tell."""
    found = {}
    for one in islice(mappings(record.get("resources")), MAX_RESOURCES):
        name, owner = (text(one.get("ARN")) or "").rpartition(":::")[2].partition("/")[0], text(one.get("accountId"))
        if name and owner:
            found[name] = owner
    return found


def bucket(name: object, owners: Mapping[str, str] | None = None) -> Target | None:
    """A bucket by its name, its ARN or a location in it."""
    told = text(name)
    if told is None:
        return None
    plain = told.removeprefix("s3://").rpartition(":::")[2].strip("/").partition("/")[0]
    return Target(f"s3://{plain}", (owners or {}).get(plain)) if plain else None


def object_name(bucket_name: object, key: object) -> str | None:
    """`s3:bucket/path`, the path without what names one person or thing."""
    where, path = bucket(bucket_name), text(key)
    if where is None:
        return None
    name = f"s3:{labels.name_shape(where.destination.removeprefix('s3://'))}"[: labels.MAX_CHARACTERS]
    return f"{name}/{labels.path_shape(path)}" if path else name


def copied_from(source: object) -> tuple[str | None, str | None]:
    """Bucket and key of a copy's source: `bucket/key`, perhaps encoded, perhaps of an access point."""
    told = unquote(text(next(iter(listed(source)), None)) or "").removeprefix("/")
    name, _, key = told.partition("?versionId=")[0].partition("/")
    return name or None, key or None


def of_policy(policy: object) -> list[Target]:
    """Whom the statements of a resource's policy allow."""
    if isinstance(policy, str):
        try:
            policy, _ = read_object(policy.encode("utf-8", "replace"))
        except NotJson:
            return []
    allowed = (one for one in mappings(inside(policy, "Statement")) if one.get("Effect") == "Allow")
    return _distinct(account(one) for statement in allowed for one in _principals(statement.get("Principal")))


def _principals(principal: object) -> Iterator[object]:
    for one in listed(principal):
        yield from listed(inside(one, "AWS")) if isinstance(one, Mapping) else [one]


def of_acl(asked: object) -> list[Target]:
    """Whom an access control list lets in beside its owner."""
    canned = {text(one) for one in listed(inside(asked, "x-amz-acl"))}
    headers = " ".join(str(text(inside(asked, name)) or "") for name in _GRANTS)
    grants = mappings(inside(asked, "AccessControlPolicy", "AccessControlList", "Grant"))
    groups = [text(inside(grant, "Grantee", "URI")) or "" for grant in grants]
    opened = any(group in headers for group in _OPEN_GROUPS) or any(g.endswith(_OPEN_GROUPS) for g in groups)
    return [EVERYBODY] if opened or not _OPEN_ACLS.isdisjoint(canned) else []


def of_attribute(asked: object) -> list[Target]:
    """Who may from now on restore a snapshot or start an image."""
    added = [*listed(inside(asked, "valuesToAdd"))]
    for name in ("createVolumePermission", "launchPermission"):
        items = mappings(inside(asked, name, "add", "items"))
        added += [inside(item, "userId") or inside(item, "group") for item in items]
    return _distinct(map(account, added))


def of_replication(asked: object, record: Mapping[str, Any]) -> list[Target]:
    """Into which buckets everything is copied from now on."""
    found, owners = [], owners_of(record)
    for rule in mappings(inside(asked, "ReplicationConfiguration", "Rule")):
        target = bucket(inside(rule, "Destination", "Bucket"), owners)
        owner = text(inside(rule, "Destination", "Account"))
        found.append(target._replace(account=owner or target.account) if target else None)
    return _distinct(found)


def _distinct(found: Any) -> list[Target]:
    return list(dict.fromkeys(one for one in found if one is not None))
