"""The repository as its readers meet it: commands that exist, links that lead somewhere, nothing of one machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
MAKE = re.compile(r"^\s*(?:`|\s{4})make ([a-z-]+)|`make ([a-z-]+)", re.MULTILINE)
OF_ONE_MACHINE = re.compile(
    r"(?<![\w.])/(?:work|farm|root|home/[a-z]+)/"  # a path of one machine
    r"|\b(?:pypi\.org|pythonhosted|repo1?\.maven|registry\.npmjs|proxy\.golang|deb\.debian)\b"  # a registry's host
)


def tracked(*patterns: str) -> list[Path]:
    """Files that git tracks, or would track, and that exist."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def broken_links(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    return [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]


def of_one_machine(text: str) -> list[str]:
    """Paths and hosts that only one machine knows."""
    return OF_ONE_MACHINE.findall(text)


def test_every_link_between_pages_leads_somewhere() -> None:
    """Docs start with what a person wants to do; a dead link ends it."""
    assert {str(p.relative_to(ROOT)): broken for p in tracked("*.md") if (broken := broken_links(p))} == {}


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    """The guard's twin."""
    page = tmp_path / "page.md"
    page.write_text("[here](page.md) and [there](nowhere.md#part), [web](https://example.org/x)")
    assert broken_links(page) == ["nowhere.md"]


def make_targets() -> set[str]:
    """Targets of the Makefile that have a help text."""
    return set(re.findall(r"^([a-z][a-z-]*):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def named_targets(text: str) -> Iterator[str]:
    """Targets that a page tells its reader to make."""
    for found in MAKE.finditer(text):
        yield found[1] or found[2]


def test_every_make_target_that_a_page_names_exists() -> None:
    """And is listed by `make help`."""
    named = {t for page in tracked("*.md") for t in named_targets(page.read_text(encoding="utf-8"))}
    assert {"demo", "test"} <= named
    assert named - make_targets() == set()


def test_a_target_that_does_not_exist_is_noticed() -> None:
    """The guard's twin."""
    assert list(named_targets("run `make fly`, or\n\n    make demo\n")) == ["fly", "demo"]


def test_nothing_names_a_path_of_one_machine_or_a_registry() -> None:
    """The project must be the same for everybody who has it."""
    text = [p for p in tracked() if p.suffix not in {".gz", ".png", ".jar"} and p != Path(__file__)]
    found = {str(p.relative_to(ROOT)): hits for p in text if (hits := of_one_machine(p.read_text("utf-8", "replace")))}
    assert found == {}


@pytest.mark.parametrize("text", ["cd /root/x", "see /home/anna/rua", "--index https://pypi.org/simple"])
def test_such_a_path_or_host_is_noticed(text: str) -> None:
    """The guard's twin."""
    assert of_one_machine(text)


@pytest.mark.parametrize("text", ["/var/lib/rua-agent", "/etc/rua/agent.yaml", "network/", "a/home/x"])
def test_ordinary_paths_are_left_alone(text: str) -> None:
    """The guard does not cry wolf."""
    assert not of_one_machine(text)
