"""Versions of the rules: the shipped detectors or those of another module, some or all, with other thresholds."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import msgspec
from rua_common.errors import BadConfiguration

from rua_streams import detectors as shipped
from rua_streams.engine import Detector


@dataclass(frozen=True)
class Rules:
    """A version of the rules in words, so that another process can load the same.

    Attributes:
        name: what people call it.
        module: a `.py` file or the dotted name of a module with a tuple `DETECTORS`; the shipped ones if not given.
        ids: the detectors that are wanted; all if not given.
        changes: `detector.field=value`, later ones win.
    """

    name: str
    module: str | None = None
    ids: tuple[str, ...] | None = None
    changes: tuple[str, ...] = ()

    def load(self) -> tuple[Detector, ...]:
        """The detectors.

        Raises:
            BadConfiguration: there is no such module, detector or field, or a value does not fit; with what would.
        """
        found = {d.rule.id: d for d in detectors_of(self.module)}
        for change in self.changes:
            detector, field, text = parsed(change, found)
            found[detector] = changed(found[detector], field, text)
        wanted = tuple(found) if self.ids is None else self.ids
        for one in wanted:
            if one not in found:
                raise BadConfiguration(f"{one} is no detector", key="--detector", allowed=["all", *found])
        return tuple(d for d in found.values() if d.rule.id in wanted)


def detectors_of(module: str | None) -> Sequence[Detector]:
    """The detectors of a module.

    Raises:
        BadConfiguration: it cannot be loaded, or has none.
    """
    if module is None:
        return shipped.DETECTORS
    found = getattr(imported(module), "DETECTORS", None)
    if not isinstance(found, tuple | list) or not found or not all(is_detector(d) for d in found):
        raise BadConfiguration("it needs DETECTORS, a tuple of detectors (see CONTRIBUTING.md)", file=module)
    return found


def is_detector(one: Any) -> bool:
    """Whether it looks like one."""
    return all(hasattr(one, name) for name in ("rule", "judge", "reason", "__dataclass_fields__"))


def imported(module: str) -> ModuleType:
    """The module in a file, or of a dotted name."""
    try:
        if not module.endswith(".py"):
            return importlib.import_module(module)
        path = Path(module).resolve()
        name = f"rua_rules_{hashlib.blake2b(str(path).encode(), digest_size=8).hexdigest()}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"no module in {path}")
        sys.modules[name] = made = importlib.util.module_from_spec(spec)  # dataclasses look their module up
        spec.loader.exec_module(made)
    except Exception as why:  # whatever somebody else's module raises
        problem = f"cannot be loaded: {type(why).__name__}: {why}"
        raise BadConfiguration(problem, file=module, key="rules", allowed=["FILE.py", "a.module"]) from why
    return made


def parsed(change: str, known: Mapping[str, Detector]) -> tuple[str, str, str]:
    """Detector, field and value of `detector.field=value`.

    Raises:
        BadConfiguration: it is no such text, or names what does not exist.
    """
    place, equals, value = change.partition("=")
    detector, dot, field = place.strip().rpartition(".")
    if not equals or not dot:
        raise BadConfiguration(f"{change!r} is no change", key="--set", allowed=["DETECTOR.FIELD=VALUE"])
    if detector not in known:
        raise BadConfiguration(f"{detector} is no detector", key="--set", allowed=sorted(known))
    if field not in (own := thresholds(known[detector])):
        told = [f"{detector}.{name}={shown(now)}" for name, now in own.items()]
        raise BadConfiguration(f"{detector} has no threshold {field}", key="--set", allowed=told)
    return detector, field, value.strip()


def thresholds(detector: Detector) -> dict[str, Any]:
    """The fields of a detector that are numbers, not features, with their values."""
    values = {f.name: getattr(detector, f.name) for f in fields(detector)}  # type: ignore[arg-type]  # a detector is a dataclass
    return {name: value for name, value in values.items() if not hasattr(value, "advance")}


def changed(detector: Detector, field: str, text: str) -> Detector:
    """The detector with another value of one field. A single number for a ladder is its first step.

    Raises:
        BadConfiguration: the value does not fit.
    """
    now, hint = thresholds(detector)[field], get_type_hints(type(detector))[field]
    try:
        raw = json.loads(f"[{text}]" if isinstance(now, tuple) and not text.startswith("[") else text or '""')
        if isinstance(now, tuple) and len(raw) == 1:
            raw = [*raw, *now[1:]]
        value = msgspec.convert(raw, hint)
    except (ValueError, msgspec.ValidationError) as why:
        problem = f"{text!r} is not allowed: {why}"
        raise BadConfiguration(problem, key=place(detector, field), allowed=[f"such as {shown(now)}"]) from why
    if isinstance(now, tuple) and (len(value) < min(2, len(now)) or (ascends(now) and not ascends(value))):
        problem = f"{text!r} is not allowed: there must be at least two steps, none below the one before"
        raise BadConfiguration(problem, key=place(detector, field), allowed=[f"such as {shown(now)}"])
    return replace(detector, **{field: value})  # type: ignore[type-var]  # likewise


def ascends(values: Sequence[float]) -> bool:
    """Whether none is smaller than the one before."""
    return all(a <= b for a, b in pairwise(values))


def place(detector: Detector, field: str) -> str:
    """How a threshold is named."""
    return f"{detector.rule.id}.{field}"


def shown(value: Any) -> str:
    """A value as `--set` takes it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
