"""What every source must have and do, whoever adds it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.collectors import COLLECTORS
from rua_schemas.codec import decode, encode
from rua_schemas.events import TelemetryEvent

from tests.agent_rig import NGINX_SAMPLE, PG_SAMPLE, START_MS, audit, origin, parse, web_line

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


ABSURD = st.sampled_from(["-5", str(1 << 62), str((1 << 63) - 1), str(1 << 63), str(1 << 70), "9" * 400, "9" * 5_000])
RECORDS = {
    "pgaudit-jsonlog": audit(START_MS, 17, "COPY t TO '/x'", command="COPY", rows=23, pid=42, remote_port=4242),
    "nginx-json": web_line(
        START_MS, bytes_sent=310, sent_cl="10", gzr=2, session=7, app=8, merchant=9, ts=1_790_000_000
    ),
}
NUMBER = re.compile(rb"(?<![\w./])\d+(?:\.\d+)?(?![\w./])")


@pytest.mark.parametrize("source", sorted(COLLECTORS))
@settings(max_examples=100)
@given(st.data())
def test_an_absurd_number_wherever_it_stands_ends_nothing(source: str, draw: st.DataObject) -> None:
    """Whoever can write one line must not silence the agent: the event can be written, or the record is counted."""
    line, absurd = RECORDS[source], draw.draw(ABSURD).encode()
    where = draw.draw(st.sampled_from(list(NUMBER.finditer(line))))
    line = line[: where.start()] + absurd + line[where.end() :]
    made, tally = parse(source, RECORDS[source] + line)
    assert (tally.records, tally.open, len(made) + tally.failed.total() + tally.merged) == (2, 0, 2)
    assert [decode(encode(event), TelemetryEvent) for event in made] == made
    parser = COLLECTORS[source].parser(origin(source).place("0" * 32))
    for record in COLLECTORS[source].splitter(0, 1 << 20).feed(line):
        parser.feed(record, 0)
    assert msgspec.json.encode(parser.dump())
