"""Migrations on the embedded engine: applied once, recorded, repeatable, never changed behind one's back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import polars as pl
import pytest
from clickhouse_connect.driver.client import Client
from rua_common.errors import PoisonEvent, Refused, RetryLater
from rua_schemas.events import Alert, DeadLetter, Heartbeat, Record, TelemetryEvent
from rua_schemas.released import current
from rua_sinks import queries
from rua_sinks.clickhouse import ClickHouseSink
from rua_sinks.client import connect, meaning
from rua_sinks.migrate import Migration, migrate, released

from tests.sink_rig import frame_of, numbered

pytestmark = pytest.mark.chdb
ONE = Migration("0001_one.sql", "-- one;\nCREATE TABLE IF NOT EXISTS ${database}.one (a Int8) ENGINE = Memory;\n")


@pytest.fixture
def client(chdb_url: str) -> Iterator[Client]:
    """A client of the embedded engine."""
    made = connect(chdb_url)
    yield made
    made.close()


@pytest.fixture
def database(client: Client) -> Iterator[str]:
    """The name of a database that does not exist yet."""
    name = f"rua_{uuid4().hex}"
    yield name
    client.command(f"DROP DATABASE IF EXISTS {name}")


def test_each_migration_is_applied_once(client: Client, database: str) -> None:
    """In order, and reported while it goes on."""
    said: list[str] = []
    assert migrate(client, database=database, say=said.append) == [one.name for one in released()]
    assert said[0] == f"migration 1 of {len(released())}: 0001_events.sql"
    assert migrate(client, database=database, say=said.append) == []
    assert len(said) == len(released())


def test_a_new_migration_is_applied_to_an_old_store(client: Client, database: str) -> None:
    """Only the new one."""
    two = Migration("0002_two.sql", "ALTER TABLE ${database}.one ADD COLUMN IF NOT EXISTS b Int8;\n")
    migrate(client, database=database, migrations=[ONE])
    assert migrate(client, database=database, migrations=[ONE, two]) == ["0002_two.sql"]


def test_an_applied_migration_that_was_changed_is_refused(client: Client, database: str) -> None:
    """The store would differ from what the file says; the cure is named."""
    migrate(client, database=database, migrations=[ONE])
    with pytest.raises(Refused, match=r"0001_one.sql.*new migration"):
        migrate(client, database=database, migrations=[Migration(ONE.name, ONE.text + "-- more\n")])


def test_a_migration_that_broke_half_way_is_repeated(client: Client, database: str) -> None:
    """It is recorded only when its last statement has run."""
    broken = Migration(ONE.name, ONE.text + "CREATE TABLE IF NOT EXISTS ${database}.two (a Int8) ENGINE = Nonsense;\n")
    with pytest.raises(RetryLater, match="Nonsense"):
        migrate(client, database=database, migrations=[broken])
    assert migrate(client, database=database, migrations=[ONE]) == [ONE.name]


def test_two_migrators_at_once_do_no_harm(chdb_url: str, client: Client, database: str) -> None:
    """Both end well, and each migration is on record once."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: migrate(connect(chdb_url), database=database), range(2)))
    names = client.query(f"SELECT name FROM {database}.schema_migrations FINAL ORDER BY name").result_rows  # noqa: S608 - our own name
    assert [name for (name,) in names] == [one.name for one in released()]


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ("events", TelemetryEvent),
        ("alerts", Alert),
        ("alert_log", Alert),
        ("heartbeats", Heartbeat),
        ("dead_letters", DeadLetter),
    ],
)
def test_every_field_of_a_record_has_its_column(client: Client, database: str, table: str, kind: type[Record]) -> None:
    """A field that is added to a schema needs a migration."""
    migrate(client, database=database)
    described = client.query(f"DESCRIBE TABLE {database}.{table}").result_rows
    assert {field["name"] for field in current(kind).plain["fields"]} <= {row[0] for row in described}


def test_a_store_that_was_not_migrated_is_waited_for(chdb_url: str, database: str) -> None:
    """The error says what to run; nothing is thrown away."""
    with pytest.raises(RetryLater, match="rua migrate"):
        ClickHouseSink(chdb_url, database=database).write(frame_of(*numbered(1)), "t1")


def test_a_value_that_does_not_fit_is_poison_and_is_not_told(client: Client, database: str) -> None:
    """No repetition would help. The error may reach a log, so it holds no value."""
    migrate(client, database=database, migrations=[ONE])
    with pytest.raises(PoisonEvent) as caught, meaning():
        client.insert_df_arrow("one", pl.DataFrame({"a": ["somchai@example.com"]}), database=database)
    assert caught.value.reason == "unstorable"
    assert "somchai" not in str(caught.value)


def test_the_reads_count_find_and_fingerprint(chdb_url: str, client: Client, database: str) -> None:
    """Copies are counted in raw rows only; the digest is the one that anybody can compute from the ids."""
    migrate(client, database=database)
    assert queries.event_ids_digest(client, database=database) == queries.digest([])
    sink = ClickHouseSink(chdb_url, database=database)
    sink.write(frame_of(*numbered(1, 2), *numbered(3, platform="mall")), "t1")
    sink.write(frame_of(*numbered(2), first_offset=1), "t2")
    sink.close()
    assert queries.events_by_platform(client, database=database) == {"mall": 1, "shop": 2}
    assert queries.raw_rows_by_platform(client, database=database) == {"mall": 1, "shop": 3}
    ids = [f"{n:032x}" for n in (3, 2, 1)]
    assert queries.event_ids_digest(client, database=database) == queries.digest(ids)
    assert queries.digest(ids) != queries.digest([*ids, ids[0]]) != queries.digest(ids[:2])
    found = queries.events_by_id(
        client, [*ids[:2], "f" * 32, *(f"{n:032x}" for n in range(10, 300))], database=database
    )
    assert [(e.event_id, e.platform, e.offset) for e in found] == [(ids[1], "shop", 1), (ids[0], "mall", 2)]
