"""What Envoy's access logs share: its command operators, its flags, and a time at the start of the request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rua_agents.collectors.nginx_fields import FIELDS, Fields, count, text
from rua_agents.times import BadTime, stamp_ms

OPERATORS: Mapping[str, str] = {
    "START_TIME": "start",
    "DURATION": "duration",
    "REQ(:METHOD)": "method",
    "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)": "path",
    "REQ(:PATH)": "path",
    "RESPONSE_CODE": "status",
    "RESPONSE_FLAGS": "flags",
    "BYTES_SENT": "body_bytes",
    "DOWNSTREAM_REMOTE_ADDRESS": "peer",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": "address",
    "REQ(USER-AGENT)": "agent",
    "RESP(CONTENT-LENGTH)": "length",
    "RESP(CONTENT-TYPE)": "content_type",
    "RESP(CONTENT-DISPOSITION)": "disposition",
    "RESP(CONTENT-ENCODING)": "encoding",
}
"""Envoy's command operator → what it means here."""
JSON_NAMES: Mapping[str, tuple[str, ...]] = {
    "start": ("start_time", "startTime", "@timestamp", "timestamp", "time"),
    "duration": ("duration", "duration_ms"),
    "method": ("method", "request_method"),
    "path": ("path", "original_path", "x_envoy_original_path", "uri"),
    "status": ("response_code", "status", "code"),
    "flags": ("response_flags", "flags"),
    "body_bytes": ("bytes_sent", "response_bytes"),
    "peer": ("downstream_remote_address",),
    "address": ("downstream_remote_address_without_port", "client_ip", "remote_address"),
    "agent": ("user_agent", "userAgent", "ua"),
    "length": ("content_length", "resp_content_length"),
    "content_type": ("content_type", "resp_content_type"),
    "disposition": ("content_disposition", "resp_content_disposition"),
    "encoding": ("content_encoding", "resp_content_encoding"),
    "user": ("user", "jwt_sub", "principal"),
    "session": ("session", "session_id"),
    "merchant": ("merchant", "merchant_id", "seller_id", "shop_id"),
    "app": ("app", "app_id", "client_id"),
}
"""Meaning → names in a JSON format: those of Istio's default and of what people commonly write."""
BROKEN = "- - -"
"""What Envoy writes of a connection that sent no request."""
ABORTED_FLAGS = frozenset(("DC", "DPE", "DT", "UPE", "UC", "UT", "LR", "SI", "DI"))
"""Flags of a response that may not have reached its end; DC: the client went away."""


def fields(get: Callable[[str], object]) -> Fields:
    """The request's facts.

    Args:
        get: value of a meaning (see `OPERATORS`), or None.

    Raises:
        BadTime: no start time.
    """
    flags = text(get("flags"))
    encoding = text(get("encoding"))
    known: dict[str, object] = {name: get(name) for name in FIELDS}
    known["seconds"] = _ended_ms(get("start"), get("duration")) / 1_000
    known["address"] = text(get("address")) or _without_port(text(get("peer")))
    known["completion"] = "" if flags and not ABORTED_FLAGS.isdisjoint(flags.split(",")) else None
    known["gzip"] = None if encoding in (None, "identity") else encoding
    for unused in ("iso", "clf", "bytes", "request"):
        known[unused] = None
    if text(get("status")) and not text(known["method"]) and not text(known["path"]):
        known["request"] = BROKEN
    return Fields(**known)


def _ended_ms(start: object, duration: object) -> int:
    """Envoy tells the start; every source of requests tells the end."""
    if not isinstance(start, str):
        raise BadTime("no start time")
    return stamp_ms(start) + (count(duration) or 0)


def _without_port(peer: str | None) -> str | None:
    """`192.0.2.7:4711` or `[2001:db8::1]:4711`."""
    if peer is None:
        return None
    host, colon, port = peer.rpartition(":")
    return host.strip("[]") if colon and port.isdigit() and (host.count(":") == 0 or host[0] == "[") else peer
