"""jmespath expressions over records that anybody may have written: compiled at start, bounded, never an exception."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jmespath
from jmespath.exceptions import JMESPathError, ParseError
from jmespath.functions import Functions, signature
from jmespath.visitor import Options

MAX_EXPRESSION = 1_024
MAX_PARTS = 100_000


class _Functions(Functions):
    """jmespath's own, and `split`, which it has not."""

    @signature({"types": ["string"]}, {"types": ["string"]})
    def _func_split(self, value: str, separator: str) -> list[str]:
        return value.split(separator, MAX_PARTS) if separator else [value]


_OPTIONS = Options(custom_functions=_Functions())


class Failed(NamedTuple):
    """What an expression gives that cannot be evaluated over this record."""


FAILED = Failed()


class Expression:
    """One compiled expression."""

    def __init__(self, written: str) -> None:
        """Compiles it.

        Raises:
            ValueError: it is none; says where it breaks, or which function there is not.
        """
        if len(written) > MAX_EXPRESSION:
            raise ValueError(f"longer than {MAX_EXPRESSION} characters")
        try:
            self._compiled = jmespath.compile(written)
        except ParseError as why:
            raise ValueError(f"column {(why.lex_position or 0) + 1} of {written!r}: {_first_line(why)}") from why
        for name, arguments in _calls(self._compiled.parsed):
            _check(name, arguments, written)

    def over(self, record: Mapping[str, Any]) -> Any:
        """Its value, None if there is none, FAILED if values are of types that it cannot use."""
        try:
            return self._compiled.search(record, _OPTIONS)
        except (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError):
            return FAILED  # whatever a record holds must not end the agent; the caller counts it


def _first_line(why: Exception) -> str:
    return str(why).partition("\n")[0].rstrip(":")


def _calls(node: Any) -> Iterator[tuple[str, int]]:
    """The functions that an expression calls, with how many arguments each."""
    if isinstance(node, Mapping):
        if node.get("type") == "function_expression":
            yield node["value"], len(node["children"])
        for child in node.get("children", ()):
            yield from _calls(child)


def _check(name: str, arguments: int, written: str) -> None:
    """Refuses here what jmespath itself would tell at the first record only."""
    known = _Functions.FUNCTION_TABLE
    if name not in known:
        raise ValueError(f"no function is called {name} in {written!r}; there are {', '.join(sorted(known))}")
    wanted = known[name]["signature"]
    variadic = bool(wanted) and bool(wanted[-1].get("variadic"))
    if arguments < len(wanted) or (arguments > len(wanted) and not variadic):
        raise ValueError(f"{name}() takes {len(wanted)} arguments, not {arguments}, in {written!r}")
