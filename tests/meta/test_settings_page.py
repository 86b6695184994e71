"""docs/settings.md names every setting, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from rua_common.kafka import KafkaOptions
from rua_streams.settings import PREFIX, WorkerSettings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def known() -> set[str]:
    """The names that the workers read."""
    worker = {PREFIX + name.upper() for name in WorkerSettings.__struct_fields__ if name != "kafka"}
    return worker | {f"RUA_KAFKA_{name.upper()}" for name in KafkaOptions.__struct_fields__}


def test_the_page_names_every_setting() -> None:
    """A setting that nobody can find does not exist."""
    assert known() - set(re.findall(r"RUA_[A-Z_]+", PAGE.read_text(encoding="utf-8"))) == set()


def test_the_page_names_no_setting_that_is_gone() -> None:
    """And one that does nothing misleads."""
    named = {n for n in re.findall(r"`(RUA_[A-Z_]+)`", PAGE.read_text(encoding="utf-8")) if n.startswith(PREFIX)}
    assert named - known() == set()
