"""Counting an export where it is made: `with export(…) as e`, `async with`, or as a decorator."""

from __future__ import annotations

import functools
import inspect
import json
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, TypeVar

from rua_agents.sdk.client import client
from rua_agents.sdk.subjects import Distinct

T = TypeVar("T")
MOST_CHARACTERS, MOST_WORD_CHARACTERS = 512, 64
"""Of a text, of a category; longer ones are cut."""
MOST_CATEGORIES = 32
MOST_NUMBER = 1 << 62


class Export:
    """One export, as `export` names it; counts while it is entered."""

    _rows: int | None
    _bytes: int | None
    _distinct: Distinct | None

    def __init__(self, facts: dict[str, object], subjects_of: Callable[[Any], object] | None) -> None:
        self._facts, self._subjects_of = facts, subjects_of
        self._begin()

    def add(self, *, rows: int = 0, bytes: int = 0, subjects: int | None = None) -> None:  # noqa: A002 - as it is asked for
        """So many more have left. `subjects`: different people among them, as far as the caller knows."""
        try:
            if rows:
                self._rows = (self._rows or 0) + int(rows)
            if bytes:
                self._bytes = (self._bytes or 0) + int(bytes)
            if subjects is not None:
                self._subjects_added.append(int(subjects))
        except Exception:  # no number after all
            count_fault()

    def rows(self, records: Sized | int) -> None:
        """These records leave: a list (or anything with a length), or how many they are."""
        try:
            self._rows = (self._rows or 0) + (records if isinstance(records, int) else len(records))
            if self._distinct is not None and isinstance(records, Iterable):
                for record in records:
                    self._subject(record)
        except Exception:  # of the caller's own object; what it does to the caller must not depend on our counting
            count_fault()

    def count(self, records: Iterable[T]) -> Iterator[T]:
        """The same records, counted as they pass; bytes and texts count as bytes, everything else as rows."""
        for record in records:
            self._passed(record)
            yield record

    async def acount(self, records: AsyncIterable[T]) -> AsyncIterator[T]:
        """As `count`, of what comes asynchronously."""
        async for record in records:
            self._passed(record)
            yield record

    def __enter__(self) -> Export:
        self._begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None) -> None:
        """Hands over what was counted; an exception goes on its way untouched."""
        outcome = "ok" if kind is None else "failed" if issubclass(kind, Exception) else "aborted"
        self._hand_over(outcome)

    async def __aenter__(self) -> Export:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None
    ) -> None:
        self.__exit__(kind, why, at)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """As a decorator: what the function returns is the export. A list counts by its length, bytes by theirs."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*given: Any, **named: Any) -> Any:
                with Export(self._facts, self._subjects_of) as one:
                    return one._returned(await function(*given, **named))

            return awaited

        @functools.wraps(function)
        def called(*given: Any, **named: Any) -> Any:
            with Export(self._facts, self._subjects_of) as one:
                return one._returned(function(*given, **named))

        return called

    def _begin(self) -> None:
        self._began_ns, self._began = time.time_ns(), time.perf_counter()
        self._rows = self._bytes = None
        self._subjects_added: list[int] = []
        self._distinct = None if self._subjects_of is None else Distinct()

    def _passed(self, record: object) -> None:
        if isinstance(record, (bytes, bytearray, memoryview)):
            self._bytes = (self._bytes or 0) + len(record)
        elif isinstance(record, str):
            self._bytes = (self._bytes or 0) + (
                len(record) if record.isascii() else len(record.encode(errors="replace"))
            )
        else:
            self._rows = (self._rows or 0) + 1
            self._subject(record)

    def _subject(self, record: object) -> None:
        if self._distinct is None or self._subjects_of is None:
            return
        try:
            key = self._subjects_of(record)
            if key is not None:
                self._distinct.add(key)
        except Exception:  # the caller's function, or a key without a text: the number is unknown, the export goes on
            self._distinct = None

    def _returned(self, value: Any) -> Any:
        if isinstance(value, (bytes, bytearray, str)):
            self._passed(value)
        elif isinstance(value, Sized):
            self.rows(value)
        return value

    def _hand_over(self, outcome: str) -> None:
        """Nothing that goes wrong here may reach the caller."""
        try:
            told = json.dumps(self._told(outcome), separators=(",", ":"), ensure_ascii=False)
            client().put(told.encode("utf-8", "replace"))
        except Exception:  # whatever it is, the caller's export is not ours to fail; the fault is counted and told
            count_fault()

    def _told(self, outcome: str) -> dict[str, object]:
        told = {name: _plain(value) for name, value in self._facts.items() if value is not None}
        told["began_ms"] = self._began_ns // 1_000_000
        told["took_ms"] = int((time.perf_counter() - self._began) * 1_000)
        told["outcome"] = outcome
        # what was counted may not have arrived where the export broke off
        exact = "exact" if outcome == "ok" else "upper_bound"
        if self._rows is not None:
            told["rows"], told["rows_quality"] = self._rows, exact
        if self._bytes is not None:
            told["bytes"], told["bytes_quality"] = self._bytes, exact
        told.update(self._subjects(exact))
        return told

    def _subjects(self, exact: str) -> dict[str, object]:
        """Those of the key function; else those that the caller added: several numbers may name the same people."""
        if self._distinct is not None and (self._rows is not None or self._distinct.count):
            quality = exact if self._distinct.exact else "estimated"
            return {"subjects": self._distinct.count, "subjects_quality": quality}
        if self._subjects_added:
            quality = exact if len(self._subjects_added) == 1 else "upper_bound"
            return {"subjects": sum(self._subjects_added), "subjects_quality": quality}
        return {}


faults = 0
"""How many exports could not be handed over because of a fault of this module."""


def count_fault() -> None:
    """Counts one."""
    global faults  # noqa: PLW0603 - a process's own count
    faults += 1


def export(
    *,
    dataset: object,
    actor: object = None,
    merchant: object = None,
    app: object = None,
    destination: object = None,
    subjects_of: Callable[[Any], object] | None = None,
    action: str = "export",
    actor_type: str | None = None,
    external: bool | None = None,
    categories: Iterable[str] | None = None,
    address: object = None,
    session: object = None,
    ticket: object = None,
) -> Export:
    """An export of personal data, counted while its `with` block runs.

    Args:
        dataset: what is exported: a table, a report's name, a path.
        actor: who asked for it: a user's id or name. Leaves this host as a pseudonym only.
        merchant: whose data, as the platform's registry numbers merchants.
        app: which third-party app gets it, likewise.
        destination: where it goes: a URL, a file, an address of the network.
        subjects_of: key of the person that a record is about; counts different people.
        action: `export`, or `transfer` to another system, `read`, `query`, `delete`, `alter`.
        actor_type: `interactive`, `service`, `app`, `merchant`.
        external: whether the destination is outside the platform.
        categories: what kinds of personal data: `name`, `phone`, `address` …
        address: the actor's address in the network.
        session: the actor's session.
        ticket: what allows it, e.g. `INC-4711`.
    """
    facts = {
        "dataset": dataset,
        "actor": actor,
        "merchant": merchant,
        "app": app,
        "destination": destination,
        "action": action,
        "actor_type": actor_type,
        "external": external,
        "categories": categories,
        "address": address,
        "session": session,
        "ticket": ticket,
    }
    return Export(facts, subjects_of)


def _plain(value: object) -> object:
    """What JSON can hold; a value without a text costs itself, not the export."""
    try:
        if isinstance(value, int) and abs(value) < MOST_NUMBER:
            return value
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_text(one)[:MOST_WORD_CHARACTERS] for one in list(value)[:MOST_CATEGORIES]]
        return _text(value)
    except Exception:  # the caller's own object made a text of itself, and failed; the fault is counted and told
        count_fault()
        return None


def _text(value: object) -> str:
    """Cut, and without what would take six bytes each: whatever is in it, it fits into a frame."""
    text = str(value)[:MOST_CHARACTERS]
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)
