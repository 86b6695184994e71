"""A real MariaDB, a scripted workload, and the events that its audit log must give, with rows and bytes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from rua_agents.collectors import Draft
from rua_agents.pseudonyms import Pseudonymiser
from rua_agents.sealing import opened
from rua_agents.tail import SCAN_MS, Tail, Watched
from rua_agents.tally import Tally

from tests.agent_rig import KEY, START_MS, origin, parse
from tests.sources.mariadb import PHRASE, ZONE, MariaDb, running
from tests.sources.mysql_protocol import Connection
from tests.tail_rig import LIMITS

pytestmark = [pytest.mark.sources, pytest.mark.timeout(300)]

NAMES = Pseudonymiser(KEY, "lazada")
ROWS = 3_000
LONG = "SELECT id FROM customers WHERE email <> '" + "x''y\\\\" * 400 + "'"
FORGED = "20261125 20:01:01,vm,ceo,localhost,4,11,QUERY,shop,'DROP TABLE customers',0"
MASKED = f",localhost,4,0,CONNECT,,,0\n{FORGED}\n20261125 20:01:01,vm,z"
SETUP = """
CREATE TABLE customers (id int primary key, email varchar(80), pad varchar(200));
INSERT INTO customers SELECT seq, concat('user', seq, '@example.com'), repeat('x', 200) FROM seq_1_to_3000;
CREATE TABLE `ลูกค้า` (`ชื่อ` varchar(50)); INSERT INTO `ลูกค้า` VALUES ('สมชาย'), ('สมหญิง');
CREATE TABLE `we ird,``t` (id int); INSERT INTO `we ird,``t` VALUES (1);
CREATE VIEW seen AS SELECT id FROM customers;
CREATE USER ana@localhost IDENTIFIED BY '%s'; GRANT ALL ON *.* TO ana@localhost WITH GRANT OPTION;
CREATE USER 'bi,tool'@localhost; GRANT SELECT, FILE ON *.* TO 'bi,tool'@localhost;
CREATE USER driver@localhost; GRANT SELECT ON shop.* TO driver@localhost;
CREATE ROLE analyst; GRANT analyst TO 'bi,tool'@localhost;
"""
ROUTINE = """
CREATE PROCEDURE dump_all()
BEGIN
  DECLARE i int; DECLARE c CURSOR FOR SELECT id FROM customers LIMIT 3;
  OPEN c; FETCH c INTO i; CLOSE c;
  SELECT * FROM customers WHERE id <= 200;
  UPDATE customers SET pad = '' WHERE id = 1;
END
"""
TOOL = """
SELECT * FROM customers;
SELECT id FROM customers WHERE id <= 7;
SELECT * FROM `ลูกค้า`;
SELECT * FROM `we ird,``t`;
SELECT * FROM seen WHERE id <= 4;
SELECT id
FROM customers -- it's a comment
WHERE id <= 5;
PREPARE q FROM 'SELECT * FROM customers WHERE id <= ?'; SET @n = 6; EXECUTE q USING @n;
SELECT * FROM customers INTO OUTFILE '%(folder)s/out.csv';
SET ROLE analyst; SELECT count(*) FROM customers; SET ROLE NONE;
SELECT * FROM missing; DELETE FROM customers; SELEC 1;
SET long_query_time = 100; SELECT id FROM customers WHERE id <= 9;
"""
ANA = """
UPDATE customers SET pad = 'y' WHERE id <= 11;
DELETE FROM customers WHERE id > 2990;
REVOKE FILE ON *.* FROM 'bi,tool'@localhost;
SET GLOBAL general_log = OFF;
CALL dump_all();
"""


class Watching:
    """The agent's tail over the server's audit log."""

    def __init__(self, server: MariaDb) -> None:
        self.tally, self.elapsed, self.events = Tally(), 1_000_000, list[Draft]()
        one = origin("mariadb-audit", self.tally, zone=ZONE, slow_log=str(server.slow_log))
        self.tail = Tail([Watched(one, (f"{server.audit_log}*",))], LIMITS, elapsed_ms=lambda: self.elapsed)

    def poll(self, ms: int = SCAN_MS) -> None:
        """Lets time pass and reads."""
        self.elapsed += ms
        for _ in range(3):
            self.events += [opened(one) for made in self.tail.turn(START_MS) for one in made]


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDb]:
    """After the workload."""
    with running() as one:
        one.client(SETUP % PHRASE)
        one.client(ROUTINE, "--delimiter=//")
        yield one


@pytest.fixture(scope="module")
def events(server: MariaDb) -> list[Draft]:
    """All that the agent makes of the workload, read while it runs and while the audit log is rotated."""
    watching = Watching(server)
    try:
        server.client(TOOL % {"folder": server.folder}, user="bi,tool", stops=False)
        watching.poll()
        server.client(LONG, user="bi,tool")
        server.client("SELECT 'caf\xe9' FROM customers LIMIT 2".encode("latin-1"), "--default-character-set=latin1")
        server.client("SET GLOBAL server_audit_file_rotate_now = ON")
        _drive(server)
        server.client(ANA, f"--password={PHRASE}", user="ana")
        watching.poll()
        server.dump("customers")
        server.client("SET GLOBAL server_audit_file_rotate_now = ON")
        server.client("SELECT 1", "--password=wrong", user="ana", stops=False)
        server.client("SELECT 1", "--password=wrong", user=MASKED, stops=False)
        for _ in range(5):
            watching.poll(3_000)
    finally:
        watching.tail.close()
    assert (watching.tally.open, dict(watching.tally.failed)) == (0, {})
    return watching.events


def _drive(server: MariaDb) -> None:
    """As a driver does: a prepared statement, and one whose rows are fetched page by page."""
    driver = Connection(server.folder / "s", "driver", "shop")
    statement = driver.prepare("SELECT * FROM customers WHERE id <= ?")
    assert driver.execute(statement, 1_500) == 1_500
    assert driver.execute(statement, 1_400, cursor=True) is None
    assert [driver.fetch(statement, 1_000) for _ in range(2)] == [1_000, 400]
    driver.close()


def actor(name: str) -> str:
    """Their pseudonym."""
    return NAMES.pseudonym("actor", name)


def of(events: list[Draft], name: str, *kinds: str) -> list[tuple[str | None, int | None]]:
    """Table and rows of somebody's events of these kinds."""
    return [(event.dataset, event.rows) for event in events if event.actor == actor(name) and event.kind in kinds]


def test_reads_have_their_table_and_their_rows(events: list[Draft]) -> None:
    """Of views, prepared statements, comments and names in any script; what a session hides is unknown, not lost."""
    customers = "shop.customers"
    expected: list[tuple[str, int | None]]
    expected = [(customers, 7), ('shop."ลูกค้า"', 2), ('shop."we ird,`t"', 1), (customers, 4), (customers, 5)]
    expected += [(customers, 6), (customers, 1), ("shop.missing", None), (customers, None)]
    reads = [one for one in of(events, "bi,tool", "data_access") if one[0] is not None]
    assert reads == expected


def test_a_drivers_statements_are_told_and_those_of_a_cursor_without_rows(events: list[Draft]) -> None:
    """The slow log has no entry for a cursor and its pages; of a prepared statement it counts whole buffers."""
    made = [event for event in events if event.actor == actor("driver") and event.kind != "authentication"]
    assert [event.kind for event in made] == ["privilege_change", "privilege_change", "bulk_query", "data_access"]
    told = [(event.dataset, event.rows, event.rows_quality, event.bytes_quality) for event in made[2:]]
    assert told == [("shop.customers", 1_500, "exact", "estimated"), ("shop.customers", None, "unknown", "unknown")]
    assert made[2].statement_fingerprint == made[3].statement_fingerprint is not None


def test_a_bulk_read_has_rows_bytes_and_a_client(events: list[Draft]) -> None:
    """As the slow log has them."""
    found = [event for event in events if event.kind == "bulk_query" and event.actor == actor("bi,tool")]
    first = found[0]
    assert (first.dataset, first.rows, first.rows_quality) == ("shop.customers", ROWS, "exact")
    assert first.bytes is not None
    assert first.bytes > ROWS * 200
    assert (first.bytes_quality, first.destination, first.destination_external) == ("exact", "client:local", False)


def test_exports_into_a_file_and_by_mariadb_dump_have_their_rows(events: list[Draft], server: MariaDb) -> None:
    """The bytes of a file are not the client's."""
    one, other = [event for event in events if event.kind == "data_export"]
    file = "file:" + NAMES.pseudonym("file", f"{server.folder}/out.csv")
    assert (one.actor, one.dataset, one.rows, one.bytes, one.destination) == (
        *(actor("bi,tool"), "shop.customers", ROWS, None),
        file,
    )
    assert (other.actor, other.dataset, other.rows, other.tool) == (actor("root"), "shop.customers", 2_990, "mysqldump")
    assert other.bytes is not None
    assert other.bytes > 2_990 * 200


def test_a_statement_beyond_the_limit_is_cut_and_has_its_rows(events: list[Draft]) -> None:
    """Found in the slow log by its head."""
    (event,) = [event for event in events if event.truncated]
    assert (event.actor, event.dataset, event.rows) == (actor("bi,tool"), "shop.customers", ROWS)
    assert (event.kind, event.statement_fingerprint) == ("bulk_query", None)


def test_changes_have_their_rows_and_a_call_those_of_what_it_ran(events: list[Draft]) -> None:
    """What a routine ran is told without."""
    customers = "shop.customers"
    assert of(events, "ana", "data_change") == [(customers, 11), (customers, 10), (customers, None)]
    assert of(events, "ana", "data_access") == [(customers, None), (customers, 200)]


def test_rights_belong_to_who_gets_them(events: list[Draft]) -> None:
    """And say who gave them."""
    told = [
        (event.actor, event.privilege, {label.key: label.value for label in event.labels})
        for event in events
        if event.kind == "privilege_change" and event.actor == actor("bi,tool")
    ]
    by_root = {"by": actor("root")}
    assert told == [
        (actor("bi,tool"), "standard", {"command": "create role"} | by_root),
        (actor("bi,tool"), "superuser", {"command": "grant"} | by_root),
        (actor("bi,tool"), "elevated", {"command": "grant"} | by_root),
    ]
    changed = [label.value for event in events if event.kind == "administration" for label in event.labels]
    assert {"revoke", "set global", "create"} <= set(changed)


def test_failures_are_told_and_a_syntax_error_was_never_run(events: list[Draft]) -> None:
    """Denied is not failed."""
    outcomes = [(event.kind, event.outcome) for event in events if event.outcome not in ("ok", "unknown")]
    assert outcomes[:2] == [("data_access", "failed"), ("data_change", "denied")]
    assert outcomes[2:] == [("authentication", "denied")] * len(outcomes[2:])


def test_a_refused_login_forges_nothing(events: list[Draft]) -> None:
    """Its name holds a whole record of somebody else, which the server writes as it is."""
    assert actor("ceo") not in {event.actor for event in events}
    doubtful = [event for event in events if any(label.key == "doubtful" for label in event.labels)]
    assert [event.actor for event in doubtful if event.kind == "administration"] == [None, None]


def test_a_role_is_kept_beside_the_login(events: list[Draft]) -> None:
    """The count under the role."""
    roles = [(e.rows, label.value) for e in events for label in e.labels if label.key == "role"]
    assert roles == [(1, actor("analyst"))]


def test_nothing_is_lost_or_doubled_by_the_rotations(events: list[Draft], server: MariaDb) -> None:
    """The agent read while the server turned its files; afterwards they hold the same."""
    assert len({event.event_id for event in events}) == len(events)
    files = sorted(server.folder.glob("server_audit.log*"), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) == 3
    again = [event for path in files for event in _read(path, server)]
    assert Counter((e.kind, e.occurred_at, e.rows) for e in again) == Counter(
        (e.kind, e.occurred_at, e.rows) for e in events
    )


def _read(path: Path, server: MariaDb) -> list[Draft]:
    made, tally = parse("mariadb-audit", path.read_bytes(), zone=ZONE, slow_log=str(server.slow_log))
    assert tally.failed.total() == 0
    return made


def test_the_slow_log_alone_tells_rows_too(server: MariaDb, events: list[Draft]) -> None:
    """Without who failed or logged in."""
    del events
    made, tally = parse("mariadb-slow", server.slow_log.read_bytes())
    assert tally.failed.total() == 0
    rows = [(event.dataset, event.rows) for event in made if event.kind in ("bulk_query", "data_export")]
    assert rows.count(("shop.customers", ROWS)) == 3
    assert ("shop.customers", 2_990) in rows


def test_times_are_those_of_the_servers_clock(events: list[Draft]) -> None:
    """Written without a zone, in that of the server's system."""
    now_ms = time.time_ns() // 1_000_000
    known = [event for event in events if event.outcome != "denied" and event.actor is not None]
    assert all(now_ms - 600_000 < event.occurred_at <= now_ms for event in known)
