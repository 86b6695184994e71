"""`rua agent check -c FILE`: proves that `run` would work, before it runs."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rua_common.clock import Clock, SystemClock
from rua_common.errors import BadConfiguration
from rua_schemas.diagnose import diagnose, newest_ms
from rua_schemas.events import DeadLetter, Heartbeat, TelemetryEvent
from rua_schemas.released import current, released
from rua_schemas.topics import DLQ, HEARTBEATS, events_topic

from rua_agents.check_sources import source_problems
from rua_agents.disk import free_bytes
from rua_agents.endpoint import Board, Endpoint
from rua_agents.keyfile import Keys, read_keys
from rua_agents.lock import StateLock
from rua_agents.settings import AgentSettings, load
from rua_agents.signing import read_signer
from rua_agents.status import Status

CLOCK_TOLERANCE_MS = 2_000


def run(config: Path) -> int:
    """Prints what is wrong with its cure, one a line; 0 if nothing is."""
    try:
        settings = load(config)
    except BadConfiguration as why:
        wrong = [str(why)]
    else:
        wrong = list(problems(settings, SystemClock()))
    for one in wrong:
        print(f"bad  {one}", file=sys.stderr)  # noqa: T201 - the command's own output
    if not wrong:
        print(f"ok   {config}: configuration, keys, sources, state directory, endpoint, broker, rights, schema, clock")  # noqa: T201 - likewise
        for one in notes(settings):
            print(f"note {one}")  # noqa: T201 - likewise
    return 1 if wrong else 0


def notes(settings: AgentSettings) -> Iterator[str]:
    """What is no fault, and a person should know."""
    if not settings.signing_key_file:
        yield "signing_key_file is not set: heartbeats go unsigned, and whoever may write to Kafka can forge them"
    else:
        signer = read_signer(Path(settings.signing_key_file))
        yield f"heartbeats are signed with key {signer.key_id}, public key {signer.public_key.hex()}"
    if _holder(settings):
        yield f"this agent runs, process {_holder(settings)}: after a change send it SIGHUP"


def problems(settings: AgentSettings, clock: Clock) -> Iterator[str]:
    """Everything that is wrong."""
    try:
        keys = read_keys(Path(settings.key_file))
    except BadConfiguration as why:
        yield str(why)
        keys = None
    yield from _signing_key(settings)
    running = _holder(settings)
    yield from _state_dir(settings)
    if running is None:
        yield from _endpoint(settings)
    yield from _sources(settings, keys, clock)
    yield from _schemas()
    found = diagnose(settings.kafka, writes=[events_topic(settings.platform), HEARTBEATS, DLQ])
    yield from found
    if not found:
        yield from _clock(settings, clock)


def _signing_key(settings: AgentSettings) -> Iterator[str]:
    if settings.signing_key_file:
        try:
            read_signer(Path(settings.signing_key_file))
        except BadConfiguration as why:
            yield str(why)


def _sources(settings: AgentSettings, keys: Keys | None, clock: Clock) -> Iterator[str]:
    for source in settings.sources:
        yield from source_problems(settings, source, keys, clock)


def _holder(settings: AgentSettings) -> str | None:
    """The process of this very agent, if it runs; then its directory and its address are taken, and rightly so."""
    directory = Path(settings.state_dir)
    try:
        with StateLock(directory):
            return None
    except BadConfiguration:
        try:
            told = msgspec.json.decode((directory / "status.json").read_bytes(), type=Status)
        except (OSError, ValueError):
            return None
        same = (told.platform, told.agent_id) == (settings.platform, settings.agent_id)
        return StateLock(directory).owner() if same else None


def _state_dir(settings: AgentSettings) -> Iterator[str]:
    path, disk = Path(settings.state_dir), settings.disk
    if _holder(settings) is None:
        try:
            with StateLock(path):
                pass
        except BadConfiguration as why:
            yield str(why)
            return
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"?" * 4_096)
        free = free_bytes(path)
    except OSError as why:
        yield f"state_dir: {path}: {why.strerror}: the agent must be able to write there"
        return
    wanted = disk.min_free_bytes + (0 if (path / "reserve").exists() else disk.reserve_bytes)
    if free < wanted:
        yield f"state_dir: {path}: {free} bytes are free, disk.min_free_bytes and the reserve want {wanted}: make room"


def _endpoint(settings: AgentSettings) -> Iterator[str]:
    if settings.http:
        try:
            Endpoint(settings.http.listen, Board()).close()
        except BadConfiguration as why:
            yield str(why)


def _schemas() -> Iterator[str]:
    """Workers read what was released, in any version; a build in between would fill their dead-letter queue."""
    for kind in (TelemetryEvent, Heartbeat, DeadLetter):
        if current(kind).fingerprint not in {one.fingerprint for one in released(kind)}:
            yield f"schema of {kind.__name__}: this build writes one that was never released: install a release"


def _clock(settings: AgentSettings, clock: Clock) -> Iterator[str]:
    """A message that is younger than now shows that this clock is behind; nothing shows one that is ahead."""
    newest = newest_ms(settings.kafka, HEARTBEATS)
    behind_ms = newest - clock.now_ms() if newest is not None else 0
    if behind_ms > CLOCK_TOLERANCE_MS:
        yield f"clock: this host's is {behind_ms / 1_000:.0f} s or more behind the broker's: see its time service"
