"""What a field of an access log may be called. There is no standard: every `log_format` names its fields itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "seconds": ("msec", "time_msec", "timestamp_msec", "epoch"),
    "iso": ("time_iso8601", "ts", "timestamp", "@timestamp", "time", "datetime"),
    "clf": ("time_local",),
    "address": ("remote_addr", "addr", "client_ip", "clientip", "client", "remote_ip", "ip"),
    "user": ("remote_user", "user", "username", "auth_user"),
    "request": ("request", "req", "request_line"),
    "method": ("request_method", "method", "verb"),
    "path": ("uri", "request_uri", "path", "url", "document_uri"),
    "query": ("args", "query_string", "query"),
    "status": ("status", "status_code", "response_code", "code"),
    "body_bytes": ("body_bytes_sent", "body_bytes", "body_sent"),
    "bytes": ("bytes_sent", "bytes", "size", "response_size"),
    "length": ("sent_http_content_length", "sent_cl", "content_length_sent"),
    "content_type": ("sent_http_content_type", "sent_ct", "content_type_sent"),
    "disposition": ("sent_http_content_disposition", "sent_cd", "content_disposition"),
    "completion": ("request_completion", "completion"),
    "gzip": ("gzip_ratio", "gzr"),
    "agent": ("http_user_agent", "ua", "user_agent", "agent"),
    "session": ("session", "session_id", "cookie_session"),
    "merchant": ("merchant", "merchant_id", "seller_id", "shop_id"),
    "app": ("app", "app_id", "app_key", "client_id"),
}
FIELDS: tuple[str, ...] = tuple(SPELLINGS)
MOST_BYTES = 1 << 62


class Fields(NamedTuple):
    """The values of one record; None where the log does not have the field."""

    seconds: Any
    iso: Any
    clf: Any
    address: Any
    user: Any
    request: Any
    method: Any
    path: Any
    query: Any
    status: Any
    body_bytes: Any
    bytes: Any
    length: Any
    content_type: Any
    disposition: Any
    completion: Any
    gzip: Any
    agent: Any
    session: Any
    merchant: Any
    app: Any


@lru_cache(256)
def names_of(keys: tuple[str, ...], given: tuple[tuple[str, str], ...]) -> tuple[str | None, ...]:
    """For each of `FIELDS` the key that holds it, or None."""
    chosen = dict(given)
    return tuple(
        chosen[field] if field in chosen else next((name for name in SPELLINGS[field] if name in keys), None)
        for field in FIELDS
    )


def fields_of(record: dict[str, Any], given: tuple[tuple[str, str], ...] = ()) -> Fields:
    """The record's values by what they mean.

    Args:
        record: the JSON object.
        given: (meaning, the log's own name) where the configuration says so; it wins over the known spellings.
    """
    get = record.get
    return Fields._make([None if name is None else get(name) for name in names_of(tuple(record), given)])


def text(value: object) -> str | None:
    """A text that says something; nginx writes `-` or nothing for what is absent."""
    if isinstance(value, str):
        return value if value and value != "-" else None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def count(value: object) -> int | None:
    """A number that is not negative, given as number or text."""
    if type(value) is int:
        return value if 0 <= value < MOST_BYTES else None
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None
    elif isinstance(value, float):
        value = int(value) if value.is_integer() else None
    else:
        return None
    return value if value is not None and 0 <= value < MOST_BYTES else None
