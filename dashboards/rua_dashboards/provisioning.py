"""Files that Grafana reads at its start: data source, folder and boards, alert rules on Rua's own pipeline.

Any mistake in an alerting file stops Grafana (exit 1), one in a board's file is only logged: `lint` looks for both.
Findings are not alerted from here: Rua routes its own alerts, and nothing depends on a poll.
"""

# ruff: noqa: S608 - queries are put together from constants of this package only
from __future__ import annotations

from typing import Literal

from rua_dashboards.clickhouse_query import PLUGIN, ClickHouse, Format
from rua_dashboards.soc_overview import KNOWN_FOR_DAYS, NEWEST_EVENT, SILENT_AFTER_SECONDS, SILENT_PLATFORMS, UID

SOURCE_UID = "rua-clickhouse"
BOARDS_FOLDER = "Rua"
RULES_FOLDER = "Rua alerts"  # not the boards' title: alerting is provisioned first and would make a second "Rua"
BOARDS_PATH = "/etc/grafana/rua/dashboards"
Yaml = dict[str, object]


def data_source() -> Yaml:
    """ClickHouse over HTTP, as a user who may only read. Where and who come from Grafana's environment."""
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "Rua ClickHouse",
                "uid": SOURCE_UID,
                "type": PLUGIN,
                "access": "proxy",
                "editable": False,
                "jsonData": {
                    "protocol": "http",  # with another protocol the plugin cannot talk to Rua's own gateway
                    "host": "${RUA_CLICKHOUSE_HOST}",
                    "port": "${RUA_CLICKHOUSE_PORT}",
                    "secure": "${RUA_CLICKHOUSE_TLS}",
                    "username": "${RUA_CLICKHOUSE_DASHBOARD_USER}",
                    "defaultDatabase": "rua",
                    "queryTimeout": "30",
                },
                "secureJsonData": {"password": "${RUA_CLICKHOUSE_DASHBOARD_PASSWORD}"},
            }
        ],
    }


def boards() -> Yaml:
    """One folder, whose boards follow the files: a removed file is a removed board."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "rua",
                "folder": BOARDS_FOLDER,
                "folderUid": "rua",
                "type": "file",
                "disableDeletion": False,
                "allowUiUpdates": False,
                "updateIntervalSeconds": 30,
                "options": {"path": BOARDS_PATH},
            }
        ],
    }


def rules() -> Yaml:
    """Alert rules on the pipeline itself."""
    return {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": "rua-pipeline",
                "folder": RULES_FOLDER,
                "interval": "1m",
                "rules": [_store_away(), _platform_silent()],
            }
        ],
    }


def _platform_silent() -> Yaml:
    sql = (
        "SELECT platform, age('second', max(occurred_at), toDateTime64($__toTime, 3, 'UTC')) AS silent_seconds "
        f"FROM rua.events WHERE occurred_at > $__toTime - INTERVAL {KNOWN_FOR_DAYS} DAY AND occurred_at <= $__toTime "
        "GROUP BY platform"
    )
    return _rule(
        "rua-platform-silent",
        "A platform sends no events",
        sql,
        above=SILENT_AFTER_SECONDS,
        pending="0s",
        no_data="Alerting",  # nobody has sent anything
        on_error="KeepLast",  # rua-store-away speaks for all
        panel=SILENT_PLATFORMS,
        summary="{{ $labels.platform }} has sent nothing for {{ $values.A }} s",
        description="Nothing can be detected there. Look at its agents: `status.json`, then the platform's logs.",
    )


def _store_away() -> Yaml:
    """The only rule that fires on an error: a store that is away is one notification, not one for each rule."""
    return _rule(
        "rua-store-away",
        "The store does not answer",
        "SELECT toFloat64(0) AS errors",
        above=0,
        pending="5m",
        no_data="OK",
        on_error="Alerting",
        panel=NEWEST_EVENT,
        summary="Grafana cannot read Rua's events",
        description="Boards show nothing new. Detection and alerts go on; the workers keep what they cannot store.",
    )


def _rule(
    uid: str,
    title: str,
    sql: str,
    *,
    above: float,
    pending: str,
    no_data: Literal["OK", "Alerting"],
    on_error: Literal["KeepLast", "Alerting"],
    panel: int,
    summary: str,
    description: str,
) -> Yaml:
    return {
        "uid": uid,
        "title": title,
        "condition": "C",
        "for": pending,
        "noDataState": no_data,
        "execErrState": on_error,
        "isPaused": False,
        "labels": {"team": "soc", "part": "pipeline"},
        "annotations": {
            "summary": summary,
            "description": description,
            # both, and as annotations: with one of them Grafana exits, as fields they lose the link
            "__dashboardUid__": UID,
            "__panelId__": str(panel),
        },
        "data": [_query(sql), _threshold(above)],
    }


def _query(sql: str) -> Yaml:
    # a minute back, because events take a moment to arrive
    window: Yaml = {"from": 660, "to": 60}
    model = ClickHouse(sql, Format.TABLE, source=SOURCE_UID).to_json() | {
        "datasource": {"type": PLUGIN, "uid": SOURCE_UID}
    }
    return {"refId": "A", "datasourceUid": SOURCE_UID, "relativeTimeRange": window, "model": model}


def _threshold(above: float) -> Yaml:
    return {
        "refId": "C",
        "datasourceUid": "__expr__",
        "relativeTimeRange": {"from": 660, "to": 60},
        "model": {
            "refId": "C",
            "type": "threshold",
            "datasource": {"type": "__expr__", "uid": "__expr__"},
            "expression": "A",
            "conditions": [{"evaluator": {"type": "gt", "params": [above]}}],
        },
    }
