"""Settings: an error names file, line, key and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from rua_common.errors import BadConfiguration
from rua_common.settings import Struct, load, parse


class Source(Struct, frozen=True, kw_only=True):
    """One source of the little configuration that these tests read."""

    source: Literal["pgaudit-jsonlog", "nginx-json"]
    paths: tuple[str, ...]


class Config(Struct, frozen=True, kw_only=True):
    """The configuration that these tests read."""

    platform: str
    sources: list[Source]
    poll_seconds: float = 0.25


GOOD = """\
platform: shop
sources:
  - source: nginx-json
    paths: [/var/log/nginx/access.json]
"""


def problem(text: str) -> BadConfiguration:
    """The error that the text gives."""
    with pytest.raises(BadConfiguration) as caught:
        parse(text, Config, file="agent.yaml")
    return caught.value


def test_a_good_file_becomes_a_frozen_struct(tmp_path: Path) -> None:
    """Values arrive typed, defaults are filled in."""
    path = tmp_path / "agent.yaml"
    path.write_text(GOOD)
    config = load(path, Config)
    assert config.sources[0].paths == ("/var/log/nginx/access.json",)
    assert config.poll_seconds == 0.25


def test_an_unknown_key_is_named_with_its_line_and_the_known_keys() -> None:
    """A misspelt key must not be ignored."""
    why = problem(GOOD + "pol_seconds: 1\n")
    assert (why.line, why.key) == (5, "pol_seconds")
    assert why.allowed == ("platform", "sources", "poll_seconds")
    assert str(why) == "agent.yaml:5: pol_seconds: unknown key (allowed: platform, sources, poll_seconds)"


def test_a_wrong_choice_is_named_with_its_line_and_the_choices() -> None:
    """The line is that of the value, deep in a list."""
    why = problem(GOOD.replace("nginx-json", "apache"))
    assert (why.line, why.key) == (3, "sources.0.source")
    assert set(why.allowed) == {"nginx-json", "pgaudit-jsonlog"}


def test_a_wrong_type_is_named_with_its_line() -> None:
    """Numbers are not guessed from text."""
    why = problem(GOOD + "poll_seconds: often\n")
    assert (why.line, why.key) == (5, "poll_seconds")
    assert "float" in str(why)


def test_a_missing_key_is_named_with_the_line_of_its_parent() -> None:
    """The person is led to the place where it belongs."""
    why = problem("platform: shop\nsources:\n  - source: nginx-json\n")
    assert (why.line, why.key) == (3, "sources.0.paths")
    assert "missing" in str(why)


@pytest.mark.parametrize(("text", "line"), [("platform: [", 1), ("a: 1\n b: 2\n", 2), ("", 1)])
def test_what_is_not_yaml_is_named_with_its_line(text: str, line: int) -> None:
    """Broken YAML and an empty file are configuration errors like any other."""
    assert abs((problem(text).line or 0) - line) <= 1


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """The path is in the text."""
    with pytest.raises(BadConfiguration, match="no-such"):
        load(tmp_path / "no-such.yaml", Config)


def test_a_key_given_twice_is_refused_with_the_line_of_the_second() -> None:
    """YAML would keep the last one in silence."""
    why = problem(GOOD + "platform: other\n")
    assert (why.line, why.key) == (5, "platform")
    assert "twice" in str(why)
