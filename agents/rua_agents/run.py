"""From a configuration file to a running agent."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import FrameType
from typing import TextIO

import msgspec
from rua_common.clock import Clock, SystemClock
from rua_common.errors import BadConfiguration

from rua_agents.agent import Agent
from rua_agents.emitter import Emitter
from rua_agents.pseudonyms import KeyRing, Observer, read_key
from rua_agents.reader import Reader
from rua_agents.replay import END_MS, Replay
from rua_agents.settings import AgentSettings, collector_of, load, options_of, zone_of
from rua_agents.stream import Origin
from rua_agents.tail import Tail, Watched
from rua_agents.tally import Tally


class ReplayClock:
    """The world's clock: the watermark."""

    def __init__(self, start_ms: int) -> None:
        self.reader: Reader | None = None
        self._start_ms = start_ms

    def now_ms(self) -> int:
        """The watermark, or the last one before the world's end."""
        at = self.reader.watermark_ms if self.reader else 0
        self._start_ms = max(self._start_ms, at if at < END_MS else 0)
        return self._start_ms


class Observations:
    """Clear → pseudonym of what was seen: for worlds of simulated data, whose key is thrown away."""

    def __init__(self, file: TextIO, platform: str) -> None:
        self._file, self._platform = file, platform

    def __call__(self, field: str, clear: str, pseudonym: str) -> None:
        """Notes one."""
        if field != "statement":
            line = {"platform": self._platform, "clear": clear, "pseudonym": pseudonym}
            self._file.write(msgspec.json.encode(line).decode() + "\n")

    def flush(self) -> None:
        """Before the checkpoint moves past what was noted."""
        self._file.flush()


def watched(settings: AgentSettings, keys: KeyRing, tally: Tally) -> list[Watched]:
    """The configured sources, ready to read."""
    found = []
    for source in settings.sources:
        collector = collector_of(source.source)
        host = source.host or settings.agent_id
        zone, options = zone_of(source.zone), options_of(collector, source.options)
        origin = Origin(collector, settings.platform, settings.agent_id, host, zone, options, keys, tally)
        found.append(Watched(origin, source.paths))
    return found


def build(settings: AgentSettings, key: bytes, observations: Observations | None = None) -> Agent:
    """An agent for these settings."""
    observer: Observer | None = observations
    tally = Tally()
    sources = watched(settings, KeyRing(key, settings.platform, observer), tally)
    clock: Clock = SystemClock()
    reader: Reader = Tail(sources, settings.limits)
    if settings.replay:
        reader = Replay(sources, settings.replay, settings.limits)
        world = ReplayClock(settings.replay.start_ms)
        world.reader, clock = reader, world
    made: list[Agent] = []
    emitter = Emitter(
        settings.kafka,
        settings.platform,
        settings.agent_id,
        settings.limits,
        clock=clock,
        stopping=lambda: bool(made) and made[0].stopping,
    )
    flush = observations.flush if observations else lambda: None
    made.append(Agent(settings, reader, emitter, tally, clock=clock, before_checkpoint=flush))
    return made[0]


def run(config: Path) -> int:
    """`rua agent run -c FILE`: until SIGTERM or SIGINT.

    Raises:
        RuaError: bad configuration, or the broker will never take a message.
    """
    settings = load(config)
    key = read_key(Path(settings.key_file))
    os.umask(0o077)
    replay = settings.replay
    if replay is None or replay.pseudonyms_file is None:
        return _until_signal(build(settings, key))
    try:
        with open(replay.pseudonyms_file, "a", encoding="utf-8") as file:
            return _until_signal(build(settings, key, Observations(file, settings.platform)))
    except OSError as why:
        raise BadConfiguration(f"{why.filename}: {why.strerror}", key="replay.pseudonyms_file") from why


def _until_signal(agent: Agent) -> int:
    def stop(_: int, __: FrameType | None) -> None:
        agent.stopping = True

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, stop)
    agent.run()
    return 0
