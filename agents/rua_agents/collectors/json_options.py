"""Options of the generic JSON source, checked at start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec
from rua_common.settings import Struct
from rua_schemas.events import Action, ActorType, Kind, Outcome, Privilege, Quality

from rua_agents.collectors.json_expressions import Expression

Field = Literal[
    "occurred_at",
    "operation",
    "outcome",
    "actor",
    "merchant",
    "app",
    "address",
    "session",
    "dataset",
    "destination",
    "rows",
    "bytes",
    "subjects",
    "tool",
    "ticket",
]
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,31}")
MAX_LABELS = 16


class Meaning(Struct, frozen=True):
    """What sort of event an operation is."""

    kind: Kind = "unknown"
    action: Action = "unknown"


class Listed(Struct, frozen=True):
    """A number that is the length of a list."""

    source: str = msgspec.field(name="from")
    """Expression: a JSON list, or text with separators."""
    separator: str = ";"
    distinct: bool = True
    """Whether equal items count once."""
    quality: Quality = "exact"

    def __post_init__(self) -> None:
        """Checks what a type cannot say."""
        if not self.separator:
            raise ValueError("separator: one character at least")


class Constants(Struct, frozen=True):
    """What is the same for every event of the source, where the record does not tell it."""

    kind: Kind = "unknown"
    action: Action = "unknown"
    outcome: Outcome = "unknown"
    actor_type: ActorType = "unknown"
    privilege: Privilege = "unknown"
    channel: str = "api"
    merchant: str | None = None
    app: str | None = None
    dataset: str | None = None
    tool: str | None = None
    pii_categories: list[str] = msgspec.field(default_factory=list)
    destination: str | None = None
    """Where exports go; by default to the client's network."""
    destination_external: bool | None = None


class JsonOptions(Struct, frozen=True):
    """Options."""

    preset: Literal["plain", "order-access"] = "plain"
    """A ready mapping; what is given beside it goes before it."""
    layout: Literal["lines", "array", "wrapped"] = "lines"
    """One object a line; objects of an array; objects of arrays in one enclosing object."""
    when: str | None = None
    """Expression: records (with `each` items) for which it is false, empty or null are no events."""
    each: str | None = None
    """Expression: a list of which every item is an event. Expressions see the record, and the item as `each`."""
    map: dict[Field, str] = msgspec.field(default_factory=dict)
    """Field of an event → expression."""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    """Label → expression. Numbers, addresses and tokens are replaced in its value."""
    lists: dict[Literal["rows", "subjects"], Listed] = msgspec.field(default_factory=dict)
    kinds: dict[str, Meaning] = msgspec.field(default_factory=dict)
    """Operation, or a word of it → kind and action."""
    outcomes: dict[str, Outcome] = msgspec.field(default_factory=dict)
    """Text of `outcome` → outcome. HTTP status codes, true and false are known."""
    constants: Constants | None = None
    bulk_rows: int | None = None
    """From so many rows on, a read is a bulk query; 1000, for order-access 100."""

    def __post_init__(self) -> None:
        """Compiles every expression once.

        Raises:
            ValueError: names the option and what is wrong with it.
        """
        for option, written in self._written().items():
            try:
                Expression(written)
            except ValueError as why:
                raise ValueError(f"{option}: {why}") from why
        wrong = [name for name in self.labels if not _LABEL.fullmatch(name)]
        if wrong or len(self.labels) > MAX_LABELS:
            raise ValueError(f"labels: at most {MAX_LABELS} names of lower-case letters, digits and _ {wrong or ''}")
        if self.bulk_rows is not None and self.bulk_rows < 1:
            raise ValueError("bulk_rows: 1 or more")

    def _written(self) -> Mapping[str, str]:
        """Every expression, by the option that holds it."""
        found = {"when": self.when, "each": self.each}
        found |= {f"map.{field}": written for field, written in self.map.items()}
        found |= {f"labels.{name}": written for name, written in self.labels.items()}
        found |= {f"lists.{name}.from": one.source for name, one in self.lists.items()}
        return {option: written for option, written in found.items() if written is not None}
