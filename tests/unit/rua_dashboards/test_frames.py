"""Whether a frame fits what reads it."""

from __future__ import annotations

import pytest
from rua_dashboards.board_json import Query
from rua_dashboards.testing.frames import Frame, kind, misfits, rule_misfits

TIME, TEXT, NUMBER = ("time", "DateTime"), ("severity", "LowCardinality(String)"), ("Value", "UInt64")
SERIES = Query("p/A", "timeseries", 0, "")


@pytest.mark.parametrize(
    ("type_", "wanted"),
    [
        ("LowCardinality(Nullable(String))", "string"),
        ("Nullable(DateTime64(3, 'UTC'))", "time"),
        ("UInt64", "number"),
        ("UInt256", "other"),
        ("Array(UInt8)", "other"),
        ("Bool", "bool"),
        ("Enum8('a' = 1)", "string"),
    ],
)
def test_types_are_what_grafana_makes_of_them(type_: str, wanted: str) -> None:
    """Wrappers do not matter."""
    assert kind(type_) == wanted


def test_a_sorted_series_fits() -> None:
    """Two labels at one time, then a later time."""
    assert misfits(SERIES, Frame([TIME, TEXT, NUMBER], [["1", "high", 1], ["1", "low", 2], ["2", "high", 3]])) == []


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (Frame([TIME, TEXT, NUMBER], [["2", "high", 1], ["1", "high", 2]]), "not sorted"),
        (Frame([TIME, TEXT, NUMBER], [["1", "high", 1], ["1", "high", 2]]), "one time and label"),
        (Frame([TEXT, NUMBER], []), "time column"),
        (Frame([TIME, TEXT], []), "number"),
        (Frame([TIME, ("late", "Bool"), NUMBER], []), "Bool"),
        (Frame([TIME, ("ids", "Array(String)"), NUMBER], []), "arrays"),
    ],
)
def test_a_series_that_grafana_would_not_show_is_named(frame: Frame, text: str) -> None:
    """Each of these was an error or a silent loss on a real server."""
    assert any(text in problem for problem in misfits(SERIES, frame))


def test_a_rule_takes_one_number_and_labels() -> None:
    """And nothing else; equal labels are an error."""
    assert rule_misfits(Frame([TEXT, NUMBER], [["high", 1], ["low", 1]])) == []
    assert rule_misfits(Frame([TIME, TEXT, NUMBER], []))
    assert rule_misfits(Frame([NUMBER, NUMBER], []))
    assert rule_misfits(Frame([TEXT, NUMBER], [["high", 1], ["high", 2]]))
