"""What every source must have and do, whoever adds it: a module, a line in MODULES, a page, a sample."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.collectors import COLLECTORS, Draft
from rua_agents.records import RawRecord
from rua_agents.stream import FIRST_RECORDS, LEAP_YEAR_MS, SourceStream
from rua_agents.tally import Tally
from rua_common.clock import ManualClock
from rua_schemas.codec import decode, encode
from rua_schemas.events import TelemetryEvent

from tests.agent_rig import START_MS, origin, parse, sample_of, zone_name

SOURCES = sorted(COLLECTORS)
DOCS = Path(__file__).parents[3] / "docs" / "sources"
LIMIT_BYTES = 1 << 20
NUMBER = re.compile(rb"(?<![\w./])\d+(?:\.\d+)?(?![\w./])")
ABSURD = st.sampled_from(["-5", str(1 << 62), str((1 << 63) - 1), str(1 << 63), str(1 << 70), "9" * 400, "9" * 5_000])
HOSTILE = st.sampled_from(
    [b"\0" * 9, b"\xff\xfe", b"\xed\xa0\x80", b"'", b'"', b"\\", b"\n", b"\r", b"\t", b"{", b"]", b"\xef\xbb\xbf"]
)


def records_of(source: str, data: bytes) -> list[RawRecord]:
    """The records of these bytes."""
    splitter = origin(source).splitter(0, LIMIT_BYTES)
    return [*splitter.feed(data), *splitter.finish()]


def read(source: str, data: bytes, size: int = 1 << 16) -> tuple[list[Draft], Tally]:
    """The events of these bytes, fed in chunks of this size."""
    tally = Tally()
    stream = SourceStream(origin(source, tally, zone=zone_name(source)), "log", warns=False)
    splitter, made = origin(source).splitter(0, LIMIT_BYTES), []
    for at in range(0, len(data), size):
        for record in splitter.feed(data[at : at + size]):
            made += stream.feed(record, START_MS)
    for record in splitter.finish():
        made += stream.feed(record, START_MS)
    return made + stream.flush(), tally


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_has_its_name_a_page_and_a_sample(source: str) -> None:
    """The page says what to switch on, what becomes an event and what is unknown."""
    page = (DOCS / f"{source}.md").read_text(encoding="utf-8")
    for heading in ("## Switch on at the source", "## What becomes an event", "## What is unknown"):
        assert heading in page
    assert COLLECTORS[source].name == source
    assert sample_of(source)
    assert f"]({source}.md)" in (DOCS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("source", SOURCES)
def test_every_record_of_a_sample_is_accounted_for(source: str) -> None:
    """As an event, merged, ignored or failed; and there are events."""
    made, tally = read(source, sample_of(source))
    assert made
    assert tally.records == len(records_of(source, sample_of(source)))
    assert (tally.open, tally.events + tally.split) == (0, len(made))


@pytest.mark.parametrize("source", SOURCES)
def test_events_of_a_source_survive_the_wire_and_its_state_the_checkpoint(source: str) -> None:
    """Every event of the sample can be written and read; what a parser remembers is plain JSON."""
    made, _ = read(source, sample_of(source))
    assert [decode(encode(event), TelemetryEvent) for event in made] == made
    collector, place = COLLECTORS[source], origin(source, zone=zone_name(source)).place("0" * 32)
    parser = collector.parser(place)
    for record in records_of(source, sample_of(source)):
        parser.feed(record, START_MS)
        written = msgspec.json.encode(parser.dump())
        other = collector.parser(place)
        other.load(msgspec.json.decode(written))
        assert msgspec.json.encode(other.dump()) == written


@pytest.mark.parametrize("source", SOURCES)
def test_ids_differ_positions_grow_and_the_host_is_told(source: str) -> None:
    """Positions are what detection counts by: it takes one that does not grow for a double."""
    made, _ = read(source, sample_of(source))
    positions = [event.source_position for event in made]
    assert positions == sorted(set(positions))
    assert len({event.event_id for event in made}) == len(made)
    assert {(event.source, event.platform, event.host) for event in made} == {(source, "lazada", "db-1")}


@pytest.mark.parametrize("source", SOURCES)
def test_any_chunking_of_a_sample_gives_the_same_events(source: str) -> None:
    """However the bytes come out of the file."""
    data = sample_of(source)
    whole = read(source, data)
    assert [read(source, data, size) for size in (1, 7, 1_000)] == [whole] * 3


@pytest.mark.parametrize("source", SOURCES)
def test_a_restart_after_any_record_gives_the_same_events(source: str) -> None:
    """Reading goes on at a record's end with what the parser remembered, and nothing else."""
    data = sample_of(source)
    expected, records = read(source, data)[0], records_of(source, data)
    for stop in range(0, len(records), max(1, len(records) // 25)):
        tally = Tally()
        first = SourceStream(origin(source, tally, zone=zone_name(source)), "log", warns=False)
        made = [draft for record in records[:stop] for draft in first.feed(record, START_MS)]
        second = SourceStream(origin(source, tally, zone=zone_name(source)), "log", warns=False)
        second.load(msgspec.json.decode(msgspec.json.encode(first.dump())))
        at = records[stop].offset
        splitter = origin(source).splitter(at, LIMIT_BYTES)
        for record in [*splitter.feed(data[at:]), *splitter.finish()]:
            made += second.feed(record, START_MS)
        made += second.flush()
        assert made == expected, f"restart at record {stop}"


@pytest.mark.parametrize("source", SOURCES)
def test_one_of_the_first_records_of_a_sample_holds_a_time(source: str) -> None:
    """So its file has an id that survives a lost checkpoint."""
    one = origin(source, zone=zone_name(source))
    first = next(r for r in records_of(source, sample_of(source))[:FIRST_RECORDS] if one.time_ms(r, LEAP_YEAR_MS))
    assert one.time_ms(first._replace(data=b"{}"), LEAP_YEAR_MS) is None


@pytest.mark.parametrize("source", SOURCES)
@settings(max_examples=60)
@given(st.data())
def test_an_absurd_number_wherever_it_stands_ends_nothing(source: str, draw: st.DataObject) -> None:
    """Whoever can write one line must not silence the agent: every event can be written, every record is counted."""
    data = sample_of(source)
    record = draw.draw(st.sampled_from([r for r in records_of(source, data) if NUMBER.search(data[r.offset : r.end])]))
    line, absurd = data[record.offset : record.end], draw.draw(ABSURD).encode()
    where = draw.draw(st.sampled_from(list(NUMBER.finditer(line))))
    made, tally = read(source, line[: where.start()] + absurd + line[where.end() :])
    assert tally.open == 0
    assert [decode(encode(event), TelemetryEvent) for event in made] == made


@pytest.mark.parametrize("source", SOURCES)
@settings(max_examples=60)
@given(st.data())
def test_damage_anywhere_never_stops_a_source(source: str, draw: st.DataObject) -> None:
    """Bytes are cut out, doubled, or replaced by hostile ones: no crash, and every record is counted."""
    data = sample_of(source)
    at = draw.draw(st.integers(0, len(data)))
    until = min(len(data), at + draw.draw(st.sampled_from([0, 0, 1, 3, 50, 5_000])))
    filler = draw.draw(st.one_of(HOSTILE, st.binary(max_size=40), st.just(data[at:until] * 2)))
    data = data[:at] + filler + data[until:]
    made, tally = read(source, data, draw.draw(st.sampled_from([13, 1 << 16])))
    assert tally.records == len(records_of(source, data))
    assert (tally.open, tally.events + tally.split) == (0, len(made))
    assert [decode(encode(event), TelemetryEvent) for event in made] == made


@pytest.mark.parametrize("opening", [b"[", b"{", b'{"a":', b"(", b"<a>"])
@pytest.mark.parametrize("source", SOURCES)
def test_a_nest_of_any_depth_ends_nothing(source: str, opening: bytes) -> None:
    """Parsers that call themselves end at some depth: the record is counted, the agent lives."""
    data = sample_of(source)
    for record in records_of(source, data)[:3]:
        values = [found.end() for found in re.compile(rb'":').finditer(data, record.offset, record.end)]
        for at in [(record.offset + record.end) // 2, *values[:: max(1, len(values) // 4)]]:
            made, tally = read(source, data[record.offset : at] + opening * 5_000 + data[at : record.end])
            assert (tally.open, tally.events + tally.split) == (0, len(made))


@pytest.mark.parametrize("source", SOURCES)
def test_a_record_that_is_cut_is_counted_and_its_event_says_so(source: str) -> None:
    """A limit below most records: nothing is lost in silence."""
    tally = Tally()
    stream = SourceStream(origin(source, tally, zone=zone_name(source)), "log", warns=False)
    splitter, made = origin(source).splitter(0, 200), []
    records = [*splitter.feed(sample_of(source)), *splitter.finish()]
    for record in records:
        made += stream.feed(record, START_MS)
    made += stream.flush()
    assert tally.records == len(records)
    assert tally.open == 0
    assert [decode(encode(event), TelemetryEvent) for event in made] == made


@pytest.mark.parametrize("source", SOURCES)
def test_parse_reads_the_sample(source: str) -> None:
    """The command of the page."""
    made, tally = parse(source, sample_of(source), zone=zone_name(source))
    assert len(made) == tally.events + tally.split
    assert ManualClock(START_MS).now_ms() == made[0].observed_at
