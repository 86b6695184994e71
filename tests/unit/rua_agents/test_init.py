"""`rua agent init`: a configuration that works, its keys, and the page's own words."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
from rua_agents.__main__ import main
from rua_agents.collectors import COLLECTORS
from rua_agents.keyfile import read_keys
from rua_agents.settings import load
from rua_agents.setup_pages import setup_of
from rua_agents.signing import read_signer
from rua_common.errors import BadConfiguration

DOCS = Path(__file__).parents[3] / "docs" / "sources"


def init(folder: Path, source: str, *more: str) -> Path:
    """Runs it; where its configuration stands."""
    out = folder / "agent.yaml"
    given = ["--platform", "lazada", "--out", str(out), "--state-dir", str(folder / "state")]
    assert main(["init", source, *given, *more]) == 0
    return out


@pytest.mark.parametrize("source", sorted(COLLECTORS))
def test_every_source_gives_a_configuration_that_loads_and_says_what_to_switch_on(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both from its page: what is printed stands there word for word."""
    settings = load(init(tmp_path, source))
    assert settings.platform == "lazada"
    assert {one.source for one in settings.sources} == {source}
    read_keys(Path(settings.key_file))
    assert settings.signing_key_file
    signer = read_signer(Path(settings.signing_key_file))
    said, page = capsys.readouterr().out, (DOCS / f"{source}.md").read_text(encoding="utf-8")
    assert signer.public_key.hex() in said
    switch_on = setup_of(source).switch_on
    assert switch_on in said
    assert all(line in page for line in switch_on.splitlines())
    assert textwrap.indent(setup_of(source).example, "    ").splitlines()[0] in page


def test_keys_are_of_their_owner_only_and_never_replaced(tmp_path: Path) -> None:
    """A second source of the same host shares them; a configuration is never overwritten."""
    out = init(tmp_path, "nginx-json")
    keys = [tmp_path / "pseudonym.key", tmp_path / "signing.key"]
    assert [stat.S_IMODE(key.stat().st_mode) for key in keys] == [0o400, 0o400]
    before = [key.read_bytes() for key in keys]
    text = out.read_text()
    assert main(["init", "nginx-json", "--out", str(out)]) == 1
    assert main(["init", "nginx-json", "--out", str(tmp_path / "b.yaml")]) == 0
    assert [key.read_bytes() for key in keys] == before
    assert out.read_text() == text


def test_odd_paths_do_not_break_the_file(tmp_path: Path) -> None:
    """Blanks, quotes, colons and what YAML takes for a comment."""
    folder = tmp_path / "it's: a #strange dir"
    folder.mkdir()
    assert load(init(folder, "nginx-json", "--bootstrap", "[::1]:9092")).kafka.bootstrap == "[::1]:9092"


def test_every_limit_that_it_writes_is_explained(tmp_path: Path) -> None:
    """A number without its meaning is no starting point."""
    lines = init(tmp_path, "nginx-json").read_text().splitlines()
    limits = [line for line in lines if re.match(r"  (cpu_percent|nice|# drain_seconds)", line)]
    assert len(limits) == 3
    assert all("#" in line[4:] for line in limits)


def test_a_platform_that_cannot_be_one_and_a_source_that_is_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is written."""
    assert main(["init", "nginx-json", "--platform", "Shop!", "--out", str(tmp_path / "a.yaml")]) == 1
    with pytest.raises(SystemExit):
        main(["init", "nginx", "--out", str(tmp_path / "a.yaml")])
    assert "nginx-json" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "page",
    [
        "# x\n\n## What becomes an event\n",
        "## Switch on at the source\n\nNothing.\n\n## What\n\n    sources:\n      - {source: a}\n",
        "## Switch on at the source\n\n    sources:\n      - {source: a}\n\nor\n\n    sources:\n      - {source: b}\n",
    ],
)
def test_a_page_without_its_example_or_with_two_is_noticed(page: str, tmp_path: Path) -> None:
    """The contract above would say so for every source."""
    (tmp_path / "a.md").write_text(page)
    with pytest.raises(BadConfiguration, match="needs one block"):
        setup_of("a", tmp_path)


def test_an_example_may_go_over_several_lines(tmp_path: Path) -> None:
    """What stands around it is what to switch on."""
    page = "    log = on\n\n    sources:\n      - source: a\n\n        zone: UTC\n\nRestart.\n"
    (tmp_path / "a.md").write_text(f"## Switch on at the source\n\n{page}\n## What\n")
    found = setup_of("a", tmp_path)
    assert found.example == "sources:\n  - source: a\n\n    zone: UTC"
    assert found.switch_on == "    log = on\n\nRestart."


def test_a_wheel_holds_the_pages(tmp_path: Path) -> None:
    """An endpoint has no checkout: the link becomes the pages themselves, and the image's build sees them."""
    root = DOCS.parents[1]
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=60)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = {Path(name).stem for name in wheel.namelist() if name.startswith("rua_agents/pages/")}
    assert held >= set(COLLECTORS)
    ignored = (root / "deploy/docker/Dockerfile.dockerignore").read_text().split()
    assert "!docs/sources" in ignored
