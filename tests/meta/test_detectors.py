"""A reader can guess everything about a detector from its id: module, test, runbook."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlglot
from rua_schemas.columns import ColumnCodec
from rua_schemas.events import Alert, TelemetryEvent
from rua_streams.detectors import DETECTORS
from rua_streams.engine import Detector
from sqlglot import exp

ROOT = Path(__file__).parent.parent.parent
RUNBOOK = ("## English", "## ภาษาไทย", "### Who to call", "### ติดต่อใคร", "### How to close", "### วิธีปิด",
           "### How to tune", "### วิธีปรับ", "### What it means", "### ความหมาย")  # fmt: skip
COLUMNS = {"events": set(ColumnCodec(TelemetryEvent).schema), "alerts": set(ColumnCodec(Alert).schema)}


def complaints(detector: Detector, root: Path = ROOT) -> list[str]:
    """What is missing around a detector."""
    rule, module = detector.rule, detector.rule.id.replace("-", "_")
    said = []
    if type(detector).__module__ != f"rua_streams.detectors.{module}":
        said.append(f"{rule.id}: the module should be named {module}.py")
    test = root / f"tests/unit/rua_streams/detectors/test_{module}.py"
    tests = test.read_text(encoding="utf-8") if test.exists() else ""
    said += [
        f"{rule.id}: no test that {words}" for words in ("fires", "stays_quiet") if f"def test_{words}" not in tests
    ]
    runbook = root / rule.runbook
    text = runbook.read_text(encoding="utf-8") if runbook.exists() else ""
    said += [f"{rule.runbook}: lacks {heading!r}" for heading in RUNBOOK if heading not in text]
    queries = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    if len(queries) != 3:
        said.append(f"{rule.runbook}: has {len(queries)} queries, not three")
    said += [f"{rule.runbook}: {wrong}" for query in queries for wrong in wrong_names(query)]
    if not all(re.fullmatch(r"T\d{4}(\.\d{3})?", technique) for technique in rule.attack) or not rule.attack:
        said.append(f"{rule.id}: names no ATT&CK technique")
    if not type(detector).__doc__ or "Attributes:" not in str(type(detector).__doc__):
        said.append(f"{rule.id}: the docstring does not say where its thresholds come from")
    return said


def wrong_names(query: str) -> list[str]:
    """Tables and columns that do not exist."""
    tree = sqlglot.parse_one(query, dialect="clickhouse")
    tables = {table.name for table in tree.find_all(exp.Table)}
    known = set.union(*(COLUMNS.get(table, set()) for table in tables), {a.alias for a in tree.find_all(exp.Alias)})
    wrong = [f"no table {table}" for table in sorted(tables - COLUMNS.keys())]
    return wrong + [f"no column {c.name}" for c in tree.find_all(exp.Column) if c.name not in known]


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: d.rule.id)
def test_every_detector_has_its_module_test_and_runbook(detector: Detector) -> None:
    """In both languages, with three queries on columns that exist."""
    assert complaints(detector) == []


def test_ids_are_unique() -> None:
    """State and alerts are keyed by them."""
    ids = [detector.rule.id for detector in DETECTORS]
    assert len(ids) == len(set(ids))


def test_a_detector_without_anything_around_it_is_complained_about(tmp_path: Path) -> None:
    """The check's broken twin."""
    said = complaints(DETECTORS[0], tmp_path)
    assert any("no test that fires" in one for one in said)
    assert any("lacks '## ภาษาไทย'" in one for one in said)
    assert any("has 0 queries" in one for one in said)


def test_a_query_on_what_does_not_exist_is_complained_about() -> None:
    """Misspelt columns and tables."""
    assert wrong_names("SELECT rowz FROM rua.events FINAL WHERE actor = {subject:String}") == ["no column rowz"]
    assert wrong_names("SELECT 1 FROM rua.event") == ["no table event"]
