"""Worlds that are refused before anything starts, and what is only told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rua_common.errors import BadConfiguration
from rua_demo import world
from rua_demo.check import check

SOURCE: dict[str, Any] = {"platform": "jd", "host": "web-1", "glob": "jd/*.json", "source": "nginx-json"}
WORLD: dict[str, Any] = {"timezone": "Asia/Bangkok", "start": 1_790_000_000, "end": 1_790_003_600}


def made(folder: Path, *sources: dict[str, Any], **top: Any) -> Path:
    """A world with one log; each source differs from the usual one by what is given."""
    logs = folder / "w" / "jd"
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "a.json").write_text('{"msec": 1790000001, "request": "GET /a HTTP/1.1"}\n', encoding="utf-8")
    described = WORLD | {"sources": [SOURCE | one for one in sources or ({},)]} | top
    (folder / "w" / "world.json").write_text(json.dumps(described), encoding="utf-8")
    return folder / "w"


def checked(folder: Path) -> list[str]:
    """The warnings."""
    return check(folder, world.read(folder))


def test_a_world_in_order_passes_in_silence(tmp_path: Path) -> None:
    """Options of the collector, several sources and arrivals included."""
    folder = made(tmp_path, {"options": {"query_keys": ["page"]}}, {"glob": "jd/none-yet.json"}, about="x", seed=1)
    (folder / "arrivals/jd").mkdir(parents=True)
    (folder / "arrivals/jd/a.json.u32").write_bytes(bytes(4))
    assert checked(folder) == []


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ({"zone": "Asia/Bangkokk"}, r'sources\[0\]\.zone: unknown time zone "Asia/Bangkokk" .*IANA'),
        ({"zone": "Asia"}, r"sources\[0\]\.zone: unknown time zone"),
        ({"zone": "../etc/passwd"}, r"sources\[0\]\.zone: unknown time zone"),
        ({"platform": "Lazada TH/1"}, r"sources\[0\]\.platform: .*allowed: .*lower-case"),
        ({"platform": "ตลาด"}, r"sources\[0\]\.platform"),
        ({"glob": "/etc/*"}, r"sources\[0\]\.glob: .*inside"),
        ({"glob": "jd/../../victim/*"}, r"sources\[0\]\.glob: .*inside"),
        ({"glob": ""}, r"sources\[0\]\.glob: .*no pattern"),
        ({"glob": "jd/a**b"}, r"sources\[0\]\.glob: .*no pattern"),
        ({"options": {"bulk_row": 1}}, r"sources\[0\]\.options\.bulk_row: .*allowed: .*query_keys"),
        ({"options": {"query_keys": 7}}, r"sources\[0\]\.options\.query_keys"),
    ],
)
def test_what_is_wrong_in_a_source_is_named_by_its_key(tmp_path: Path, source: dict[str, Any], problem: str) -> None:
    """With file and key."""
    with pytest.raises(BadConfiguration, match=r"world\.json: " + problem):
        checked(made(tmp_path, source))


@pytest.mark.parametrize(
    ("top", "problem"),
    [
        ({"timezone": "Bangkok"}, "timezone: unknown time zone"),
        ({"start": 1_790_000_000_000, "end": 1_790_003_600_000}, "start: looks like milliseconds"),
        ({"end": 1_790_003_600_000}, "end: looks like milliseconds"),
    ],
)
def test_what_is_wrong_at_the_top_is_named_too(tmp_path: Path, top: dict[str, Any], problem: str) -> None:
    """Zone and times."""
    with pytest.raises(BadConfiguration, match=r"world\.json: " + problem):
        checked(made(tmp_path, **top))


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    """A world may come from a stranger; a link inside is fine."""
    folder = made(tmp_path, {"glob": "jd/*.log"})
    (folder / "jd/b.log").symlink_to("a.json")
    assert checked(folder) == []
    (tmp_path / "mine").write_text("x\n", encoding="utf-8")
    (folder / "jd/c.log").symlink_to(tmp_path / "mine")
    with pytest.raises(BadConfiguration, match=r"jd/c\.log is a link to a file outside"):
        checked(folder)


def test_a_file_of_two_sources_is_refused(tmp_path: Path) -> None:
    """It would be read twice; a source that nobody reads does not count."""
    assert checked(made(tmp_path, {}, {"source": "carrier-pigeon"})) == []
    with pytest.raises(BadConfiguration, match=r"sources\[1\]\.glob: jd/a\.json belongs to sources\[0\]"):
        checked(made(tmp_path, {}, {"glob": "jd/a*"}))


def test_arrivals_that_end_in_the_middle_of_a_number_are_refused(tmp_path: Path) -> None:
    """By file."""
    folder = made(tmp_path)
    (folder / "arrivals/jd").mkdir(parents=True)
    (folder / "arrivals/jd/a.json.u32").write_bytes(bytes(5))
    with pytest.raises(BadConfiguration, match=r"a\.json\.u32: has 5 bytes, no multiple of 4"):
        checked(folder)


def test_unknown_keys_are_told_by_name(tmp_path: Path) -> None:
    """The format may grow, so they are no error."""
    first, second = checked(made(tmp_path, {"hots": "x"}, timezones="UTC"))
    assert "world.json: timezones is not known" in first
    assert "world.json: sources[0].hots is not known" in second
    assert "known: platform, host, glob" in second
