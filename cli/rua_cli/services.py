"""Where the services are: `RUA_CLICKHOUSE_URL`, `RUA_KAFKA_BOOTSTRAP`, …; and the platforms that are watched."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rua_common.errors import BadConfiguration

if TYPE_CHECKING:
    from rua_sinks.clickhouse import ClickHouseSink


def clickhouse(environ: Mapping[str, str] = os.environ) -> ClickHouseSink:
    """The store named by `RUA_CLICKHOUSE_URL`, with `RUA_CLICKHOUSE_USER`, `…_PASSWORD_FILE`, `…_DATABASE` where set.

    Raises:
        BadConfiguration: the address is missing.
    """
    from rua_sinks.clickhouse import ClickHouseSink  # noqa: PLC0415 - polars and a client, only where a store is used

    url = environ.get("RUA_CLICKHOUSE_URL")
    if not url:
        raise BadConfiguration("set it to http://host:8123, or use `rua up`", key="RUA_CLICKHOUSE_URL")
    return ClickHouseSink(
        url,
        database=environ.get("RUA_CLICKHOUSE_DATABASE", "rua"),
        user=environ.get("RUA_CLICKHOUSE_USER", "default"),
        password_file=environ.get("RUA_CLICKHOUSE_PASSWORD_FILE"),
    )


def platforms(named: Sequence[str], environ: Mapping[str, str] = os.environ) -> list[str]:
    """The platforms named on the command line, else those of `RUA_PLATFORMS` (separated by commas).

    Raises:
        BadConfiguration: none is named anywhere.
    """
    found = list(named) or [p.strip() for p in environ.get("RUA_PLATFORMS", "").split(",") if p.strip()]
    if not found:
        raise BadConfiguration("name at least one platform with --platform or RUA_PLATFORMS", key="platform")
    return found
