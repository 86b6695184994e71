"""Rules for provisioning files: data source, folder of boards, alert rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from rua_dashboards.board_json import Json

Found = Iterator[tuple[str, str]]
Files = Mapping[str, Json]


def source_file(files: Files) -> Found:
    """HTTP, a fixed uid, nobody's headers, and the password from the environment."""
    for source in files["datasources"]["datasources"]:
        data = source["jsonData"]
        if data.get("protocol") != "http":
            yield source["name"], "protocol must be http (else: unexpected packet)"
        if data.get("forwardGrafanaHeaders"):
            yield source["name"], "forwardGrafanaHeaders sends the user's token to the database"
        if data.get("enableRowLimit"):
            yield source["name"], "a row limit cuts alert queries without a word"
        if not re.fullmatch(r"\$\{RUA_\w+\}", source.get("secureJsonData", {}).get("password", "")):
            yield source["name"], "the password comes from a variable"
        if source.get("editable", True) or not source.get("uid"):
            yield source["name"], "fixed uid, not editable"


def provider_file(files: Files) -> Found:
    """One folder with a fixed uid. `foldersFromFilesStructure` beside it makes Grafana exit."""
    for provider in files["dashboards"]["providers"]:
        if "foldersFromFilesStructure" in provider["options"] or not provider.get("folderUid"):
            yield provider["name"], "choose a folder with its uid, not foldersFromFilesStructure"
        if provider.get("allowUiUpdates", False):
            yield provider["name"], "allowUiUpdates must be false"


def rule_folder(files: Files) -> Found:
    """Alerting is provisioned first, with a random uid: the boards' title again gives two folders of that name."""
    titles = {provider["folder"] for provider in files["dashboards"]["providers"]}
    for group in files["alerting"]["groups"]:
        if group["folder"] in titles:
            yield group["name"], f"folder {group['folder']!r} is the boards' folder too"


def rule_interval(files: Files) -> Found:
    """A number without a unit, or no multiple of 10 s: Grafana exits."""
    for group in files["alerting"]["groups"]:
        match = re.fullmatch(r"(\d+)(s|m|h)", str(group["interval"]))
        if not match or int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]] % 10:
            yield group["name"], f"interval {group['interval']!r}: a multiple of 10s, with its unit"


def rule_states(files: Files) -> Found:
    """An unknown state makes Grafana exit. At most one rule fires on errors, after a while: or an outage is a storm."""
    loud = [rule for rule in _rules(files) if rule["execErrState"] == "Alerting"]
    if len(loud) > 1:
        yield "rules", f"{len(loud)} rules fire when the store is away"
    for rule in _rules(files):
        if rule["noDataState"] not in ("OK", "NoData", "Alerting", "KeepLast"):
            yield rule["uid"], f"noDataState {rule['noDataState']!r}"
        if rule["execErrState"] not in ("OK", "Error", "Alerting", "KeepLast"):
            yield rule["uid"], f"execErrState {rule['execErrState']!r}"
    for rule in loud:
        if rule["for"] in ("0s", "0m"):
            yield rule["uid"], "fires on the first error: give it a pending period"


def rule_uids(files: Files) -> Found:
    """A rule keeps its state and history by its uid."""
    uids = [rule.get("uid") for rule in _rules(files)]
    if None in uids or len(set(uids)) != len(uids):
        yield "rules", f"uids are missing or repeated: {uids}"


def rule_queries(files: Files) -> Found:
    """Table format, a window that ends before now, and nothing that only a browser knows."""
    for rule in _rules(files):
        refs = {query["refId"] for query in rule["data"]}
        if rule["condition"] not in refs:
            yield rule["uid"], f"condition {rule['condition']} is no query"
        for query in rule["data"]:
            model = query["model"]
            if query["datasourceUid"] == "__expr__":
                if model["expression"] not in refs or not model.get("conditions"):
                    yield rule["uid"], "a threshold needs a known query and a condition"
                continue
            if model["format"] != 1:
                yield rule["uid"], "alert queries use table format: one number and labels"
            if query["relativeTimeRange"]["to"] <= 0:
                yield rule["uid"], "the window must end a little before now: data lags"
            if re.search(r"\$\{|\$(?!__)\w|\$__(conditionalAll|adHocFilters)|\bnow\(", model["rawSql"]):
                yield rule["uid"], "the query uses what only a browser knows, or now()"


def rule_texts(files: Files) -> Found:
    """Only queries of the rule are in `$values`; a `$` in a label is taken for an environment variable."""
    for rule in _rules(files):
        refs = {query["refId"] for query in rule["data"]}
        for name, text in rule["annotations"].items():
            for ref in re.findall(r"\$values\.(\w+)", text):
                if ref not in refs:
                    yield rule["uid"], f"{name}: $values.{ref} is [no value]"
        for name, text in rule.get("labels", {}).items():
            if re.search(r"(?<!\$)\$(?!\$)", text):
                yield rule["uid"], f"label {name}: write $$ for a dollar sign"


def rule_link(files: Files, ids: set[tuple[str, str]]) -> Found:
    """Both annotations or Grafana exits; as fields they lose the link; and the panel must exist."""
    for rule in _rules(files):
        texts = rule["annotations"]
        if "dashboardUid" in rule or "panelId" in rule:
            yield rule["uid"], "dashboardUid and panelId as fields lose the link: use annotations"
        if (texts.get("__dashboardUid__"), texts.get("__panelId__")) not in ids:
            yield rule["uid"], "annotations __dashboardUid__ and __panelId__ must name a panel that exists"


FILE_RULES: tuple[Callable[[Files], Found], ...] = (
    source_file,
    provider_file,
    rule_folder,
    rule_interval,
    rule_states,
    rule_uids,
    rule_queries,
    rule_texts,
)


def _rules(files: Files) -> Iterator[Json]:
    for group in files["alerting"]["groups"]:
        yield from group["rules"]
