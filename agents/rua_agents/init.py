"""`rua agent init SOURCE`: a configuration to start from, its keys, and what to switch on at the source."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from rua_common.errors import BadConfiguration

from rua_agents.keyfile import create_key_file
from rua_agents.settings import PLATFORM
from rua_agents.setup_pages import setup_of
from rua_agents.signing import create_signing_key

TEMPLATE = """\
# One agent: what it reads, whose it is, where it sends to. Every key: docs/settings.md
# Before it starts:  rua agent check -c {out}
# After a change:    rua agent check -c {out}, then SIGHUP

platform: {platform}   # its events go to the topic rua.events.{platform}
# agent_id: db-1   # how the SOC knows it; the host's name unless given

# Pseudonyms are made with this key. All hosts of a platform share one; keep it as long as the data.
key_file: {key_file}
# Heartbeats are signed with this key. Each agent has its own; the SOC needs only the public key.
signing_key_file: {signing_key_file}
# The only directory that the agent writes; one agent each.
state_dir: {state_dir}

kafka:
  bootstrap: {bootstrap}
  # security_protocol: SASL_SSL
  # mechanism: SCRAM-SHA-512
  # username: agent-{platform}
  # password_file: /etc/rua/kafka.password
  # ca_file: /etc/rua/ca.crt

{example}

# /healthz, /readyz, /metrics; `rua agent status` asks there
http: {{listen: "127.0.0.1:9469"}}

limits:
  cpu_percent: 50   # of one core, on average
  nice: 10          # everybody else on this host goes first
  # bytes_per_second: 10000000
  # drain_seconds: 10   # a stop waits so long for the broker

# disk: {{full: stop_reading, min_free_bytes: 16777216}}   # what happens when the disk of state_dir is full
"""


class Choices(NamedTuple):
    """What a person gave on the command line."""

    source: str
    platform: str
    out: Path
    state_dir: Path
    bootstrap: str


def run(choices: Choices) -> int:
    """Writes the files that are not there yet, and prints what to do.

    Raises:
        BadConfiguration: the platform's name cannot be one, or a file is there already.
    """
    if not PLATFORM.fullmatch(choices.platform):
        raise BadConfiguration("lower-case letters, digits, - and _ only", key="--platform")
    setup = setup_of(choices.source)
    folder = choices.out.absolute().parent
    key, signing_key = folder / "pseudonym.key", folder / "signing.key"
    text = TEMPLATE.format(
        out=choices.out.absolute(),
        platform=choices.platform,
        key_file=_quoted(key),
        signing_key_file=_quoted(signing_key),
        state_dir=_quoted(choices.state_dir.absolute()),
        bootstrap=_quoted(choices.bootstrap),
        example=setup.example,
    )
    _write(choices.out, text)
    said = [f"wrote {choices.out}", *_keys(key, signing_key)]
    steps = f"rua agent check -c {choices.out} proves that it will work, rua agent run -c {choices.out} runs it."
    print("\n".join([*said, "", "Switch on at the source:", "", setup.switch_on, "", steps]))  # noqa: T201 - the command's own output
    return 0


def _keys(key: Path, signing_key: Path) -> Iterator[str]:
    """Makes the keys that are missing: one that is there is in use."""
    if key.exists():
        yield f"kept {key}"
    else:
        create_key_file(key)
        yield f"wrote {key}: give the same file to every agent of this platform, and keep a copy"
    if signing_key.exists():
        yield f"kept {signing_key}"
    else:
        public = create_signing_key(signing_key)
        yield f"wrote {signing_key}: tell the SOC its public key {public}"


def _write(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    except FileExistsError as why:
        raise BadConfiguration("is there already: choose another --out", file=str(path)) from why
    except OSError as why:
        raise BadConfiguration(f"cannot be written: {why.strerror}", file=str(path)) from why
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _quoted(value: object) -> str:
    """As YAML, whatever is in it."""
    return yaml.safe_dump(str(value), default_flow_style=True, width=sys.maxsize).removesuffix("...\n").strip()
