"""A back-test of the store that real workers filled, against the alerts that they raised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from rua_cli.commands import run
from rua_schemas.events import Alert
from rua_sinks.clickhouse import ClickHouseSink
from rua_sinks.migrate import migrate

from tests.streams_rig import Feed, Rig

pytestmark = [pytest.mark.kafka, pytest.mark.chdb]
EVENTS = 6_000


@pytest.fixture
def rig(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Rig]:
    """Topics and a group of this test alone."""
    rig = Rig(kafka_bootstrap, tmp_path)
    yield rig
    rig.stop()


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[tuple[str, int], Alert]:
    """What a back-test raises, by id and revision; without offsets, for the store may keep a later copy of an event."""
    assert run(["backtest", "--json", *words]) == 0
    (version,) = json.loads(capsys.readouterr().out)["versions"]
    return without_offsets(msgspec.convert(version["alerts"], list[Alert]))


def without_offsets(alerts: list[Alert]) -> dict[tuple[str, int], Alert]:
    """Alerts by id and revision."""

    def plain(alert: Alert) -> Alert:
        evidence = tuple(msgspec.structs.replace(one, offset=0) for one in alert.evidence)
        return msgspec.structs.replace(alert, evidence=evidence)

    return {(alert.alert_id, alert.revision): plain(alert) for alert in alerts}


def test_a_back_test_of_the_store_gives_the_alerts_of_the_workers(
    rig: Rig, chdb_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Agents that send again included; from the store, after its parts were merged, and from the files it exports."""
    sink = ClickHouseSink(chdb_url, database=f"rua_{uuid4().hex}")
    migrate(sink.client, database=sink.database)
    store = {"RUA_CLICKHOUSE_URL": chdb_url, "RUA_CLICKHOUSE_DATABASE": sink.database}
    for worker in (rig.start("detect"), rig.start("store", **store)):
        worker.wait_ready()
    feed = Feed(rig, 11, 1_500)
    feed.send(EVENTS)
    assert feed.producer.flush(30) == 0
    assert feed.sent_again > 50
    for role in ("detect", "store"):
        rig.wait_committed(role)
    raised = without_offsets(rig.raised())
    assert len(raised) > 10
    address = f"{chdb_url.replace('http', 'clickhouse')}/{sink.database}"
    assert told(capsys, "--from", address) == raised
    assert run(["backtest", "export", "--from", address, "--out", str(tmp_path / "log")]) == 0
    capsys.readouterr()
    assert told(capsys, "--from", str(tmp_path / "log")) == raised
    sink.client.command(f"OPTIMIZE TABLE {sink.database}.events FINAL")
    assert told(capsys, "--from", address) == raised
    sink.client.command(f"DROP DATABASE {sink.database}")
    sink.close()
