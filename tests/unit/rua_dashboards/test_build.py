"""`rua dashboards build`: the committed files are what the code writes, and Grafana's own models read them back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.models import dashboard as model
from rua_common.errors import Refused
from rua_dashboards import build as building
from rua_dashboards.board_json import panels
from rua_dashboards.build import as_json, build
from rua_dashboards.soc_overview import NEWEST_EVENT, SILENT_PLATFORMS, soc_overview

COMMITTED = Path(__file__).parents[3] / "dashboards" / "generated"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_committed_files_are_those_that_the_code_writes(tmp_path: Path) -> None:
    """`rua dashboards build` was run after the last change."""
    build(tmp_path)
    assert contents(COMMITTED) == contents(tmp_path)


def test_a_second_build_writes_the_same_bytes(tmp_path: Path) -> None:
    """No time, no random id, no order of a set."""
    paths = build(tmp_path)
    first = contents(tmp_path)
    assert build(tmp_path) == paths
    assert contents(tmp_path) == first


def test_grafanas_own_models_read_the_board_back() -> None:
    """Nothing is lost or invented between our JSON and the typed model."""
    board = as_json(soc_overview())
    again = json.loads(json.dumps(model.Dashboard.from_json(board), default=lambda o: o.to_json()))
    assert [p["title"] for p in again["panels"]] == [p["title"] for p in board["panels"]]
    assert [p["gridPos"] for p in again["panels"]] == [p["gridPos"] for p in board["panels"]]
    assert again["uid"] == "rua-soc-overview"
    assert again["schemaVersion"] == board["schemaVersion"]


def test_the_first_row_answers_whether_to_act() -> None:
    """Eight numbers across the whole width, worst first."""
    first = [p for p in panels(as_json(soc_overview())) if p["gridPos"]["y"] == 0]
    assert sum(p["gridPos"]["w"] for p in first) == 24
    assert {p["type"] for p in first} == {"stat"}
    assert [p["title"] for p in first][:2] == ["Critical alerts", "High alerts"]


def test_alert_rules_point_at_the_panels_that_they_mean() -> None:
    """A panel's id is part of links that people keep."""
    titles = {p["id"]: p["title"] for p in panels(as_json(soc_overview()))}
    assert (titles[SILENT_PLATFORMS], titles[NEWEST_EVENT]) == ("Silent platforms", "Newest event")


def test_no_provisioning_file_holds_a_secret_or_an_address() -> None:
    """Where and who come from Grafana's environment."""
    text = (COMMITTED / "provisioning/datasources/rua.yaml").read_text(encoding="utf-8")
    source = yaml.safe_load(text)["datasources"][0]
    assert source["secureJsonData"] == {"password": "${RUA_CLICKHOUSE_DASHBOARD_PASSWORD}"}
    assert source["jsonData"]["host"] == "${RUA_CLICKHOUSE_HOST}"


def test_a_board_that_breaks_a_rule_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The builder says which rule, and leaves the folder alone."""
    monkeypatch.setattr(building, "BOARDS", (lambda: soc_overview().uid("no uid!"),))
    with pytest.raises(Refused, match="uid_form"):
        build(tmp_path)
    assert contents(tmp_path) == {}
