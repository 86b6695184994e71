"""The whole way on this machine: log lines in, alerts out, on a real Apache Kafka and the ClickHouse engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rua_demo import judge, world
from rua_demo.results import KeptEvent
from rua_demo.run import DemoOptions, run
from rua_demo.simulator import simulate
from rua_demo.stack import CLI
from rua_demo.watch import STARTED
from rua_streams.detectors import DETECTORS

pytestmark = [pytest.mark.kafka, pytest.mark.chdb, pytest.mark.timeout(170)]
SEED, SCALE = 9, 0.15


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path, Path]:
    """Exit code of a demonstration with a seventh of the traffic, what it kept, and its world."""
    folder = tmp_path_factory.mktemp("demo")
    simulate(folder / "world", SEED, scale=SCALE)
    code = run(DemoOptions(world=folder / "world", keep=folder / "kept"))
    return code, folder / "kept", folder / "world"


def test_every_attack_is_found_and_every_event_is_stored_once(finished: tuple[int, Path, Path]) -> None:
    """Exit code 0 says so, and the figures say by how much."""
    code, kept, _ = finished
    figures = json.loads((kept / "run.json").read_text(encoding="utf-8"))
    assert figures["missed"] == []
    assert figures["events_stored"] == figures["rows_stored"] == figures["events_expected"] > 10_000
    assert figures["false_alerts_per_1000_actors_and_day"] < 5  # no storm; how few there are is measured on full worlds
    assert code == 0


def test_anyone_can_judge_the_run_from_what_it_left(finished: tuple[int, Path, Path]) -> None:
    """With the three files that the world's format names, and the labels."""
    _, kept, folder = finished
    ids = [d.rule.id for d in DETECTORS]
    verdict, _ = judge.judge_folder(folder, kept, detectors=ids, actors=1, days=1)
    assert verdict.attacks
    assert verdict.all_found


def test_the_evidence_of_an_alert_is_the_line_that_its_subject_wrote(finished: tuple[int, Path, Path]) -> None:
    """File and line of every piece of evidence of an alert about a person."""
    _, kept, folder = finished
    alerts = world.read_lines(kept / "alerts.jsonl", judge.JudgedAlert)
    names = judge.ClearNames(world.read_lines(kept / "pseudonyms.jsonl", judge.Pseudonym))
    places = {e.event_id: e for e in world.read_lines(kept / "events.jsonl", KeptEvent)}
    checked = 0
    for alert in alerts:
        who = names.one(alert.platform, alert.subject)
        for event in (places[e] for e in alert.evidence):
            line = (folder / event.file).read_bytes().splitlines()[event.line - 1].decode()
            assert who in line
            checked += 1
    assert checked >= len(alerts) > 0


def test_no_name_leaves_the_platform(finished: tuple[int, Path, Path]) -> None:
    """Neither alerts nor evidence hold the login of a culprit."""
    _, kept, folder = finished
    said = (kept / "alerts.jsonl").read_text(encoding="utf-8") + (kept / "events.jsonl").read_text(encoding="utf-8")
    for label in world.labels(folder):
        assert label.entities[0] not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_or_a_closed_terminal_stops_everything_within_seconds(tmp_path: Path, number: signal.Signals) -> None:
    """No process and no file is left, and no client complains that the others went."""
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    demo = subprocess.Popen(
        [*CLI, "demo", "--seed", "1"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert demo.stdout is not None
        while STARTED.encode() not in (line := demo.stdout.readline()):
            assert line, "it ended too soon"
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) >= 9
        began = time.monotonic()
        demo.send_signal(number)
        said = demo.communicate(timeout=30)[0]
        assert demo.returncode == 130, said.decode()
        assert b"rdkafka" not in said
        assert time.monotonic() - began < 15
        assert not [c for c in children if c.is_running() and c.status() != psutil.STATUS_ZOMBIE]
        assert not list(tmp_path.glob("rua-demo-*"))
    finally:
        demo.kill()


def test_a_world_that_is_none_is_refused_with_the_reason(tmp_path: Path) -> None:
    """Before anything is started."""
    command = [*CLI, "demo", "--world", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "world.json: cannot be read" in done.stderr
    assert sys.executable not in done.stderr
