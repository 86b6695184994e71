"""`rua agent check` without a broker: sources, the state directory, the endpoint, the schema."""

from __future__ import annotations

import gzip
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rua_agents import check
from rua_agents.check_sources import source_problems
from rua_agents.endpoint import Board, Endpoint
from rua_agents.intake.contract import Poll, PollFailed
from rua_agents.keyfile import Keys, create_key_file, read_keys
from rua_agents.lock import StateLock
from rua_agents.settings import AgentSettings, DiskSettings, HttpSettings, SourceSettings
from rua_agents.status import StatusFile
from rua_common.clock import ManualClock
from rua_common.kafka import KafkaOptions
from rua_schemas.released import released

from tests.agent_rig import START_MS, a_status, sample_of, web_line

CLOCK = ManualClock(START_MS)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    """Any."""
    create_key_file(tmp_path / "key")
    return read_keys(tmp_path / "key")


def settings(folder: Path, *sources: SourceSettings, **more: Any) -> AgentSettings:
    """An agent's."""
    return AgentSettings(
        platform="lazada",
        agent_id="agent-1",
        key_file=str(folder / "key"),
        state_dir=str(folder / "state"),
        kafka=KafkaOptions(bootstrap="127.0.0.1:1"),
        sources=list(sources),
        **more,
    )


def wrong(folder: Path, keys: Keys | None, source: SourceSettings) -> list[str]:
    """What is said of a source."""
    return list(source_problems(settings(folder, source), source, keys, CLOCK))


@pytest.mark.parametrize("name", ["nginx-json", "pgaudit-jsonlog", "auth-log"])
def test_a_source_with_its_sample_is_fine(tmp_path: Path, keys: Keys, name: str) -> None:
    """Also packed."""
    (tmp_path / "a.log").write_bytes(sample_of(name))
    (tmp_path / "a.log.1.gz").write_bytes(gzip.compress(sample_of(name)))
    assert wrong(tmp_path, keys, SourceSettings(source=name, paths=[f"{tmp_path}/a.log*"], zone="UTC")) == []


def test_stamps_without_a_zone_want_one(tmp_path: Path, keys: Keys) -> None:
    """Before the first record is lost; and with it all is well."""
    (tmp_path / "auth.log").write_bytes(b"Mar  2 10:00:00 db-1 sshd[7]: Accepted publickey for ana from 192.0.2.7\n")
    source = SourceSettings(source="auth-log", paths=[f"{tmp_path}/auth.log"])
    assert wrong(tmp_path, keys, source) == [
        f"{tmp_path}/auth.log: its stamps name no zone: set the source's zone, e.g. zone: Asia/Bangkok"
    ]
    zoned = SourceSettings(source="auth-log", paths=[f"{tmp_path}/auth.log"], zone="Asia/Bangkok")
    assert wrong(tmp_path, keys, zoned) == []


def test_a_file_of_another_source_is_named(tmp_path: Path, keys: Keys) -> None:
    """An empty one is no fault, nor one that begins with a few torn lines."""
    (tmp_path / "a.log").write_bytes(sample_of("auditd"))
    (tmp_path / "b.log").write_bytes(b"{torn\n" * 3 + web_line(START_MS))
    (tmp_path / "c.log").write_bytes(b"")
    source = SourceSettings(source="nginx-json", paths=[f"{tmp_path}/*.log"])
    found = wrong(tmp_path, keys, source)
    assert len(found) == 1
    assert found[0].startswith(f"{tmp_path}/a.log: none of its first 20 records holds a time")
    assert wrong(tmp_path, None, source) == []


def test_directories_patterns_and_encodings_are_told_apart(tmp_path: Path, keys: Keys) -> None:
    """Each with its cure."""
    (tmp_path / "utf16.log").write_bytes(b"\xff\xfe{\0")
    paths = [f"{tmp_path}/none/*.log", f"{tmp_path}/*.json", f"{tmp_path}/utf16.log"]
    found = wrong(tmp_path, keys, SourceSettings(source="nginx-json", paths=paths))
    assert [
        "does not exist, or may not be seen" in found[0],
        "matches no file" in found[1],
        "unsupported encoding" in found[2],
    ] == [True] * 3


def test_a_log_that_is_looked_into_must_be_there(tmp_path: Path, keys: Keys) -> None:
    """MariaDB's slow log beside its audit log: without it rows stay unknown in silence."""
    (tmp_path / "audit.log").write_bytes(sample_of("mariadb-audit"))
    options, zone = {"slow_log": f"{tmp_path}/slow.log"}, "Asia/Bangkok"
    source = SourceSettings(source="mariadb-audit", paths=[f"{tmp_path}/audit.log"], zone=zone, options=options)
    assert wrong(tmp_path, keys, source) == [f"options.slow_log: {tmp_path}/slow.log: no such file"]
    (tmp_path / "slow.log").write_bytes(b"")
    assert wrong(tmp_path, keys, source) == []


def test_the_directory_of_a_socket_must_be_there(tmp_path: Path, keys: Keys) -> None:
    """Who pushes would find nobody."""
    there = SourceSettings(source="sdk", socket=f"{tmp_path}/agent.sock")
    gone = SourceSettings(source="sdk", socket=f"{tmp_path}/gone/agent.sock")
    assert wrong(tmp_path, keys, there) == []
    assert wrong(tmp_path, keys, gone) == [
        f"socket: the directory {tmp_path}/gone does not exist: make it, for the agent's user"
    ]


class Asked:
    """A polled source that answers, or does not."""

    def __init__(self, fault: Exception | None) -> None:
        self.fault, self.closed = fault, False
        self.reads, self.options = "poll", type("Options", (), {})

    def poller(self, options: object) -> Asked:
        """Itself."""
        return self

    def poll(self, cursor: object, now_ms: int) -> Poll:
        """Nothing, or a fault."""
        if self.fault:
            raise self.fault
        return Poll([], None)

    def close(self) -> None:
        """Lets go."""
        self.closed = True


@pytest.mark.parametrize("fault", [None, PollFailed("grant SELECT to rua"), OSError("no route")])
def test_a_polled_source_is_asked_once(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    """Its own words say what to do; the connection is closed."""
    asked = Asked(fault)
    monkeypatch.setattr("rua_agents.check_sources.collector_of", lambda _: asked)
    monkeypatch.setattr("rua_agents.check_sources.options_of", lambda *_: None)
    assert wrong(tmp_path, keys, SourceSettings(source="db")) == ([f"db: {fault}"] if fault else [])
    assert asked.closed


@pytest.fixture
def unreached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that has nothing to say."""
    monkeypatch.setattr(check, "diagnose", lambda *_, **__: [])
    monkeypatch.setattr(check, "newest_ms", lambda *_: None)


def said(of: AgentSettings) -> list[str]:
    """All problems."""
    return list(check.problems(of, CLOCK))


@pytest.mark.usefixtures("unreached", "keys")
def test_all_is_well(tmp_path: Path) -> None:
    """Nothing is left behind but the directory and its lock."""
    assert said(settings(tmp_path, http=HttpSettings(listen="127.0.0.1:0"))) == []
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["lock"]


@pytest.mark.usefixtures("unreached", "keys")
def test_another_agents_directory_is_refused_and_its_own_is_a_note(tmp_path: Path) -> None:
    """So a running agent's configuration can be checked before a reload; its address is then taken rightly."""
    with StateLock(tmp_path / "state") as lock, closing(Endpoint("127.0.0.1:0", Board())) as endpoint:
        http = HttpSettings(listen=f"127.0.0.1:{endpoint.port}")
        assert any("runs with it" in one for one in said(settings(tmp_path, http=http)))
        StatusFile(tmp_path / "state").write(a_status())
        assert said(settings(tmp_path, http=http)) == []
        assert f"this agent runs, process {lock.owner()}" in "".join(check.notes(settings(tmp_path)))
    assert "this agent runs" not in "".join(check.notes(settings(tmp_path)))


@pytest.mark.usefixtures("unreached", "keys")
def test_no_room_an_address_that_is_taken_and_a_clock_that_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its cure."""
    monkeypatch.setattr(check, "newest_ms", lambda *_: START_MS + 60_000)
    with closing(Endpoint("127.0.0.1:0", Board())) as endpoint:
        http = HttpSettings(listen=f"127.0.0.1:{endpoint.port}")
        found = said(settings(tmp_path, http=http, disk=DiskSettings(min_free_bytes=1 << 60)))
    assert ["make room" in found[0], "cannot listen" in found[1], "clock: this host's is 60 s" in found[2]] == [
        True
    ] * 3
    monkeypatch.setattr(check, "newest_ms", lambda *_: START_MS - 3_600_000)
    assert said(settings(tmp_path)) == []


@pytest.mark.usefixtures("unreached", "keys")
def test_a_schema_that_nobody_released_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of a build that somebody forgot to release."""
    monkeypatch.setattr(check, "released", lambda kind: released(kind)[:-1])
    assert "never released" in said(settings(tmp_path))[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, keys: Keys) -> None:
    """With what makes it readable."""
    (tmp_path / "a.log").write_bytes(b"")
    (tmp_path / "a.log").chmod(0)
    assert "not readable" in wrong(tmp_path, keys, SourceSettings(source="nginx-json", paths=[f"{tmp_path}/a.log"]))[0]
