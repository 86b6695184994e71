"""What every source must have and do, whoever adds it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from rua_agents.collectors import COLLECTORS
from rua_schemas.codec import decode, encode
from rua_schemas.events import TelemetryEvent

from tests.agent_rig import NGINX_SAMPLE, PG_SAMPLE, origin, parse

SAMPLES = {"pgaudit-jsonlog": PG_SAMPLE, "nginx-json": NGINX_SAMPLE}
DOCS = Path(__file__).parents[3] / "docs" / "sources"


@pytest.mark.parametrize("source", sorted(COLLECTORS))
def test_a_source_has_a_page_and_a_sample(source: str) -> None:
    """The page says what to switch on, what becomes an event and what is unknown."""
    page = (DOCS / f"{source}.md").read_text(encoding="utf-8")
    for heading in ("## Switch on at the source", "## What becomes an event", "## What is unknown"):
        assert heading in page
    assert SAMPLES[source].stat().st_size > 0


@pytest.mark.parametrize("source", sorted(COLLECTORS))
def test_events_of_a_source_survive_the_wire_and_its_state_the_checkpoint(source: str) -> None:
    """Every event of the sample can be written and read; what a parser remembers is plain JSON."""
    made, _ = parse(source, SAMPLES[source].read_bytes())
    assert [decode(encode(event), TelemetryEvent) for event in made] == made
    collector, place = COLLECTORS[source], origin(source).place("0" * 32)
    parser = collector.parser(place)
    splitter = collector.splitter(0, 1 << 20)
    for record in splitter.feed(SAMPLES[source].read_bytes()):
        parser.feed(record, 0)
        written = msgspec.json.encode(parser.dump())
        other = collector.parser(place)
        other.load(msgspec.json.decode(written))
        assert msgspec.json.encode(other.dump()) == written


@pytest.mark.parametrize("source", sorted(COLLECTORS))
def test_the_first_record_of_a_sample_holds_a_time(source: str) -> None:
    """So its file has an id that survives a lost checkpoint."""
    splitter = COLLECTORS[source].splitter(0, 1 << 20)
    first = splitter.feed(SAMPLES[source].read_bytes())[0]
    assert COLLECTORS[source].time_ms(first, None)
    assert COLLECTORS[source].time_ms(first._replace(data=b"{}"), None) is None
