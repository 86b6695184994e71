"""SOC overview: do I act now, on whom, and what did they take?

The first row answers the first question. Below it: when, the alerts, whom, what, and the raw events. A click on an
actor narrows the board to that actor and keeps time range, platform and severity.
"""

# ruff: noqa: S608 - queries are put together from constants of this package only
from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import common, dashboard as model
from rua_schemas.events import SEVERITIES

from rua_dashboards.clickhouse_query import PLUGIN, SOURCE_VARIABLE, equals, one_of
from rua_dashboards.panels import SEVERITY_COLOURS, About, Box, Panel, board, number, over_time, ranking, rows

UID = "rua-soc-overview"
SILENT_AFTER_SECONDS = 900
KNOWN_FOR_DAYS = 30  # a platform that sent nothing for longer is no longer expected

SILENT_PLATFORMS, NEWEST_EVENT = 4, 6  # panels that alert rules point at

_KEEP = "${datasource:queryparam}&${platform:queryparam}&${severity:queryparam}&${__url_time_range}"
ACTOR_LINK = f"/d/{UID}?var-actor=${{__value.raw:percentencode}}&{_KEEP}"
ACTOR_BAR_LINK = f"/d/{UID}?var-actor=${{__data.fields.actor:percentencode}}&{_KEEP}"

ALERTS_OF_ANY_SEVERITY = (
    "FROM rua.alerts FINAL WHERE $__timeFilter(raised_at) "
    f"AND {one_of('platform', 'platform')} AND {equals('actor', 'actor')}"
)
ALERTS = f"{ALERTS_OF_ANY_SEVERITY} AND {one_of('severity', 'severity')}"
EVENTS = (
    "FROM rua.events FINAL WHERE $__timeFilter(occurred_at) "
    f"AND {one_of('platform', 'platform')} AND {equals('actor', 'actor')}"
)
# Not FINAL: the newest of two copies is as new as either, and this reads 30 days
LAST_SEEN = (
    "SELECT platform, max(occurred_at) AS newest FROM rua.events "
    f"WHERE occurred_at > $__toTime - INTERVAL {KNOWN_FOR_DAYS} DAY AND occurred_at <= $__toTime "
    f"AND {one_of('platform', 'platform')} GROUP BY platform"
)
LAST_MINUTES = f"newest > $__toTime - INTERVAL {SILENT_AFTER_SECONDS} SECOND"
NUMBER = Box(width=3, height=4)
RED = ((None, "text"), (1, SEVERITY_COLOURS["critical"]))
ORANGE = ((None, "text"), (1, SEVERITY_COLOURS["high"]))


def soc_overview() -> dashboard.Dashboard:
    """The board."""
    target = board(UID, "SOC overview", "Do I act now, on whom, and what did they take? Times are event times.")
    for variable in (_source(), _platform(), _severity(), _actor()):
        target.with_variable(variable)
    for panel in (
        *_alert_numbers(),
        *_pipeline_numbers(),
        *_event_numbers(),
        *_when(),
        _alerts(),
        *_whom_and_what(),
        _events(),
    ):
        target.with_panel(panel)
    return target


def _source() -> dashboard.DatasourceVariable:
    return dashboard.DatasourceVariable("datasource").label("Data source").type(PLUGIN)


def _platform() -> dashboard.QueryVariable:
    sql = "SELECT DISTINCT platform FROM rua.events WHERE $__timeFilter(occurred_at) ORDER BY platform LIMIT 500"
    return (
        dashboard.QueryVariable("platform")
        .label("Platform")
        .datasource(common.DataSourceRef(type_val=PLUGIN, uid=SOURCE_VARIABLE))
        .query({"editorType": "sql", "rawSql": sql})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
        .allow_custom_value(False)
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )


def _severity() -> dashboard.CustomVariable:
    worst_first = list(reversed(SEVERITIES))
    return (
        dashboard.CustomVariable("severity")
        .label("Severity")
        .values(",".join(worst_first))
        .options([model.VariableOption(selected=False, text=s, value=s) for s in worst_first])
        .multi(True)
        .include_all(True)
        .allow_custom_value(False)
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )


def _actor() -> dashboard.TextBoxVariable:
    return dashboard.TextBoxVariable("actor").label("Actor (pseudonym)").default_value("")


def _alert_numbers() -> list[Panel]:
    return [
        number(
            About(
                1,
                "Critical alerts",
                "Severity critical, whatever is chosen above. Not 0: act now.",
                "short",
                "0",
            ),
            NUMBER,
            f"SELECT count() AS critical {ALERTS_OF_ANY_SEVERITY} AND severity = 'critical'",
            steps=RED,
            background=True,
        ),
        number(
            About(
                2,
                "High alerts",
                "Severity high, whatever is chosen above. Not 0: look today.",
                "short",
                "0",
            ),
            NUMBER,
            f"SELECT count() AS high {ALERTS_OF_ANY_SEVERITY} AND severity = 'high'",
            steps=ORANGE,
            background=True,
        ),
        number(
            About(3, "All alerts", "Incidents of every severity. One incident is one alert.", "short", "0"),
            NUMBER,
            f"SELECT count() AS alerts {ALERTS}",
        ),
    ]


def _pipeline_numbers() -> list[Panel]:
    return [
        number(
            About(
                SILENT_PLATFORMS,
                "Silent platforms",
                f"Sent events in the {KNOWN_FOR_DAYS} days before the range's end, but none in its last 15 minutes. "
                "Above 0: what follows may be calm only because nobody reports.",
                "short",
                "None has ever reported",
            ),
            NUMBER,
            f"SELECT if(count() = 0, NULL, countIf(NOT ({LAST_MINUTES}))) AS silent FROM ({LAST_SEEN})",
            steps=RED,
            background=True,
        ),
        number(
            About(5, "Reporting platforms", "Sent an event in the range's last 15 minutes.", "short", "0"),
            NUMBER,
            f"SELECT countIf({LAST_MINUTES}) AS reporting FROM ({LAST_SEEN})",
            steps=((None, SEVERITY_COLOURS["critical"]), (1, "green")),
        ),
        number(
            About(
                NEWEST_EVENT,
                "Newest event",
                "Age of the newest event at the range's end, by the source's clock. Old: this board shows the past.",
                "s",
                "No events",
            ),
            NUMBER,
            "SELECT if(count() = 0, NULL, age('second', max(occurred_at), toDateTime64($__toTime, 3, 'UTC'))) AS age "
            f"FROM rua.events WHERE $__timeFilter(occurred_at) AND {one_of('platform', 'platform')}",
            steps=((None, "green"), (300, "yellow"), (SILENT_AFTER_SECONDS, SEVERITY_COLOURS["critical"])),
        ),
    ]


def _event_numbers() -> list[Panel]:
    return [
        number(
            About(7, "Events", "Everything that was seen done with personal data.", "short", "0"),
            NUMBER,
            f"SELECT count() AS events {EVENTS}",
        ),
        number(
            About(
                8,
                "Rows exported",
                "Rows in exports of known size: a lower bound, for a database does not always say how many it sent.",
                "short",
                "0",
            ),
            NUMBER,
            f"SELECT sum(ifNull(rows, 0)) AS exported {EVENTS} AND action = 'export'",
        ),
    ]


def _when() -> list[Panel]:
    return [
        over_time(
            About(9, "Alerts by severity", "When incidents were raised.", "short", "No alerts in this range"),
            Box(width=12, height=8),
            f"SELECT $__timeInterval(raised_at) AS time, severity, count() AS Value {ALERTS} "
            "GROUP BY time, severity ORDER BY time, severity",
            colours=SEVERITY_COLOURS,
        ),
        over_time(
            About(
                10,
                "Events by platform",
                "A gap in a colour: it fell silent.",
                "short",
                "No events in this range",
            ),
            Box(width=12, height=8),
            f"SELECT $__timeInterval(occurred_at) AS time, platform, count() AS Value {EVENTS} "
            "GROUP BY time, platform ORDER BY time, platform",
        ),
    ]


def _alerts() -> Panel:
    sql = (
        'SELECT raised_at AS "Raised", severity AS "Severity", platform AS "Platform", detector AS "Detector", '
        'ifNull(actor, subject) AS "Actor", reason AS "Why", '
        f'length(evidence) AS "Evidence" {ALERTS} ORDER BY raised_at DESC, alert_id LIMIT 200'
    )
    return rows(
        About(
            11,
            "Latest alerts",
            "Newest first, at most 200. Click an actor to see what else they did in this range.",
            "short",
            "No alerts in this range",
        ),
        Box(width=24, height=10),
        sql,
        links={"Actor": ("What else did ${__value.text} do?", ACTOR_LINK)},
        widths={"Raised": 170, "Severity": 100, "Platform": 140, "Detector": 190, "Actor": 240, "Evidence": 90},
        blanks={},
    )


def _whom_and_what() -> list[Panel]:
    top = (
        f"SELECT actor, sum(ifNull(rows, 0)) AS exported {EVENTS} AND action = 'export' AND ifNull(actor, '') != '' "
        "GROUP BY actor HAVING exported > 0 ORDER BY exported DESC, actor LIMIT 10"
    )
    exports = (
        'SELECT ifNull(dataset, \'not named\') AS "Dataset", count() AS "Exports", uniqExact(actor) AS "Actors", '
        'sum(ifNull(rows, 0)) AS "Rows known", countIf(rows IS NULL) AS "Of unknown size", '
        f"max(occurred_at) AS \"Latest\" {EVENTS} AND action = 'export' "
        'GROUP BY "Dataset" ORDER BY "Rows known" DESC, "Exports" DESC LIMIT 50'
    )
    return [
        ranking(
            About(
                12,
                "Who exported most rows",
                "Actors by rows in exports of known size.",
                "short",
                "No exports of known size",
            ),
            Box(width=10, height=9),
            top,
            value="exported",
            link=("What did they do?", ACTOR_BAR_LINK),
        ),
        rows(
            About(
                13,
                "Exports by dataset",
                "What left. An export of unknown size may be of any size.",
                "short",
                "No exports in this range",
            ),
            Box(width=14, height=9),
            exports,
            links={},
            widths={"Exports": 90, "Actors": 80, "Rows known": 110, "Of unknown size": 130, "Latest": 170},
            blanks={},
        ),
    ]


def _events() -> Panel:
    sql = (
        'SELECT occurred_at AS "Time", platform AS "Platform", actor AS "Actor", action AS "Action", '
        'dataset AS "Dataset", rows AS "Rows", rows_quality AS "Rows are", destination AS "Destination", '
        f'source AS "Source", event_id AS "Event" {EVENTS} ORDER BY occurred_at DESC, event_id LIMIT 200'
    )
    return rows(
        About(
            14,
            "Latest events",
            "The raw events, newest first, at most 200. Name an actor above to see only theirs.",
            "short",
            "No events in this range",
        ),
        Box(width=24, height=10),
        sql,
        links={"Actor": ("Only ${__value.text}", ACTOR_LINK)},
        widths={"Time": 170, "Platform": 140, "Actor": 240, "Action": 80, "Rows": 80, "Rows are": 100, "Source": 140},
        blanks={"Actor": "nobody named", "Dataset": "not named", "Rows": "unknown", "Destination": "not known"},
    )
