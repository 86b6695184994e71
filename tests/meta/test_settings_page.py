"""docs/settings.md names every setting, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rua_agents.settings import AgentSettings
from rua_common.kafka import KafkaOptions
from rua_streams.settings import PREFIX, WorkerSettings

ELSEWHERE = {"kafka", "replay"}  # told above in another spelling; only for simulated worlds
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


def keys(kind: type[msgspec.Struct], before: str = "") -> set[str]:
    """The keys of an agent's file, `limits.nice` for one that stands in another."""
    found: set[str] = set()
    for field in msgspec.structs.fields(kind):
        inner, at = next(_structs(msgspec.inspect.type_info(field.type)), None), f"{before}{field.name}"
        if inner is None or field.name in ELSEWHERE:
            found.add(at)
        else:
            found |= keys(inner[0], at + inner[1])
    return found


def _structs(kind: msgspec.inspect.Type) -> Iterator[tuple[type[msgspec.Struct], str]]:
    if isinstance(kind, msgspec.inspect.StructType):
        yield kind.cls, "."
    if isinstance(kind, msgspec.inspect.ListType):
        yield from ((cls, "[].") for cls, _ in _structs(kind.item_type))
    if isinstance(kind, msgspec.inspect.UnionType):
        for one in kind.types:
            yield from _structs(one)


def test_the_page_names_every_key_of_an_agents_file_and_no_other() -> None:
    """In both directions: what is not there cannot be found, and what is gone misleads."""
    page = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z].*?) \|", page, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z_\[\].]+)`", row)}
    assert named == keys(AgentSettings) - {"replay"} | {"sources"}
