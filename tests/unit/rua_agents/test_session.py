"""One process and its configuration: what a reload takes, what it refuses, and what a signal does."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rua_agents import session
from rua_agents.endpoint import Endpoint
from rua_agents.keyfile import create_key_file
from rua_agents.session import Session, only_logs_differ, secrets_of
from rua_agents.settings import AgentSettings, HttpSettings, Limits, SourceSettings, load
from rua_common.errors import BadConfiguration
from rua_common.kafka import KafkaOptions


class FakeAgent:
    """Runs the next step of the test, then stops as told."""

    def __init__(self, steps: list[Callable[[FakeAgent], None]]) -> None:
        self.stopping = self.hurried = self.wants_reload = False
        self.took: list[AgentSettings] = []
        self._steps = steps

    def run(self) -> None:
        """Takes steps until one of them stops it."""
        while not self.stopping:
            self._steps.pop(0)(self)

    def reconfigure(self, settings: AgentSettings, *_: object) -> None:
        """Takes other settings in place."""
        self.took.append(settings)


class Rig:
    """A session whose agents are made up."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.steps, self.config = folder, list[Callable[[FakeAgent], None]](), folder / "agent.yaml"
        self.agents: list[FakeAgent] = []
        self.faults: list[Exception | None] = []
        create_key_file(folder / "key")
        self.write()
        monkeypatch.setattr(session, "build", self._build)

    def write(self, **lines: str) -> None:
        """The configuration; a key may be given another value."""
        usual = {
            "platform": "lazada",
            "agent_id": "agent-1",
            "key_file": f"{self.folder}/key",
            "state_dir": f"{self.folder}/state",
            "kafka": '{bootstrap: "b:1"}',
            "sources": f'[{{source: nginx-json, paths: ["{self.folder}/*.log"]}}]',
        }
        self.config.write_text("".join(f"{key}: {value}\n" for key, value in (usual | lines).items()))

    def _build(self, *_: object, **__: object) -> FakeAgent:
        fault = self.faults.pop(0) if self.faults else None
        if fault:
            raise fault
        self.agents.append(FakeAgent(self.steps))
        return self.agents[-1]

    def run(self, *steps: Callable[[FakeAgent], None]) -> Session:
        """Runs a session through these steps."""
        made = Session(self.config, load(self.config))
        self.session = made
        self.steps += [*steps, lambda _: signal.raise_signal(signal.SIGTERM)]
        assert made.run() == 0
        return made


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """With the process's own handlers put back afterwards."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield Rig(tmp_path, monkeypatch)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def reload(rig: Rig, **lines: str) -> Callable[[FakeAgent], None]:
    """A step: another configuration, and SIGHUP."""

    def step(agent: FakeAgent) -> None:
        rig.write(**lines)
        signal.raise_signal(signal.SIGHUP)
        assert agent.wants_reload
        agent.wants_reload = False
        rig.session.reload()

    return step


def test_other_logs_and_limits_are_taken_in_place(rig: Rig) -> None:
    """The same agent goes on."""
    rig.run(reload(rig, limits="{cpu_percent: 5}", sources=f'[{{source: nginx-json, paths: ["{rig.folder}/b"]}}]'))
    assert len(rig.agents) == 1
    assert rig.agents[0].took[0].limits.cpu_percent == 5
    assert rig.agents[0].took[0].sources[0].paths == [f"{rig.folder}/b"]


@pytest.mark.parametrize("lines", [{"kafka": '{bootstrap: "c:1"}'}, {"agent_id": "b"}, {"limits": "{queue_bytes: 5}"}])
def test_what_the_producer_stands_on_is_taken_by_a_new_agent(rig: Rig, lines: dict[str, str]) -> None:
    """And so is a renewed secret."""
    rig.run(reload(rig, **lines))
    assert [len(agent.took) for agent in rig.agents] == [0, 0]


def test_a_renewed_key_file_is_taken_by_a_new_agent(rig: Rig) -> None:
    """Though no line of the configuration has changed."""

    def renew(agent: FakeAgent) -> None:
        (rig.folder / "key").unlink()
        create_key_file(rig.folder / "key")
        reload(rig)(agent)

    rig.run(renew)
    assert len(rig.agents) == 2


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ({"limits": "{nice: 99}"}, "agent.yaml:7: limits.nice"),
        ({"platform": "shopee"}, "platform: only a new start changes it"),
        ({"state_dir": "/elsewhere"}, "state_dir: only a new start changes it"),
        ({"key_file": "/none"}, "cannot be read"),
        ({"http": '{listen: "192.0.2.1:1"}'}, "cannot listen at 192.0.2.1:1"),
    ],
)
def test_a_bad_configuration_changes_nothing(
    rig: Rig, lines: dict[str, str], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told with its place, and the old one stays in force."""
    caplog.set_level(logging.ERROR)
    rig.run(reload(rig, **lines))
    assert [len(agent.took) for agent in rig.agents] == [0]
    assert says in caplog.text
    assert "the old one stays in force" in caplog.text


def test_an_agent_that_cannot_be_built_is_replaced_by_the_old_one(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """A fault that shows only then must not end what worked."""
    rig.faults = [None, BadConfiguration("no such spool"), None]
    rig.run(reload(rig, agent_id="b"))
    assert len(rig.agents) == 2
    assert "no such spool" in caplog.text
    assert rig.session._settings.agent_id == "agent-1"


def test_the_endpoint_moves_with_the_configuration_and_stays_if_it_cannot(rig: Rig, tmp_path: Path) -> None:
    """Also to another host on the same port."""
    seen: list[tuple[str, int]] = []

    def note(_: FakeAgent) -> None:
        endpoint = rig.session._endpoint
        assert isinstance(endpoint, Endpoint)
        seen.append(endpoint._socket.getsockname())

    def move(agent: FakeAgent) -> None:
        reload(rig, http=f'{{listen: "0.0.0.0:{seen[0][1]}"}}')(agent)

    rig.write(http='{listen: "127.0.0.1:0"}')
    rig.run(
        note,
        move,
        note,
        reload(rig, http='{listen: "192.0.2.1:1"}'),
        note,
    )
    assert seen == [seen[0], ("0.0.0.0", seen[0][1]), ("0.0.0.0", seen[0][1])]  # noqa: S104 - what was asked for
    assert rig.session._endpoint is None


def test_the_second_signal_hurries_the_agent(rig: Rig) -> None:
    """The first one lets it drain."""

    def twice(agent: FakeAgent) -> None:
        signal.raise_signal(signal.SIGINT)
        assert (agent.stopping, agent.hurried) == (True, False)
        signal.raise_signal(signal.SIGTERM)

    rig.run(twice)
    assert rig.agents[0].hurried


def test_a_world_hears_no_hang_up(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Its turn may not be left in the middle."""
    rig.write(replay="{start_ms: 0, watermark_file: w, logs_root: l}")

    def hang_up(agent: FakeAgent) -> None:
        signal.raise_signal(signal.SIGHUP)
        assert not agent.wants_reload

    rig.run(hang_up)
    assert "a replay's does not change" in caplog.text


def test_only_what_may_stay_stays(tmp_path: Path) -> None:
    """Pure: which settings can change without a new producer or a new spool."""
    log, pushed = SourceSettings(source="nginx-json", paths=["/a"]), SourceSettings(source="sdk", socket="/s")
    old = AgentSettings(
        platform="a", key_file="k", state_dir="s", kafka=KafkaOptions(bootstrap="b:1"), sources=[log, pushed]
    )

    def differs(**changed: Any) -> bool:
        return not only_logs_differ(old, msgspec.structs.replace(old, **changed))

    assert not differs(sources=[pushed])
    assert not differs(limits=Limits(nice=3, read_bytes=5), http=HttpSettings(listen="127.0.0.1:1"))
    assert differs(sources=[log])
    assert differs(sources=[log, pushed, msgspec.structs.replace(log, spool=True)])
    assert differs(limits=Limits(message_bytes=5))
    assert differs(signing_key_file="x")


def test_a_secret_that_was_renewed_counts_as_changed(tmp_path: Path) -> None:
    """And one that vanished."""
    path = tmp_path / "password"
    kafka = KafkaOptions(bootstrap="b:1", security_protocol="SASL_SSL", username="u", password_file=str(path))
    settings = AgentSettings(platform="a", key_file="/none", state_dir="s", kafka=kafka, sources=[])
    found = {secrets_of(settings)}
    for text in ("one", "two"):
        path.write_text(text)
        found.add(secrets_of(settings))
    assert len(found) == 3
