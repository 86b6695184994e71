"""The feed, built from a migrated store on the embedded engine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from rua_common.errors import Refused
from rua_schemas.events import Alert, Evidence, Number
from rua_sinks.clickhouse import ClickHouseSink
from rua_sinks.client import connect
from rua_sinks.feed import Release, build
from rua_sinks.feed_format import Cell, Day, Universe
from rua_sinks.migrate import migrate

from tests.sink_rig import incident

pytestmark = pytest.mark.chdb
BULK, OFF = "bulk-export-volume", "off-hours"
UNIVERSE = Universe(("mall", "shop"), (BULK, OFF))
DAY = date(2026, 3, 2)
START, END, CLOSED = Day(DAY).start_ms, Day(DAY).end_ms, Day(DAY).cut_off_ms
MARK = "somchai"


@dataclass(frozen=True, slots=True)
class Feed:
    """A store, and how to build from it."""

    client: Client
    sink: ClickHouseSink
    database: str
    folder: Path

    def raise_(self, *alerts: Alert) -> None:
        """Stores the alerts."""
        self.sink.write_alerts(alerts, uuid4().hex)

    def build(self, **changed: Any) -> Release:
        """Without noise unless told otherwise, as soon as the day is closed."""
        usual: dict[str, Any] = {
            "universe": UNIVERSE,
            "now_ms": CLOSED,
            "out_dir": self.folder,
            "database": self.database,
            "noise": int,
        }
        return build(self.client, DAY, **usual | changed)

    def cells(self, **changed: Any) -> dict[Cell, int]:
        """The published numbers."""
        document = json.loads(self.build(**changed).json_file.read_text(encoding="utf-8"))
        return {(cell["platform"], cell["pattern"]): cell["actors"] for cell in document["cells"]}


@pytest.fixture
def feed(chdb_url: str, tmp_path: Path) -> Iterator[Feed]:
    """On an empty store."""
    client, database = connect(chdb_url), f"rua_{uuid4().hex}"
    migrate(client, database=database)
    made = Feed(client, ClickHouseSink(chdb_url, database=database), database, tmp_path / "feed")
    yield made
    made.sink.close()
    client.command(f"DROP DATABASE {database}")
    client.close()


def raised(number: int, actor: str | None = "a1", at: int = START + 1, **facts: Any) -> Alert:
    """An alert of its own id, raised within the day."""
    return incident(alert_id=f"{number:032x}", detector=BULK, actor=actor, raised_at=at, **facts)


def only(shop_bulk: int) -> dict[Cell, int]:
    """Numbers of a day on which only one cell saw anything."""
    return dict.fromkeys(UNIVERSE.cells(), 0) | {("shop", BULK): shop_bulk}


def test_a_quiet_day_holds_every_cell(feed: Feed) -> None:
    """Also where nothing ever happened: presence tells nothing."""
    assert feed.cells() == only(0)


def test_an_actor_counts_once_in_a_cell(feed: Feed) -> None:
    """However many incidents and versions; who has no pseudonym counts as the subject."""
    worse = msgspec.structs.replace(raised(2), revision=2, severity="critical")
    feed.raise_(raised(1), raised(2), worse, raised(3, actor=None, subject="app-7"), raised(4, "a2"))
    feed.raise_(raised(1), raised(5, actor=None, subject="app-7"))
    assert feed.cells() == only(3)


def test_an_incident_belongs_to_the_day_on_which_it_was_first_raised(feed: Feed) -> None:
    """To the millisecond, in the platforms' zone; a later version moves it nowhere."""
    later = msgspec.structs.replace(raised(2, "last", END - 1), revision=2, raised_at=END + 5)
    feed.raise_(raised(1, "first", START), raised(2, "last", END - 1), later)
    feed.raise_(raised(3, "before", START - 1), raised(4, "after", END))
    assert feed.cells() == only(2)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Bangkok", "America/New_York"])
def test_no_zone_of_process_or_server_moves_a_day(feed: Feed, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are the same as under UTC."""
    feed.raise_(raised(1, "first", START), raised(2, "last", END - 1), raised(3, "before", START - 1))
    before = os.environ.get("TZ", "UTC")
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        feed.client.set_client_setting("session_timezone", zone)
        assert feed.cells() == only(2)
        assert feed.build().is_new is False
    finally:
        monkeypatch.setenv("TZ", before)
        time.tzset()


@pytest.mark.parametrize("now_ms", [START, END, CLOSED - 1])
def test_an_open_day_is_refused(feed: Feed, now_ms: int) -> None:
    """The error says from when on it may be built; nothing is written."""
    with pytest.raises(Refused, match=r"2026-03-04 00:00 \(Asia/Bangkok\)"):
        feed.build(now_ms=now_ms)
    assert not feed.folder.exists()


def test_a_released_day_is_frozen(feed: Feed) -> None:
    """Late alerts, another epsilon, another universe: the same bytes, for fresh noise would average out."""
    feed.raise_(raised(1))
    first = feed.build(noise=None)
    texts = first.json_file.read_bytes(), first.csv_file.read_bytes()
    feed.raise_(*(raised(n, f"a{n}") for n in range(2, 40)))
    again = feed.build(
        noise=None, epsilon=0.1, universe=Universe(("x",), ("y",)), now_ms=CLOSED + 1, out_dir=feed.folder / "b"
    )
    assert (first.is_new, again.is_new) == (True, False)
    assert (again.json_file.read_bytes(), again.csv_file.read_bytes()) == texts


def test_two_builders_at_once_publish_one_release(feed: Feed, chdb_url: str) -> None:
    """The store takes the first; the second writes what the first has drawn."""
    feed.raise_(raised(1))

    def one(number: int) -> Release:
        # numbers that tell the builders apart
        return build(
            connect(chdb_url),
            DAY,
            universe=UNIVERSE,
            now_ms=CLOSED + number,
            out_dir=feed.folder / str(number),
            database=feed.database,
            noise=lambda count: count + 100 * number,
        )

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(one, range(4)))
    assert len({release.json_file.read_bytes() for release in made}) == 1
    assert sum(release.is_new for release in made) == 1


def test_a_negative_number_is_shown_as_zero(feed: Feed) -> None:
    """A count below zero would only puzzle the receiver."""
    feed.raise_(raised(1))
    assert feed.cells(noise=lambda count: count - 1_000) == only(0)


def test_every_cell_has_noise_of_its_own(feed: Feed) -> None:
    """Empty cells too, and each draws once."""
    asked: list[int] = []

    def noise(count: int) -> int:
        asked.append(count)
        return count + len(asked)

    feed.raise_(raised(1), raised(2, "a2"))
    assert sorted(feed.cells(noise=noise).values()) == sorted(n + c for n, c in enumerate(asked, 1))
    assert sorted(asked) == [0, 0, 0, 2]


def test_incidents_outside_the_universe_leave_no_trace(feed: Feed) -> None:
    """The operator is told, the receiver is not."""
    feed.raise_(
        raised(1), raised(2, platform="secret-shop"), msgspec.structs.replace(raised(3), detector="new-detector")
    )
    made = feed.build()
    assert made.outside_universe == (("secret-shop", BULK), ("shop", "new-detector"))
    assert "secret" not in made.json_file.read_text() + made.csv_file.read_text()


def test_nothing_of_an_alert_but_its_cell_leaves(feed: Feed) -> None:
    """No pseudonym, text, number, id or time of it is in either file."""
    texts = dict.fromkeys(("subject", "actor", "app", "merchant", "title", "reason", "runbook"), MARK)
    loud = incident(
        alert_id=MARK,
        detector=BULK,
        raised_at=START + 1,
        attack=(MARK,),
        numbers=(Number(name=MARK, value=987_654.0),),
        evidence=(Evidence(event_id=MARK, topic=MARK, partition=0, offset=987_654),),
        **texts,
    )
    feed.raise_(loud)
    made = feed.build()
    written = made.json_file.read_text(encoding="utf-8") + made.csv_file.read_text(encoding="utf-8")
    assert MARK not in written
    assert "987" not in written
    assert sorted(file.name for file in feed.folder.iterdir()) == [
        "rua-feed-2026-03-02.csv",
        "rua-feed-2026-03-02.json",
    ]
