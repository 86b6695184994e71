"""Every source that Rua reads. To add one: a module here, and its line below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from rua_agents.collectors.contract import BatchParser, Collector, Draft, Parser, Place

__all__ = ["COLLECTORS", "BatchParser", "Collector", "Draft", "Parser", "Place"]

MODULES: Mapping[str, str] = {
    "auditd": "auditd:Auditd",
    "auth-log": "auth_log:AuthLog",
    "clickhouse-query-log": "clickhouse_query_log:ClickhouseQueryLog",
    "cloudtrail": "cloudtrail:Cloudtrail",
    "envoy-json": "envoy_json:EnvoyJson",
    "envoy-text": "envoy_text:EnvoyText",
    "json": "json_mapped:Json",
    "kubernetes-audit": "kubernetes_audit:KubernetesAudit",
    "mariadb-audit": "mariadb_audit:MariadbAudit",
    "mariadb-slow": "mysql_slow:MariadbSlow",
    "mongodb-audit": "mongodb_audit:MongodbAudit",
    "mongodb-log": "mongodb_log:MongodbLog",
    "mysql-audit-json": "mysql_audit_json:MysqlAuditJson",
    "mysql-audit-xml": "mysql_audit_xml:MysqlAuditXml",
    "mysql-slow": "mysql_slow:MysqlSlow",
    "nginx-combined": "nginx_combined:NginxCombined",
    "nginx-json": "nginx_json:NginxJson",
    "pg-stats": "pg_stats:PgStats",
    "pgaudit-csvlog": "pgaudit_csvlog:PgauditCsvlog",
    "pgaudit-jsonlog": "pgaudit_jsonlog:PgauditJsonlog",
    "pgaudit-stderr": "pgaudit_stderr:PgauditStderr",
    "sdk": "sdk:Sdk",
    "sudo-json": "sudo_json:SudoJson",
    "sudo-logfile": "sudo_logfile:SudoLogfile",
}
"""Name of a source → its module here and its class."""


class _Registry(Mapping[str, Collector]):
    """Imports a collector when it is asked for: an agent pays only for what it reads (the SQL grammar costs 38 MB)."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules
        self._made: dict[str, Collector] = {}

    def __getitem__(self, name: str) -> Collector:
        if name not in self._made:
            module, _, kind = self._modules[name].partition(":")
            self._made[name] = getattr(import_module(f"{__name__}.{module}"), kind)()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __contains__(self, name: object) -> bool:
        return name in self._modules


COLLECTORS: Mapping[str, Collector] = _Registry(MODULES)
