"""What a real Grafana refuses, swallows or shows wrongly, as rules that need no Grafana.

A board that breaks one of them looks fine in review. Measured on Grafana 12.4 with ClickHouse plugin 4.14 and 4.20.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rua_dashboards.board_json import Json, panels
from rua_dashboards.lint.board_rules import BOARD_RULES, SET_RULES
from rua_dashboards.lint.file_rules import FILE_RULES, rule_link


@dataclass(frozen=True)
class Problem:
    """One finding. `rule` is the name of the function that found it."""

    rule: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text} [{self.rule}]"


def boards(all_boards: Sequence[Json]) -> list[Problem]:
    """Problems of each board, and of the boards together."""
    found = [
        Problem(rule.__name__, f"{board.get('title')}/{where}", text)
        for board in all_boards
        for rule in BOARD_RULES
        for where, text in rule(board)
    ]
    found += [Problem(rule.__name__, where, text) for rule in SET_RULES for where, text in rule(all_boards)]
    return found


def provisioning(files: Mapping[str, Json], all_boards: Sequence[Json]) -> list[Problem]:
    """Problems of the provisioning files. `files`: datasources, dashboards, alerting."""
    found = [Problem(rule.__name__, where, text) for rule in FILE_RULES for where, text in rule(files)]
    ids = {(b["uid"], str(p["id"])) for b in all_boards for p in panels(b)}
    found += [Problem("rule_link", where, text) for where, text in rule_link(files, ids)]
    return found
