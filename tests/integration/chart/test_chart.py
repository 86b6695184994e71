"""The chart, rendered by the real helm: what it installs, what it refuses, what it must never do."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml
from rua_agents.keyfile import read_keys, single
from rua_agents.settings import DiskSettings, Limits, SourceSettings, load
from rua_agents.signing import create_signing_key, read_signer
from rua_agents.spool.settings import SpoolSettings
from rua_common.kafka import KafkaOptions
from rua_streams.settings import PREFIX, WorkerSettings

from tests.integration.chart.rendering import CHART, NEEDED, Refusal, Render, Rendered, merged, template

pytestmark = pytest.mark.helm
ROOT = Path(__file__).parents[3]
MIB = 1024 * 1024

MATRIX: dict[str, dict[str, Any]] = {
    "everything": {
        "podAnnotations": {"team": "soc"},
        "podLabels": {"cost": 7},
        "image": {"repository": "r/rua", "pullSecrets": ["pull"]},
    },
    "platform's side": {
        "workers": {"detect": {"enabled": False}, "store": {"enabled": False}},
        "migrate": {"enabled": False},
    },
    "SOC's side": {"agent": {"platforms": []}},
    "plain": {
        "kafka": {"securityProtocol": "PLAINTEXT", "username": "", "existingSecret": "", "caKey": ""},
        "clickhouse": {"existingSecret": ""},
        "networkPolicy": {"enabled": False},
        "serviceAccount": {"create": False},
        "grafana": {"enabled": False},
    },
    "choosy": {
        "image": {"repository": "r/rua", "digests": {"agent": "sha256:" + "0" * 64, "worker": "sha256:" + "1" * 64}},
        "agent": {
            "stateHostPath": "",
            "supplementalGroups": [4],
            "tolerations": [{"operator": "Exists"}],
            "nodeSelector": {"a": "b"},
        },
    },
}


def pods(objects: Rendered) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and template of everything that runs."""
    for (kind, name), item in objects.items():
        if kind in ("Deployment", "DaemonSet", "Job"):
            yield name, item["spec"]["template"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that prepare, and those that work."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(objects: Rendered) -> dict[str, dict[str, str]]:
    """Variables of each container, by the name of what runs it."""
    return {
        name: {e["name"]: e.get("value", "") for c in containers(pod) for e in c.get("env", [])}
        for name, pod in pods(objects)
    }


@pytest.mark.parametrize("kubernetes", ["1.29", "1.34", "1.37"])
@pytest.mark.parametrize("name", MATRIX)
def test_is_what_kubernetes_accepts(render: Render, name: str, kubernetes: str) -> None:
    """Every object, strictly: a misspelt field is an error."""
    objects = render(MATRIX[name], kubernetes=kubernetes)
    for item in objects.values():
        kubernetes_validate.validate(item, kubernetes, strict=True)


def test_a_misspelt_field_would_be_noticed() -> None:
    """The guard above works."""
    item = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}, "automountToken": False}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(item, "1.34", strict=True)


def test_helm_lints_it(helm: Path, tmp_path: Path) -> None:
    """`helm lint --strict`."""
    values = tmp_path / "values.json"
    values.write_text(json.dumps(NEEDED))
    done = subprocess.run([helm, "lint", "--strict", CHART, "-f", values], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_selectors_find_their_pods(render: Render) -> None:
    """Policies and budgets that select nothing protect nothing; each pod has its own policy."""
    objects = render()
    labels = [pod["metadata"]["labels"] for _, pod in pods(objects)]
    for (kind, name), item in objects.items():
        if kind in ("PodDisruptionBudget", "Deployment", "DaemonSet"):
            assert sum(item["spec"]["selector"]["matchLabels"].items() <= have.items() for have in labels) == 1, name
        if kind == "NetworkPolicy":
            assert sum(item["spec"]["podSelector"]["matchLabels"].items() <= have.items() for have in labels) == 1, name
    assert sum(kind == "NetworkPolicy" for kind, _ in objects) == len(labels)


@pytest.mark.parametrize("name", MATRIX)
def test_every_container_is_locked_down(render: Render, name: str) -> None:
    """No root, no capabilities, a read-only root with a /tmp, no token, memory bounded; logs only to read."""
    for owner, pod in pods(render(MATRIX[name])):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, owner
        assert spec["securityContext"]["runAsNonRoot"], owner
        assert "priorityClassName" not in spec, "it must never push out the platform's own pods"
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), owner
        for container in containers(pod):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"], owner
            assert not security["allowPrivilegeEscalation"], owner
            assert security["capabilities"]["drop"] == ["ALL"], owner
            assert container["resources"]["limits"]["memory"], owner
        assert any(m["name"] == "tmp" for m in spec["containers"][0]["volumeMounts"]), owner
        host = {v["name"] for v in spec["volumes"] if "hostPath" in v} - {"state"}
        mounts = {m["name"]: m for c in spec["containers"] for m in c["volumeMounts"]}
        assert all(mounts[name]["readOnly"] for name in host), owner
        assert not any("persistentVolumeClaim" in v for v in spec["volumes"]), "state is in Kafka"


def test_secrets_are_files_and_never_variables(render: Render) -> None:
    """No secretKeyRef, no variable that holds a password: only the path of a mounted file."""
    objects = render()
    assert not any(kind == "Secret" for kind, _ in objects)
    for owner, pod in pods(objects):
        mounted = [m["mountPath"] for c in containers(pod) for m in c["volumeMounts"]]
        for variable in (e for c in containers(pod) for e in c.get("env", [])):
            assert "secretKeyRef" not in json.dumps(variable), owner
            if re.search("PASSWORD|SECRET|TOKEN|KEY", variable["name"]):
                assert variable["name"].endswith("_FILE"), owner
                assert any(variable["value"].startswith(path + "/") for path in mounted), owner


def test_every_variable_is_one_that_rua_reads(render: Render) -> None:
    """A misspelt RUA_… would be silently without effect."""
    known = {PREFIX + f.upper() for f in WorkerSettings.__struct_fields__ if f != "kafka"}
    known |= {f"RUA_KAFKA_{f.upper()}" for f in KafkaOptions.__struct_fields__}
    for source in (ROOT / "cli/rua_cli").rglob("*.py"):
        known |= set(re.findall(r"\bRUA_[A-Z_]+\b", source.read_text(encoding="utf-8")))
    used = {name for variables in environment(render()).values() for name in variables if name.startswith("RUA_")}
    assert used
    assert used - known == set()


def test_the_schema_lists_every_setting() -> None:
    """Of workers, but for what the chart sets itself, and of agents."""
    definitions = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    workers = definitions["definitions"]["settings"]["propertyNames"]["enum"]
    # a Deployment's pods have a new name at every restart, so an instance's name is not theirs to give
    elsewhere = {"kafka", "http_port", "status_file", "instance_id"}
    assert set(workers) == set(WorkerSettings.__struct_fields__) - elsewhere
    agent = definitions["properties"]["agent"]["properties"]
    assert set(agent["limits"]["propertyNames"]["enum"]) == set(Limits.__struct_fields__)
    assert set(agent["disk"]["properties"]) == set(DiskSettings.__struct_fields__)
    assert set(agent["spool"]["properties"]) == set(SpoolSettings.__struct_fields__)
    assert set(definitions["definitions"]["source"]["properties"]) == set(SourceSettings.__struct_fields__)


def test_the_agent_starts_with_what_the_chart_prepares(render: Render, tmp_path: Path) -> None:
    """The init container's own script, run here: the agent accepts its files, and is known by its node."""
    objects = render({"agent": {"limits": {"drain_seconds": 0}}})
    (tmp_path / "etc/rua/key").mkdir(parents=True)
    (tmp_path / "run/rua").mkdir(parents=True)
    (tmp_path / "etc/rua/agent.yaml").write_text(objects["ConfigMap", "rel-rua-agent-lazada"]["data"]["agent.yaml"])
    key = tmp_path / "etc/rua/key/pseudonym.key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o440)  # as the kubelet mounts a Secret for a group
    spec = objects["DaemonSet", "rel-rua-agent-lazada"]["spec"]["template"]["spec"]
    script = re.sub(r"/(etc|run)/rua", rf"{tmp_path}/\1/rua", spec["initContainers"][0]["command"][2])
    subprocess.run(["/bin/sh", "-ec", script], env={"AGENT_ID": "lazada-node-7", "PATH": "/usr/bin:/bin"}, check=True)

    settings = load(tmp_path / "run/rua/agent.yaml")
    assert (settings.platform, settings.agent_id, settings.limits.drain_seconds) == ("lazada", "lazada-node-7", 0)
    assert settings.kafka == KafkaOptions(
        bootstrap="kafka:9093",
        security_protocol="SASL_SSL",
        username="lazada",
        password_file="/etc/rua/kafka/password",
        ca_file="/etc/rua/kafka/ca.crt",
    )
    assert spec["containers"][0]["args"] == ["agent", "run", "-c", "/run/rua/agent.yaml"]
    assert settings.key_file == "/run/rua/pseudonym.key"
    assert read_keys(tmp_path / "run/rua/pseudonym.key") == single(bytes(range(32)))


def test_a_changed_setting_restarts_the_pods(render: Render) -> None:
    """The template carries a checksum of what it was made from."""
    before = dict(pods(render()))
    after = dict(pods(render({"workers": {"settings": {"store_rows": 5}}})))
    assert before["rel-rua-store"] != after["rel-rua-store"]
    assert before["rel-rua-agent-lazada"] == after["rel-rua-agent-lazada"]


def test_two_releases_and_two_platforms_do_not_collide(render: Render) -> None:
    """Names, selectors and state directories differ."""
    first, second = render(release="a"), render(release="b")
    assert not set(first) & set(second)
    platforms = NEEDED["agent"]["platforms"]
    both = render({"agent": {"platforms": [*platforms, {**platforms[0], "platform": "shopee"}]}})
    state = {v["hostPath"]["path"] for _, pod in pods(both) for v in pod["spec"]["volumes"] if v["name"] == "state"}
    assert state == {"/var/lib/rua-agent/lazada", "/var/lib/rua-agent/shopee"}


def test_boards_rules_and_source_reach_grafana(render: Render) -> None:
    """Each file that was built, byte for byte, below the size of a ConfigMap."""
    objects = render()
    built = [
        p for p in (ROOT / "dashboards/generated").rglob("*") if p.is_file() and "provisioning/dashboards" not in str(p)
    ]
    held = {
        (next(label for label in item["metadata"]["labels"] if label.startswith("grafana_")), name): text
        for (kind, _), item in objects.items()
        if kind == "ConfigMap"
        for name, text in item["data"].items()
        if name != "agent.yaml"
    }
    assert sorted(held.values()) == sorted(p.read_text(encoding="utf-8") for p in built)
    assert {label for label, _ in held} == {"grafana_dashboard", "grafana_alert", "grafana_datasource"}
    assert all(len(json.dumps(item)) < MIB for item in objects.values())


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"kafka": {"bootstrap": ""}}, "bootstrap"),
        ({"kafka": {"bootstrap": "kafka"}}, "bootstrap"),
        ({"kafka": {"existingSecret": ""}}, r"kafka\.existingSecret"),
        ({"kafka": {"username": ""}}, r"kafka\.username"),
        ({"kafka": {"password": "in clear"}}, "password"),
        ({"clickhouse": {"url": ""}}, r"clickhouse\.url"),
        ({"clickhouse": {"url": "clickhouse:8443"}}, "url"),
        ({"workers": {"detect": {"replicas": -1}}}, "replicas"),
        ({"workers": {"settings": {"chekpoint_seconds": 1}}}, "chekpoint_seconds"),
        ({"workers": {"store": {"resources": {"requests": {"cpu": 1}, "limits": {"memory": None}}}}}, "memory"),
        ({"agent": {"platforms": [{"platform": "Lazada", "keySecret": "a", "sources": []}]}}, "platform"),
        ({"agent": {"platforms": [{"platform": "lazada", "sources": [{"source": "a", "paths": ["b"]}]}]}}, "keySecret"),
        ({"agent": {"priorityClassName": "system-node-critical"}}, "priorityClassName"),
        ({"image": {"digests": {"agent": "latest"}}}, "digests"),
        ({"worker": {}}, "worker"),
    ],
)
def test_refuses_bad_values_and_names_them(helm: Path, values: dict[str, Any], named: str) -> None:
    """A person sees which key is wrong."""
    with pytest.raises(Refusal, match=named):
        template(helm, merged(NEEDED, values), "rel")


def test_numbers_arrive_as_written(helm: Path) -> None:
    """Helm reads integers as floats and would print 1.048576e+06 (helm #12195)."""
    big = {
        "agent": {"limits": {"record_bytes": 1048576, "queue_bytes": 8589934592}},
        "workers": {"settings": {"dead_letter_window_records": 2592000000, "stall_seconds": 0.5}},
        "podAnnotations": {"accountId": 111122223333, "buildTag": 20260302, "gitSha": "1234567e8"},
    }
    text = template(helm, merged(NEEDED, big), "rel")
    assert not re.search(r"\d(\.\d+)?e\+\d", text)
    for written in ("1048576", "8589934592", "2592000000", "111122223333", "20260302", "1234567e8", '"0.5"'):
        assert written in text


def test_zero_and_false_are_choices(render: Render) -> None:
    """Helm's `default` and `merge` take them for nothing (helm #3164)."""
    objects = render(
        {
            "workers": {
                "settings": {"log_json": True, "dead_letter_ratio": 0.25},
                "detect": {
                    "replicas": 0,
                    "terminationGracePeriodSeconds": 0,
                    "settings": {"log_json": False, "dead_letter_ratio": 0, "drain_seconds": 0},
                },
            },
            "agent": {"terminationGracePeriodSeconds": 0},
            "migrate": {"ttlSecondsAfterFinished": 0, "backoffLimit": 0},
        }
    )
    detect = objects["Deployment", "rel-rua-detect"]["spec"]
    assert (detect["replicas"], detect["template"]["spec"]["terminationGracePeriodSeconds"]) == (0, 0)
    assert (
        objects["DaemonSet", "rel-rua-agent-lazada"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 0
    )
    migrate = objects["Job", "rel-rua-migrate"]["spec"]
    assert (migrate["ttlSecondsAfterFinished"], migrate["backoffLimit"]) == (0, 0)
    variables = environment(objects)
    wanted = {"RUA_WORKER_LOG_JSON": "false", "RUA_WORKER_DEAD_LETTER_RATIO": "0", "RUA_WORKER_DRAIN_SECONDS": "0"}
    assert wanted.items() <= variables["rel-rua-detect"].items()
    assert variables["rel-rua-store"]["RUA_WORKER_LOG_JSON"] == "true"


@pytest.mark.parametrize("unknown", ["lingerMs", "verifyTls", "readFromStart"])
def test_a_choice_that_does_not_exist_is_refused_and_not_ignored(helm: Path, unknown: str) -> None:
    """The keys of the case that this chart has no use for."""
    with pytest.raises(Refusal, match=unknown):
        template(helm, merged(NEEDED, {"agent": {unknown: False}}), "rel")


def test_migration_runs_before_workers_and_uses_nothing_of_the_chart(render: Render) -> None:
    """A hook of the first installation finds no object of the chart yet."""
    job = render()["Job", "rel-rua-migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    spec = job["spec"]["template"]["spec"]
    assert "serviceAccountName" not in spec
    assert not any("configMap" in v for v in spec["volumes"])
    assert spec["containers"][0]["args"] == ["migrate"]


def test_workers_stop_gracefully_and_say_when_they_are_ready(render: Render) -> None:
    """The grace period is longer than a drain; probes ask the worker's own endpoints."""
    drain = WorkerSettings.__struct_defaults__[WorkerSettings.__struct_fields__.index("drain_seconds") - 1]
    for role in ("detect", "store"):
        spec = render()["Deployment", f"rel-rua-{role}"]["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] > drain
        assert spec["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/ready"
        assert spec["containers"][0]["args"] == ["worker", "--role", role]


def prepared(folder: Path, script: str, config: str) -> Path:
    """Runs an init container's script in a folder of its own; where the agent finds its configuration."""
    (folder / "etc/rua/key").mkdir(parents=True)
    (folder / "run/rua").mkdir(parents=True)
    (folder / "etc/rua/agent.yaml").write_text(config)
    (folder / "etc/rua/key/pseudonym.key").write_bytes(bytes(range(32)))
    create_signing_key(folder / "etc/rua/key/signing.key")
    for key in (folder / "etc/rua/key").iterdir():
        key.chmod(0o440)  # as the kubelet mounts a Secret for a group
    script = re.sub(r"/(etc|run)/rua/", rf"{folder}/\1/rua/", script)
    subprocess.run(["/bin/sh", "-ec", script], env={"AGENT_ID": "id-7", "PATH": "/usr/bin:/bin"}, check=True)
    return folder / "run/rua/agent.yaml"


def test_an_agent_signs_if_it_has_a_key_and_serves_its_probes(render: Render, tmp_path: Path) -> None:
    """Ready, alive, metrics: one port, which only monitoring may reach."""
    platforms = [{**NEEDED["agent"]["platforms"][0], "signingKeySecret": "lazada-signing"}]
    objects = render({"agent": {"platforms": platforms, "httpPort": 9999, "disk": {"full": "keep_reading"}}})
    spec = objects["DaemonSet", "rel-rua-agent-lazada"]["spec"]["template"]["spec"]
    config = objects["ConfigMap", "rel-rua-agent-lazada"]["data"]["agent.yaml"]
    settings = load(prepared(tmp_path, spec["initContainers"][0]["command"][2], config))
    assert settings.signing_key_file == "/run/rua/signing.key"
    assert read_signer(tmp_path / "run/rua/signing.key")
    assert (settings.http and settings.http.listen, settings.disk.full) == ("0.0.0.0:9999", "keep_reading")
    agent = spec["containers"][0]
    assert agent["ports"] == [{"name": "http", "containerPort": 9999}]
    assert [agent[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")] == ["/readyz", "/healthz"]
    policy = objects["NetworkPolicy", "rel-rua-agent-lazada"]["spec"]["ingress"]
    assert policy[0]["ports"] == [{"port": 9999, "protocol": "TCP"}]


def test_an_agents_stop_is_never_cut_short(render: Render, helm: Path) -> None:
    """The default drain ends before the grace period; a longer one than the grace period is refused."""
    spec = render()["DaemonSet", "rel-rua-agent-lazada"]["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > Limits().drain_seconds
    with pytest.raises(Refusal, match="drain_seconds must be below"):
        template(helm, merged(NEEDED, {"agent": {"limits": {"drain_seconds": 30}}}), "rel")


def test_the_sidecar_is_what_kubernetes_and_the_agent_accept(tmp_path: Path) -> None:
    """The example: validated strictly, its script run, its configuration loaded, its pod locked down."""
    text = (ROOT / "deploy/kubernetes/sidecar.yaml").read_text(encoding="utf-8")
    config, pod = yaml.safe_load_all(re.sub("PLATFORM", "shop", text))
    for kubernetes in ("1.29", "1.37"):
        for item in (config, pod):
            kubernetes_validate.validate(item, kubernetes, strict=True)
    spec = pod["spec"]
    prepare, agent = spec["initContainers"]
    settings = load(prepared(tmp_path, prepare["command"][2], config["data"]["agent.yaml"]))
    assert settings.agent_id == "id-7"
    assert agent["restartPolicy"] == "Always"
    assert spec["terminationGracePeriodSeconds"] > settings.limits.drain_seconds
    mounts = {mount["mountPath"]: mount for mount in agent["volumeMounts"]}
    assert mounts["/var/log/app"]["readOnly"]
    writable = [path for path, mount in mounts.items() if not mount.get("readOnly")]
    assert {mounts[path]["name"] for path in writable} == {"rua-socket", "rua-tmp", "rua-state"}
    for container in (prepare, agent):
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["runAsUser"] != 0
        assert container["resources"]["limits"]["memory"]
    sizes = {volume["name"]: volume.get("emptyDir", {}).get("sizeLimit") for volume in spec["volumes"]}
    assert settings.spool.bytes < int(sizes["rua-state"].removesuffix("Mi")) * MIB
    assert set(sizes) == {mount["name"] for c in containers(pod) for mount in c["volumeMounts"]}
