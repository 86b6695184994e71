"""Both versions on one picture: when each detector speaks, how gravely, and how many alerts a day there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
from rua_common.errors import BadConfiguration

from rua_streams.backtest.compare import Difference, Fate, Incident
from rua_streams.backtest.telling import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "critical": "#7f1d1d",
    "high": "#dc2626",
    "medium": "#f59e0b",
    "low": "#0ea5e9",
    "info": "#64748b",
    "unknown": "#cbd5e1",
}
SHAPES: dict[Fate, tuple[str, float, float]] = {  # marker, size, opacity: what differs stands out, in any colour
    "same": ("o", 30, 0.45),
    "changes": ("D", 52, 1.0),
    "appears": ("^", 80, 1.0),
    "vanishes": ("X", 80, 1.0),
}
OLD, NEW, LINE = "#94a3b8", "#2563eb", "#e2e8f0"
SECONDS_PER_DAY = 86_400
FEW_DAYS = 3  # below this the bars are hours
LONGEST_NAME = 60


@dataclass(frozen=True)
class Picture:
    """What is drawn.

    Attributes:
        found: incidents of one version, all as `same` and `after`, or of two.
        names: of the versions, the earlier first.
        start_ms: when the time begins that was judged.
        end_ms: when it ends.
        zone: whose days and hours are shown.
    """

    found: Sequence[Difference]
    names: Sequence[str]
    start_ms: int
    end_ms: int
    zone: ZoneInfo

    @cached_property
    def detectors(self) -> list[str]:
        """Those that speak."""
        return sorted({one.told.alert.detector for one in self.found})

    @cached_property
    def sides(self) -> list[list[tuple[Fate, Incident]]]:
        """Each version's incidents, the earlier version first."""
        before = [(one.fate, one.before) for one in self.found if one.before is not None]
        after = [(one.fate, one.after) for one in self.found if one.after is not None]
        return [before, after] if len(self.names) > 1 else [after]

    @cached_property
    def labels(self) -> list[str]:
        """The versions' names, cut to what a legend can hold."""
        return [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in self.names]

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Days since 1970 from which to which is drawn: at least one."""
        start, end = self.at(self.start_ms), self.at(self.end_ms)
        missing = max(0.0, 1 - (end - start)) / 2
        margin = 0.02 * (end - start + 2 * missing)
        return start - missing - margin, end + missing + margin

    def at(self, ms: int) -> float:
        """A local time as matplotlib takes it: days since 1970."""
        local = datetime.fromtimestamp(ms / 1_000, self.zone)
        return local.replace(tzinfo=UTC).timestamp() / SECONDS_PER_DAY

    @property
    def title(self) -> str:
        """How many there are, and what became of them."""
        if len(self.names) == 1:
            return counted(len(self.found))
        fates, (old, new) = Counter(one.fate for one in self.found), map(len, self.sides)
        what = f"{fates['appears']} appear, {fates['vanishes']} vanish, {fates['changes']} change"
        return f"{counted(new)}, {old} before: {what}"


def draw(path: Path, picture: Picture) -> None:
    """Writes the picture, in the format that the file's ending names.

    Raises:
        BadConfiguration: matplotlib is not installed, or does not know the ending.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - only who wants a picture has it
    except ImportError as why:
        raise BadConfiguration("needs matplotlib: install rua[demo]", key="--chart") from why
    height = 0.8 * max(len(picture.detectors), 1)
    figure = Figure(figsize=(12, 3.4 + height), layout="constrained")
    lanes, bars = figure.subplots(2, 1, sharex=True, height_ratios=(height, 1.7))
    draw_lanes(lanes, picture)
    draw_bars(bars, picture)
    legend(figure, picture)
    try:
        figure.savefig(path, dpi=140)
    except ValueError as why:
        raise BadConfiguration(str(why).splitlines()[0], key="--chart", allowed=["FILE.png", "FILE.svg"]) from why


def draw_lanes(axes: Axes, picture: Picture) -> None:
    """A lane for each detector; in it the earlier version's alerts above those of the later one."""
    names = picture.detectors
    heights = {name: len(names) - 1 - row for row, name in enumerate(names)}
    for side, lift in zip(picture.sides, (0.2, -0.2) if len(picture.sides) > 1 else (0.0,), strict=True):
        for fate, (marker, size, opacity) in SHAPES.items():
            told = [incident for one, incident in side if one == fate]
            axes.scatter(
                [picture.at(i.raised_at) for i in told],
                [heights[i.alert.detector] + lift for i in told],
                s=size,
                c=[COLOURS[i.severity] for i in told],
                marker=marker,
                alpha=opacity if len(picture.names) > 1 else 1.0,
                edgecolors="white",
                linewidths=0.6,
            )
    for row in range(1, len(names)):
        axes.axhline(row - 0.5, color=LINE, linewidth=0.8, zorder=0)
    axes.set_ylim(-0.5, max(len(names), 1) - 0.5)
    axes.set_yticks(list(heights.values()), list(heights))
    axes.tick_params(axis="y", length=0)
    axes.set_title(picture.title, loc="left")
    plain(axes)


def draw_bars(axes: Axes, picture: Picture) -> None:
    """Alerts a day, or an hour where there are few days, of each version."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - likewise
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - likewise

    start, end = picture.bounds
    unit = 1.0 if end - start >= FEW_DAYS else 1 / 24
    width = 0.8 * unit / len(picture.sides)
    for number, (side, colour) in enumerate(zip(picture.sides, colours(picture), strict=True)):
        at = np.array([picture.at(incident.raised_at) for _, incident in side])
        starts, counts = np.unique(np.floor(at / unit) * unit, return_counts=True)
        axes.bar(starts + 0.1 * unit + number * width, counts, width, align="edge", color=colour)
    axes.set_ylabel("alerts a day" if unit == 1 else "alerts an hour")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.set_xlim(start, end)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]  # matplotlib's dates have no types
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # likewise
    axes.set_xlabel(f"raised at ({picture.zone.key})")
    plain(axes)


def colours(picture: Picture) -> tuple[str, ...]:
    """Of the versions."""
    return (OLD, NEW) if len(picture.names) > 1 else (NEW,)


def plain(axes: Axes) -> None:
    """Faint lines for the time, none that say nothing."""
    axes.grid(axis="x", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def legend(figure: Figure, picture: Picture) -> None:
    """What colours and shapes mean, of those that occur."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - likewise
    from matplotlib.patches import Patch  # noqa: PLC0415 - likewise

    told = [one for side in picture.sides for one in side]
    grave, fates = {incident.severity for _, incident in told}, {fate for fate, _ in told}

    def mark(label: str, colour: str, marker: str) -> Line2D:
        return Line2D([], [], linestyle="", marker=marker, color=colour, label=label)

    marks = [mark(name, colour, "o") for name, colour in COLOURS.items() if name in grave]
    handles: list[Any] = [*marks]
    if len(picture.names) > 1:
        handles += [mark(name, "#334155", marker) for name, (marker, _, _) in SHAPES.items() if name in fates]
    show(figure, handles, "outside upper right")
    if len(picture.names) > 1:
        rows = (f"{label} ({row} marks)" for label, row in zip(picture.labels, ("upper", "lower"), strict=True))
        versions = [Patch(color=c, label=label) for c, label in zip(colours(picture), rows, strict=True)]
        show(figure, versions, "outside lower left")


def show(figure: Figure, handles: Iterable[Any], where: Literal["outside upper right", "outside lower left"]) -> None:
    """One line of the legend."""
    listed = list(handles)
    if listed:
        figure.legend(handles=listed, loc=where, ncols=len(listed), frameon=False, fontsize=9, columnspacing=1.4)
