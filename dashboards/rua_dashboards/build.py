"""Writes boards and provisioning files, byte for byte the same each time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from rua_common.errors import Refused

from rua_dashboards import lint, provisioning
from rua_dashboards.soc_overview import soc_overview

BOARDS = (soc_overview,)
_HEADER = "# Written by `rua dashboards build`. Change dashboards/rua_dashboards/ instead.\n"


def build(out_dir: Path) -> list[Path]:
    """Writes every file below `out_dir` and returns their paths. Other files there are left alone.

    Raises:
        Refused: a board or a rule breaks a rule of `lint`. Nothing is written.
    """
    boards = [as_json(make()) for make in BOARDS]
    settings = {
        "datasources": provisioning.data_source(),
        "dashboards": provisioning.boards(),
        "alerting": provisioning.rules(),
    }
    if problems := [*lint.boards(boards), *lint.provisioning(settings, boards)]:
        raise Refused("these boards would not work in Grafana:\n" + "\n".join(map(str, problems)))
    return [_written(out_dir / name, text) for name, text in _files(boards, settings)]


def as_json(board: dashboard.Dashboard) -> dict[str, Any]:
    """A board as Grafana reads it."""
    plain: dict[str, Any] = json.loads(json.dumps(board.build(), cls=JSONEncoder))
    return plain


def _files(boards: list[dict[str, Any]], settings: dict[str, provisioning.Yaml]) -> Iterator[tuple[str, str]]:
    for board in boards:
        yield f"dashboards/{board['uid']}.json", json.dumps(board, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    for folder, content in settings.items():
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
        yield f"provisioning/{folder}/rua.yaml", _HEADER + text


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path
