"""House style: panels that answer a question, with all that Grafana's SDK leaves out.

The SDK gives no panel ids, no calculations to a stat, a hidden legend, no text for "no data", no thresholds. Here every
panel has a stable id (links and alert rules point at it), title, description, unit and a text for "no data".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from grafana_foundation_sdk.builders import bargauge, dashboard, stat, table, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard as model
from rua_schemas.events import SEVERITIES

from rua_dashboards.clickhouse_query import SQL, Format

Panel: TypeAlias = Builder[model.Panel]
Steps = Sequence[tuple[float | None, str]]

# Beside each colour stands the word, for people who cannot tell red from green. Dark enough for Grafana's white text
# (contrast 4.5), light enough to stand out from its dark panels (3); a test holds both.
SEVERITY_COLOURS: Mapping[str, str] = {
    "critical": "#CC1F35",
    "high": "#B45309",
    "medium": "#FADE2A",
    "low": "#2468D0",
    "info": "#667085",
    "unknown": "#7C3AED",
}
CALM: Steps = ((None, "text"),)


@dataclass(frozen=True)
class About:
    """What every panel must say. `id` never changes: it is part of links that people keep."""

    id: int
    title: str
    description: str
    unit: str
    no_data: str


@dataclass(frozen=True)
class Box:
    """Width in columns of 24, height in rows."""

    width: int
    height: int


def number(about: About, box: Box, sql: str, *, steps: Steps = CALM, background: bool = False) -> Panel:
    """One number. `steps`: from which value on which colour."""
    mode = common.BigValueColorMode.BACKGROUND if background else common.BigValueColorMode.VALUE
    return (
        stat.Panel()
        .id(about.id)
        .title(about.title)
        .description(about.description)
        .unit(about.unit)
        .no_value(about.no_data)
        .span(box.width)
        .height(box.height)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
        .color_mode(mode)
        .graph_mode(common.BigValueGraphMode.NONE)
        .with_target(SQL(sql))
    )


def over_time(about: About, box: Box, sql: str, *, colours: Mapping[str, str] | None = None) -> Panel:
    """Stacked bars, one colour for each value of the label. `sql` gives time, label and `Value`, sorted by time."""
    panel = (
        timeseries.Panel()
        .id(about.id)
        .title(about.title)
        .description(about.description)
        .unit(about.unit)
        .no_value(about.no_data)
        .span(box.width)
        .height(box.height)
        .min(0)
        .draw_style(common.GraphDrawStyle.BARS)
        .fill_opacity(80)
        .line_width(0)
        .stacking(StackingConfig().mode(common.StackingMode.NORMAL))
        .legend(
            VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .calcs([])
        )
        .tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .with_target(SQL(sql, Format.SERIES))
    )
    for label, colour in (colours or {}).items():
        panel.override_by_name(
            label, [model.DynamicConfigValue("color", model.FieldColor(model.FieldColorModeId.FIXED, colour))]
        )
    return panel


def ranking(about: About, box: Box, sql: str, *, value: str, link: tuple[str, str]) -> Panel:
    """A bar for each row, longest first. `value`: the numeric column; `link`: title and address."""
    title, url = link
    return (
        bargauge.Panel()
        .id(about.id)
        .title(about.title)
        .description(about.description)
        .unit(about.unit)
        .no_value(about.no_data)
        .span(box.width)
        .height(box.height)
        .min(0)
        .reduce_options(ReduceDataOptions().values(True).calcs(["lastNotNull"]).limit(10))
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .value_mode(common.BarGaugeValueMode.TEXT)
        .thresholds(_thresholds(((None, "blue"),)))
        .override_by_name(value, [model.DynamicConfigValue("links", [{"title": title, "url": url}])])
        .with_target(SQL(sql))
    )


def rows(
    about: About,
    box: Box,
    sql: str,
    *,
    links: Mapping[str, tuple[str, str]],
    widths: Mapping[str, int],
    blanks: Mapping[str, str],
) -> Panel:
    """A table.

    `links`: column to (title, address); `widths`: column to pixels; `blanks`: column to what an empty cell says, for
    Grafana would put the panel's own text for "no data" into each.
    """
    panel = (
        table.Panel()
        .id(about.id)
        .title(about.title)
        .description(about.description)
        .unit(about.unit)
        .no_value(about.no_data)
        .span(box.width)
        .height(box.height)
        .show_header(True)
        .cell_height(common.TableCellHeight.SM)
        .with_target(SQL(sql))
        .override_by_name("Severity", [_severity_words(), _cell_colour()])
    )
    for column in dict.fromkeys([*links, *widths, *blanks]):
        properties: list[model.DynamicConfigValue] = []
        if column in links:
            title, url = links[column]
            properties.append(model.DynamicConfigValue("links", [{"title": title, "url": url}]))
        if column in widths:
            properties.append(model.DynamicConfigValue("custom.width", widths[column]))
        if column in blanks:
            properties.append(model.DynamicConfigValue("noValue", blanks[column]))
        panel.override_by_name(column, properties)
    return panel


def board(uid: str, title: str, description: str) -> dashboard.Dashboard:
    """An empty board that nobody edits in place: a change is made in code, where it is reviewed and tested."""
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["rua"])
        .readonly()
        .timezone("browser")
        .time("now-24h", "now")
        .refresh("1m")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
    )


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=colour) for value, colour in steps])
    )


def _severity_words() -> model.DynamicConfigValue:
    words: dict[str, model.ValueMappingResult] = {
        s: model.ValueMappingResult(text=s.upper(), color=SEVERITY_COLOURS[s]) for s in SEVERITIES
    }
    return model.DynamicConfigValue("mappings", [model.ValueMap(words)])


def _cell_colour() -> model.DynamicConfigValue:
    return model.DynamicConfigValue("custom.cellOptions", {"type": "color-background", "mode": "basic"})
