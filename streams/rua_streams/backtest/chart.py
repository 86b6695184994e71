"""Both versions on one picture: when each detector speaks, how gravely, and how many alerts a day there are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
from rua_common.errors import BadConfiguration

from rua_streams.backtest.compare import Difference, Incident

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"critical": "#7f1d1d", "high": "#dc2626", "medium": "#f59e0b", "low": "#0ea5e9", "info": "#64748b"}
OLD, NEW, APPEARS, VANISHES, CHANGES = "#94a3b8", "#2563eb", "#16a34a", "#111827", "#9333ea"
FATES = {"appears": APPEARS, "vanishes": VANISHES, "changes": CHANGES}
SECONDS_PER_DAY = 86_400
FEW_DAYS = 3  # below this the bars are hours


def draw(path: Path, found: Sequence[Difference], names: Sequence[str], zone: ZoneInfo) -> None:
    """Writes the picture, in the format that the file's ending names.

    Args:
        path: the file.
        found: of one version, all as `same`, or of two.
        names: of the versions, the earlier first.
        zone: whose days and hours are shown.

    Raises:
        BadConfiguration: matplotlib is not installed, or does not know the ending.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - only who wants a picture has it
    except ImportError as why:
        raise BadConfiguration("needs matplotlib: install rua[demo]", key="--chart") from why
    detectors = sorted({one.told.alert.detector for one in found})
    figure = Figure(figsize=(12, 3.2 + 0.75 * max(len(detectors), 1)), layout="constrained")
    lanes, bars = figure.subplots(2, 1, sharex=True, height_ratios=(max(len(detectors), 1) * 0.75, 1.6))
    draw_lanes(lanes, found, detectors, names, zone)
    draw_bars(bars, found, names, zone)
    legend(figure, names)
    try:
        figure.savefig(path, dpi=140)
    except ValueError as why:
        raise BadConfiguration(str(why).splitlines()[0], key="--chart", allowed=["FILE.png", "FILE.svg"]) from why


def moments(found: Sequence[Incident], zone: ZoneInfo) -> list[float]:
    """Local times as matplotlib takes them: days since 1970."""
    local = (datetime.fromtimestamp(one.raised_at / 1_000, zone) for one in found)
    return [at.replace(tzinfo=UTC).timestamp() / SECONDS_PER_DAY for at in local]


def draw_lanes(
    axes: Axes, found: Sequence[Difference], detectors: Sequence[str], names: Sequence[str], zone: ZoneInfo
) -> None:
    """A lane for each detector; in it the old version's alerts above those of the new one."""
    places = {name: len(detectors) - 1 - row for row, name in enumerate(detectors)}
    offsets = (0.18, -0.18) if len(names) > 1 else (0.0,)
    for side, lift in zip(("before", "after")[-len(names) :], offsets, strict=True):
        told = [(one, i) for one in found if (i := getattr(one, side)) is not None]
        for severity, colour in COLOURS.items():
            same = [(one, i) for one, i in told if i.severity == severity]
            heights = [places[i.alert.detector] + lift for _, i in same]
            rings = [FATES.get(one.fate, colour) for one, _ in same]
            widths = [1.8 if one.fate != "same" else 0.4 for one, _ in same]
            axes.scatter(
                moments([i for _, i in same], zone), heights, s=46, c=colour, edgecolors=rings, linewidths=widths
            )
    for height in range(1, len(detectors)):
        axes.axhline(height - 0.5, color="#e2e8f0", linewidth=0.8, zorder=0)
    axes.set_ylim(-0.5, max(len(detectors), 1) - 0.5)
    axes.set_yticks(list(places.values()), list(places))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)
    frame(axes)


def draw_bars(axes: Axes, found: Sequence[Difference], names: Sequence[str], zone: ZoneInfo) -> None:
    """Alerts a day, or an hour where there are few days, of each version."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - likewise
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - likewise

    sides = [[i for one in found if (i := getattr(one, side)) is not None] for side in ("before", "after")]
    sides = sides[-len(names) :]
    days = [np.array(moments(side, zone)) for side in sides]
    every = np.concatenate(days)
    unit = 1.0 if not len(every) or np.ptp(every) >= FEW_DAYS else 1 / 24
    width = 0.8 * unit / len(names)
    for number, (at, colour) in enumerate(zip(days, (OLD, NEW)[-len(names) :], strict=True)):
        starts, counts = np.unique(np.floor(at / unit) * unit, return_counts=True)
        axes.bar(starts + 0.1 * unit + number * width, counts, width, align="edge", color=colour)
    axes.set_ylabel("alerts a day" if unit == 1 else "alerts an hour")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]  # matplotlib's dates have no types
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]  # likewise
    axes.set_xlabel(f"raised at ({zone.key})")
    frame(axes)


def frame(axes: Axes) -> None:
    """No lines that say nothing."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def legend(figure: Figure, names: Sequence[str]) -> None:
    """What colours and rings mean."""
    from matplotlib.lines import Line2D  # noqa: PLC0415 - likewise
    from matplotlib.patches import Patch  # noqa: PLC0415 - likewise

    def dot(label: str, face: str, ring: str | None = None) -> Line2D:
        edge = ring or face
        return Line2D(
            [], [], linestyle="", marker="o", color=face, markeredgecolor=edge, markeredgewidth=1.8, label=label
        )

    handles: list[Any] = [dot(name, colour) for name, colour in COLOURS.items()]
    if len(names) > 1:
        handles += [dot(name, "white", ring) for name, ring in FATES.items()]
        lifted = (f"{names[0]} (upper row)", f"{names[1]} (lower row)")
        handles += [Patch(color=colour, label=name) for name, colour in zip(lifted, (OLD, NEW), strict=True)]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False, fontsize=9)
