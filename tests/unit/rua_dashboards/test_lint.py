"""Each rule of the lint is quiet on our boards and finds its broken twin."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from rua_dashboards import lint, provisioning
from rua_dashboards.build import BOARDS, as_json
from rua_dashboards.lint.board_rules import BOARD_RULES, SET_RULES
from rua_dashboards.lint.file_rules import FILE_RULES, rule_link

Board = dict[str, Any]
Files = dict[str, Any]

OURS: list[Board] = [as_json(make()) for make in BOARDS]


def our_files() -> Files:
    """The provisioning files, free to be broken."""
    files = {
        "datasources": provisioning.data_source(),
        "dashboards": provisioning.boards(),
        "alerting": provisioning.rules(),
    }
    return copy.deepcopy(files)


def panel(board: Board, kind: str) -> dict[str, Any]:
    """The first panel of a kind."""
    found: dict[str, Any] = next(p for p in board["panels"] if p["type"] == kind)
    return found


def variable(board: Board, name: str) -> dict[str, Any]:
    """A variable by name."""
    found: dict[str, Any] = next(v for v in board["templating"]["list"] if v["name"] == name)
    return found


def rewrite(board: Board, kind: str, old: str, new: str) -> None:
    """Changes the SQL of the first panel of a kind."""
    target = panel(board, kind)["targets"][0]
    assert old in target["rawSql"], f"the twin's original has no {old!r}"
    target["rawSql"] = target["rawSql"].replace(old, new)


def set_link(board: Board, url: str) -> None:
    """Gives the first table's first link another address."""
    for override in panel(board, "table")["fieldConfig"]["overrides"]:
        for prop in override["properties"]:
            if prop["id"] == "links":
                prop["value"][0]["url"] = url
                return
    raise AssertionError("no link to break")


def _long_uid(board: Board) -> None:
    board["uid"] = "x" * 41


def _wrapped(board: Board) -> None:
    board["dashboard"] = {}


def _editable(board: Board) -> None:
    board["editable"] = True


def _with_own_id(board: Board) -> None:
    board["id"] = 7


def _without_freshness(board: Board) -> None:
    board["panels"] = [
        p for p in board["panels"] if p["title"] not in ("Newest event", "Silent platforms", "Reporting platforms")
    ]


def _fixed_source(board: Board) -> None:
    panel(board, "stat")["targets"][0]["datasource"]["uid"] = "P123"


def _variable_without_source(board: Board) -> None:
    del variable(board, "platform")["datasource"]


def _no_source_variable(board: Board) -> None:
    board["templating"]["list"].remove(variable(board, "datasource"))


def _refresh_on_load(board: Board) -> None:
    variable(board, "platform")["refresh"] = 1


def _custom_values(board: Board) -> None:
    variable(board, "severity")["allowCustomValue"] = True


def _no_description(board: Board) -> None:
    panel(board, "table")["description"] = ""


def _no_unit(board: Board) -> None:
    del panel(board, "stat")["fieldConfig"]["defaults"]["unit"]


def _no_text(board: Board) -> None:
    del panel(board, "table")["fieldConfig"]["defaults"]["noValue"]


def _no_thresholds(board: Board) -> None:
    del panel(board, "stat")["fieldConfig"]["defaults"]["thresholds"]


def _no_calculation(board: Board) -> None:
    panel(board, "stat")["options"]["reduceOptions"]["calcs"] = []


def _hidden_legend(board: Board) -> None:
    panel(board, "timeseries")["options"]["legend"]["showLegend"] = False


def _no_colours(board: Board) -> None:
    panel(board, "timeseries")["fieldConfig"]["overrides"] = []


def _no_query(board: Board) -> None:
    panel(board, "bargauge")["targets"] = []


def _unbounded(board: Board) -> None:
    rewrite(board, "table", "$__timeFilter(raised_at)", "1=1")


def _server_clock(board: Board) -> None:
    rewrite(board, "table", "$__timeFilter(raised_at)", "raised_at > now() - 60 AND $__timeFilter(raised_at)")


def _endless_table(board: Board) -> None:
    rewrite(board, "table", " LIMIT 200", "")


def _without_final(board: Board) -> None:
    rewrite(board, "stat", " FINAL", "")


def _unsorted(board: Board) -> None:
    rewrite(board, "timeseries", " ORDER BY time, severity", "")


def _series_as_table(board: Board) -> None:
    panel(board, "timeseries")["targets"][0]["format"] = 1


def _multi_format(board: Board) -> None:
    panel(board, "table")["targets"][0]["format"] = 4


def _late_macro(board: Board) -> None:
    rewrite(board, "stat", "SELECT", "SELECT $__rateColumns(a, b, c)")


def _unknown_variable(board: Board) -> None:
    rewrite(board, "stat", "${platform:queryparam}", "${tenant:queryparam}")


def _single_quoted(board: Board) -> None:
    rewrite(board, "stat", "severity = 'critical'", "severity IN (${severity:singlequote})")


def _bare(board: Board) -> None:
    rewrite(board, "stat", "severity = 'critical'", "severity IN ($severity)")


def _encoded_many(board: Board) -> None:
    rewrite(board, "stat", "severity = 'critical'", "severity = decodeURLComponent('${severity:percentencode}')")


def _forgetful_link(board: Board) -> None:
    set_link(board, "/d/rua-soc-overview?var-actor=${__value.raw:percentencode}")


def _raw_link(board: Board) -> None:
    set_link(board, "/d/rua-soc-overview?var-actor=${__value.raw}&${__url_time_range}")


def _same_id(board: Board) -> None:
    board["panels"][1]["id"] = board["panels"][0]["id"]


def _too_wide(board: Board) -> None:
    panel(board, "table")["gridPos"]["x"] = 1


def _overlapping(board: Board) -> None:
    board["panels"][1]["gridPos"] = board["panels"][0]["gridPos"]


BOARD_TWINS: list[tuple[str, Callable[[Board], None]]] = [
    ("uid_form", _long_uid),
    ("board_title", _wrapped),
    ("read_only", _editable),
    ("read_only", _with_own_id),
    ("freshness", _without_freshness),
    ("source_variable", _fixed_source),
    ("source_variable", _variable_without_source),
    ("source_variable", _no_source_variable),
    ("variable_refresh", _refresh_on_load),
    ("no_custom_values", _custom_values),
    ("described", _no_description),
    ("unit", _no_unit),
    ("no_data_text", _no_text),
    ("thresholds", _no_thresholds),
    ("calculation", _no_calculation),
    ("legend", _hidden_legend),
    ("severity_colours", _no_colours),
    ("queried", _no_query),
    ("time_bounded", _unbounded),
    ("time_bounded", _server_clock),
    ("table_limit", _endless_table),
    ("deduplicated", _without_final),
    ("series_format", _unsorted),
    ("series_format", _series_as_table),
    ("series_format", _multi_format),
    ("late_macros", _late_macro),
    ("known_variables", _unknown_variable),
    ("safe_variables", _single_quoted),
    ("safe_variables", _bare),
    ("safe_variables", _encoded_many),
    ("links", _forgetful_link),
    ("links", _raw_link),
    ("panel_ids", _same_id),
    ("grid", _too_wide),
    ("grid", _overlapping),
]


def _spoken_folder(files: Files) -> None:
    files["alerting"]["groups"][0]["folder"] = "Rua"


def _native_protocol(files: Files) -> None:
    files["datasources"]["datasources"][0]["jsonData"]["protocol"] = "native"


def _forwarded_headers(files: Files) -> None:
    files["datasources"]["datasources"][0]["jsonData"]["forwardGrafanaHeaders"] = True


def _row_limit(files: Files) -> None:
    files["datasources"]["datasources"][0]["jsonData"]["enableRowLimit"] = True


def _written_password(files: Files) -> None:
    files["datasources"]["datasources"][0]["secureJsonData"]["password"] = "in clear"  # noqa: S105 - the twin


def _editable_source(files: Files) -> None:
    files["datasources"]["datasources"][0]["editable"] = True


def _two_folders(files: Files) -> None:
    files["dashboards"]["providers"][0]["options"]["foldersFromFilesStructure"] = True


def _ui_updates(files: Files) -> None:
    files["dashboards"]["providers"][0]["allowUiUpdates"] = True


def _interval_without_unit(files: Files) -> None:
    files["alerting"]["groups"][0]["interval"] = 60


def _odd_interval(files: Files) -> None:
    files["alerting"]["groups"][0]["interval"] = "15s"


def _unknown_state(files: Files) -> None:
    rule(files)["noDataState"] = "Ok"


def _unknown_error_state(files: Files) -> None:
    rule(files)["execErrState"] = "Keep"


def _storm(files: Files) -> None:
    for each in files["alerting"]["groups"][0]["rules"]:
        each["execErrState"], each["for"] = "Alerting", "5m"


def _impatient(files: Files) -> None:
    rule(files)["for"] = "0s"


def _same_uid(files: Files) -> None:
    rules = files["alerting"]["groups"][0]["rules"]
    rules[1]["uid"] = rules[0]["uid"]


def _lost_condition(files: Files) -> None:
    rule(files)["condition"] = "B"


def _empty_threshold(files: Files) -> None:
    rule(files)["data"][1]["model"]["conditions"] = []


def _series_query(files: Files) -> None:
    rule(files)["data"][0]["model"]["format"] = 0


def _up_to_now(files: Files) -> None:
    rule(files)["data"][0]["relativeTimeRange"]["to"] = 0


def _browser_variable(files: Files) -> None:
    rule(files)["data"][0]["model"]["rawSql"] += " WHERE platform = '$platform'"


def _missing_value(files: Files) -> None:
    rule(files)["annotations"]["summary"] = "{{ $values.B }}"


def _dollar_label(files: Files) -> None:
    rule(files)["labels"]["cost"] = "$5"


def _half_link(files: Files) -> None:
    del rule(files)["annotations"]["__panelId__"]


def _lost_panel(files: Files) -> None:
    rule(files)["annotations"]["__panelId__"] = "99"


def _field_link(files: Files) -> None:
    rule(files)["dashboardUid"] = "rua-soc-overview"


def rule(files: Files) -> dict[str, Any]:
    """The first alert rule."""
    found: dict[str, Any] = files["alerting"]["groups"][0]["rules"][0]
    return found


FILE_TWINS: list[tuple[str, Callable[[Files], None]]] = [
    ("source_file", _native_protocol),
    ("source_file", _forwarded_headers),
    ("source_file", _row_limit),
    ("source_file", _written_password),
    ("source_file", _editable_source),
    ("provider_file", _two_folders),
    ("provider_file", _ui_updates),
    ("rule_folder", _spoken_folder),
    ("rule_interval", _interval_without_unit),
    ("rule_interval", _odd_interval),
    ("rule_states", _unknown_state),
    ("rule_states", _unknown_error_state),
    ("rule_states", _storm),
    ("rule_states", _impatient),
    ("rule_uids", _same_uid),
    ("rule_queries", _lost_condition),
    ("rule_queries", _empty_threshold),
    ("rule_queries", _series_query),
    ("rule_queries", _up_to_now),
    ("rule_queries", _browser_variable),
    ("rule_texts", _missing_value),
    ("rule_texts", _dollar_label),
    ("rule_link", _half_link),
    ("rule_link", _lost_panel),
    ("rule_link", _field_link),
]


def test_stays_quiet_on_our_boards_and_files() -> None:
    """What we ship breaks no rule."""
    assert lint.boards(OURS) == []
    assert lint.provisioning(our_files(), OURS) == []


@pytest.mark.parametrize(("name", "break_it"), BOARD_TWINS, ids=[f.__name__.strip("_") for _, f in BOARD_TWINS])
def test_finds_a_broken_board(name: str, break_it: Callable[[Board], None]) -> None:
    """The rule finds its twin."""
    board = copy.deepcopy(OURS[0])
    break_it(board)
    assert name in {p.rule for p in lint.boards([board])}


@pytest.mark.parametrize(("name", "break_it"), FILE_TWINS, ids=[f.__name__.strip("_") for _, f in FILE_TWINS])
def test_finds_a_broken_file(name: str, break_it: Callable[[Files], None]) -> None:
    """The rule finds its twin, and the others stay quiet."""
    files = our_files()
    break_it(files)
    assert {p.rule for p in lint.provisioning(files, OURS)} == {name}


def test_finds_two_boards_with_one_uid_and_a_link_to_none() -> None:
    """What only shows when boards are read together."""
    stray = copy.deepcopy(OURS[0])
    set_link(stray, "/d/soc-actor?${__url_time_range}")
    assert {p.rule for p in lint.boards([OURS[0], stray])} >= {"unique", "link_targets"}


def test_every_rule_has_a_twin() -> None:
    """A rule that nothing has ever broken may be no rule."""
    rules = {r.__name__ for r in (*BOARD_RULES, *FILE_RULES, rule_link)}
    assert rules == {name for name, _ in (*BOARD_TWINS, *FILE_TWINS)}
    assert {r.__name__ for r in SET_RULES} == {"unique", "link_targets"}


def test_an_outage_of_the_store_is_one_notification() -> None:
    """Only the rule about the store itself fires on errors, and only after a while (Grafana #14515)."""
    rules = our_files()["alerting"]["groups"][0]["rules"]
    assert [r["uid"] for r in rules if r["execErrState"] == "Alerting"] == ["rua-store-away"]
    assert {r["execErrState"] for r in rules} == {"Alerting", "KeepLast"}
