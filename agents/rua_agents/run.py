"""From settings to an agent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import msgspec
from rua_common.clock import Clock, SystemClock

from rua_agents.agent import Agent
from rua_agents.broker import BrokerHealth
from rua_agents.disk import Disk
from rua_agents.emitter import Emitter
from rua_agents.envelopes import envelopes_of
from rua_agents.intake.setup import needs_spool, with_spool
from rua_agents.keyfile import Keys
from rua_agents.pace import paced
from rua_agents.pseudonyms import KeyRing, Observer
from rua_agents.reader import Reader
from rua_agents.replay import END_MS, Replay
from rua_agents.settings import AgentSettings, SourceSettings, collector_of, options_of, zone_of
from rua_agents.signing import read_signer
from rua_agents.spool.reader import SPOOL
from rua_agents.status import Status
from rua_agents.stream import Origin
from rua_agents.tail import Tail, Watched
from rua_agents.tally import Tally

log = logging.getLogger(__name__)


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


def watched(settings: AgentSettings, keys: KeyRing, tallies: dict[str, Tally]) -> list[Watched]:
    """The configured sources, ready to read."""
    found = []
    for source in settings.sources:
        collector = collector_of(source.source)
        host = source.host or settings.agent_id
        zone, options = zone_of(source.zone), options_of(collector, source.options)
        # what is spooled is read by another thread, which must not share a count
        tally = tallies.setdefault(f"{source.source}+{SPOOL}" if source.spool else source.source, Tally())
        origin = Origin(collector, settings.platform, settings.agent_id, host, zone, options, keys, tally)
        found += [
            Watched(replace(origin, envelope=one), source.paths) for one in envelopes_of(source.envelope, source.lane)
        ]
    return found


def build(
    settings: AgentSettings,
    key: bytes | Keys,
    tallies: dict[str, Tally],
    observations: Observations | None = None,
    *,
    publish: Callable[[Status], None] = lambda _: None,
    reload: Callable[[], None] = lambda: None,
    config_digest: str | None = None,
) -> Agent:
    """An agent for these settings; `tallies` is filled with the accounts of its sources."""
    observer: Observer | None = observations
    ring = KeyRing(key, settings.platform, observer)
    clock: Clock = SystemClock()
    reader: Reader
    if settings.replay:
        reader = Replay(watched(settings, ring, tallies), settings.replay, settings.limits)
        world = ReplayClock(settings.replay.start_ms)
        world.reader, clock = reader, world
    else:
        # of its own, for another thread makes events there
        reader = _live(settings, ring, KeyRing(key, settings.platform, observer), tallies, clock)
    made: list[Agent] = []
    health = BrokerHealth(settings.kafka)
    emitter = Emitter(
        settings.kafka,
        settings.platform,
        settings.agent_id,
        settings.limits,
        clock=clock,
        health=health,
        waits=lambda: bool(made) and made[0].waits(),
    )
    agent = Agent(
        settings,
        reader,
        emitter,
        tallies,
        disk=Disk(Path(settings.state_dir), settings.disk),
        health=health,
        clock=clock,
        before_checkpoint=observations.flush if observations else lambda: None,
        publish=publish,
        reload=reload,
        signer=read_signer(Path(settings.signing_key_file)) if settings.signing_key_file else None,
        config_digest=config_digest,
    )
    made.append(agent)
    return agent


def _live(
    settings: AgentSettings, keys: KeyRing, spool_keys: KeyRing, tallies: dict[str, Tally], clock: Clock
) -> Reader:
    def ready(sources: list[SourceSettings], keys: KeyRing) -> list[Watched]:
        return watched(msgspec.structs.replace(settings, sources=sources), keys, tallies)

    spooled = [(source, ready([source], spool_keys)) for source in settings.sources if needs_spool(source)]
    logs = Tail(ready([source for source in settings.sources if not needs_spool(source)], keys), paced(settings.limits))
    lost = tallies.setdefault(SPOOL, Tally()) if spooled else Tally()
    return with_spool(settings, spooled, logs, lost.dropped, clock)
