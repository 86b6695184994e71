"""From a configuration file to a running agent."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from types import FrameType
from typing import TextIO

import msgspec
from rua_common.clock import Clock, SystemClock
from rua_common.errors import BadConfiguration, RuaError

from rua_agents.agent import Agent
from rua_agents.broker import BrokerHealth
from rua_agents.disk import Disk
from rua_agents.emitter import Emitter
from rua_agents.endpoint import Board, Endpoint
from rua_agents.envelopes import envelopes_of
from rua_agents.intake.setup import needs_spool, with_spool
from rua_agents.keyfile import Keys, read_keys
from rua_agents.lock import StateLock
from rua_agents.pseudonyms import KeyRing, Observer
from rua_agents.reader import Reader
from rua_agents.replay import END_MS, Replay
from rua_agents.settings import AgentSettings, HttpSettings, SourceSettings, collector_of, load, options_of, zone_of
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
        found += [Watched(replace(origin, envelope=one), source.paths) for one in envelopes_of(source.envelope)]
    return found


def build(
    settings: AgentSettings,
    key: bytes | Keys,
    observations: Observations | None = None,
    *,
    publish: Callable[[Status], None] = lambda _: None,
    reload: Callable[[], None] = lambda: None,
    config_digest: str | None = None,
) -> Agent:
    """An agent for these settings."""
    observer: Observer | None = observations
    tallies: dict[str, Tally] = {}
    ring = KeyRing(key, settings.platform, observer)
    clock: Clock = SystemClock()
    reader: Reader
    if settings.replay:
        reader = Replay(watched(settings, ring, tallies), settings.replay, settings.limits)
        world = ReplayClock(settings.replay.start_ms)
        world.reader, clock = reader, world
    else:
        reader = _live(settings, ring, tallies, clock)
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


def _live(settings: AgentSettings, keys: KeyRing, tallies: dict[str, Tally], clock: Clock) -> Reader:
    def ready(sources: list[SourceSettings]) -> list[Watched]:
        return watched(msgspec.structs.replace(settings, sources=sources), keys, tallies)

    spooled = [(source, ready([source])) for source in settings.sources if needs_spool(source)]
    logs = Tail(ready([source for source in settings.sources if not needs_spool(source)]), settings.limits)
    lost = tallies.setdefault(SPOOL, Tally()) if spooled else Tally()
    return with_spool(settings, spooled, logs, lost.dropped, clock)


class Session:
    """One process: the agent, its endpoint, its signals, and what is built anew when its configuration changes."""

    def __init__(self, config: Path, settings: AgentSettings, observations: Observations | None = None) -> None:
        self._config, self._settings, self._observations = config, settings, observations
        self._board = Board()
        self._endpoint: Endpoint | None = None
        self._agent: Agent | None = None
        self._next: AgentSettings | None = None
        self._signals = 0
        self._wants_reload = False

    def run(self) -> int:
        """Until SIGTERM or SIGINT; SIGHUP reads the configuration anew.

        Raises:
            RuaError: bad configuration, or the broker will never take a message.
        """
        self._listen(self._settings.http)
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._hang_up}
        for number, handler in handlers.items():
            signal.signal(number, handler)
        try:
            while True:
                self._run_once()
                if self._next is None or self._signals:
                    return 0
                self._settings, self._next = self._next, None
        finally:
            self._listen(None)

    def _run_once(self) -> None:
        keys, settings = read_keys(Path(self._settings.key_file)), self._settings
        agent = build(
            settings,
            keys,
            self._observations,
            publish=self._board.publish,
            reload=self.reload,
            config_digest=blake2b(self._config.read_bytes(), digest_size=16).hexdigest(),
        )
        self._agent = agent
        agent.stopping, agent.hurried = self._signals > 0, self._signals > 1
        agent.wants_reload, self._wants_reload = self._wants_reload, False
        log.info("agent %s of %s reads %s", settings.agent_id, settings.platform, _sources(settings))
        agent.run()

    def reload(self) -> None:
        """Takes the configuration as it is now; a bad one is refused and changes nothing."""
        try:
            fresh = load(self._config)
            self._refuse(fresh)
            read_keys(Path(fresh.key_file))
            if fresh.signing_key_file:
                read_signer(Path(fresh.signing_key_file))
            if fresh.http != self._settings.http:
                self._listen(fresh.http)
        except RuaError as why:
            log.error("the configuration is not taken, the old one stays in force: %s", why)
            return
        log.info("the configuration was read anew")
        self._next = fresh
        if self._agent:
            self._agent.stopping = True

    def _refuse(self, fresh: AgentSettings) -> None:
        for key in ("platform", "state_dir", "replay"):
            if getattr(fresh, key) != getattr(self._settings, key):
                raise BadConfiguration("only a new start changes it", file=str(self._config), key=key)

    def _listen(self, http: HttpSettings | None) -> None:
        old, self._endpoint = self._endpoint, Endpoint(http.listen, self._board) if http else None
        if old:
            old.close()

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._signals += 1
        if self._agent:
            self._agent.stopping, self._agent.hurried = True, self._signals > 1

    def _hang_up(self, _: int, __: FrameType | None) -> None:
        if self._agent:
            self._agent.wants_reload = True
        else:
            self._wants_reload = True


def run(config: Path) -> int:
    """`rua agent run -c FILE`.

    Raises:
        RuaError: bad configuration, or the broker will never take a message.
    """
    settings = load(config)
    os.umask(0o077)
    if settings.limits.nice:
        os.setpriority(os.PRIO_PROCESS, 0, settings.limits.nice)  # before there are threads: they take it over
    replay = settings.replay
    with StateLock(Path(settings.state_dir)):
        if replay is None or replay.pseudonyms_file is None:
            return Session(config, settings).run()
        try:
            with open(replay.pseudonyms_file, "a", encoding="utf-8") as file:
                return Session(config, settings, Observations(file, settings.platform)).run()
        except OSError as why:
            raise BadConfiguration(f"{why.filename}: {why.strerror}", key="replay.pseudonyms_file") from why


def _sources(settings: AgentSettings) -> str:
    return ", ".join(f"{source.source} {' '.join(source.paths)}".strip() for source in settings.sources)
