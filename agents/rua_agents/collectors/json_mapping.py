"""One record to the facts of its events, as the options map them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from rua_schemas.events import Outcome, Quality

from rua_agents import labels
from rua_agents.collectors.json_expressions import FAILED, MAX_PARTS, Expression
from rua_agents.collectors.json_options import Constants, Field, JsonOptions, Listed, Meaning
from rua_agents.collectors.json_presets import laid_over
from rua_agents.collectors.json_values import listed, number, text
from rua_agents.times import BadTime, checked, epoch_seconds_ms, stamp_ms

T = TypeVar("T")
FIRST_MILLISECOND = 100_000_000_000
"""A number from here on counts milliseconds (this one is in 1973), below it seconds (that one is in the year 5138)."""
MAX_OPERATION_WORDS = 16


class Count(NamedTuple):
    """How many, and how well that is known."""

    value: int | None = None
    quality: Quality = "unknown"


class Item:
    """One event's values; counts those that are not of the type that they must have."""

    def __init__(self, rules: Rules, context: Mapping[str, Any]) -> None:
        self._rules, self._context = rules, context
        self.wrong = 0

    def text(self, field: Field) -> str | None:
        """A text, or a whole number as one."""
        return self._of_type(self._value(field), text)

    def count(self, field: Field) -> Count:
        """A number: the length of a list if the options say so, else what is told."""
        if field in self._rules.lists:
            how, expression = self._rules.lists[field]
            found = self._of_type(expression.over(self._context), lambda value: _length(value, how))
            return Count() if found is None else Count(found, "lower_bound" if found > MAX_PARTS else how.quality)
        told = self._of_type(self._value(field), number)
        return Count() if told is None else Count(told, "exact")

    def time_ms(self, zone: ZoneInfo | None) -> int:
        """When it happened.

        Raises:
            BadTime: nobody can tell.
        """
        return moment_ms(self._value("occurred_at"), zone)

    def outcome(self) -> Outcome:
        """By the options' own words, an HTTP status, or true and false."""
        value = self._value("outcome")
        if isinstance(value, bool):
            return "ok" if value else "failed"
        told = self._of_type(value, text)
        if told is None:
            return self._rules.constants.outcome
        known = self._rules.outcomes.get(told.lower())
        if known is None and told.isdigit():
            status = int(told[:4])
            return "denied" if status in (401, 403) else "failed" if status >= 400 else "ok"
        return known or _OUTCOMES.get(told.lower(), "unknown")

    def meaning(self) -> Meaning:
        """Of the operation as a whole, or of its first word that is known; else the options' constant."""
        constant = Meaning(kind=self._rules.constants.kind, action=self._rules.constants.action)
        operation = (self.text("operation") or "").lower()
        words = operation.replace("_", " ").replace("-", " ").split()[:MAX_OPERATION_WORDS]
        return next((self._rules.kinds[one] for one in (operation, *words) if one in self._rules.kinds), constant)

    def holds(self, condition: Expression) -> bool:
        """Whether it does, as jmespath takes it: empty things are false, 0 is not."""
        value = condition.over(self._context)
        return value is not FAILED and value is not None and value is not False and value not in ("", [], {})

    def labels(self) -> Iterator[tuple[str, str]]:
        """The options' own labels."""
        for name, expression in self._rules.labels.items():
            told = self._of_type(expression.over(self._context), text)
            if told is not None:
                yield name, labels.segment_shape(told)[: labels.MAX_CHARACTERS]

    def _value(self, field: Field) -> Any:
        expression = self._rules.fields.get(field)
        return None if expression is None else expression.over(self._context)

    def _of_type(self, value: object, read: Callable[[object], T | None]) -> T | None:
        found = None if value is FAILED else read(value)
        self.wrong += found is None and value is not None and value != ""
        return found


class Rules:
    """The compiled options."""

    def __init__(self, options: JsonOptions) -> None:
        full = laid_over(options)
        self.constants: Constants = full.constants or Constants()
        self.fields = {field: Expression(written) for field, written in full.map.items()}
        self.labels = {name: Expression(written) for name, written in full.labels.items()}
        self.lists: dict[str, tuple[Listed, Expression]] = {
            name: (one, Expression(one.source)) for name, one in full.lists.items()
        }
        self.kinds, self.outcomes = full.kinds, full.outcomes
        self.bulk_rows = full.bulk_rows or 0
        self._when = Expression(full.when) if full.when else None
        self._each = Expression(full.each) if full.each else None

    def items(self, record: Mapping[str, Any]) -> Iterator[Item]:
        """The items of a record: itself, or those of its list."""
        if self._each is None:
            yield Item(self, record)
            return
        found = self._each.over(record)
        if found is not None and found is not FAILED:
            yield from (Item(self, {**record, "each": one}) for one in listed(found))

    def wanted(self, record: Mapping[str, Any], *, cut: bool) -> Iterator[Item]:
        """Those of them that are events; of a record that was cut before its list, the record itself."""
        items = self.items(record)
        first = next(items, Item(self, record) if cut else None)
        every = chain([first] if first else [], items)
        return (item for item in every if self._when is None or item.holds(self._when))


_OUTCOMES: Mapping[str, Outcome] = {
    **dict.fromkeys(("ok", "success", "succeeded", "allowed", "granted", "true", "done"), "ok"),
    **dict.fromkeys(("denied", "forbidden", "unauthorized", "rejected", "refused"), "denied"),
    **dict.fromkeys(("failed", "failure", "error", "false"), "failed"),
    **dict.fromkeys(("aborted", "cancelled", "canceled", "timeout"), "aborted"),
}


def moment_ms(value: object, zone: ZoneInfo | None) -> int:
    """Seconds or milliseconds since the epoch, as number or digits, or a stamp; without an offset in the source's zone.

    Raises:
        BadTime: it is none of these.
    """
    if isinstance(value, str) and not value.strip().lstrip("-").replace(".", "", 1).isdigit():
        return stamp_ms(value.strip(), zone)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadTime("no time")
    try:
        told = float(value)
    except (ValueError, OverflowError) as why:
        raise BadTime("no number") from why
    return checked(round(told)) if FIRST_MILLISECOND <= abs(told) < 1e15 else epoch_seconds_ms(told)


def _length(value: object, how: Listed) -> int | None:
    """How many items: of a list, or of a text between separators. None if it is neither, or empty."""
    if isinstance(value, str):
        value = value.split(how.separator, MAX_PARTS)
    if not isinstance(value, list):
        return None
    items = [one for one in (text(item) for item in value[: MAX_PARTS + 1]) if one is not None]
    return (len(set(items)) if how.distinct else len(items)) or None
