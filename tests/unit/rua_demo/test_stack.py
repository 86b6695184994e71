"""Children that crash, status files, addresses that stay."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import yaml
from confluent_kafka.admin import AdminClient
from rua_agents.settings import AgentSettings
from rua_common import settings
from rua_common.errors import BadConfiguration
from rua_common.kafka import KafkaOptions
from rua_demo.stack import AgentStatus, Crashed, Stack, WorkerStatus, handled, write_config, write_key
from rua_demo.up import example, ports, welcome
from rua_demo.watch import AlertTap


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    """A stack whose services are elsewhere: nothing is started."""
    made = Stack(tmp_path, {"RUA_KAFKA_BOOTSTRAP": "127.0.0.1:1", "RUA_CLICKHOUSE_URL": "http://127.0.0.1:2"})
    made.logs.mkdir()
    made.status.mkdir()
    return made


def crash(stack: Stack, seconds: float = 10) -> Crashed:
    """What `check` says when a child ends."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            stack.check()
        except Crashed as why:
            return why
        time.sleep(0.05)
    raise AssertionError("nobody noticed")


def test_a_child_that_ends_by_itself_is_told_with_the_end_of_its_log(stack: Stack) -> None:
    """At once, by name."""
    stack.run("detect", [sys.executable, "-c", "raise SystemExit('the reason')"], dict(os.environ))
    assert "detect ended by itself" in str(crash(stack))
    assert "the reason" in str(crash(stack))


def test_children_that_live_or_were_stopped_are_no_crash(stack: Stack) -> None:
    """The quiet case."""
    for name in ("one", "two"):
        stack.run(name, [sys.executable, "-c", "import time; time.sleep(60)"], dict(os.environ))
    stack.check()
    stack.stop("one")
    stack.check()
    assert stack.names == ["two"]
    stack.kill()
    stack.check()


def test_a_status_that_is_not_there_yet_is_empty(stack: Stack) -> None:
    """And what is there is read, unknown keys or not."""
    assert stack.worker("detect") == WorkerStatus()
    assert stack.agent("jd") == AgentStatus()
    text = '{"role":"detect","ready":true,"partitions":[{"topic":"t","partition":0,"next":7,"end":9,"committed":null}]}'
    (stack.status / "detect.json").write_text(text, encoding="ascii")
    (partition,) = stack.worker("detect").partitions
    assert (partition.next, partition.committed) == (7, None)


def test_clients_of_this_process_say_nothing_by_themselves(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody listens at port 1: the broken twin, an ordinary client, says so in the middle of the view."""
    stack.admin().poll(1)
    tap = AlertTap(stack.kafka)
    time.sleep(1)
    tap.close()
    assert capfd.readouterr() == ("", "")
    AdminClient(KafkaOptions(bootstrap=stack.kafka).librdkafka()).poll(1)
    time.sleep(1)
    assert "Connection refused" in capfd.readouterr().err


def test_a_closed_terminal_is_heard_unless_it_is_to_be_ignored() -> None:
    """`nohup` asks for the latter. Afterwards all is as before."""
    heard: list[int] = []
    before = signal.getsignal(signal.SIGHUP)
    try:
        for asked in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(signal.SIGHUP, asked)
            with handled(lambda number, _: heard.append(number), signal.SIGHUP):
                signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is asked
    finally:
        signal.signal(signal.SIGHUP, before)
    assert heard == [signal.SIGHUP]


def test_a_key_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    """A second start must give the same pseudonyms."""
    path = write_key(tmp_path / "key")
    first = path.read_text(encoding="ascii")
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(first)) == 32
    assert write_key(path).read_text(encoding="ascii") == first


def test_addresses_stay_the_same_over_starts(tmp_path: Path) -> None:
    """Agents are configured with them."""
    assert ports(tmp_path) == ports(tmp_path)
    assert ports(tmp_path)[0] != ports(tmp_path)[1]


def test_a_broken_memory_of_addresses_says_what_to_do(tmp_path: Path) -> None:
    """Names the file."""
    (tmp_path / "ports.json").write_text("{}", encoding="ascii")
    with pytest.raises(BadConfiguration, match=r"ports\.json: delete it"):
        ports(tmp_path)


def test_the_example_that_is_printed_is_a_valid_configuration(stack: Stack, tmp_path: Path) -> None:
    """An agent reads it as it stands."""
    path = write_config(tmp_path / "agent.yaml", example(stack, "jd"))
    found = settings.load(path, AgentSettings)
    assert (found.platform, found.kafka.bootstrap) == ("jd", "127.0.0.1:1")
    said = welcome(stack, ["jd", "lazada"])
    shown = said[said.index("    platform:") : said.index("Ctrl-C")]
    assert yaml.safe_load(shown) == example(stack, "jd")
    assert "http://127.0.0.1:2" in said
