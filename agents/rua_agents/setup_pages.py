"""What each source's own page says: what to switch on at the source, and how its configuration looks.

`pages` is a link to docs/sources; a wheel holds the pages themselves. So there is one text for people, for
`rua agent init` and for the tests.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from rua_common.errors import BadConfiguration

PAGES = Path(__file__).with_name("pages")
_SECTION = re.compile(r"^## Switch on at the source\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^    sources:\n(?:(?:    .*)?\n)*(?:    .*\n)", re.MULTILINE)


class Setup(NamedTuple):
    """Two texts of a page."""

    switch_on: str
    """What a person does at the source, as on the page."""
    example: str
    """`sources:` of a configuration file."""


def setup_of(source: str, pages: Path = PAGES) -> Setup:
    """What the page of this source says.

    Raises:
        BadConfiguration: there is no such page, or it does not say it.
    """
    path = pages / f"{source}.md"
    try:
        found = _SECTION.search(path.read_text(encoding="utf-8"))
    except OSError as why:
        raise BadConfiguration(f"the page of {source} is missing: install rua anew", file=str(path)) from why
    examples = list(_EXAMPLE.finditer(found[1])) if found else []
    if not found or len(examples) != 1:
        raise BadConfiguration("“Switch on at the source” needs one block that begins with sources:", file=str(path))
    rest = found[1].replace(examples[0][0], "")
    return Setup(re.sub(r"\n{3,}", "\n\n", rest).strip("\n"), textwrap.dedent(examples[0][0]).strip("\n"))
