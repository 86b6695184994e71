"""Every source that Rua reads. To add one: a module here, and its line below."""

from __future__ import annotations

from rua_agents.collectors.contract import Collector, Draft, Parser, Place
from rua_agents.collectors.nginx_json import NginxJson
from rua_agents.collectors.pgaudit_jsonlog import PgauditJsonlog

__all__ = ["COLLECTORS", "Collector", "Draft", "Parser", "Place"]

COLLECTORS: dict[str, Collector] = {
    collector.name: collector
    for collector in (
        PgauditJsonlog(),
        NginxJson(),
    )
}
