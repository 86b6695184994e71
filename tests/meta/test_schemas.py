"""The contract holds together: schemas, releases, types, examples and topics say the same."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import fastavro
import msgspec
import pytest
from rua_schemas import events, topics
from rua_schemas.codec import decode, encode
from rua_schemas.columns import ColumnCodec
from rua_schemas.compat import enum_default, full_transitive
from rua_schemas.events import Record, TelemetryEvent
from rua_schemas.released import FILES, HERE, Schema, current, released

from tests.records import comparable

KINDS = list(FILES)
EXAMPLES = sorted((HERE / "examples").rglob("*.json"))


def kind_of(example: Path) -> type[Record]:
    """The record that an example's folder is named after."""
    return next(kind for kind, folder in FILES.items() if folder == example.parent.name)


def read(example: Path) -> Record:
    """The record in an example."""
    record: Record = msgspec.json.decode(example.read_bytes(), type=kind_of(example))
    return record


@pytest.mark.parametrize("kind", KINDS)
def test_every_released_schema_reads_every_other(kind: type[Record]) -> None:
    """FULL_TRANSITIVE: agents and workers may be upgraded in any order."""
    assert full_transitive(released(kind)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_what_was_released_last(kind: type[Record]) -> None:
    """A change of avro/ is a new file in released/, never a change of one that is out."""
    folder = HERE / "released" / FILES[kind]
    numbers = sorted(int(path.stem) for path in folder.glob("*.avsc"))
    assert numbers == list(range(1, len(numbers) + 1))
    assert current(kind).avro == released(kind)[-1].avro, (
        f"copy avro/{FILES[kind]}.avsc to {folder.name}/{len(numbers) + 1}.avsc"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_twice_would_be_no_version(kind: type[Record]) -> None:
    """Fingerprints tell writers apart, so a release that reads the same must not be a release."""
    marks = [schema.fingerprint for schema in released(kind)]
    assert len(set(marks)) == len(marks)


def changed(**change: Any) -> Schema:
    """The event's schema with one field replaced, dropped (None) or added."""
    fields: dict[str, Any] = {f["name"]: f for f in current(TelemetryEvent).avro["fields"]} | change
    return Schema.of({**current(TelemetryEvent).avro, "fields": [f for f in fields.values() if f is not None]})


def kind_enum(**change: Any) -> dict[str, Any]:
    """The field `kind` with its enum changed."""
    field = next(f for f in current(TelemetryEvent).avro["fields"] if f["name"] == "kind")
    enum = {k: v for k, v in {**field["type"], **change}.items() if v is not None}
    return {**field, "type": enum}


BROKEN = {
    "a field without default": changed(risk={"name": "risk", "type": "long"}),
    "a field without default is dropped": changed(event_id=None),
    "a wider type": changed(key_epoch={"name": "key_epoch", "type": "long"}),
    "a field that may become null": changed(source={"name": "source", "type": ["null", "string"], "default": None}),
    "another type": changed(rows={"name": "rows", "type": ["null", "string"], "default": None}),
    "a logical type": changed(
        occurred_at={"name": "occurred_at", "type": {"type": "long", "logicalType": "timestamp-millis"}}
    ),
    "a map": changed(labels={"name": "labels", "type": {"type": "map", "values": "string"}, "default": {}}),
    "an array of nothing": changed(
        more={
            "name": "more",
            "type": {"type": "array", "items": {"type": "record", "name": "Nothing", "fields": []}},
            "default": [],
        }
    ),
    "a union of three": changed(more={"name": "more", "type": ["null", "string", "long"], "default": None}),
    "an array in an array": changed(
        more={
            "name": "more",
            "type": {"type": "array", "items": {"type": "array", "items": "string"}},
            "default": [],
        }
    ),
    "a nested field": changed(
        labels={
            "name": "labels",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Label",
                    "fields": [{"name": "key", "type": "string"}, {"name": "value", "type": ["null", "string"]}],
                },
            },
            "default": [],
        }
    ),
}


@pytest.mark.parametrize("broken", list(BROKEN.values()), ids=list(BROKEN))
def test_the_guard_refuses_a_breaking_change(broken: Schema) -> None:
    """The broken twins: each would stop somebody from reading somebody."""
    assert full_transitive([current(TelemetryEvent), broken])


def test_the_guard_refuses_new_symbols_where_there_is_no_default() -> None:
    """Without a default an unknown symbol could only be refused or, worse, become another."""
    old, new = (
        changed(kind=kind_enum(default=None)),
        changed(kind=kind_enum(symbols=["unknown", "brand_new"], default=None)),
    )
    assert any("brand_new: unknown" in why for why in full_transitive([old, new]))


def test_the_guard_lets_good_changes_pass() -> None:
    """A new nullable field, a new symbol with a default, one gone that had a default."""
    more = {"name": "risk", "type": ["null", "double"], "default": None}
    symbols = [*kind_enum()["type"]["symbols"], "brand_new"]
    assert (
        full_transitive([current(TelemetryEvent), changed(risk=more, ticket=None, kind=kind_enum(symbols=symbols))])
        == []
    )


def avro_of(annotation: Any) -> Any:
    """The plain Avro type that a field's type in events.py stands for, integers as `long`."""
    if get_origin(annotation) is Literal:
        return {"symbols": list(get_args(annotation))}
    if get_origin(annotation) is tuple:
        return {"items": avro_of(get_args(annotation)[0])}
    arguments = get_args(annotation)
    if arguments:
        return ["null", avro_of(next(a for a in arguments if a is not type(None)))]
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return {name: avro_of(inner) for name, inner in hints(annotation).items()}
    return {str: "string", int: "long", float: "double", bool: "boolean", bytes: "bytes"}[annotation]


def hints(kind: type[Any]) -> dict[str, Any]:
    """Field names and types, in order."""
    resolved = {field.name: field.type for field in msgspec.structs.fields(kind)}
    return {name: resolved[name] for name in kind.__struct_fields__}


def reduced(avro: Any) -> Any:
    """A plain Avro type in the words of `avro_of`."""
    if isinstance(avro, list):
        return [reduced(one) for one in avro]
    if not isinstance(avro, Mapping):
        return "long" if avro == "int" else avro
    if avro["type"] == "enum":
        return {"symbols": avro["symbols"]}
    if avro["type"] == "array":
        return {"items": reduced(avro["items"])}
    return {f["name"]: reduced(f["type"]) for f in avro["fields"]}


@pytest.mark.parametrize("kind", KINDS)
def test_types_mirror_the_schema_field_by_field(kind: type[Record]) -> None:
    """Names, order, types, symbols and defaults."""
    fields = current(kind).plain["fields"]
    assert list(hints(kind)) == [f["name"] for f in fields]
    assert {name: avro_of(hint) for name, hint in hints(kind).items()} == {
        f["name"]: reduced(f["type"]) for f in fields
    }
    defaults = {f["name"]: f["default"] for f in current(kind).avro["fields"] if "default" in f}
    for field in msgspec.structs.fields(kind):
        if (
            not field.required and field.name in defaults
        ):  # a type may be stricter than the schema and ask for what old writers left out
            assert (list(field.default) if isinstance(field.default, tuple) else field.default) == defaults[field.name]


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_says_what_it_means_and_every_enum_has_a_default(kind: type[Record]) -> None:
    """The schema is the documentation; `unknown` stands for symbols yet to come."""
    for field in current(kind).avro["fields"]:
        assert field.get("doc"), field["name"]
    for name in re.findall(r'"type": "enum", "name": "(\w+)"', json.dumps(current(kind).avro)):
        assert enum_default(current(kind), name) == "unknown"


def test_topics_name_records_that_exist() -> None:
    """And every record has a topic."""
    named = {topic.record for topic in topics.load().topics if topic.record}
    assert named == {kind.__name__ for kind in KINDS}
    assert {getattr(events, name) for name in named} == set(KINDS)


def test_the_readme_lists_every_topic_as_it_is() -> None:
    """Partitions and retention included: people look there, not into the YAML."""
    rows = (HERE.parent / "README.md").read_text(encoding="utf-8").splitlines()
    for topic in topics.load().topics:
        (row,) = [row for row in rows if row.startswith(f"| `{topic.name.replace('{platform}', '<platform>')}` |")]
        _, record, key, partitions, kept, producers, consumers = [cell.strip() for cell in row.strip("|").split("|")]
        assert record.startswith(f"[{topic.record}]" if topic.record else "rows of")
        assert (key, partitions.split(",")[0]) == (topic.key, str(topic.partitions))
        assert kept.startswith(f"{topic.retention_hours // 24} days" if topic.retention_hours else "compacted")
        assert (producers.split(", "), consumers.split(", ")) == (list(topic.producers), list(topic.consumers))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_read_and_written(example: Path) -> None:
    """By hand-written type, by Avro and by columns alike."""
    record, kind = read(example), kind_of(example)
    assert set(json.loads(example.read_text(encoding="utf-8"))) <= set(kind.__struct_fields__)
    assert decode(encode(record), kind) == record  # type: ignore[type-var]  # any one of the kinds
    assert comparable(ColumnCodec(kind).decode([encode(record)]).frame.to_dicts()[0]) == comparable(record)


def test_every_record_has_an_example_and_the_event_several() -> None:
    """The first thing that somebody opens who wants to know what an event is."""
    counts = {kind: sum(kind_of(e) is kind for e in EXAMPLES) for kind in KINDS}
    assert min(counts.values()) >= 1
    assert counts[TelemetryEvent] >= 3
    assert any(re.search("[\u0e00-\u0e7f]", e.read_text(encoding="utf-8")) for e in EXAMPLES)


def test_the_wire_format_does_not_drift() -> None:
    """These bytes were written by the first release and stand in topics."""
    example = HERE / "examples" / "telemetry_event" / "copy-to-program.json"
    golden = bytes.fromhex(example.with_suffix(".hex").read_text(encoding="ascii"))
    assert decode(golden, TelemetryEvent) == read(example)
    if len(released(TelemetryEvent)) == 1:
        assert encode(read(example)) == golden


def test_fastavro_agrees_that_releases_are_schemas() -> None:
    """Every file parses on its own, as other readers will do it."""
    for path in (HERE / "released").rglob("*.avsc"):
        assert fastavro.parse_schema(json.loads(path.read_text(encoding="utf-8")))
