"""Worlds: written, read, refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from rua_common.errors import BadConfiguration
from rua_demo import world
from rua_demo.world import Label, Source, Ticket, World

LAZADA = Source(
    platform="lazada", host="db-1", glob="lazada/db-1/*.json", source="pgaudit-jsonlog", zone="Asia/Bangkok"
)
DESCRIBED = World(timezone="Asia/Bangkok", start=1_790_000_000, end=1_790_086_400, sources=[LAZADA])


def test_a_world_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """`world.json` round trip, options included."""
    described = World(**{f: getattr(DESCRIBED, f) for f in ("timezone", "start", "end")}, sources=[LAZADA])
    world.write(tmp_path, described)
    assert world.read(tmp_path) == described
    assert described.start_ms == 1_790_000_000_000
    assert described.platforms == ["lazada"]


def test_a_missing_world_names_the_file(tmp_path: Path) -> None:
    """What a person sees who points at the wrong folder."""
    with pytest.raises(BadConfiguration, match=r"world\.json: cannot be read"):
        world.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"timezone": "UTC", "start": 1, "end": 2}', "sources"),
        ('{"timezone": "UTC", "start": 1, "end": 2, "sources": []}', "names no log files"),
        (
            '{"timezone": "UTC", "start": 2, "end": 2, "sources": '
            '[{"platform": "a", "host": "h", "glob": "*", "source": "s"}]}',
            "after",
        ),
        ('{"timezone": "UTC", "start": "now"}', "start"),
        ("not json", "world.json"),
    ],
)
def test_a_broken_world_says_what_is_wrong(tmp_path: Path, text: str, problem: str) -> None:
    """Key and reason, never a traceback."""
    (tmp_path / "world.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadConfiguration, match=problem):
        world.read(tmp_path)


def test_a_broken_context_line_is_named_with_its_number(tmp_path: Path) -> None:
    """File and line."""
    ticket = Ticket(ticket="INC-1", platform="jd", kind="on-call", valid_from=1, valid_to=2, who="a")
    path = tmp_path / "context" / "tickets.jsonl"
    world.write_lines(path, [ticket])
    assert world.read_lines(path, Ticket) == [ticket]
    with path.open("a") as more:
        more.write('{"ticket": 7}\n')
    with pytest.raises(BadConfiguration, match=r"tickets\.jsonl:2: "):
        world.read_lines(path, Ticket)


def test_a_world_without_context_has_an_empty_one(tmp_path: Path) -> None:
    """Everything under `context/` is optional."""
    assert world.read_lines(tmp_path / "context" / "tickets.jsonl", Ticket) == []


def test_labels_are_read_with_their_line_ranges(tmp_path: Path) -> None:
    """As the format shows them."""
    label = Label(id="a", pattern="off-hours", platform="jd", entities=["x"], first=1.5, last=2, files={"f": [(3, 5)]})
    world.write_lines(tmp_path / "labels.jsonl", [label])
    assert world.labels(tmp_path) == [label]


def test_line_numbers_become_ranges() -> None:
    """Both ends included."""
    assert world.ranges([3, 4, 5, 9]) == [(3, 5), (9, 9)]
    assert world.ranges([]) == []


def test_times_in_seconds_or_milliseconds_are_told_apart() -> None:
    """Worlds are in seconds; some writer will not be."""
    assert world.milliseconds(1_790_000_000.5) == world.milliseconds(1_790_000_000_500) == 1_790_000_000_500
