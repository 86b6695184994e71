"""Every query of every board, variable and alert rule, run on the real engine over the migrated tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from rua_dashboards import provisioning
from rua_dashboards.board_json import queries
from rua_dashboards.build import BOARDS, as_json
from rua_dashboards.soc_overview import SILENT_AFTER_SECONDS
from rua_dashboards.testing.frames import Frame, misfits, rule_misfits
from rua_dashboards.testing.macros import ALL, Value, View, expand
from rua_sinks.client import connect
from rua_sinks.migrate import migrate

from tests.integration.dashboards.demo_rows import statements

pytestmark = pytest.mark.chdb
Ask = Callable[[str, View], Frame]

DATABASE = "rua_boards"  # the session's engine is shared: these tables are ours alone
END_MS = 1_772_445_600_000  # 2026-03-02T10:00:00Z
DAY_MS = 86_400_000
MODES: Mapping[str, tuple[int, Mapping[str, Value]]] = {
    "all": (END_MS, {"platform": ALL, "severity": ALL, "actor": ""}),
    "several": (END_MS, {"platform": ["lazada", "shopee"], "severity": ["critical", "high"], "actor": "actor-01"}),
    "nobody": (END_MS, {"platform": ["nobody"], "severity": ["nobody"], "actor": "nobody"}),
    "quote": (END_MS, {"platform": ["') OR 1=1 --"], "severity": ["') OR 1=1 --"], "actor": "') OR 1=1 --"}),
    "backslash": (END_MS, {"platform": ["\\') OR 1=1 --"], "severity": ["\\') OR 1=1 --"], "actor": "\\') OR 1=1 --"}),
    "empty range": (END_MS - 900 * DAY_MS, {"platform": ALL, "severity": ALL, "actor": ""}),
}
BOARD_JSON = [as_json(make()) for make in BOARDS]


def view(mode: str) -> View:
    """What the person looks at: a day."""
    end_ms, variables = MODES[mode]
    return View(end_ms - DAY_MS, end_ms, 900, variables)


@pytest.fixture(scope="module")
def ask(chdb_url: str) -> Iterator[Ask]:
    """Runs a query as Grafana would send it, over demo rows."""
    client = connect(chdb_url)
    client.command(f"DROP DATABASE IF EXISTS {DATABASE}")
    migrate(client, database=DATABASE)

    def ours(sql: str) -> str:
        return sql.replace("rua.", f"{DATABASE}.")

    # twice: what was sent again must not count again
    for statement in (*statements(END_MS), *statements(END_MS)):
        client.command(ours(statement))

    def answer(sql: str, at: View) -> Frame:
        found = json.loads(client.raw_query(ours(expand(sql, at)), fmt="JSONCompact"))
        return Frame([(c["name"], c["type"]) for c in found["meta"]], found["data"])

    yield answer
    client.command(f"DROP DATABASE {DATABASE}")
    client.close()


def asked(ask: Ask, title: str, mode: str) -> Frame:
    """The answer to a panel of the first board."""
    return next(ask(q.sql, view(mode)) for q in queries(BOARD_JSON[0]) if q.where == f"{title}/A")


@pytest.mark.parametrize("mode", MODES)
def test_every_query_runs_and_fits_its_panel(ask: Ask, mode: str) -> None:
    """All, several, nobody, two attacks, and a range in which nothing happened."""
    problems: list[str] = []
    for board in BOARD_JSON:
        for query in queries(board):
            frame = ask(query.sql, view(mode))
            problems += [f"{query.where}: {text}" for text in misfits(query, frame)]
            if mode == "all" and not frame.rows:
                problems.append(f"{query.where}: no rows over the demo day")
    assert problems == []


@pytest.mark.parametrize("mode", ["quote", "backslash"])
def test_no_value_of_a_variable_changes_another_row(ask: Ask, mode: str) -> None:
    """An attack answers what an unknown value answers."""
    for board in BOARD_JSON:
        for query in queries(board):
            assert ask(query.sql, view(mode)).rows == ask(query.sql, view("nobody")).rows, query.where


def test_the_attack_works_where_values_are_not_encoded(ask: Ask) -> None:
    """The guard above is not blind: Grafana's documented form gives every row away."""
    unsafe = "SELECT count() AS n FROM rua.events WHERE platform IN (${platform:singlequote})"
    assert ask(unsafe, view("nobody")).rows == [[0]]
    assert ask(unsafe, view("backslash")).rows[0][0] > 300


def test_the_first_row_tells_what_happened(ask: Ask) -> None:
    """Everything was stored twice and 20 alerts in two revisions: each counts once. jd is silent for two hours."""
    titles = {
        "Critical alerts": 8,
        "High alerts": 8,
        "All alerts": 40,
        "Silent platforms": 1,
        "Reporting platforms": 2,
        "Newest event": 30,
        "Events": 389,
    }
    assert {title: asked(ask, title, "all").rows[0][0] for title in titles} == titles


def test_nothing_happened_is_not_calm(ask: Ask) -> None:
    """In an empty range counts are 0, and what cannot be known is empty: the panel then says so in words."""
    assert asked(ask, "Events", "empty range").rows == [[0]]
    assert asked(ask, "Newest event", "empty range").rows == [[None]]
    assert asked(ask, "Silent platforms", "empty range").rows == [[None]]


def test_an_export_of_unknown_size_is_not_one_of_no_rows(ask: Ask) -> None:
    """The table counts them apart."""
    frame = asked(ask, "Exports by dataset", "all")
    names = [name for name, _ in frame.columns]
    assert sum(row[names.index("Of unknown size")] for row in frame.rows) == 39
    assert sum(row[names.index("Exports")] for row in frame.rows) == 78


def test_an_empty_cell_says_what_it_means(ask: Ask) -> None:
    """Grafana writes the panel's "no data" text into empty cells unless the column has its own."""
    for board in BOARD_JSON:
        panels = {p["title"]: p for p in board["panels"]}
        for query in queries(board):
            if query.reader == "table":
                overrides = panels[query.where.removesuffix("/A")]["fieldConfig"]["overrides"]
                worded = {
                    o["matcher"]["options"] for o in overrides if any(p["id"] == "noValue" for p in o["properties"])
                }
                frame = ask(query.sql, view("all"))
                assert {name for name, type_ in frame.columns if "Nullable" in type_} <= worded, query.where


def test_alert_rules_can_be_evaluated(ask: Ask) -> None:
    """One number and labels. The silent platform alone is above the limit."""
    rules: list[dict[str, Any]] = provisioning.rules()["groups"][0]["rules"]  # type: ignore[index]  # plain YAML
    answers = {}
    for rule in rules:
        window = rule["data"][0]["relativeTimeRange"]
        at = View(END_MS - window["from"] * 1_000, END_MS - window["to"] * 1_000, of_a_rule=True)
        frame = ask(rule["data"][0]["model"]["rawSql"], at)
        assert rule_misfits(frame) == [], rule["uid"]
        answers[rule["uid"]] = frame.rows
    assert [row[0] for row in answers["rua-platform-silent"] if row[1] > SILENT_AFTER_SECONDS] == ["jd"]
    assert answers["rua-store-away"] == [[0]]
