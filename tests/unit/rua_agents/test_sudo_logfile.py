"""sudo's text file, wrapped at 80 columns; and records of several lines in general."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given, strategies as st
from rua_agents.blocks import BlockSplitter
from rua_agents.pseudonyms import KeyRing
from rua_agents.records import RawRecord

from tests.agent_rig import KEY, SAMPLES, origin, parse, sample_of

NAMES = KeyRing(KEY, "lazada").at(0)
BLOCKS = st.lists(
    st.tuples(st.binary(max_size=8), st.lists(st.binary(max_size=8), max_size=3)).map(
        lambda one: [b"x" + one[0].replace(b"\n", b""), *[b" " + more.replace(b"\n", b"") for more in one[1]]]
    ),
    max_size=6,
)


def blocks(offset: int = 0, limit: int = 1 << 20) -> BlockSplitter:
    """A line that begins with a blank goes on."""
    return BlockSplitter(offset, limit, lambda line: line.startswith(b" "))


def test_wrapped_lines_say_what_unwrapped_ones_say() -> None:
    """The same commands as in the sample of auth-log, but for the one that named no user."""
    made, tally = parse("sudo-logfile", sample_of("sudo-logfile"), zone="UTC")
    syslog, _ = parse("auth-log", (SAMPLES / "auth-log.log").read_bytes(), zone="UTC")
    told = [(e.tool, e.statement_fingerprint, e.actor, e.labels) for e in made]
    assert [e.tool for e in made] == ["id", "psql", "bash", "sh", "env", "cat", "bash", "su"]
    commands = [(e.tool, e.statement_fingerprint, e.actor, e.labels) for e in syslog if e.tool]
    assert [one for one in told if one[0] != "sh"] == [one for one in commands if one[0] != "sh"]
    assert (tally.records, tally.failed.total()) == (8, 0)


def test_a_year_and_a_host_in_the_record_are_read() -> None:
    """`log_year` and `log_host`."""
    line = b"Feb 29 01:00:00 2024 : ana : HOST=db-1 : PWD=/ ; USER=root ; COMMAND=/usr/bin/id\n"
    (event,) = parse("sudo-logfile", line, zone="Asia/Bangkok")[0]
    assert event.occurred_at == datetime.fromisoformat("2024-02-28T18:00:00+00:00").timestamp() * 1_000
    assert (event.actor, event.tool) == (NAMES.pseudonym("actor", "ana"), "id")


def test_what_is_no_record_is_counted() -> None:
    """By reason."""
    made, tally = parse("sudo-logfile", b"hello\nNov 24 23:14:31 : ana\n", zone="UTC")
    assert (made, tally.failed, tally.ignored) == ([], {"no_time": 1}, {"other_message": 1})


@given(BLOCKS, st.integers(1, 9))
def test_blocks_are_the_same_however_the_bytes_are_cut_and_wherever_reading_starts(
    parts: list[list[bytes]], size: int
) -> None:
    """The last block needs silence or the file's end."""
    data = b"".join(line + b"\n" for block in parts for line in block)
    splitter, found = blocks(), list[RawRecord]()
    for at in range(0, len(data), size):
        found += splitter.feed(data[at : at + size])
    found += splitter.settle()
    assert splitter.finish() == []
    assert [record.data.replace(b"\r", b"") for record in found] == [b"\n".join(p).replace(b"\r", b"") for p in parts]
    assert [record.lines for record in found] == [len(block) for block in parts]
    for record in found:
        again = blocks(record.offset)
        assert [*again.feed(data[record.offset :]), *again.finish()][0] == record


def test_a_block_above_the_limit_is_cut_and_costs_no_more_than_the_limit() -> None:
    """A million short lines."""
    splitter = blocks(limit=100)
    assert splitter.feed(b"x\n" + b" y\n" * 200_000) == []
    (record,) = splitter.settle()
    assert (len(record.data), record.lines, record.truncated) == (100, 200_001, True)


def test_silence_in_the_middle_of_a_line_completes_nothing() -> None:
    """The rest of it is on its way."""
    splitter = blocks()
    splitter.feed(b"x\n half")
    assert splitter.settle() == []
    assert [record.data for record in splitter.feed(b"\nz\n")] == [b"x\n half"]


def test_a_source_of_blocks_waits_for_what_may_go_on() -> None:
    """The collector's own splitter."""
    splitter = origin("sudo-logfile").splitter(0, 1 << 20)
    assert splitter.feed(b"Nov 24 23:14:31 : ana : USER=root ;\n    COMMAND=/usr/bin/id\n") == []
    assert len(splitter.settle()) == 1
