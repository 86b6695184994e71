"""Reading boards as JSON: Grafana's shape, not ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Query:
    """A query and who reads its answer: a panel type, or "variable"."""

    where: str
    reader: str
    format: int
    sql: str


def queries(board: Json) -> Iterator[Query]:
    """Every query of a board: its panels' and its variables'."""
    for panel in panels(board):
        for target in panel.get("targets", []):
            yield Query(f"{panel['title']}/{target['refId']}", panel["type"], target["format"], target["rawSql"])
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield Query(f"variable {variable['name']}", "variable", 1, variable["query"]["rawSql"])


def panels(board: Json) -> Iterator[Json]:
    """Panels, those in rows included."""
    for panel in board.get("panels", []):
        yield panel
        yield from panels(panel)
