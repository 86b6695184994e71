"""JSON as log writers write it: what a cut record still tells."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st
from rua_agents.jsontext import MAX_CUT_DEPTH, NotJson, read_object

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\N{REPLACEMENT CHARACTER}"), max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def cut(text: str) -> dict[str, Any]:
    """What these bytes tell."""
    return read_object(text.encode("utf-8", "surrogatepass"), truncated=True)[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": {"b": 1, "c": "xy', {"a": {"b": 1, "c": "xy"}}),
        ('{"a": {"b": [1], "c": [1, 2', {"a": {"b": [1]}}),
        ('{"a": {"b": tr', {"a": {}}),
        ('{"a": 1, "b', {"a": 1}),
        ('{"a": "x\\u00e', {"a": "x"}),
        ('{"a": {"b": 5200', {"a": {}}),
        ('{"a": {"b": 52.', {"a": {}}),
        ('{"a": {"b": 52 ', {"a": {"b": 52}}),
    ],
)
def test_a_cut_object_tells_what_stands_before_the_cut(text: str, told: dict[str, Any]) -> None:
    """In nested objects too; a number that touches the cut, or a list, may have been a larger one."""
    assert cut(text) == told


def _fits(part: Any, whole: Any) -> bool:
    """Whether all that the part tells, the whole tells."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and _fits(one, whole[key]) for key, one in part.items())
    if isinstance(part, str):  # half of a surrogate pair is replaced
        part = part.rstrip("\N{REPLACEMENT CHARACTER}")
    return whole.startswith(part) if isinstance(part, str) and isinstance(whole, str) else part == whole


@given(st.dictionaries(TEXTS, VALUES, max_size=4), st.data())
def test_wherever_it_is_cut_nothing_is_told_that_was_not_written(whole: dict[str, Any], data: st.DataObject) -> None:
    """No number is smaller than it was, no name belongs to another key."""
    text = json.dumps(whole)
    at = data.draw(st.integers(1, len(text)))
    assert _fits(cut(text[:at]), whole)


@pytest.mark.parametrize("unit", ["[", '{"a":', '[{"a":', "[1,", '"', "{", "1"])
def test_a_cut_object_of_any_shape_takes_little_time(unit: str) -> None:
    """It is looked into to a fixed depth; what is deeper is not told."""
    assert isinstance(cut('{"a": ' + unit * 100_000), dict)
    deep = cut('{"a":' * (MAX_CUT_DEPTH + 5) + '"x')
    assert str(deep).count("a") <= MAX_CUT_DEPTH + 1


def test_what_is_no_object_is_refused() -> None:
    """Cut or not."""
    for text in ("", "[1", "x", '"a"'):
        with pytest.raises(NotJson):
            cut(text)
