"""The chart rendered: what an installation must name, and helm's answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "rua"
Values = Mapping[str, Any]
Rendered = dict[tuple[str, str], dict[str, Any]]  # (kind, name) to object
Render = Callable[..., Rendered]

# What every installation must name, and one platform
NEEDED: dict[str, Any] = {
    "kafka": {"bootstrap": "kafka:9093", "username": "rua-workers", "existingSecret": "rua-kafka", "caKey": "ca.crt"},
    "clickhouse": {"url": "https://clickhouse:8443", "existingSecret": "rua-clickhouse"},
    "agent": {
        "platforms": [
            {
                "platform": "lazada",
                "keySecret": "lazada-key",
                "kafkaUsername": "lazada",
                "kafkaSecret": "lazada-kafka",
                "sources": [{"source": "pgaudit-jsonlog", "paths": ["/var/log/pg/*.json"], "zone": "Asia/Bangkok"}],
            }
        ]
    },
}


class Refusal(Exception):
    """Helm would not render; the text is what a person reads."""


def template(helm: Path, values: Values, release: str, *arguments: str) -> str:
    """What `helm template` prints.

    Raises:
        Refusal: helm would not.
    """
    command = [str(helm), "template", release, str(CHART), "-n", "soc", "-f", "-", *arguments]
    done = subprocess.run(command, input=json.dumps(values), text=True, capture_output=True, check=False)
    if done.returncode:
        raise Refusal(done.stderr)
    return done.stdout


def merged(*layers: Values) -> dict[str, Any]:
    """Values with later ones laid over earlier ones, key by key."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else value
    return result
