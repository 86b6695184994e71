"""nginx's and Apache's access log as text, `combined` or any other `log_format` with the default escaping."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

from rua_agents.collectors.access_format import Format, compiled, parts_of, unescaped
from rua_agents.collectors.nginx_fields import Fields, fields_of
from rua_agents.collectors.web import WebCollector, WebOptions
from rua_agents.records import RawRecord

COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
STRICT = frozenset(
    (
        *("remote_addr", "remote_port", "realip_remote_addr", "server_addr", "server_port", "server_protocol"),
        *("time_local", "time_iso8601", "msec", "request_time", "request_length", "request_id", "request_method"),
        *("status", "bytes_sent", "body_bytes_sent", "gzip_ratio", "connection", "connection_requests", "pipe"),
        *("request_completion", "scheme", "https", "ssl_protocol", "ssl_cipher", "pid", "server_name", "hostname"),
    )
)
"""nginx's variables that never hold a blank, whatever a client sends."""
_IDENTITY_TIMES = ("msec", "time_iso8601", "time_local")


class CombinedOptions(WebOptions, frozen=True):
    """Options of nginx-combined."""

    format: str = COMBINED
    """The `log_format`, as it stands in nginx.conf, its quotes and line breaks joined."""

    def __post_init__(self) -> None:
        """Compiles the format once.

        Raises:
            ValueError: lines of this format could be read in two ways, or hold no time.
        """
        WebOptions.__post_init__(self)
        _format(self.format)
        if not any(f"${name}" in self.format for name in _IDENTITY_TIMES):
            raise ValueError("format holds no time: add [$time_local]")


@lru_cache(64)
def _format(text: str) -> Format:
    return compiled(parts_of(text, _VARIABLE, STRICT, {}))


def read(record: RawRecord, options: CombinedOptions) -> tuple[Fields, int]:
    """The values of a line, and how many characters were replaced.

    Raises:
        Unreadable: the line was not made by the format.
    """
    line, replaced = record.data.decode("utf-8", "replace"), 0
    values: dict[str, str] = {}
    for name, value in _format(options.format).read(line, truncated=record.truncated).items():
        values[name], more = unescaped(value)
        replaced += more
    return fields_of(values, tuple(options.fields.items())), replaced


class NginxCombined(WebCollector):
    """The collector."""

    name = "nginx-combined"
    options: type[msgspec.Struct] = CombinedOptions

    def fields(self, record: RawRecord, options: Any) -> tuple[Fields, int]:
        """The values of the line."""
        return read(record, options)
