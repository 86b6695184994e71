"""Avro files: whoever wrote them, the same rows as from messages; what is damaged is refused, never guessed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from rua_common.errors import BadConfiguration
from rua_schemas.codec import encode
from rua_schemas.columns import ColumnCodec
from rua_schemas.container import Reader, read_long, write
from rua_schemas.events import TelemetryEvent
from rua_schemas.released import current, released
from rua_schemas.writing import long

from tests.records import event, some_record

SMALL = 300  # bytes of a block
NOW = current(TelemetryEvent)


def file_of(path: Path, events: Sequence[Any], avro: Mapping[str, Any] = NOW.avro, **how: Any) -> Path:
    """The events as another library writes them."""
    out = io.BytesIO()
    fastavro.writer(out, dict(avro), [msgspec.to_builtins(e) for e in events], **how)
    path.write_bytes(out.getvalue())
    return path


def read(path: Path, rows: int = 5, only: Sequence[str] | None = None) -> pl.DataFrame:
    """The whole file, through many small chunks."""
    return pl.concat(list(Reader(path, only).frames(rows)))


def of_messages(events: Sequence[Any]) -> pl.DataFrame:
    """What live detection sees of them."""
    return ColumnCodec().decode([encode(e) for e in events]).frame


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seeds=st.lists(st.integers(0, 1 << 32), min_size=1, max_size=12),
    codec=st.sampled_from(["null", "deflate", "zstandard"]),
    interval=st.integers(1, 3_000),
    rows=st.integers(1, 20),
)
def test_a_file_gives_the_rows_that_its_messages_give(
    tmp_path: Path, seeds: list[int], codec: str, interval: int, rows: int
) -> None:
    """Whatever the values, the blocks and the chunks."""
    events = [some_record(seed) for seed in seeds]
    path = file_of(tmp_path / "e.avro", events, codec=codec, sync_interval=interval)
    assert read(path, rows).equals(of_messages(events))


def test_what_is_written_is_read_again_with_its_offsets(tmp_path: Path) -> None:
    """And fastavro reads it too."""
    events = [event(event_id=f"{n:032x}", rows=n) for n in range(20)]
    frame = of_messages(events).with_columns(pl.Series("offset", range(100, 140, 2), pl.Int64))
    path = tmp_path / "e.avro"
    assert write(path, [frame[:7], frame[7:]]) == 20
    assert read(path).equals(frame)
    with path.open("rb") as file:
        rows: list[Any] = list(fastavro.reader(file))
    assert [row["offset"] for row in rows] == list(range(100, 140, 2))
    assert [p.name for p in tmp_path.iterdir()] == ["e.avro"]


def test_only_wanted_columns_are_read(tmp_path: Path) -> None:
    """And the id, which proves that the blocks hold what they say."""
    path = file_of(tmp_path / "e.avro", [event(rows=5)])
    assert read(path, only=["rows", "actor"]).columns == ["event_id", "actor", "rows"]


def test_a_file_of_an_earlier_release_is_read_with_defaults(tmp_path: Path) -> None:
    """The first schema knew no chain."""
    events = [event(rows=5)]
    path = file_of(tmp_path / "e.avro", events, released(TelemetryEvent)[0].avro)
    assert read(path).equals(of_messages(events))
    assert read(path, only=["chain"])["chain"].to_list() == [None]


def test_an_empty_file_of_events_has_no_rows(tmp_path: Path) -> None:
    """A header, and nothing behind it."""
    assert list(Reader(file_of(tmp_path / "e.avro", [])).frames()) == []


@pytest.mark.parametrize("codec", ["null", "zstandard"])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, codec: str) -> None:
    """Wherever it ends, unless exactly between two blocks, which nobody can tell from a shorter file."""
    events = [event(event_id=f"{n:032x}") for n in range(6)]
    whole = file_of(tmp_path / "e.avro", events, codec=codec, sync_interval=SMALL).read_bytes()
    reader = Reader(tmp_path / "e.avro")
    with reader._mapped() as data:
        ends = {block.at for block in reader._blocks(data)} | {len(whole)}
    start = min(ends)
    for end in range(start + 1, len(whole), 7):
        (tmp_path / "cut.avro").write_bytes(whole[:end])
        if end not in ends:
            with pytest.raises(BadConfiguration, match="damaged or cut off"):
                read(tmp_path / "cut.avro")


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_block_that_holds_another_number_of_records_than_it_says_is_refused(tmp_path: Path, wrong: int) -> None:
    """Else what is left over would pass for nothing, or the next bytes for a record: polars does not ask."""
    path = file_of(tmp_path / "e.avro", [event(event_id=f"{n:032x}") for n in range(6)], codec="null")
    data, (at,) = path.read_bytes(), [b.at for b in blocks(path)]
    count, after = read_long(data, at)
    path.write_bytes(data[:at] + long(count + wrong) + data[after:])
    with pytest.raises(BadConfiguration, match=f"block at byte {at} is damaged"):
        read(path)


def test_the_damaged_block_is_named_among_good_ones(tmp_path: Path) -> None:
    """The third of six, a record of which ends too soon."""
    path = file_of(tmp_path / "e.avro", [event(event_id=f"{n:032x}") for n in range(6)], codec="null", sync_interval=1)
    third = blocks(path)[2]
    data = bytearray(path.read_bytes())
    place = data.index(b"%032x" % 2)
    data[place - 1] = 2 * 31  # the length of its first text
    path.write_bytes(bytes(data))
    with pytest.raises(BadConfiguration, match=f"e.avro: the block at byte {third.at} is damaged"):
        read(path, rows=100)


def blocks(path: Path) -> list[Any]:
    """Of a whole file."""
    reader = Reader(path)
    with reader._mapped() as data:
        return list(reader._blocks(data))


def test_what_is_no_file_of_events_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Another format, another record, another way of packing, a header that ends too soon."""
    path = tmp_path / "e.avro"
    path.write_bytes(b"PAR1 and so on")
    with pytest.raises(BadConfiguration, match="no Avro object container file"):
        Reader(path)
    file_of(path, [{"x": 1}], {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int"}]})
    with pytest.raises(BadConfiguration, match="holds no telemetry events: it is Point"):
        Reader(path)
    file_of(path, [event()], codec="bzip2")
    with pytest.raises(BadConfiguration, match=r"packed with bzip2 \(allowed: null, deflate, zstandard\)"):
        Reader(path)
    whole = file_of(path, [event()]).read_bytes()
    path.write_bytes(whole[:200])
    with pytest.raises(BadConfiguration, match=r"header is cut off|schema cannot be read"):
        Reader(path)
