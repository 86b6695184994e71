"""Grafana boards, alert rules and provisioning files as code: `rua dashboards build`."""
