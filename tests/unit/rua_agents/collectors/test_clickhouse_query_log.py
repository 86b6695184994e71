"""ClickHouse's query log: what a query was, and rows that come late, in any order, each taken once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.collectors import clickhouse_poller
from rua_agents.collectors.clickhouse_poller import ClickhousePoller, Key
from rua_agents.collectors.clickhouse_query_log import ClickhouseOptions
from rua_agents.collectors.clickhouse_text import tokenise, told
from rua_agents.intake.contract import PollFailed
from rua_common.errors import BadConfiguration
from rua_schemas.events import TelemetryEvent

from tests.agent_rig import START_MS, parse, sample_of

SOURCE = "clickhouse-query-log"


def row(query: str = "SELECT * FROM shop.customers", kind: str = "Select", **fields: Any) -> bytes:
    """A row as the server gives it; the sample holds real ones."""
    made = {
        "type": "QueryFinish",
        "event_us": START_MS * 1_000,
        "query_kind": kind,
        "tables": ["shop.customers"],
        "used_table_functions": [],
        "result_rows": 5,
        "result_bytes": 500,
        "read_rows": 5_000,
        "written_rows": 0,
        "written_bytes": 0,
        "exception_code": 0,
        "user": "ana",
        "address": "::ffff:203.0.113.9",
        "client_name": "ClickHouse client",
        "normalized_query_hash": "9560197976875934115",
        "query": query,
    }
    return json.dumps(made | fields).encode() + b"\n"


def event(query: str = "SELECT * FROM shop.customers", kind: str = "Select", **fields: Any) -> TelemetryEvent:
    """The one event of a row."""
    (made,), _ = parse(SOURCE, row(query, kind, **fields))
    return made


def ignored(query: str, kind: str, **fields: Any) -> list[str]:
    """Why a row is none."""
    made, tally = parse(SOURCE, row(query, kind, **fields))
    assert made == []
    return list(tally.ignored)


def test_a_select_is_a_read_and_one_of_many_rows_a_bulk_query() -> None:
    """With who, from where, how much, and the statement's keyed hash."""
    few, many = event(), event(result_rows=1_000)
    assert (few.kind, few.action, few.rows, few.rows_quality, few.bytes_quality) == (
        "data_access",
        "read",
        5,
        "exact",
        "estimated",
    )
    assert (few.dataset, few.tool, few.actor_type, few.source_network, few.destination) == (
        "shop.customers",
        "clickhouse-client",
        "interactive",
        "203.0.113.0/24",
        None,
    )
    assert (many.kind, many.destination) == ("bulk_query", "client:203.0.113.0/24")
    assert few.statement_fingerprint is not None
    assert few.statement_fingerprint != "9560197976875934115"
    assert few.occurred_at == START_MS


def test_into_outfile_is_an_export_and_a_string_that_says_so_is_not() -> None:
    """Nor is a comment, nor a quoted name."""
    made = event("SELECT * FROM shop.customers INTO OUTFILE '/export/all.csv' FORMAT CSV")
    assert (made.kind, made.rows, made.bytes) == ("data_export", 5, 500)
    assert made.destination is not None
    assert made.destination.startswith("file:")
    assert "all.csv" not in made.destination
    for quiet in (
        "SELECT 'into outfile ''x''' FROM t",
        "SELECT 1 -- into outfile 'x'\n FROM t",
        "SELECT /* into outfile 'x' */ 1 FROM t",
        "SELECT `into` `outfile` 'x' FROM t",
        "SELECT $$ into outfile 'x' $$ FROM t",
        r"SELECT 'a\' into outfile \'x' FROM t",
    ):
        assert event(quiet).kind == "data_access"


@pytest.mark.parametrize(
    ("query", "kind", "destination"),
    [
        ("INSERT INTO FUNCTION file('out.csv') SELECT * FROM shop.customers", "data_export", "file:"),
        ("INSERT INTO TABLE FUNCTION url('https://in.partner.example/x', CSV) SELECT 1", "data_transfer",
         "https:in.partner.example"),
        ("INSERT INTO FUNCTION s3('https://b.s3.example/k.csv', 'k', '[HIDDEN]') SELECT 1", "data_transfer", "s3:"),
        ("INSERT INTO FUNCTION remote('198.51.100.7:9000,x', db.t, 'u', 'p') SELECT 1", "data_transfer",
         "remote:198.51.100.0/24"),
        ("insert into function mysql('db.partner.example:3306', 'd', 't', 'u', 'p') select 1", "data_transfer",
         "mysql:db.partner.example"),
        ("INSERT INTO FUNCTION s3(named, filename = concat('a', 'b')) SELECT 1", "data_transfer", "s3:"),
        ("INSERT INTO FUNCTION s3(named) SELECT 1", "data_transfer", "s3:unknown"),
        ("INSERT INTO FUNCTION somchai('x') SELECT 1", "data_transfer", "function:"),
    ],
)  # fmt: skip
def test_rows_that_a_function_takes_go_somewhere_else(query: str, kind: str, destination: str) -> None:
    """What it wrote is counted."""
    made = event(query, "Insert", written_rows=7, written_bytes=70)
    assert (made.kind, made.rows, made.bytes) == (kind, 7, 70)
    assert made.destination is not None
    assert made.destination.startswith(destination)


def test_rows_that_come_from_a_function_change_data_here() -> None:
    """The way round: an import is no export."""
    made = event("INSERT INTO shop.customers SELECT * FROM s3('https://x.example/a.csv')", "Insert", written_rows=7)
    assert (made.kind, made.action, made.rows, made.destination) == ("data_change", "alter", 7, None)


@pytest.mark.parametrize(
    ("query", "kind", "expected"),
    [
        ("BACKUP TABLE shop.customers TO Disk('backups', 'b.zip')", "Backup", ("data_export", "export")),
        ("BACKUP TABLE shop.customers TO S3('https://b.s3.amazonaws.com/x')", "Backup", ("data_transfer", "transfer")),
        ("DELETE FROM shop.customers WHERE id = 1", "Delete", ("data_change", "delete")),
        ("ALTER TABLE shop.customers DELETE WHERE 1", "Alter", ("data_change", "delete")),
        ("ALTER TABLE shop.customers UPDATE a = 1 WHERE 1", "Alter", ("data_change", "alter")),
        ("ALTER TABLE shop.customers ADD COLUMN a Int8", "Alter", ("administration", "alter")),
        ("TRUNCATE TABLE shop.customers", "Drop", ("data_change", "delete")),
        ("DROP TABLE shop.customers", "Drop", ("administration", "alter")),
        ("CREATE USER bob", "Create", ("privilege_change", "alter")),
        ("ALTER ROLE r SETTINGS x = 1", "Alter", ("privilege_change", "alter")),
        ("DROP USER bob", "Drop", ("administration", "alter")),
        ("REVOKE SELECT ON shop.* FROM bob", "Revoke", ("administration", "alter")),
    ],
)
def test_statements_that_change_or_take_something(query: str, kind: str, expected: tuple[str, str]) -> None:
    """Their rows are not counted by the server."""
    made = event(query, kind)
    assert (made.kind, made.action) == expected
    assert made.rows is None


def test_a_grant_is_an_event_for_each_who_gets_it() -> None:
    """The doer is a label; ALL on everything makes a superuser."""
    made, tally = parse(SOURCE, row("GRANT SELECT ON shop.* TO bob, `eve x` WITH GRANT OPTION", "Grant", tables=[]))
    assert [one.kind for one in made] == ["privilege_change"] * 2
    assert len({one.actor for one in made}) == 2
    assert tally.split == 1
    doer = event().actor
    assert [label.value for one in made for label in one.labels if label.key == "by"] == [doer] * 2
    assert [one.privilege for one in made] == ["elevated"] * 2
    assert event("GRANT ALL ON *.* TO bob", "Grant").privilege == "superuser"


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(497, "denied"), (516, "denied"), (164, "denied"), (394, "aborted"), (210, "aborted"), (60, "failed")],
)
def test_a_query_that_broke_off_says_how_and_no_rows(code: int, outcome: str) -> None:
    """Zero rows of a failed query are unknown; its table may stand in its text alone."""
    made = event(type="ExceptionWhileProcessing", exception_code=code, result_rows=0, tables=[])
    assert (made.outcome, made.rows, made.dataset) == (outcome, None, "shop.customers")


def test_starts_parts_and_looks_are_no_events() -> None:
    """Each is counted by its reason. The log itself and lists of users are more than a look."""
    assert ignored("SELECT 1", "Select", type="QueryStart") == ["start"]
    assert ignored("SELECT 1", "Select", is_initial_query=0) == ["part_of_a_query"]
    assert ignored("SHOW TABLES", "Show") == ["looks_only"]
    assert ignored("SET a = 1", "Set") == ["session_control"]
    assert ignored("SELECT 1", "Select", tables=["system.one"]) == ["no_data"]
    assert ignored("SELECT * FROM system.parts", "Select", tables=["system.parts"]) == ["system_tables"]
    assert event("SELECT query FROM system.query_log", tables=["system.query_log"]).dataset == "system.query_log"
    assert event(tables=["system.parts", "shop.customers"]).kind == "data_access"
    assert event("SELECT * FROM url('http://x')", tables=[], used_table_functions=["url"]).kind == "data_access"


def test_no_text_of_a_query_leaves() -> None:
    """Its literals are somebody's."""
    query = "INSERT INTO FUNCTION s3('https://k.example/somchai@shop.example', 'AKIA', 'geheim') SELECT '0812345678'"
    made = event(query, "Insert", user="somchai", exception="DB::Exception: somchai")
    for word in ("somchai", "AKIA", "geheim", "0812345678"):
        assert word not in repr(made)


def test_an_exported_row_is_read_with_the_zone_of_the_server() -> None:
    """`SELECT *`: times without a zone, numbers as text or not."""
    fields: dict[str, Any] = {
        "event_us": None,
        "event_time_microseconds": "2026-11-25 13:21:58.144696",
        "result_rows": "1234",
    }
    (made,), _ = parse(SOURCE, row(**fields), zone="Asia/Bangkok")
    assert (made.occurred_at, made.rows) == (1_795_587_718_144, 1_234)
    assert parse(SOURCE, row(**fields))[1].failed == {"no_time": 1}
    assert parse(SOURCE, b'{"event_us": 1}\n')[1].failed == {"no_type": 1}


def test_the_sample_is_accounted_for() -> None:
    """Rows of the real engine, by the poller's own question."""
    made, tally = parse(SOURCE, sample_of(SOURCE))
    assert (tally.records, len(made), tally.failed.total()) == (46, 39, 0)
    assert tally.ignored == {"looks_only": 3, "no_data": 2, "session_control": 2}
    assert [one.action for one in made].count("export") == 3
    assert [one.action for one in made].count("transfer") == 3


@settings(max_examples=200)
@given(st.text(alphabet="'\"`\\$-/*# \nainto(),.OUTFILEx", max_size=80))
def test_any_text_is_cut_into_words_and_no_string_becomes_one(text: str) -> None:
    """The words join to the text; a string that is put around it holds all of it."""
    told(text)
    quoted = "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
    assert [(token.kind, token.text) for token in tokenise(quoted)] == [("string", text)]


def test_long_texts_take_no_longer_than_their_length() -> None:
    """Open comments, quotes and brackets in thousands."""
    for piece in ("'", "/*", "`", "$a$", "(", "INTO OUTFILE ", "x.", "\\"):
        began = time.process_time()
        told(piece * 16_384)
        assert time.process_time() - began < 1


class Server:
    """Rows of a log, some of which appear late, as the poller's questions see them."""

    def __init__(self, poller: ClickhousePoller) -> None:
        self.rows: list[Key] = []
        poller._keys = self.keys  # type: ignore[method-assign]  # the server's part
        poller._rows = self.fetched  # type: ignore[method-assign]  # likewise
        poller._start = lambda: (0, set())  # type: ignore[method-assign]  # likewise

    def keys(self, since_us: int) -> list[Key]:
        """The first question."""
        return sorted(one for one in self.rows if one.at_us >= since_us)[: clickhouse_poller.MOST_KEYS]

    def fetched(self, fresh: list[Key]) -> list[bytes]:
        """The second."""
        return [b"%d" % one.key for one in fresh]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9_000_000), st.integers(0, 1 << 64 - 1)), max_size=12), max_size=12),
    st.sampled_from([(5, 8), (50, 60), (3, 100)]),
)
def test_rows_that_come_late_and_in_any_order_are_taken_once(
    waves: list[list[tuple[int, int]]], bounds: tuple[int, int]
) -> None:
    """As long as they come within the overlap; however many a question may answer."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(clickhouse_poller, "MOST_ROWS", bounds[0])
        patched.setattr(clickhouse_poller, "MOST_KEYS", 10_000)
        poller = ClickhousePoller(ClickhouseOptions(overlap_seconds=10))
        server, taken, cursor = Server(poller), list[int](), None
        for wave in waves:
            server.rows = list({one.key: one for one in [*server.rows, *(Key(at, key) for at, key in wave)]}.values())
            more = True
            while more:
                rows, cursor, more = poller.poll(json.loads(json.dumps(cursor)), 0)
                taken += [int(one) for one in rows]
        assert sorted(taken) == sorted(one.key for one in server.rows)


@pytest.mark.parametrize("apart_us", [10, 500_000, 7_000_000])
def test_a_burst_is_taken_in_pieces_and_the_cursor_stays_small(monkeypatch: pytest.MonkeyPatch, apart_us: int) -> None:
    """More rows than one question answers, and more in the overlap than can be remembered."""
    monkeypatch.setattr(clickhouse_poller, "MOST_ROWS", 20)
    monkeypatch.setattr(clickhouse_poller, "MOST_KEYS", 50)
    poller = ClickhousePoller(ClickhouseOptions(overlap_seconds=10))
    server, taken, cursor, more = Server(poller), list[int](), None, True
    server.rows = [Key(at * apart_us, at) for at in range(1_000)]
    while more and len(taken) < 2_000:
        rows, cursor, more = poller.poll(cursor, 0)
        taken += [int(one) for one in rows]
        assert rows or not more
        assert len(cursor["seen"]) <= 50 * 11
    assert taken == list(range(1_000))


@pytest.fixture
def answering() -> Any:
    """A server that answers each question with what a test wants."""
    servers = []

    def started(answer: Callable[[str], tuple[int, bytes]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            """One question."""

            def do_POST(self) -> None:
                """Answers it."""
                asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, body = answer(f"{self.headers['X-ClickHouse-User']}:{self.headers['X-ClickHouse-Key']} {asked}")
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        made = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(made)
        Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{made.server_port}"

    yield started
    for one in servers:
        one.shutdown()
        one.server_close()


@pytest.mark.parametrize(
    ("status", "body", "cure"),
    [
        (403, b"Code: 516. DB::Exception: rua: Authentication failed", "see options.user and options.password_file"),
        (404, b"<html>", "is options.url the HTTP interface"),
        (404, b"Code: 60. DB::Exception: ... (UNKNOWN_TABLE)", "switch the query log on"),
        (500, b"Code: 497. ... (ACCESS_DENIED)", "GRANT SELECT ON system.query_log to this user"),
        (500, b"Code: 47. ... (UNKNOWN_IDENTIFIER)", "needs ClickHouse 21.11 or newer"),
        (503, b"", "HTTP 503: see the server"),
    ],
)
def test_a_server_that_refuses_says_what_to_do(answering: Any, status: int, body: bytes, cure: str) -> None:
    """In the source's problem."""
    poller = ClickhousePoller(ClickhouseOptions(url=answering(lambda _: (status, body))))
    with pytest.raises(PollFailed, match=cure):
        poller.poll(None, 0)
    poller.close()


def test_the_password_is_sent_and_an_endless_answer_refused(
    answering: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its file, which nobody else may read."""
    secret = tmp_path / "password"
    secret.write_text("geheim\n")
    secret.chmod(0o400)
    asked: list[str] = []

    def answer(question: str) -> tuple[int, bytes]:
        asked.append(question)
        return 200, b"1790000000000000\n" if "now64" in question else b""

    url = answering(answer)
    poller = ClickhousePoller(ClickhouseOptions(url=url, user="rua", password_file=str(secret), first_seconds=7))
    rows, cursor, more = poller.poll(None, 0)
    assert (rows, more, cursor) == ([], False, {"since_us": 1_789_999_993_000_000, "seen": ""})
    assert asked[0].startswith("rua:geheim ")
    monkeypatch.setattr(clickhouse_poller, "MOST_ANSWER_BYTES", 5)
    with pytest.raises(PollFailed, match="the answer is longer than"):
        poller.poll(None, 0)
    secret.chmod(0o644)
    with pytest.raises(BadConfiguration):
        ClickhousePoller(ClickhouseOptions(password_file=str(secret)))
    with pytest.raises(BadConfiguration, match="no http"):
        ClickhousePoller(ClickhouseOptions(url="localhost:8123"))
