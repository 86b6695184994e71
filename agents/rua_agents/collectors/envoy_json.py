"""Envoy's access log with a `json_format` (Istio's, or one's own)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import msgspec

from rua_agents.collectors import envoy
from rua_agents.collectors.nginx_fields import Fields
from rua_agents.collectors.web import WebCollector, WebOptions
from rua_agents.jsontext import read_object
from rua_agents.records import RawRecord


@lru_cache(256)
def _names(keys: tuple[str, ...], given: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Meaning → the record's own key."""
    found = {
        meaning: next(name for name in spellings if name in keys)
        for meaning, spellings in envoy.JSON_NAMES.items()
        if not set(spellings).isdisjoint(keys)
    }
    return found | dict(given)


def read(record: RawRecord, given: tuple[tuple[str, str], ...]) -> tuple[Fields, int]:
    """The values of a record, and how many characters were replaced.

    Raises:
        NotJson: it is none.
        BadTime: no start time.
    """
    value, replaced = read_object(record.data, truncated=record.truncated)
    names = _names(tuple(value), given)
    return envoy.fields(lambda meaning: value.get(names.get(meaning, ""))), replaced


class EnvoyOptions(WebOptions, frozen=True):
    """Options of envoy-json."""

    meanings: ClassVar[frozenset[str]] = frozenset(envoy.JSON_NAMES)


class EnvoyJson(WebCollector):
    """The collector."""

    name = "envoy-json"
    options: type[msgspec.Struct] = EnvoyOptions

    def fields(self, record: RawRecord, options: Any) -> tuple[Fields, int]:
        """The values of the JSON object."""
        return read(record, tuple(options.fields.items()))
