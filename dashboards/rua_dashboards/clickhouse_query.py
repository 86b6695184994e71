"""A ClickHouse query for grafana-foundation-sdk, which has builders for many sources but not for this one.

The fields are those that plugin grafana-clickhouse-datasource 4.14 to 4.20 reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef

PLUGIN = "grafana-clickhouse-datasource"
SOURCE_VARIABLE = "${datasource}"


class Format(IntEnum):
    """What the plugin makes of the rows. 2 to 4 (logs, trace, multi) exist; our boards do not use them."""

    SERIES = 0  # long rows become one series per label set; they must be sorted by time
    TABLE = 1


@dataclass(frozen=True)
class ClickHouse(Dataquery):
    """One query of a panel."""

    sql: str
    format: Format
    ref_id: str = "A"
    source: str = SOURCE_VARIABLE

    def to_json(self) -> dict[str, object]:
        """The query as Grafana keeps it."""
        return {
            "refId": self.ref_id,
            "datasource": DataSourceRef(type_val=PLUGIN, uid=self.source),
            "editorType": "sql",
            "rawSql": self.sql,
            "format": int(self.format),
            "queryType": "timeseries" if self.format is Format.SERIES else "table",
            "pluginVersion": "4.20.0",
        }


class SQL(Builder[Dataquery]):
    """`.with_target(SQL("SELECT …"))`: a table unless said otherwise."""

    def __init__(self, sql: str, format: Format = Format.TABLE) -> None:  # noqa: A002 - Grafana's own name for it
        self._query = ClickHouse(sql, format)

    def build(self) -> Dataquery:
        """The query."""
        return self._query


def one_of(column: str, variable: str) -> str:
    r"""A condition that a multi-value variable may narrow, and that no value can break out of.

    Grafana's `:singlequote` and `:sqlstring` escape the quote but not the backslash, which ClickHouse takes as an
    escape: `\') OR 1=1 --` then selects every row. `:queryparam` percent-encodes all that matters.
    """
    pairs = f"splitByChar('&', '${{{variable}:queryparam}}')"
    values = f"arrayMap(p -> decodeURLComponent(splitByChar('=', p)[2]), {pairs})"
    return f"$__conditionalAll(has({values}, {column}), ${variable})"


def equals(column: str, variable: str) -> str:
    """A condition that a text box may narrow. Nothing typed: no condition. Safe for a single value only."""
    return f"$__conditionalAll({column} = decodeURLComponent('${{{variable}:percentencode}}'), ${variable})"
