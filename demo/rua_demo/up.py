"""`rua up`: the embedded product on a data directory, kept running until it is told to stop."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import yaml
from rich.console import Console
from rua_common.errors import BadConfiguration
from rua_local.process import free_port
from rua_schemas import topics

from rua_demo.profiles import PROFILES
from rua_demo.stack import CLICKHOUSE, KAFKA, Stack, handled, write_key

DEFAULT_PLATFORMS = tuple(p.name for p in PROFILES)
PORTS_FILE, KEY_FILE = "ports.json", "pseudonym.key"
LOOK_SECONDS = 0.5
DRAIN_SECONDS = 40.0


def up(data: Path, platforms: Sequence[str]) -> int:
    """Starts Kafka, the store and the workers, prints how to reach them, and drains on Ctrl-C, SIGTERM or SIGHUP.

    A second start on the same directory goes on where the first one stopped, at the same addresses.

    Raises:
        RuaError: a service did not start, or a part crashed: everything else is drained and stopped first.
    """
    console, stop = Console(), threading.Event()

    def on_signal(_: int, __: FrameType | None) -> None:
        stop.set()

    data.mkdir(parents=True, exist_ok=True)
    stack = Stack(data, ports=ports(data))
    with handled(on_signal, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        try:
            stack.start_services(platforms)
            stack.start_workers(platforms)
            console.print(welcome(stack, platforms), markup=False, highlight=False, soft_wrap=True)
            while not stop.wait(LOOK_SECONDS):
                stack.check()
            console.print("draining: what was read is made safe, the rest waits for the next start", markup=False)
        finally:
            stack.stop(seconds=DRAIN_SECONDS)
            stack.stop_services()
    console.print("stopped", markup=False)
    return 0


def ports(data: Path) -> tuple[int, int]:
    """Ports of Kafka and of ClickHouse, chosen once for a directory: agents are configured with them.

    Raises:
        BadConfiguration: the file that remembers them is broken.
    """
    path = data / PORTS_FILE
    if not path.exists():
        path.write_text(json.dumps({"kafka": free_port(), "clickhouse": free_port()}) + "\n", encoding="ascii")
    try:
        found = json.loads(path.read_text(encoding="ascii"))
        return int(found["kafka"]), int(found["clickhouse"])
    except (ValueError, KeyError, TypeError) as why:
        raise BadConfiguration("delete it, and new ports are chosen", file=str(path)) from why


def example(stack: Stack, platform: str) -> dict[str, object]:
    """A configuration with which an agent of this machine can start."""
    return {
        "platform": platform,
        "agent_id": f"{platform}-1",
        "key_file": str(write_key(stack.data / KEY_FILE)),
        "state_dir": str(stack.agent_state(platform)),
        "kafka": {"bootstrap": stack.kafka},
        "sources": [{"source": "pgaudit-jsonlog", "paths": ["/var/log/postgresql/*.json"], "zone": "Asia/Bangkok"}],
    }


def welcome(stack: Stack, platforms: Sequence[str]) -> str:
    """Where everything is, and how to go on."""
    config = yaml.safe_dump(example(stack, platforms[0]), allow_unicode=True, sort_keys=False)
    return "\n".join(
        [
            "Rua is up (embedded: for development, not for production)",
            f"  Kafka        {stack.kafka}    export {KAFKA}={stack.kafka}",
            f"  ClickHouse   {stack.clickhouse}    export {CLICKHOUSE}={stack.clickhouse}",
            f"  platforms    {', '.join(platforms)} (topics {topics.events_topic('…')})",
            f"  data, logs   {stack.data}, {stack.logs}",
            "",
            "An agent for it: put this into agent.yaml, then `rua agent check -c agent.yaml` and `rua agent run -c …`",
            "",
            *(f"    {line}" for line in config.splitlines()),
            "",
            "Ctrl-C drains and stops.",
        ]
    )
