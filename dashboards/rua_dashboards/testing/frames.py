"""What a panel, a variable or an alert rule needs of the rows that it is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rua_dashboards.board_json import Query

Kind = Literal["time", "number", "string", "bool", "other"]
_WRAPPED = re.compile(r"^(?:Nullable|LowCardinality)\((.*)\)$")
_TIMES_AND_NUMBERS: Mapping[str, tuple[int, int]] = {
    "timeseries": (1, 1),
    "stat": (0, 1),
    "gauge": (0, 1),
    "bargauge": (0, 1),
    "table": (0, 0),
}


@dataclass(frozen=True)
class Frame:
    """Columns with the database's type names, and rows."""

    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Any]]

    def at(self, wanted: Kind) -> list[int]:
        """Positions of the columns of one kind."""
        return [i for i, (_, type_) in enumerate(self.columns) if kind(type_) == wanted]


def kind(type_: str) -> Kind:
    """What Grafana makes of a ClickHouse type."""
    while inner := _WRAPPED.match(type_):
        type_ = inner[1]
    if type_.startswith("Date"):
        return "time"
    if re.match(r"^(U?Int(8|16|32|64)$|Float|Decimal)", type_):
        return "number"
    if type_ == "Bool":
        return "bool"
    return "string" if re.match(r"^(String|FixedString|Enum|UUID|IPv)", type_) else "other"


def misfits(query: Query, frame: Frame) -> list[str]:
    """Why the reader could not show this frame."""
    if query.reader == "variable":
        return [] if len(frame.columns) in (1, 2) else ["a variable takes one column, or value and text"]
    found = []
    times, numbers = _TIMES_AND_NUMBERS[query.reader]
    if len(frame.at("time")) < times:
        found.append(f"{query.reader} needs a time column: {frame.columns}")
    if len(frame.at("number")) < numbers:
        found.append(f"{query.reader} needs a number: {frame.columns}")
    if frame.at("other"):
        found.append(f"arrays, maps and tuples are not shown: {frame.columns}")
    if query.format == 0:
        found += _long_series(frame)
    elif query.reader == "timeseries" and frame.at("string"):
        found.append("labelled series need format 0")
    return found


def _long_series(frame: Frame) -> list[str]:
    """The plugin turns long rows into series: unsorted rows are HTTP 400, of two equal ones the last wins."""
    found, times = [], frame.at("time")
    if not times:
        return ["a series without a time column"]
    if frame.at("bool"):
        found.append("a Bool is no label")
    at = [row[times[0]] for row in frame.rows]
    if at != sorted(at):
        found.append("rows are not sorted by time")
    keys = [tuple(row[i] for i in (times[0], *frame.at("string"))) for row in frame.rows]
    if len(keys) != len(set(keys)):
        found.append("two rows for one time and label")
    return found


def rule_misfits(frame: Frame) -> list[str]:
    """Why an alert rule in table format could not be evaluated: it takes one number and labels, nothing else."""
    labels = frame.at("string")
    found = []
    if len(frame.at("number")) != 1 or len(labels) + 1 != len(frame.columns):
        found.append(f"a rule takes exactly one number beside its labels: {frame.columns}")
    keys = [tuple(row[i] for i in labels) for row in frame.rows]
    if len(keys) != len(set(keys)):
        found.append("two rows with the same labels")
    return found
