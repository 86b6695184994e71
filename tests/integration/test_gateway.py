"""The unmodified ClickHouse client against the gateway: what the sinks, the dashboards and the command line rely on."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import clickhouse_connect
import polars as pl
import pytest
import urllib3
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from rua_local.gateway import EmbeddedClickHouse, main
from rua_local.process import ServiceFailed

pytestmark = pytest.mark.chdb
EVENTS = (
    "CREATE TABLE events (id UInt64, name String) ENGINE = MergeTree ORDER BY id "
    "SETTINGS non_replicated_deduplication_window = 100"
)


@pytest.fixture
def client(chdb_url: str) -> Iterator[Client]:
    """A client in a database of its own, with the table `events`."""
    database = f"gateway_{uuid.uuid4().hex[:8]}"
    with clickhouse_connect.get_client(dsn=chdb_url) as root:
        root.command(f"CREATE DATABASE {database}")
    with clickhouse_connect.get_client(dsn=chdb_url, database=database, compress="lz4") as own:
        own.command(EVENTS)
        yield own
        own.command(f"DROP DATABASE {database}")


def count(client: Client) -> int:
    """Rows in `events`."""
    return len(client.query("SELECT id FROM events").result_rows)


def test_rows_come_back_as_they_were_sent(client: Client) -> None:
    """Whatever the bytes: an insert's data are never read as SQL."""
    rows = [(1, "a;b'"), (2, "\0\n\\"), (2**64 - 1, "ซื้อ 🙂"), (4, "FORMAT CSV\n")]
    client.insert("events", rows, column_names=["id", "name"])
    assert client.query("SELECT id, name FROM events ORDER BY id").result_rows == sorted(rows)


@pytest.mark.parametrize("compression", [None, "lz4", "zstd", "gzip"])
def test_frames_go_in_and_come_out(client: Client, compression: str | None) -> None:
    """In every compression, both ways; 20,000 rows are more than one block of the network."""
    frame = pl.DataFrame({"id": pl.arange(0, 20_000, dtype=pl.UInt64, eager=True), "name": ["n"] * 20_000})
    client.compression = compression
    client.insert_df_arrow("events", frame)
    # another token, or the engine drops it as the same batch sent again
    client.insert_arrow("events", frame.to_arrow(), settings={"insert_deduplication_token": "second"})
    assert client.query("SELECT count(), uniq(id), sum(id) FROM events").first_row == (40_000, 20_000, 399_980_000)
    assert client.query_arrow("SELECT * FROM events LIMIT 5 BY name").num_rows == 5
    with client.query_row_block_stream("SELECT id FROM events") as stream:
        assert sum(len(block) for block in stream) == 40_000


def test_an_empty_result_has_its_columns(client: Client) -> None:
    """A frame of no rows has types; the engine alone says nothing."""
    empty = client.query("SELECT id, name AS other FROM events WHERE id = {id:UInt64}", parameters={"id": 7})
    assert (empty.column_names, empty.result_rows) == (("id", "other"), [])
    assert client.query_df_arrow("SELECT id FROM events", dataframe_library="polars").columns == ["id"]


def test_parameters_are_values_never_sql(client: Client) -> None:
    """The hostile ones too."""
    for hostile in ("' OR 1=1 --", "\\') OR 1=1 --", "x; DROP TABLE events", "{id:UInt64}"):
        assert client.query("SELECT {x:String}", parameters={"x": hostile}).first_row == (hostile,)
    assert client.query("SELECT {a:Array(UInt8)}", parameters={"a": [1, 2]}).first_row == ([1, 2],)


def test_a_setting_holds_for_one_query(client: Client) -> None:
    """The next query of the same session has the former value; an unknown one is the engine's error 115."""
    ask = "SELECT getSetting('max_threads'), getSetting('max_execution_time')"
    before = client.query(ask).first_row
    given = client.query(ask, settings={"max_threads": 3, "max_execution_time": 7}).first_row
    assert given == (3, 7)
    assert client.query(ask).first_row == before
    with pytest.raises(DatabaseError, match="code: 115"):
        client.command("SELECT 1", settings={"no_such_setting": 1})


def test_errors_carry_clickhouses_code(client: Client) -> None:
    """An unknown table is 60, and the client goes on."""
    with pytest.raises(DatabaseError, match="code: 60"):
        client.query("SELECT * FROM nothing_here")
    assert client.query("SELECT 1").first_row == (1,)


def test_a_batch_with_the_same_token_is_stored_once(client: Client) -> None:
    """What the sink's exactly-once rests on; another token stores the same rows again."""
    for token in ("a", "a", "b"):
        rows = [[1, "x"], [2, "y"]]
        client.insert("events", rows, column_names=["id", "name"], settings={"insert_deduplication_token": token})
    assert count(client) == 4


def test_sessions_keep_temporary_tables_apart(client: Client, chdb_url: str) -> None:
    """Each client is a session; two queries at once in one session are refused, as by a server."""
    client.command("CREATE TEMPORARY TABLE mine (a UInt8)")
    assert client.query("SELECT count() FROM mine").first_row == (0,)
    with clickhouse_connect.get_client(dsn=chdb_url) as other, pytest.raises(DatabaseError, match="code: 60"):
        other.query("SELECT count() FROM mine")
    busy = f"{chdb_url}/?session_id={uuid.uuid4()}"
    slow = threading.Thread(target=urllib3.request, args=("POST", busy), kwargs={"body": "SELECT sleep(1)"})
    slow.start()
    time.sleep(0.3)
    assert urllib3.request("POST", busy, body="SELECT 1").headers["X-ClickHouse-Exception-Code"] == "373"
    slow.join()


def test_eight_threads_insert_and_ask_at_once(client: Client, chdb_url: str) -> None:
    """One shared client without a session, as the workers have it."""
    shared = clickhouse_connect.get_client(dsn=chdb_url, database=client.database, autogenerate_session_id=False)

    def work(number: int) -> int:
        for i in range(10):
            shared.insert("events", [[number, str(i)]], column_names=["id", "name"])
        return len(
            shared.query("SELECT name FROM events WHERE id = {id:UInt64}", parameters={"id": number}).result_rows
        )

    with shared, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [10] * 8


@pytest.mark.parametrize("sql", ["SELECT 1; DROP TABLE events", "INSERT INTO events VALUES (1, ''); DROP TABLE events"])
def test_a_second_statement_is_refused(client: Client, sql: str) -> None:
    """Code 62, and nothing has run."""
    with pytest.raises(DatabaseError, match="code: 62"):
        client.command(sql)
    assert count(client) == 0


def test_get_only_reads(chdb_url: str) -> None:
    """A link cannot change anything."""
    refused = urllib3.request("GET", f"{chdb_url}/?query=CREATE+DATABASE+by_link")
    assert (refused.status, refused.headers["X-ClickHouse-Exception-Code"]) == (403, "164")
    assert urllib3.request("GET", f"{chdb_url}/?query=SELECT+1").data == b"1\n"
    assert urllib3.request("GET", f"{chdb_url}/ping").data == b"Ok.\n"


def test_grafanas_first_question_gets_clickhouse_gos_answer(chdb_url: str) -> None:
    """Four columns, revision 0, so that the plug-in expects plain Native afterwards."""
    sql = "SELECT displayName(), version(), revision(), timezone()"
    url = f"{chdb_url}/?default_format=Native&client_protocol_version=54460&max_execution_time=34&database=default"
    hello = urllib3.request("POST", url, body=sql, headers={"Accept-Encoding": "gzip"}).data
    assert hello.startswith(b"\x01\x00\x02\xff\xff\xff\xff\x00\x04\x01\x0ddisplayName()\x06String\x00\x04chdb")
    assert b"\x0arevision()\x06UInt32\x00\0\0\0\0" in hello
    assert hello.endswith(b"\x03UTC")
    assert urllib3.request("POST", url, body="SELECT 1 AS a").data == b"\x01\x01\x01a\x05UInt8\x01"
    assert urllib3.request("POST", url, body="SELECT 1 AS a LIMIT 0").data == b"\x01\x00\x01a\x05UInt8"


def test_users_log_in_and_a_restricted_one_only_reads(tmp_path: Path) -> None:
    """What the dashboards' user cannot do, by whichever way: insert, drop, take rights, read files."""
    (tmp_path / "password").write_text("p w:d\n")
    users = "users:\n" + "".join(
        f"  - {{name: {name}, password_file: {tmp_path}/password, restricted: {restricted}}}\n"
        for name, restricted in (("writer", "false"), ("reader", "true"))
    )
    (tmp_path / "users.yaml").write_text(users)
    with EmbeddedClickHouse(tmp_path / "data", users=tmp_path / "users.yaml") as gateway:
        with pytest.raises(DatabaseError, match="Authentication failed"):
            clickhouse_connect.get_client(dsn=gateway.url, username="reader", password="wrong")
        with clickhouse_connect.get_client(dsn=gateway.url, username="writer", password="p w:d") as writer:
            writer.command(EVENTS)
            writer.insert("events", [[1, "x"]], column_names=["id", "name"])
        with clickhouse_connect.get_client(dsn=gateway.url, username="reader", password="p w:d") as reader:
            assert reader.query("SELECT * FROM events", settings={"max_execution_time": 5}).result_rows == [(1, "x")]
            for code, sql in (
                (164, "INSERT INTO events VALUES (2, '')"),
                (164, "DROP TABLE events"),
                (164, "SET readonly = 0"),
                (164, "SELECT 1 SETTINGS readonly = 0"),
                (497, "SET ROLE default"),
                (497, "SELECT * FROM file('/etc/hostname', LineAsString)"),
            ):
                with pytest.raises(DatabaseError, match=f"code: {code}"):
                    reader.command(sql)
            with pytest.raises(DatabaseError, match="code: 164"):
                reader.insert("events", [[2, ""]], column_names=["id", "name"])
            assert count(reader) == 1


def test_acknowledged_rows_outlive_a_kill(tmp_path: Path) -> None:
    """Every insert that was acknowledged is there after SIGKILL; a second gateway on the same data is refused."""
    acknowledged: list[int] = []

    def insert_until_it_ends(url: str) -> None:
        with clickhouse_connect.get_client(dsn=url) as client:
            client.command(EVENTS)
            for number in range(10_000):
                client.insert("events", [[number, "x"]], column_names=["id", "name"])
                acknowledged.append(number)

    with EmbeddedClickHouse(tmp_path) as gateway, ThreadPoolExecutor(1) as pool:
        with pytest.raises(ServiceFailed, match="choose another directory"):
            EmbeddedClickHouse(tmp_path).start()
        writer = pool.submit(insert_until_it_ends, gateway.url)
        while len(acknowledged) < 20:
            assert not writer.done()
            time.sleep(0.01)
        gateway.kill()
        assert writer.exception() is not None
        gateway.start()
        with clickhouse_connect.get_client(dsn=gateway.url) as client:
            assert {row[0] for row in client.query("SELECT id FROM events").result_rows} >= set(acknowledged)


def test_a_taken_port_is_told_in_words(tmp_path: Path) -> None:
    """With what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ServiceFailed, match="choose another port"):
        EmbeddedClickHouse(tmp_path, taken.getsockname()[1]).start()


def test_an_address_that_others_can_reach_needs_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without them the program ends and says so."""
    monkeypatch.setenv("TZ", "UTC")
    assert main(["--data", str(tmp_path), "--host", "192.0.2.1"]) == 1
    assert "needs --users" in capsys.readouterr().err
