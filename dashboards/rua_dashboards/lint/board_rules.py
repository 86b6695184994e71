"""Rules for boards. Each yields where and what it found; its name is the rule's name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rua_dashboards.board_json import Json, panels
from rua_dashboards.clickhouse_query import PLUGIN, SOURCE_VARIABLE
from rua_dashboards.panels import SEVERITY_COLOURS

Found = Iterator[tuple[str, str]]
ON_TIME_RANGE = 2
GRID_COLUMNS = 24
_VARIABLE = re.compile(r"\$\{(?!__)(\w+)(?::(\w+))?\}|\$(?!__)(\w+)")
_SAFE = re.compile(r"decodeURLComponent\('\$\{\w+:percentencode\}'\)|splitByChar\('&', '\$\{\w+:queryparam\}'\)")
_CONDITION_VARIABLE = re.compile(r"(?<=, )\$\w+(?=\))")
_BOUNDED = re.compile(r"\$__(timeFilter|toTime|fromTime)")
_LINK = re.compile(r"^/d/([\w-]+)")


def uid_form(board: Json) -> Found:
    """A uid is 1 to 40 of [a-zA-Z0-9_-]; a longer one is only logged, and the board never comes."""
    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", board.get("uid") or ""):
        yield "uid", f"{board.get('uid')!r} is no uid"


def board_title(board: Json) -> Found:
    """Without a title, or wrapped as the API returns it, a file is skipped."""
    if not board.get("title") or "dashboard" in board:
        yield "title", "a file holds a bare board with a title"


def read_only(board: Json) -> Found:
    """A provisioned board that looks editable loses its changes."""
    if board.get("editable", True) or board.get("id") is not None:
        yield "board", "must not be editable and has no id of its own"


def freshness(board: Json) -> Found:
    """An empty board must not be read as calm."""
    if not any("max(occurred_at)" in sql and panel["type"] == "stat" for panel, _, sql in _targets(board)):
        yield "board", "no panel says how old the newest event is"


def source_variable(board: Json) -> Found:
    """Every query goes to the data source that the person chose."""
    if not any(v["type"] == "datasource" and v["name"] == "datasource" for v in _variables(board)):
        yield "variables", "no variable `datasource`"
    for panel, target, _ in _targets(board):
        if target.get("datasource") != {"type": PLUGIN, "uid": SOURCE_VARIABLE}:
            yield panel["title"], f"reads {target.get('datasource')}, not {SOURCE_VARIABLE}"
    for variable in _variables(board):
        if variable["type"] == "query" and variable.get("datasource") != {"type": PLUGIN, "uid": SOURCE_VARIABLE}:
            yield variable["name"], "a query variable without data source asks the default one"


def variable_refresh(board: Json) -> Found:
    """A variable that depends on the time range is asked anew when that changes."""
    for variable in _variables(board):
        if variable["type"] == "query" and variable.get("refresh") != ON_TIME_RANGE:
            yield variable["name"], "refresh must be 2, on time range change"


def no_custom_values(board: Json) -> Found:
    """Only listed values may be chosen; the default allows any."""
    for variable in _variables(board):
        if variable["type"] in ("query", "custom") and variable.get("allowCustomValue", True):
            yield variable["name"], "allowCustomValue must be false"


def described(board: Json) -> Found:
    """Title and description: what the number means and what to do."""
    for panel in panels(board):
        if not panel.get("title") or not panel.get("description"):
            yield f"panel {panel.get('id')}", "title and description are needed"


def unit(board: Json) -> Found:
    """A number without a unit is a riddle."""
    for panel in panels(board):
        if not _defaults(panel).get("unit"):
            yield panel["title"], "no unit"


def no_data_text(board: Json) -> Found:
    """That nothing happened and that the query failed must not look alike."""
    for panel in panels(board):
        if "noValue" not in _defaults(panel):
            yield panel["title"], "no text for `no data`"


def thresholds(board: Json) -> Found:
    """A stat says by its colour whether it is good."""
    for panel in panels(board):
        if panel["type"] in ("stat", "gauge") and not _defaults(panel).get("thresholds", {}).get("steps"):
            yield panel["title"], "no thresholds"


def calculation(board: Json) -> Found:
    """Without a calculation a stat shows nothing."""
    for panel in panels(board):
        reduce = panel.get("options", {}).get("reduceOptions", {})
        if panel["type"] in ("stat", "gauge", "bargauge") and not reduce.get("calcs"):
            yield panel["title"], "reduceOptions.calcs is empty"


def legend(board: Json) -> Found:
    """The SDK hides legends unless told otherwise."""
    for panel in panels(board):
        if panel["type"] == "timeseries" and not panel.get("options", {}).get("legend", {}).get("showLegend"):
            yield panel["title"], "the legend is hidden"


def severity_colours(board: Json) -> Found:
    """Severity has the same colours everywhere."""
    for panel, _, sql in _targets(board):
        overrides = json.dumps(panel.get("fieldConfig", {}).get("overrides", []))
        if re.search(r"severity(,| AS \"Severity\")", sql) and SEVERITY_COLOURS["critical"] not in overrides:
            yield panel["title"], "shows severity without its colours"


def queried(board: Json) -> Found:
    """A panel without a query shows nothing, for ever."""
    for panel in panels(board):
        if panel["type"] not in ("row", "text", "alertlist") and not panel.get("targets"):
            yield panel["title"], "no query"


def time_bounded(board: Json) -> Found:
    """Every query keeps to the time range, and takes its end from there and not from the server's clock."""
    for panel, _, sql in _targets(board):
        if not _BOUNDED.search(sql):
            yield panel["title"], "not bounded by the time range"
        if re.search(r"\b(now|now64|today|yesterday)\(", sql):
            yield panel["title"], "asks the server's clock: use $__toTime"


def table_limit(board: Json) -> Found:
    """A table ends somewhere."""
    for panel, _, sql in _targets(board):
        if panel["type"] == "table" and not re.search(r"\bLIMIT \d+$", sql):
            yield panel["title"], "a table without LIMIT"


def deduplicated(board: Json) -> Found:
    """An event that was stored twice counts once: FINAL, unless only the newest time is asked."""
    for panel, _, sql in _targets(board):
        counts = re.search(r"\b(sum|avg|quantile)\(|\bcount\(\) AS|ORDER BY \w+ DESC", sql)
        if counts and re.search(r"\bFROM rua\.(events|alerts)\b(?! FINAL)", sql):
            yield panel["title"], "reads without FINAL"


def series_format(board: Json) -> Found:
    """A time series is format 0 and sorted: unsorted rows are HTTP 400. Formats 2 to 4 fail on ordinary SQL."""
    for panel, target, sql in _targets(board):
        if target.get("format") not in (0, 1):
            yield panel["title"], f"format {target.get('format')}"
        if (panel["type"] == "timeseries") != (target.get("format") == 0):
            yield panel["title"], "format 0 belongs to time series, and only there"
        if target.get("format") == 0 and not re.search(r"ORDER BY time\b", sql):
            yield panel["title"], "a series that is not sorted by time"


def late_macros(board: Json) -> Found:
    """Whole-statement macros came after plugin 4.20.0; ad-hoc filters change the SQL's text."""
    for panel, _, sql in _targets(board):
        if found := re.search(r"\$__(\w*[cC]olumns|lttb|adHocFilters)\b", sql):
            yield panel["title"], f"{found[0]} is not in every plugin version"


def known_variables(board: Json) -> Found:
    """A variable that does not exist reaches the database as text."""
    names = {v["name"] for v in _variables(board)}
    for panel, _, sql in _targets(board):
        for match in _VARIABLE.finditer(sql):
            if (match[1] or match[3]) not in names:
                yield panel["title"], f"unknown variable {match[0]}"


def safe_variables(board: Json) -> Found:
    """No value of a variable may leave its place: only `one_of` and `equals` are safe, confirmed on a real server."""
    single = {v["name"] for v in _variables(board) if v["type"] == "textbox"}
    for panel, _, sql in _targets(board):
        for match in _VARIABLE.finditer(_CONDITION_VARIABLE.sub("", _SAFE.sub("", sql))):
            yield panel["title"], f"{match[0]} can be broken out of"
        for name in re.findall(r"\$\{(\w+):percentencode\}", sql):
            if name not in single:
                yield panel["title"], f"{name} may hold several values: :percentencode makes one of them"


def links(board: Json) -> Found:
    """A link keeps the time range and encodes what it carries."""
    for title, url in _links(board):
        if "${__url_time_range}" not in url:
            yield title, f"{url} drops the time range"
        if re.search(r"\$\{__(value|data|field)\b[^}:]*\}", url):
            yield title, f"{url} carries a value as it stands: add :percentencode"


def panel_ids(board: Json) -> Found:
    """Links and alert rules name panels by id."""
    ids = [p.get("id") for p in panels(board)]
    if None in ids or len(set(ids)) != len(ids):
        yield "panels", f"ids are missing or repeated: {ids}"


def grid(board: Json) -> Found:
    """Panels lie within 24 columns, none on another."""
    placed: list[tuple[str, Json]] = [(str(p.get("title")), p["gridPos"]) for p in panels(board)]
    for at, (title, a) in enumerate(placed):
        if a["x"] + a["w"] > GRID_COLUMNS:
            yield title, "wider than the grid"
        for other, b in placed[at + 1 :]:
            if _spans(a, b, "x", "w") and _spans(a, b, "y", "h"):
                yield title, f"lies on {other}"


BOARD_RULES: tuple[Callable[[Json], Found], ...] = (
    uid_form,
    board_title,
    read_only,
    freshness,
    source_variable,
    variable_refresh,
    no_custom_values,
    described,
    unit,
    no_data_text,
    thresholds,
    calculation,
    legend,
    severity_colours,
    queried,
    time_bounded,
    table_limit,
    deduplicated,
    series_format,
    late_macros,
    known_variables,
    safe_variables,
    links,
    panel_ids,
    grid,
)


def unique(all_boards: Sequence[Json]) -> Found:
    """With a uid or title given twice the provider stops writing every board, after the first start."""
    for key in ("uid", "title"):
        values = [board.get(key) for board in all_boards]
        if len(set(values)) != len(values):
            yield key, f"given twice: {values}"


def link_targets(all_boards: Sequence[Json]) -> Found:
    """A link leads to a board that exists."""
    uids = {board.get("uid") for board in all_boards}
    for board in all_boards:
        for title, url in _links(board):
            match = _LINK.match(url)
            if not match or match[1] not in uids:
                yield title, f"{url} leads nowhere"


SET_RULES: tuple[Callable[[Sequence[Json]], Found], ...] = (unique, link_targets)


def _targets(board: Json) -> Iterator[tuple[Json, Json, str]]:
    for panel in panels(board):
        for target in panel.get("targets", []):
            yield panel, target, target.get("rawSql", "")


def _variables(board: Json) -> Sequence[Json]:
    found: Sequence[Json] = board.get("templating", {}).get("list", [])
    return found


def _defaults(panel: Json) -> Json:
    found: Json = panel.get("fieldConfig", {}).get("defaults", {})
    return found


def _links(board: Json) -> Iterator[tuple[str, str]]:
    for panel in panels(board):
        config = panel.get("fieldConfig", {})
        found: list[Any] = list(_defaults(panel).get("links", []))
        for override in config.get("overrides", []):
            found += [link for p in override["properties"] if p["id"] == "links" for link in p["value"]]
        for link in found:
            yield panel["title"], link["url"]


def _spans(a: Json, b: Json, start: str, length: str) -> bool:
    return bool(a[start] < b[start] + b[length] and b[start] < a[start] + a[length])
