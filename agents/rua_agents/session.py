"""One process: the agent, its endpoint, its signals, and what happens when its configuration changes.

SIGTERM or SIGINT: stop in order, within `limits.drain_seconds`; the second one: at once. SIGHUP: read the configuration
anew. Exit status: 0 stopped as told; 1 it cannot go on, the log says why; 2 wrong usage.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import msgspec
from rua_common.blake import blake2b
from rua_common.errors import BadConfiguration, RuaError

from rua_agents.agent import Agent
from rua_agents.endpoint import Board, Endpoint
from rua_agents.intake.setup import needs_spool
from rua_agents.keyfile import read_keys
from rua_agents.lock import StateLock
from rua_agents.memory import settle
from rua_agents.pseudonyms import KeyRing
from rua_agents.run import Observations, build, watched
from rua_agents.settings import AgentSettings, HttpSettings, load
from rua_agents.signing import read_signer
from rua_agents.tally import Tally

log = logging.getLogger(__name__)
AT_START = ("platform", "state_dir", "replay")
"""Keys that only a new start changes."""
OF_THE_QUEUE = ("queue_messages", "queue_bytes", "message_bytes")
"""Limits for which the producer is made anew."""


class Session:
    """Runs agents one after the other, as the configuration wants it."""

    def __init__(self, config: Path, settings: AgentSettings, observations: Observations | None = None) -> None:
        self._config, self._settings, self._observations = config, settings, observations
        self._digest, self._secrets = _digest(config), secrets_of(settings)
        self._tallies: dict[str, Tally] = {}
        self._board = Board()
        self._endpoint: Endpoint | None = None
        self._agent: Agent | None = None
        self._next: AgentSettings | None = None
        self._signals = 0
        self._wants_reload = False

    def run(self) -> int:
        """Until it is told to stop.

        Raises:
            RuaError: bad configuration, or the broker will never take a message.
        """
        self._listen(self._settings.http)
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._hang_up}
        for number, handler in handlers.items():
            signal.signal(number, handler)
        try:
            self._agent = self._build(self._settings)
            settle()
            while True:
                self._run_once(self._agent)
                if self._next is None or self._signals:
                    return 0
                self._agent = self._rebuild(self._next)
        finally:
            self._listen(None)

    def reload(self) -> None:
        """Takes the configuration as it is now; a bad one is refused and changes nothing. Between two turns only."""
        try:
            fresh, digest = load(self._config), _digest(self._config)
            self._refuse(fresh)
            keys, secrets = read_keys(Path(fresh.key_file)), secrets_of(fresh)
            if fresh.signing_key_file:
                read_signer(Path(fresh.signing_key_file))
            if fresh.http != self._settings.http:
                self._listen(fresh.http)
        except RuaError as why:
            log.error("the configuration is not taken, the old one stays in force: %s", why)
            return
        self._digest = digest
        if self._agent is None:
            return
        if secrets == self._secrets and only_logs_differ(self._settings, fresh):
            logs = [source for source in fresh.sources if not needs_spool(source)]
            ring = KeyRing(keys, fresh.platform)
            sources = watched(msgspec.structs.replace(fresh, sources=logs), ring, self._tallies)
            self._agent.reconfigure(fresh, sources, digest)
            self._settings = fresh
            log.info("the configuration was read anew; now reading %s", named(fresh))
        else:
            self._next, self._secrets = fresh, secrets
            self._agent.stopping = True

    def _build(self, settings: AgentSettings) -> Agent:
        self._tallies = {}
        keys = read_keys(Path(settings.key_file))
        return build(
            settings,
            keys,
            self._tallies,
            self._observations,
            publish=self._board.publish,
            reload=self.reload,
            config_digest=self._digest,
        )

    def _rebuild(self, fresh: AgentSettings) -> Agent:
        """With the new settings, or else with the old ones."""
        self._next = None
        try:
            made = self._build(fresh)
        except RuaError as why:
            log.error("the configuration is not taken, the old one goes on: %s", why)
            return self._build(self._settings)
        self._settings = fresh
        return made

    def _run_once(self, agent: Agent) -> None:
        agent.stopping, agent.hurried = self._signals > 0, self._signals > 1
        agent.wants_reload, self._wants_reload = self._wants_reload, False
        log.info("agent %s of %s reads %s", self._settings.agent_id, self._settings.platform, named(self._settings))
        agent.run()

    def _refuse(self, fresh: AgentSettings) -> None:
        for key in AT_START:
            if getattr(fresh, key) != getattr(self._settings, key):
                raise BadConfiguration("only a new start changes it", file=str(self._config), key=key)

    def _listen(self, http: HttpSettings | None) -> None:
        """Answers there from now on; if that cannot be, where it did before.

        Raises:
            BadConfiguration: the address cannot be used.
        """
        if self._endpoint:
            self._endpoint.close()  # first: the new address may hold the same port
        try:
            self._endpoint = Endpoint(http.listen, self._board) if http else None
        except BadConfiguration:
            before = self._settings.http if self._endpoint else None
            self._endpoint = Endpoint(before.listen, self._board) if before else None
            raise

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._signals += 1
        if self._agent:
            self._agent.stopping, self._agent.hurried = True, self._signals > 1

    def _hang_up(self, _: int, __: FrameType | None) -> None:
        if self._settings.replay is not None:
            log.error("the configuration is not taken: a replay's does not change")
        elif self._agent:
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


def only_logs_differ(old: AgentSettings, fresh: AgentSettings) -> bool:
    """Whether the producer, the spool and what feeds it can stay: then nothing has to be sent again."""
    replace = msgspec.structs.replace
    queue: dict[str, int] = {name: getattr(fresh.limits, name) for name in OF_THE_QUEUE}
    alike = replace(old, http=fresh.http, sources=fresh.sources, limits=fresh.limits)
    spooled = [[source for source in one.sources if needs_spool(source)] for one in (old, fresh)]
    return alike == fresh and spooled[0] == spooled[1] and replace(old.limits, **queue) == old.limits


def secrets_of(settings: AgentSettings) -> str:
    """A digest of all files that the settings name: one that was renewed counts as changed."""
    found = blake2b(digest_size=16)
    for path in _files(settings):
        try:
            found.update(Path(path).read_bytes())
        except OSError:
            found.update(b"?")  # told by whoever needs it
        found.update(b"\0")
    return found.hexdigest()


def _files(settings: AgentSettings) -> Iterator[str]:
    kafka = settings.kafka
    login = (kafka.password_file, kafka.ca_file, kafka.certificate_file, kafka.key_file, kafka.oauth_client_secret_file)
    yield from (path for path in (settings.key_file, settings.signing_key_file, *login) if path is not None)


def _digest(config: Path) -> str:
    return blake2b(config.read_bytes(), digest_size=16).hexdigest()


def named(settings: AgentSettings) -> str:
    """The sources, for the log."""
    return ", ".join(f"{source.source} {' '.join(source.paths)}".strip() for source in settings.sources)
