"""`rua agent check -c FILE`: proves that `run` would work, before it runs."""

from __future__ import annotations

import glob
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rua_common.errors import BadConfiguration, RuaError
from rua_schemas.diagnose import diagnose
from rua_schemas.topics import DLQ, HEARTBEATS, events_topic

from rua_agents.contents import opened
from rua_agents.keyfile import read_keys
from rua_agents.records import check_encoding
from rua_agents.settings import AgentSettings, load
from rua_agents.signing import read_signer


def run(config: Path) -> int:
    """Prints what is wrong with its cure, one a line; 0 if nothing is."""
    try:
        settings = load(config)
    except BadConfiguration as why:
        wrong = [str(why)]
    else:
        wrong = list(problems(settings))
    for one in wrong:
        print(f"bad  {one}", file=sys.stderr)  # noqa: T201 - the command's own output
    if not wrong:
        print(f"ok   {config}: configuration, key, files, state directory and broker")  # noqa: T201 - likewise
        print(f"note {signing(settings)}")  # noqa: T201 - likewise
    return 1 if wrong else 0


def signing(settings: AgentSettings) -> str:
    """Which key a verifier has to know, or that there is none."""
    if not settings.signing_key_file:
        return "signing_key_file is not set: heartbeats go unsigned, and whoever may write to Kafka can forge them"
    signer = read_signer(Path(settings.signing_key_file))
    return f"heartbeats are signed with key {signer.key_id}, public key {signer.public_key.hex()}"


def problems(settings: AgentSettings) -> Iterator[str]:
    """Everything that is wrong."""
    try:
        read_keys(Path(settings.key_file))
    except BadConfiguration as why:
        yield str(why)
    if settings.signing_key_file:
        try:
            read_signer(Path(settings.signing_key_file))
        except BadConfiguration as why:
            yield str(why)
    yield from _state_dir(Path(settings.state_dir))
    for source in settings.sources:
        for pattern in source.paths:
            yield from _files(pattern)
    yield from diagnose(settings.kafka, writes=[events_topic(settings.platform), HEARTBEATS, DLQ])


def _state_dir(path: Path) -> Iterator[str]:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as why:
        yield f"state_dir: {path}: {why.strerror}: the agent must be able to write there"


def _files(pattern: str) -> Iterator[str]:
    paths = sorted(p for p in glob.glob(pattern) if Path(p).is_file())
    if not paths:
        yield f"paths: {pattern} matches no file: is the path right, and does the source write there?"
    for path in paths:
        if not os.access(path, os.R_OK):
            yield f"{path}: not readable by this user: add it to the file's group"
            continue
        try:
            with opened(path) as file:
                check_encoding(file.read(4))
        except (OSError, RuaError) as why:
            yield f"{path}: {why}"
