"""The schema registry's client, against a stand-in that answers as a Confluent registry does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from rua_common.clock import ManualClock
from rua_common.errors import BadConfiguration, RetryLater
from rua_schemas.codec import Encoder
from rua_schemas.columns import ColumnCodec
from rua_schemas.events import Alert, TelemetryEvent
from rua_schemas.registry import Registry, RegistryOptions, RegistryWriters
from rua_schemas.released import current

from tests.records import event


class StandIn(ThreadingHTTPServer):
    """Keeps subjects in memory, and what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.subjects: dict[str, list[tuple[int, str]]] = {}
        self.levels: dict[str, str] = {}
        self.asked: list[str] = []
        self.fails_with: int | None = None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Answers(BaseHTTPRequestHandler):
    """The few requests that Rua makes."""

    server: StandIn

    def do_GET(self) -> None:
        """Versions of a subject, or one of them."""
        parts = self.path.strip("/").split("/")
        versions = self.server.subjects.get(parts[1], [])
        if not versions:
            self.answer(404, {"error_code": 40401})
        elif len(parts) == 3:
            self.answer(200, list(range(1, len(versions) + 1)))
        else:
            number, schema = versions[int(parts[3]) - 1]
            self.answer(200, {"id": number, "schema": schema})

    def do_PUT(self) -> None:
        """Sets the compatibility level."""
        subject = self.path.split("/")[2]
        self.server.levels[subject] = self.body()["compatibility"]
        self.answer(200, {"compatibility": self.server.levels[subject]})

    def do_POST(self) -> None:
        """Registers a version."""
        subject, schema = self.path.split("/")[2], self.body()["schema"]
        versions = self.server.subjects.setdefault(subject, [])
        known = [number for number, text in versions if text == schema]
        if not known:
            known = [100 + sum(map(len, self.server.subjects.values()))]
            versions.append((known[0], schema))
        self.answer(200, {"id": known[0]})

    def body(self) -> Any:
        """The request's JSON."""
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, status: int, body: Any) -> None:
        """Sends JSON, or the failure that the test wants."""
        self.server.asked.append(f"{self.command} {self.path}")
        if self.server.fails_with is not None:
            status, body = self.server.fails_with, {"message": "as the test wants"}
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A registry on a free port."""
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def registry(stand_in: StandIn) -> Registry:
    """Its client."""
    return Registry(RegistryOptions(url=stand_in.url + "/"))


def test_registering_demands_full_transitive_and_gives_the_same_id_each_time(
    stand_in: StandIn, registry: Registry
) -> None:
    """Before the schema goes in, so that the first version is bound too."""
    assert registry.register(TelemetryEvent) == registry.register(TelemetryEvent)
    assert stand_in.levels == {"rua.TelemetryEvent": "FULL_TRANSITIVE"}
    assert stand_in.asked[0] == "PUT /config/rua.TelemetryEvent"
    assert registry.register(Alert) != registry.register(TelemetryEvent)


def test_messages_with_a_registered_id_are_read_and_the_registry_is_asked_once(
    stand_in: StandIn, registry: Registry
) -> None:
    """Whole batches cost no question but the first."""
    encoder = Encoder(TelemetryEvent, registry.register(TelemetryEvent))
    codec = ColumnCodec(writers=RegistryWriters(registry))
    stand_in.asked.clear()
    for _ in range(3):
        assert codec.decode([encoder.encode(event())] * 5).frame.height == 5
    assert stand_in.asked == [f"GET /subjects/rua.TelemetryEvent/versions{n}" for n in ("", "/1")]


def test_a_version_that_comes_later_is_found(stand_in: StandIn, registry: Registry) -> None:
    """An agent is upgraded while the worker runs."""
    clock = ManualClock(1_000_000)
    registry.register(TelemetryEvent)
    writers = RegistryWriters(registry, clock=clock)
    assert writers.by_id(7) is None
    stand_in.subjects["rua.TelemetryEvent"].append((7, json.dumps(current(TelemetryEvent).avro)))
    clock.advance(1)
    found = writers.by_id(7)
    assert found is not None
    assert found.fingerprint == current(TelemetryEvent).fingerprint


def test_forged_ids_cost_one_question_whatever_their_number(stand_in: StandIn, registry: Registry) -> None:
    """Nobody slows a worker down by inventing ids."""
    codec = ColumnCodec(writers=RegistryWriters(registry, clock=ManualClock()))
    decoded = codec.decode([b"\0" + n.to_bytes(4, "big") + b"x" for n in range(1, 300)])
    assert {one.reason for one in decoded.rejected} == {"unknown_schema"}
    assert len(stand_in.asked) == 1


@pytest.mark.parametrize("text", ['"int"', "{}", '{"type": "record", "name": "TelemetryEvent"}', '{"type": "enum"}'])
def test_a_version_that_is_no_record_stops_nobody(stand_in: StandIn, registry: Registry, text: str) -> None:
    """It is logged, and the others are read."""
    stand_in.subjects["rua.TelemetryEvent"] = [(1, text)]
    known = registry.register(TelemetryEvent)
    writers = RegistryWriters(registry)
    assert writers.by_id(1) is None
    assert writers.by_id(known) is not None


def test_an_id_of_another_record_is_unknown_to_a_reader_of_events(registry: Registry) -> None:
    """Ids are looked up among the records that the process reads."""
    alerts = registry.register(Alert)
    assert RegistryWriters(registry).by_id(alerts) is None
    assert RegistryWriters(registry, (Alert,)).by_id(alerts) is not None


def test_a_registry_that_is_away_is_asked_again_later(stand_in: StandIn, registry: Registry) -> None:
    """Messages are kept: an id that nobody could look up is not unknown."""
    stand_in.fails_with = 503
    with pytest.raises(RetryLater, match="in trouble"):
        RegistryWriters(registry).by_id(1)
    away = Registry(RegistryOptions(url="http://127.0.0.1:1"))
    with pytest.raises(RetryLater, match="does not answer"):
        RegistryWriters(away).by_id(1)


@pytest.mark.parametrize(("status", "words"), [(409, "does not fit its earlier versions"), (422, "refuses")])
def test_a_refusal_is_passed_on_in_words(stand_in: StandIn, registry: Registry, status: int, words: str) -> None:
    """The process must not start with a schema that others cannot read."""
    stand_in.fails_with = status
    with pytest.raises(BadConfiguration, match=words):
        registry.register(TelemetryEvent)


def test_only_web_addresses_are_taken() -> None:
    """A file address would read this machine's files."""
    with pytest.raises(BadConfiguration, match="must start with"):
        Registry(RegistryOptions(url="file:///etc/passwd"))
