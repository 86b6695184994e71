"""SIGKILL of the detect and store workers again and again while input keeps flowing: `make test-faults SEED=7`.

Afterwards alerts, state and stored events must equal those of an oracle that reads the topic once, single-threaded.
"""

from __future__ import annotations

import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from rua_sinks.client import connect
from rua_sinks.migrate import migrate

from tests.streams_rig import SESSION_SECONDS, Feed, Rig, Worker, differences, truth

pytestmark = [pytest.mark.kafka, pytest.mark.chdb, pytest.mark.slow, pytest.mark.timeout(1_500)]

KILLS, STANDSTILLS = 10, 2
PER_SECOND = 1_000
CHECKPOINT = {"RUA_WORKER_CHECKPOINT_SECONDS": "3"}


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Given, or random; printed either way."""
    given: int | None = request.config.getoption("--fault-seed")
    return random.SystemRandom().randrange(10_000) if given is None else given


@pytest.fixture
def database() -> str:
    """A database of this test alone."""
    return f"faults_{uuid.uuid4().hex[:8]}"


@pytest.fixture
def rig(kafka_bootstrap: str, chdb_url: str, database: str, tmp_path: Path) -> Iterator[Rig]:
    """Topics, a group and a migrated database."""
    client = connect(chdb_url)
    migrate(client, database=database)
    client.close()
    rig = Rig(kafka_bootstrap, tmp_path)
    yield rig
    rig.stop()


def test_kills_lose_nothing_and_repeat_nothing(rig: Rig, chdb_url: str, database: str, seed: int) -> None:
    """Each kill causes a replay; two workers stand still beyond their session and go on; agents send again."""
    chance = random.Random(seed)
    plan = ["kill"] * KILLS + ["stand still"] * STANDSTILLS
    chance.shuffle(plan)
    schedule = [(what, chance.randrange(500, 5_000)) for what in plan]
    print(f"\nfault seed {seed}: " + ", ".join(f"{what} after {events} events" for what, events in schedule))
    store = {"RUA_CLICKHOUSE_URL": chdb_url, "RUA_CLICKHOUSE_DATABASE": database}
    workers = [rig.start("detect", **CHECKPOINT), rig.start("store", **CHECKPOINT, **store)]
    replays: list[list[int]] = []
    with Feed(rig, seed, PER_SECOND) as feed:
        for worker in workers:
            worker.wait_ready(90)
        for what, events in schedule:
            rig.wait_offset("detect", sum(rig.committed("detect").values()) + events, 120)
            if what == "stand still":
                workers[0] = stand_still(rig, workers[0])
                continue
            killed, workers = workers, [rig.kill_in_mid_stream(worker) for worker in workers]
            for worker in workers:
                worker.wait_ready(90)
            replays.append([rig.replay(*pair) for pair in zip(killed, workers, strict=True)])
            print(f"killed at {sum(rig.committed('detect').values())}: replayed {replays[-1]}")
            assert min(replays[-1]) > 0, "a kill that repeats nothing proves nothing"
    rig.wait_committed("detect", 180)
    rig.wait_committed("store", 180)
    expected = truth(rig)
    found = differences(rig, expected) | stored_differences(rig, chdb_url, database)
    print(
        f"{sum(rig.ends(rig.events).values())} records, {feed.sent_again} sent again, {len(replays)} x 2 kills, "
        f"{sum(map(sum, replays))} records replayed, {len(expected.alerts)} alert versions; {found}"
    )
    assert expected.alerts
    assert found == dict.fromkeys(found, 0)


def stand_still(rig: Rig, worker: Worker) -> Worker:
    """SIGSTOP beyond the session timeout; an heir takes over; SIGCONT: the former owner must not write any more."""
    worker.signal(signal.SIGSTOP)
    heir = rig.start(worker.role, **worker.more)
    heir.wait_ready(90)
    time.sleep(SESSION_SECONDS / 3)
    worker.signal(signal.SIGCONT)
    time.sleep(2.0)
    worker.kill()
    return heir


def stored_differences(rig: Rig, url: str, database: str) -> dict[str, int]:
    """What ClickHouse holds against what the topic holds."""
    client = connect(url)
    columns = ("event_id", "source_id", "source_position", "actor", "rows", "toUnixTimestamp64Milli(occurred_at)")
    rows = client.query(f"SELECT {', '.join(columns)} FROM {database}.events FINAL").result_rows  # noqa: S608 - ours
    places = client.query(f"SELECT partition, offset FROM {database}.events").result_rows  # noqa: S608 - ours
    alerts = client.query(f"SELECT alert_id, revision FROM {database}.alerts FINAL WHERE platform = '{rig.platform}'")  # noqa: S608 - ours
    client.close()
    wanted = {(e.event_id, e.source_id, e.source_position, e.actor, e.rows, e.occurred_at) for e in rig.sent()}
    found = Counter(tuple(row) for row in rows)
    last: dict[str, int] = {}
    for alert_id, revision in rig.alerts():
        last[alert_id] = max(revision, last.get(alert_id, 0))
    return {
        "stored events missing or different": len(wanted - found.keys()),
        "stored events extra": len(found.keys() - wanted),
        "stored events twice": sum(found.values()) - len(found),
        "stored places twice": len(places) - len(set(places)),
        "stored alerts different": len(set(last.items()) ^ set(map(tuple, alerts.result_rows))),
    }
