"""YAML into frozen structs. An error names file, line, key and the allowed values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from rua_common.errors import BadConfiguration

T = TypeVar("T")
_PATH = re.compile(r" - at `\$?(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all settings: frozen, and an unknown key is an error."""


def load(path: Path, kind: type[T]) -> T:
    """Reads a YAML file as `kind`.

    Raises:
        BadConfiguration: unreadable file, invalid YAML, unknown or missing key, wrong type or value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as why:
        raise BadConfiguration(f"cannot be read: {why}", file=str(path)) from why
    return parse(text, kind, file=str(path))


def parse(text: str, kind: type[T], *, file: str) -> T:
    """As `load`, from a text that came from `file`."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.MarkedYAMLError as why:
        line = why.problem_mark.line + 1 if why.problem_mark else None
        raise BadConfiguration(f"not valid YAML: {why.problem}", file=file, line=line) from why
    except yaml.YAMLError as why:
        raise BadConfiguration(f"not valid YAML: {why}", file=file) from why
    _refuse_duplicates(node, file)
    try:
        return msgspec.convert({} if raw is None else raw, kind)
    except msgspec.ValidationError as why:
        message = str(why)
        found = _PATH.search(message)
        steps = [a or b for a, b in _STEP.findall(found["path"])] if found else []
        problem = message[: found.start()] if found else message
        named = re.search(r"field `([^`]*)`", problem)
        unknown = problem.startswith("Object contains unknown field")
        line = _line(node, steps, named[1] if unknown and named else None)
        key = ".".join([*steps, *([named[1]] if named else [])]) or None
        allowed = _allowed(kind, steps, unknown=unknown)
        text_ = "unknown key" if unknown else "missing" if "missing required field" in problem else problem
        raise BadConfiguration(text_, file=file, line=line, key=key, allowed=allowed) from why


def _refuse_duplicates(node: yaml.Node | None, file: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, file)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for name, value in node.value:
            if name.value in seen:
                raise BadConfiguration("given twice", file=file, line=name.start_mark.line + 1, key=str(name.value))
            seen.add(name.value)
            _refuse_duplicates(value, file)


def _line(node: yaml.Node | None, steps: Sequence[str], key: str | None) -> int | None:
    """The line of the deepest node on the way that exists."""
    if node is None:
        return 1
    for step in [*steps, *([key] if key else [])]:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if name.value == step:
                    found = name if step == key else value
        elif isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
            found = node.value[int(step)]
        if found is None:
            break
        node = found
    return int(node.start_mark.line) + 1


def _allowed(kind: Any, steps: Sequence[str], *, unknown: bool) -> list[str]:
    """Keys of the struct, or members of the choice, at the place of the error."""
    at = msgspec.inspect.type_info(kind)
    for step in steps:
        at = _descend(at, step)
    if isinstance(at, msgspec.inspect.StructType):
        return [f.encode_name for f in at.fields] if unknown else []
    for one in at.types if isinstance(at, msgspec.inspect.UnionType) else (at,):
        if isinstance(one, msgspec.inspect.LiteralType):
            return [str(v) for v in one.values]
        if isinstance(one, msgspec.inspect.EnumType):
            return [str(v.value) for v in one.cls]
        if isinstance(one, msgspec.inspect.IntType | msgspec.inspect.FloatType) and (one.ge, one.le) != (None, None):
            return [_range(one.ge, one.le)]
    return []


def _range(least: float | None, most: float | None) -> str:
    """`1024 to 268435456`, or only one end of it."""
    if least is None or most is None:
        return f"at most {most:g}" if least is None else f"{least:g} or more"
    return f"{least} to {most}"


def _descend(at: msgspec.inspect.Type, step: str) -> msgspec.inspect.Type:
    for one in at.types if isinstance(at, msgspec.inspect.UnionType) else (at,):
        if isinstance(one, msgspec.inspect.StructType):
            for field in one.fields:
                if field.encode_name == step:
                    return field.type
        if isinstance(one, msgspec.inspect.DictType):
            return one.value_type
        if isinstance(one, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
            return one.item_type
    return msgspec.inspect.AnyType()
