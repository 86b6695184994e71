"""Envoy's access log as text: its default format, or one's own.

Envoy writes header values as they come, quotes included, so a client can write a quote into its path or its user
agent. Then only Envoy's own columns tell where the request ends; if a client has written such columns, too, nothing
does. Such a line is still an event, with its time and nothing that a client could have forged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from rua_agents.collectors import envoy
from rua_agents.collectors.access_format import QUOTE, Format, compiled, parts_of
from rua_agents.collectors.contract import Draft, Parser, Place
from rua_agents.collectors.nginx_fields import Fields
from rua_agents.collectors.web import WebCollector, WebOptions, WebParser
from rua_agents.records import RawRecord

DEFAULT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" '
    '"%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"'
)
_OPERATOR = re.compile(r"%([A-Z_]+(?:\([^)]*\))?)(?::\d+)?%", re.ASCII)
_START = re.compile(r"\[(\d{4}-\d\d-\d\dT[0-9:.]+Z)\]", re.ASCII)
STRICT = frozenset(
    (
        *("START_TIME", "PROTOCOL", "RESPONSE_CODE", "RESPONSE_FLAGS", "BYTES_RECEIVED", "BYTES_SENT", "DURATION"),
        *("RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", "UPSTREAM_HOST", "DOWNSTREAM_REMOTE_ADDRESS", "REQ(:METHOD)"),
        *("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_ADDRESS", "CONNECTION_ID", "UPSTREAM_CLUSTER"),
        *("UPSTREAM_LOCAL_ADDRESS", "ROUTE_NAME", "RESPONSE_CODE_DETAILS", "CONNECTION_TERMINATION_DETAILS"),
    )
)
"""Operators whose values never hold a blank, whatever a client sends (Envoy writes details with `_` for it)."""


class EnvoyTextOptions(WebOptions, frozen=True):
    """Options of envoy-text."""

    format: str = DEFAULT
    """The `text_format` as it stands in Envoy's configuration, without its line end."""

    def __post_init__(self) -> None:
        """Compiles the format once.

        Raises:
            ValueError: lines of this format could be read in two ways, or hold no time.
        """
        WebOptions.__post_init__(self)
        _format(self.format)
        if "[%START_TIME%]" not in self.format:
            raise ValueError("format holds no [%START_TIME%]")


@lru_cache(64)
def _format(text: str) -> Format:
    return compiled(parts_of(text.removesuffix("\n"), _OPERATOR, STRICT, envoy.OPERATORS), escapes=False)


def read(record: RawRecord, options: EnvoyTextOptions) -> tuple[Fields, int]:
    """The values of a line, and how many characters were replaced.

    Raises:
        Unreadable: the line was not made by the format.
        BadTime: no start time.
    """
    line = record.data.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    layout, given = _format(options.format), dict(options.fields)
    if _is_ambiguous(line, layout):
        start = {"start": found[1]} if (found := _START.search(line)) else {}
        values = start | layout.certain(line, truncated=record.truncated)
    else:
        values = layout.read(line, truncated=record.truncated)
    return envoy.fields(lambda meaning: values.get(given.get(meaning, meaning))), line.count(
        "\N{REPLACEMENT CHARACTER}"
    )


def _is_ambiguous(line: str, layout: Format) -> bool:
    """Whether a client has written a quote: not every value is certain then."""
    return line.count(QUOTE) > layout.quotes


class EnvoyText(WebCollector):
    """The collector."""

    name = "envoy-text"
    options: type[msgspec.Struct] = EnvoyTextOptions

    def fields(self, record: RawRecord, options: Any) -> tuple[Fields, int]:
        """The values of the line."""
        return read(record, options)

    def parser(self, place: Place) -> Parser:
        """A parser for one file."""
        return _Parser(place, self.fields)


class _Parser(WebParser):
    def read(self, record: RawRecord, observed_at: int) -> Sequence[Draft]:
        """The event of this request; one of which most is not certain counts as truncated."""
        if _is_ambiguous(record.data.decode("utf-8", "replace"), _format(self.place.options.format)):
            read(record, self.place.options)  # refuses a line of another format
            record = record._replace(truncated=True)
        return super().read(record, observed_at)
