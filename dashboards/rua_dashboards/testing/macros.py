"""What Grafana and its ClickHouse plugin make of a query before the database sees it.

In this order. Browser: `$__conditionalAll`, then `${variable:format}`. Server: comments away, then `$__macros`, the
innermost first. Alert rules never pass through a browser.
Behaviour of plugin 4.20, from its documentation and its published test vectors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

ALL = "$__all"
Value = str | Sequence[str]
_CALL = "$__conditionalAll("
_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)")
_COMMENT_OR_TEXT = re.compile(
    r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|`(?:\\.|[^`\\])*`|(?P<comment>--[^\n]*|/\*.*?\*/)", re.DOTALL
)
_SPLICED = re.compile(r"\$['&`$]")


class BadQuery(ValueError):
    """The query would fail, or mean something else than was written."""


@dataclass(frozen=True)
class View:
    """What the person looks at. `variables`: name to value, list of values, `ALL`, or "" for an empty text box."""

    start_ms: int
    end_ms: int
    interval_seconds: int = 300
    variables: Mapping[str, Value] = field(default_factory=dict)
    of_a_rule: bool = False


def expand(sql: str, view: View) -> str:
    """The SQL as the database gets it.

    Raises:
        BadQuery: unknown macro or variable, wrong arguments, or something in a rule that only a browser knows.
    """
    if view.of_a_rule:
        if found := re.search(r"\$\{|\$(?!__)\w|\$__(?:conditionalAll|adHocFilters)", sql):
            raise BadQuery(f"an alert rule knows no {found[0]}…: only a browser does")
    else:
        sql = _variables(_conditions(sql, view.variables), view.variables)
    return _macros(_without_comments(sql), view)


def _conditions(sql: str, variables: Mapping[str, Value]) -> str:
    while (start := sql.rfind(_CALL)) >= 0:
        arguments, end = _arguments(sql, start + len(_CALL) - 1)
        if len(arguments) != 2:
            raise BadQuery(f"$__conditionalAll takes a condition and a variable, not {arguments}")
        condition, variable = arguments
        if _SPLICED.search(condition):
            raise BadQuery(f"the plugin splices with String.replace, which changes $' $& $` $$: {condition}")
        value = _value(variable.strip("${}").split(":")[0], variables)
        everything = value in ("", ALL) or value == [ALL]
        sql = sql[:start] + ("1=1" if everything else condition) + sql[end + 1 :]
    return sql


def _variables(sql: str, variables: Mapping[str, Value]) -> str:
    def replaced(match: re.Match[str]) -> str:
        name, style = match[1] or match[3], match[2]
        return match[0] if name.startswith("__") else formatted(name, _value(name, variables), style)

    return _VARIABLE.sub(replaced, sql)


def formatted(name: str, value: Value, style: str | None) -> str:
    """Grafana's own formats. `singlequote` and `sqlstring` leave the backslash alone: that is why we use neither."""
    values = [value] if isinstance(value, str) else list(value)
    if style == "queryparam":
        return "&".join(f"var-{name}={_encoded(v)}" for v in values)
    if style == "percentencode":
        return _encoded(value) if isinstance(value, str) else _encoded("{" + ",".join(values) + "}")
    if style == "singlequote":
        return ",".join("'" + v.replace("'", "\\'") + "'" for v in values)
    if style == "sqlstring":
        return ",".join("'" + v.replace("'", "''") + "'" for v in values)
    if style in (None, "raw") and isinstance(value, str):
        return value
    if style is None:
        return "'" + "','".join(values) + "'"
    raise BadQuery(f"format :{style} is not modelled here")


def _encoded(text: str) -> str:
    """`encodeURIComponent`, and `!'()*` as well."""
    return quote(text, safe="-_.~")


def _value(name: str, variables: Mapping[str, Value]) -> Value:
    if name not in variables:
        raise BadQuery(f"unknown variable {name}")
    return variables[name]


def _without_comments(sql: str) -> str:
    return _COMMENT_OR_TEXT.sub(lambda m: " " if m["comment"] else m[0], sql)


def _arguments(sql: str, opening: int) -> tuple[list[str], int]:
    """The arguments of the call whose parenthesis opens at `opening`, and where it closes."""
    found, depth, start, at = list[str](), 0, opening + 1, opening
    while at < len(sql):
        sign = sql[at]
        if sign in "'`\"":
            at = _text_end(sql, at)
        elif sign in "([":
            depth += 1
        elif sign in ")]":
            depth -= 1
            if depth == 0:
                found.append(sql[start:at].strip())
                return ([] if found == [""] else found), at
        elif sign == "," and depth == 1:
            found.append(sql[start:at].strip())
            start = at + 1
        at += 1
    raise BadQuery(f"a parenthesis is not closed: {sql[opening : opening + 40]}")


def _text_end(sql: str, opening: int) -> int:
    at = opening + 1
    while at < len(sql) and sql[at] != sql[opening]:
        at += 2 if sql[at] == "\\" else 1
    return at


def _macros(sql: str, view: View) -> str:
    known = _known(view)
    while calls := list(re.finditer(r"\$__(\w+)", sql)):
        call = calls[-1]
        if call[1] not in known:
            raise BadQuery(f"unknown macro {call[0]}: it would reach the database as it stands")
        wanted, text = known[call[1]]
        arguments, end = list[str](), call.end() - 1
        if wanted or sql[call.end() : call.end() + 1] == "(":
            arguments, end = _arguments(sql, call.end())
        if len(arguments) != wanted:
            raise BadQuery(f"{call[0]} takes {wanted} arguments, not {len(arguments)}")
        sql = sql[: call.start()] + text(*arguments) + sql[end + 1 :]
    return sql


def _known(view: View) -> Mapping[str, tuple[int, Callable[..., str]]]:
    start, end, step = view.start_ms // 1_000, view.end_ms // 1_000, max(view.interval_seconds, 1)
    first, last = _day(view.start_ms), _day(view.end_ms)
    exact = (f"fromUnixTimestamp64Milli({view.start_ms})", f"fromUnixTimestamp64Milli({view.end_ms})")
    return {
        "fromTime": (0, lambda: f"toDateTime({start})"),
        "toTime": (0, lambda: f"toDateTime({end})"),
        "fromTime_ms": (0, lambda: exact[0]),
        "toTime_ms": (0, lambda: exact[1]),
        "timeFilter": (1, lambda c: f"{c} >= toDateTime({start}) AND {c} <= toDateTime({end})"),
        "timeFilter_ms": (1, lambda c: f"{c} >= {exact[0]} AND {c} <= {exact[1]}"),
        "dateFilter": (1, lambda c: f"{c} >= toDate('{first}') AND {c} <= toDate('{last}')"),
        "timeFrom": (1, lambda c: f"{c} >= toDateTime({start})"),
        "timeTo": (1, lambda c: f"{c} <= toDateTime({end})"),
        "timeInterval": (1, lambda c: f"toStartOfInterval(toDateTime({c}), INTERVAL {step} second)"),
        "interval_s": (0, lambda: str(step)),
    }


def _day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1_000, UTC):%Y-%m-%d}"
