"""What the plugin makes of a query, and why only two forms of a variable are used."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from rua_dashboards.clickhouse_query import equals, one_of
from rua_dashboards.testing.macros import ALL, BadQuery, View, expand, formatted

START_MS, END_MS = 1_772_445_600_000, 1_772_532_000_000  # 2026-03-02T10:00Z and a day later


def view(**variables: str | list[str]) -> View:
    """A day, with variables."""
    return View(START_MS, END_MS, 60, variables)


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("$__timeFilter(t)", "t >= toDateTime(1772445600) AND t <= toDateTime(1772532000)"),
        (
            "$__timeFilter(toDateTime(t))",
            "toDateTime(t) >= toDateTime(1772445600) AND toDateTime(t) <= toDateTime(1772532000)",
        ),
        ("$__timeInterval(t)", "toStartOfInterval(toDateTime(t), INTERVAL 60 second)"),
        ("$__dateFilter(d)", "d >= toDate('2026-03-02') AND d <= toDate('2026-03-03')"),
        ("a < $__toTime - 1", "a < toDateTime(1772532000) - 1"),
        ("$__timeInterval($__fromTime)", "toStartOfInterval(toDateTime(toDateTime(1772445600)), INTERVAL 60 second)"),
        ("1 -- $__nothing(\n+ 1", "1  \n+ 1"),
        ("'-- stays' /* goes */", "'-- stays'  "),
    ],
)
def test_expands_as_the_plugin_does(sql: str, wanted: str) -> None:
    """Vectors after those of the plugin's own tests."""
    assert expand(sql, view()) == wanted


@pytest.mark.parametrize(
    "sql", ["$__perSecond(x)", "$__timeFilter()", "$__timeFilter(a", "${nobody}", "$__conditionalAll(a)"]
)
def test_refuses_what_would_reach_the_database_as_it_stands(sql: str) -> None:
    """Grafana would not say so."""
    with pytest.raises(BadQuery):
        expand(sql, view())


@pytest.mark.parametrize("sql", ["a = '$actor'", "a = '${actor}'", "$__conditionalAll(a = 1, $actor)"])
def test_a_rule_knows_nothing_of_the_browser(sql: str) -> None:
    """Variables in an alert query are taken literally by Grafana."""
    with pytest.raises(BadQuery, match="only a browser"):
        expand(sql, View(START_MS, END_MS, of_a_rule=True))


def test_all_and_an_empty_box_are_no_condition() -> None:
    """`All` is not a list of everything that exists."""
    assert expand(one_of("platform", "p"), view(p=ALL)) == "1=1"
    assert expand(equals("actor", "a"), view(a="")) == "1=1"


def test_a_condition_that_the_plugin_would_splice_wrongly_is_refused() -> None:
    """String.replace gives $' and $& a meaning."""
    with pytest.raises(BadQuery, match="splices"):
        expand("$__conditionalAll(match(a, 'foo$'), $p)", view(p="x"))


@given(st.text(), st.text())
def test_no_value_leaves_its_place_in_the_safe_forms(first: str, second: str) -> None:
    """Between the quotes stands nothing that could end them, whatever the value is."""
    sql = expand(one_of("c", "v"), view(v=[first, second]))
    many = sql.split("splitByChar('&', '")[1].split("')), c)")[0]
    one = expand(equals("c", "v"), view(v=first)) if first else "decodeURLComponent('')"
    single = one.split("decodeURLComponent('")[1][:-2] if one != "1=1" else ""
    assert not set(many + single) & set("'\\\"`() \n\r\t\0")


def test_the_documented_forms_can_be_left_on_clickhouse() -> None:
    """Why `singlequote` and `sqlstring` are forbidden: the backslash escapes the quote that should end the text."""
    hostile = "\\') OR 1=1 --"
    assert formatted("v", [hostile], "singlequote").startswith("'\\\\'")
    assert formatted("v", [hostile], "sqlstring").startswith("'\\''")
