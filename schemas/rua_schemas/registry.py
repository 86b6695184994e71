"""A thin client of a Confluent-compatible schema registry, and a source of writers' schemas that asks it.

Subjects are named after records, not topics: every platform's events have the same schema and the same ids.
"""

from __future__ import annotations

import base64
import json
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from fastavro.schema import SchemaParseException
from rua_common.clock import Clock, SystemClock
from rua_common.errors import BadConfiguration, RetryLater
from rua_common.settings import Struct

from rua_schemas.events import Record, TelemetryEvent
from rua_schemas.released import LocalWriters, Schema, current

LOG = logging.getLogger(__name__)

COMPATIBILITY = "FULL_TRANSITIVE"
CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
TIMEOUT_SECONDS = 2.0  # a worker's loop waits no longer than this, and only when it meets an id that it has never seen
REFRESH_MS = 200  # forged ids cost at most five questions a second, however many there are
NOT_FOUND, CONFLICT = 404, 409


class RegistryOptions(Struct, frozen=True, kw_only=True):
    """Where the registry is and how to log in."""

    url: str
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None


class Registry:
    """The few questions that Rua has for a schema registry."""

    def __init__(self, options: RegistryOptions) -> None:
        if not options.url.startswith(("http://", "https://")):
            raise BadConfiguration("must start with http:// or https://", key="registry.url")
        self._url = options.url.rstrip("/")
        self._headers = {"Accept": CONTENT_TYPE, "Content-Type": CONTENT_TYPE}
        if options.username is not None:
            if options.password_file is None:
                raise BadConfiguration("a user name needs password_file", key="registry.password_file")
            login = f"{options.username}:{Path(options.password_file).read_text(encoding='utf-8').strip()}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        self._tls = ssl.create_default_context(cafile=options.ca_file) if self._url.startswith("https") else None

    def register(self, kind: type[Record]) -> int:
        """Demands FULL_TRANSITIVE for the record and registers this release's schema. The id is the same each time.

        Raises:
            BadConfiguration: the registry refuses, because the schema does not fit those that are there.
            RetryLater: the registry is away.
        """
        subject = quote(subject_of(kind), safe="")
        self._ask("PUT", f"/config/{subject}", {"compatibility": COMPATIBILITY})
        schema = json.dumps(current(kind).avro, ensure_ascii=False)
        return int(self._ask("POST", f"/subjects/{subject}/versions", {"schema": schema})["id"])

    def versions(self, kind: type[Record]) -> list[int]:
        """Numbers of the registered versions of the record; none if it is unknown there."""
        return [int(n) for n in self._ask("GET", f"/subjects/{quote(subject_of(kind), safe='')}/versions") or ()]

    def version(self, kind: type[Record], number: int) -> tuple[int, Schema] | None:
        """The id and the schema of one version. None: it is gone, or no schema of a record."""
        answer = self._ask("GET", f"/subjects/{quote(subject_of(kind), safe='')}/versions/{number}")
        if answer is None:
            return None
        try:
            return int(answer["id"]), Schema.of(json.loads(answer["schema"]))
        except (SchemaParseException, LookupError, TypeError, ValueError) as why:
            LOG.warning("version %d of %s in the schema registry is no schema: %s", number, subject_of(kind), why)
            return None

    def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._url + path, data, self._headers, method=method)  # noqa: S310 - the scheme is checked
        try:
            with urlopen(request, timeout=TIMEOUT_SECONDS, context=self._tls) as answer:  # noqa: S310 - as above
                return json.loads(answer.read())
        except HTTPError as why:
            with why:
                return self._refused(why, path)
        except (URLError, OSError, ValueError) as why:
            raise RetryLater(f"the schema registry {self._url} does not answer: {why}", 1.0) from why

    def _refused(self, why: HTTPError, path: str) -> None:
        if why.code == NOT_FOUND:
            return
        words = f"{self._url}{path}: {why.code} {why.read().decode(errors='replace')[:300]}"
        if why.code == CONFLICT:
            raise BadConfiguration(f"the schema does not fit its earlier versions: {words}", key="registry") from why
        if why.code < 500:
            raise BadConfiguration(f"the schema registry refuses: {words}", key="registry") from why
        raise RetryLater(f"the schema registry is in trouble: {words}", 1.0) from why


def subject_of(kind: type[Record]) -> str:
    """`rua.TelemetryEvent`."""
    return f"rua.{kind.__name__}"


class RegistryWriters:
    """Schemas by the registry's ids, for the records that one process reads; by fingerprint, those released with us.

    All versions of the records are fetched at the first id and again when one is unknown, at most five times a second.
    An id that the registry does not know for these records is unknown: its message goes to the dead-letter queue, from
    where it can be replayed.
    """

    def __init__(
        self, registry: Registry, kinds: Sequence[type[Record]] = (TelemetryEvent,), clock: Clock | None = None
    ) -> None:
        self._registry, self._kinds, self._clock = registry, tuple(kinds), clock or SystemClock()
        self._local = LocalWriters()
        self._ids: dict[int, Schema] = {}
        self._versions: set[tuple[type[Record], int]] = set()
        self._next_ms = 0

    def by_fingerprint(self, fingerprint: bytes) -> Schema | None:
        """The released schema with this fingerprint."""
        return self._local.by_fingerprint(fingerprint)

    def by_id(self, schema_id: int) -> Schema | None:
        """The schema that the registry has under this id, for one of our records.

        Raises:
            RetryLater: the registry is away, so nobody can tell.
        """
        if schema_id not in self._ids and self._clock.now_ms() >= self._next_ms:
            self._refresh()
        return self._ids.get(schema_id)

    def _refresh(self) -> None:
        for kind in self._kinds:
            for number in self._registry.versions(kind):
                if (kind, number) not in self._versions:
                    found = self._registry.version(kind, number)
                    self._ids |= [found] if found else []
                    self._versions.add((kind, number))
        self._next_ms = self._clock.now_ms() + REFRESH_MS
