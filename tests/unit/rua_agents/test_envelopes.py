"""Lines in what container runtimes write around them: the same events as without it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.collectors import COLLECTORS, Draft
from rua_agents.continuity import TWIN_MS
from rua_agents.envelopes import LANES, MOST_PIECES, Envelope, EnvelopeSplitter, envelopes_of, unwrap_cri, unwrap_docker
from rua_agents.records import LineSplitter
from rua_agents.settings import Limits
from rua_agents.stream import Origin, SourceStream
from rua_agents.tail import GONE_MS
from rua_agents.tally import Tally

from tests.agent_rig import START_MS, origin, parse, sample_of, zone_name
from tests.tail_rig import Follower, append, close_all, lines

SOURCES = sorted(COLLECTORS)
PIECE = 16 << 10
"""Where containerd and Docker cut."""
STAMP = b"2026-03-02T10:00:00.123456789+08:00"


@pytest.fixture(autouse=True)
def closes() -> Iterator[None]:
    """Closes the files of every follower that a test made."""
    yield
    close_all()


def cri(data: bytes, lane: str = "stdout", piece: int = PIECE) -> list[bytes]:
    """As containerd writes it, one element a line of the file."""
    made = []
    for line in data.splitlines(keepends=True):
        text = line.removesuffix(b"\n")
        parts = [text[at : at + piece] for at in range(0, max(1, len(text)), piece)]
        tags = [b"P"] * (len(parts) - (line != text)) + [b"F"] * (line != text)
        made += [b" ".join([STAMP, lane.encode(), tag, part]) + b"\n" for tag, part in zip(tags, parts, strict=True)]
    return made


def docker(data: bytes, lane: str = "stdout", piece: int = PIECE) -> list[bytes]:
    """As Docker's json-file driver writes it; what is no UTF-8 it replaces."""
    made = []
    for line in data.splitlines(keepends=True):
        text = line.decode("utf-8", "replace")
        for at in range(0, len(text), piece):
            wrapped = {"log": text[at : at + piece], "stream": lane, "time": STAMP.decode()}
            made.append(json.dumps(wrapped, ensure_ascii=at % 2 == 0).encode() + b"\n")
    return made


WRAP: dict[str, Callable[..., list[bytes]]] = {"cri": cri, "docker": docker}


def clean(data: bytes) -> bytes:
    """Without what Docker replaces, and ending with a line's end."""
    return data.decode("utf-8", "replace").replace("\x00", "").encode().rstrip(b"\n") + b"\n"


def facts(draft: Draft) -> dict[str, Any]:
    """All but what depends on where the record stands."""
    made = msgspec.structs.asdict(draft)
    return {k: v for k, v in made.items() if k not in ("event_id", "source_position", "agent_seq", "agent_epoch")}


def wrapped_origin(source: str, form: str, lane: str = "stdout", tally: Tally | None = None) -> Origin:
    """A source whose lines are wrapped."""
    return replace(origin(source, tally, zone=zone_name(source)), envelope=Envelope(form, lane))


def read(one: Origin, data: bytes, size: int = 1 << 16) -> list[Draft]:
    """The events of a lane."""
    stream, splitter, made = SourceStream(one, "log", warns=False), one.splitter(0, 1 << 20), list[Draft]()
    for at in range(0, len(data), size):
        for record in splitter.feed(data[at : at + size]):
            made += stream.feed(record, START_MS)
    for record in [*splitter.settle(), *splitter.finish()]:
        made += stream.feed(record, START_MS)
    return made + stream.flush()


@pytest.mark.parametrize("form", sorted(WRAP))
@pytest.mark.parametrize("source", SOURCES)
def test_a_sample_in_an_envelope_gives_the_same_events(source: str, form: str) -> None:
    """Records over several lines too; with another lane between all lines, cut into pieces, fed in any chunks."""
    data = clean(sample_of(source))
    plain, _ = parse(source, data, zone=zone_name(source))
    for piece in (PIECE, 97):
        mine = WRAP[form](data, "stderr", piece)
        other = WRAP[form](data, "stdout", 50)
        mixed = b"".join(line for pair in zip(mine, other, strict=False) for line in pair) + b"".join(
            mine[len(other) :]
        )
        for size in (1 << 16, 997):
            made = read(wrapped_origin(source, form, "stderr"), mixed, size)
            assert [facts(d) for d in made] == [facts(d) for d in plain]
            positions = [d.source_position for d in made]
            assert positions == sorted(set(positions))
            assert len({d.event_id for d in made}) == len(made)


@pytest.mark.parametrize("form", sorted(WRAP))
@pytest.mark.parametrize("source", SOURCES)
def test_a_restart_at_any_record_of_an_envelope_gives_the_same_events(source: str, form: str) -> None:
    """Where a splitter stands is all that it needs: a physical line, and how much of it was taken."""
    data = clean(sample_of(source))[: 60 << 10]
    mine, other = WRAP[form](data, "stdout", 150), WRAP[form](lines(1), "stderr")
    mixed = b"".join(line + other[0] for line in mine)
    one = wrapped_origin(source, form)
    whole = one.splitter(0, 1 << 20)
    places, expected = [(0, 0, 0)], []
    for line in mixed.splitlines(keepends=True):
        expected += whole.feed(line)
        assert isinstance(whole, EnvelopeSplitter)
        if len(places) <= len(expected):
            places.append((whole.offset, whole.skip, len(expected)))
    expected += [*whole.settle(), *whole.finish()]
    for offset, skip, taken in places[:: max(1, len(places) // 25)]:
        again = one.splitter(offset, 1 << 20, skip)
        found = [*again.feed(mixed[offset:]), *again.settle(), *again.finish()]
        assert found == expected[taken:]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.binary(max_size=60).filter(lambda b: b"\0" not in b), st.sampled_from(LANES)), max_size=12),
    st.integers(1, 70),
    st.integers(1, 200),
)
def test_any_bytes_come_out_as_they_went_in(parts: list[tuple[bytes, str]], piece: int, size: int) -> None:
    """Whatever a program writes, in whatever pieces; each lane its own."""
    wrapped = b"".join(b"".join(cri(data + b"\n", lane, piece)) for data, lane in parts)
    for lane in LANES:
        splitter = EnvelopeSplitter(Envelope("cri", lane), partial(LineSplitter, limit_bytes=1 << 20), 0)
        found = [r.data for at in range(0, len(wrapped), size) for r in splitter.feed(wrapped[at : at + size])]
        data = b"".join(data + b"\n" for data, mine in parts if mine == lane)
        wanted = [line.removesuffix(b"\r") for line in data.split(b"\n")[:-1]]
        if b"\r" not in data and not data.startswith(b"\xef\xbb\xbf"):
            assert found == wanted
        assert splitter.offset == len(wrapped)


def test_what_runtimes_write_is_unwrapped() -> None:
    """As their documentation shows it; what is none of it is not."""
    assert unwrap_cri(b"2016-10-06T00:17:09.669794202Z stdout P log content 1") == ("stdout", b"log content 1")
    assert unwrap_cri(b"2016-10-06T00:17:09.669794202Z stderr F:x log content") == ("stderr", b"log content\n")
    assert unwrap_cri(b"2016-10-06T00:17:09.669794202Z stdout F ") == ("stdout", b"\n")
    assert unwrap_cri(b"2016-10-06T00:17:09.669794202Z stdout F") == ("stdout", b"\n")
    assert unwrap_docker(b'{"log":"a \\u0e01\\n","stream":"stderr","time":"2026"}') == ("stderr", "a ก\n".encode())
    for broken in (b"", b"x", b"2016 stdin F x", b"2016 stdout X x", b"2016 stdout", b"\xff \xff \xff \xff"):
        assert unwrap_cri(broken) is None
    for broken in (b"", b"x", b"{}", b'{"log":5,"stream":"stdout"}', b'{"log":"x","stream":"in"}', b"[]"):
        assert unwrap_docker(broken) is None


def test_lines_without_the_envelope_are_counted_as_unreadable(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong setting must be seen: the lines fail, and the file is named."""
    tally = Tally()
    assert read(wrapped_origin("nginx-json", "docker", tally=tally), b"".join(cri(lines(*range(30))))) == []
    assert tally.failed.total() == 30
    assert envelopes_of("none") == [None]
    assert [one.lane for one in envelopes_of("cri") if one] == ["stdout", "stderr"]
    assert envelopes_of("docker", "stderr") == [Envelope("docker", "stderr")]


def test_a_line_without_an_end_takes_no_more_memory_than_the_limit() -> None:
    """However many pieces it has; the next record stands at its own place."""
    one = replace(origin("nginx-json"), envelope=Envelope("cri", "stdout"))
    splitter = one.splitter(0, 1 << 16)
    assert isinstance(splitter, EnvelopeSplitter)
    piece = STAMP + b" stdout P " + b"x" * 1_000 + b"\n"
    for _ in range(MOST_PIECES + 100):
        assert splitter.feed(piece) == []
    assert len(splitter._pieces) == MOST_PIECES
    whole = (MOST_PIECES + 100) * len(piece)
    first, second = splitter.feed(STAMP + b" stdout F y\n" + STAMP + b" stdout F next\n")
    assert (first.offset, len(first.data), first.truncated) == (0, 1 << 16, True)
    assert (second.data, second.offset) == (b"next", whole + len(STAMP) + len(b" stdout F y\n"))


def test_a_lane_on_which_nobody_writes_is_not_read_again_after_a_restart(tmp_path: Path) -> None:
    """Its place moves with the lines of the other one."""
    log = tmp_path / "0.log"
    log.write_bytes(b"".join(cri(lines(*range(400)))))
    limits = Limits(read_bytes=1 << 16, record_bytes=1 << 11)
    follower = Follower(f"{tmp_path}/0.log", envelopes=(Envelope("cri", "stderr"),), limits=limits).poll(turns=9)
    (state,) = (one for one in follower.tail.dump() if one.inode)
    assert state.offset == log.stat().st_size
    append(log, b"".join(cri(b"{}\n", "stderr")))
    follower.poll()
    (state,) = (one for one in follower.tail.dump() if one.inode)
    assert state.offset == 0, "a record whose source is not known yet is not taken"


@pytest.mark.parametrize("form", sorted(WRAP))
def test_both_lanes_of_a_container_are_followed_through_its_rotation(tmp_path: Path, form: str) -> None:
    """Each is a source of its own; as the kubelet rotates, and after a restart in the middle of a line."""
    log = tmp_path / "0.log"
    envelopes = tuple(one for one in envelopes_of(form) if one)
    out, err = WRAP[form](lines(1, 2), "stdout", 40), WRAP[form](lines(11, 12), "stderr", 70)
    log.write_bytes(b"".join([*out[:2], err[0], *out[2:-1]]))
    follower = Follower(f"{tmp_path}/0.log", envelopes=envelopes).poll()
    assert follower.numbers == [1]
    state = follower.tail.dump()
    append(log, b"".join([out[-1], *err[1:]]))
    log.rename(tmp_path / "0.log.20260302-100000")
    log.write_bytes(b"".join(WRAP[form](lines(3), "stdout")))
    after = Follower(f"{tmp_path}/0.log", envelopes=envelopes, state=state).poll().poll(TWIN_MS).poll(GONE_MS)
    assert after.numbers == [2, 3, 11, 12]
    assert follower.poll().numbers == [1, 2, 3, 11, 12]
