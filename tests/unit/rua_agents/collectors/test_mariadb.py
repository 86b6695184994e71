"""MariaDB's audit log: who did what, whatever the names hold; rows and bytes looked up in the slow log."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st
from rua_agents.collectors import Draft
from rua_agents.collectors.mariadb_lines import MOST_USER_BYTES, read_line, unescaped
from rua_agents.pseudonyms import Pseudonymiser
from rua_agents.records import RawRecord
from rua_agents.stream import SourceStream

from tests.agent_rig import KEY, START_MS, origin, parse, sample_of

ZONE = "Asia/Bangkok"
NAMES = Pseudonymiser(KEY, "lazada")
SLOW_SAMPLE = Path(__file__).parents[3] / "data" / "agents" / "samples" / "mariadb-slow.log"
CLOCK = "20261125 20:01:{:02}"
EPOCH = 1_795_611_660
"""Of 20:01:00 in Bangkok."""


def escaped(text: str) -> str:
    """As server_audit writes a statement."""
    for plain, written in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(plain, written)
    return text


def line(
    operation: str,
    text: str = "",
    *,
    at: str | int = 1,
    user: str = "ana",
    conn: int = 4,
    query: int = 0,
    db: str = "shop",
    code: object = 0,
) -> bytes:
    """One record."""
    stamp = at if isinstance(at, str) else CLOCK.format(at)
    found = f"'{escaped(text)}'" if operation == "QUERY" else text
    last = "" if operation in ("READ", "WRITE") else code
    return f"{stamp},vm,{user},localhost,{conn},{query},{operation},{db},{found},{last}\n".encode()


def select(table: str = "customers", *, query: int = 1, **fields: Any) -> bytes:
    """A read: its table's record, then its own."""
    text = fields.pop("text", f"TABLE {table}")
    return line("READ", table, query=query, **fields) + line("QUERY", text, query=query, **fields)


def entry(
    text: str,
    rows: int,
    sent: int = 90,
    *,
    at: int = EPOCH + 1,
    conn: int = 4,
    affected: int = 0,
    took: str = "0.000100",
) -> bytes:
    """One entry of the slow log."""
    return (
        f"# User@Host: ana[ana] @ localhost []\n# Thread_id: {conn}  Schema: shop  QC_hit: No\n"
        f"# Query_time: {took}  Lock_time: 0.000000  Rows_sent: {rows}  Rows_examined: 5\n"
        f"# Rows_affected: {affected}  Bytes_sent: {sent}\nSET timestamp={at};\n{text};\n"
    ).encode()


def events(data: bytes, **options: Any) -> list[Draft]:
    """The events of an audit log."""
    return parse("mariadb-audit", data, zone=ZONE, **options)[0]


def actor(name: str) -> str:
    """Their pseudonym."""
    return NAMES.pseudonym("actor", name)


def rows_of(made: list[Draft]) -> list[int | None]:
    """Rows of the events that are no logins."""
    return [event.rows for event in made if event.kind != "authentication"]


@pytest.mark.parametrize(
    "user", ["ana", "bi,tool", "a,b,c,", "q'uote", "x[y] @ z", "ร้าน,ค้า", "new\nline", ",1,2,QUERY,d"]
)
def test_a_user_is_one_whatever_the_name_holds(user: str) -> None:
    """A record is read from its right end: what stands left of the operation is the client's."""
    one = read_line(line("QUERY", "SELECT 'a', 'b,c'", user=user, query=9).rstrip(b"\n"))
    assert (one.user, one.host, one.connection, one.query) == (user, "localhost", "4", 9)
    assert (one.operation, one.database, one.object, one.code) == ("QUERY", "shop", "SELECT 'a', 'b,c'", 0)


@pytest.mark.parametrize("host", ["192.0.2.7", "192.0.2.7:51234", "::ffff:192.0.2.7"])
def test_a_clients_port_is_no_part_of_its_address(host: str) -> None:
    """MariaDB 12 writes it, and the version of TLS where other records have their object."""
    data = line("CONNECT", "TLS=TLSv1.3").replace(b"localhost", host.encode())
    assert [(event.outcome, event.source_network) for event in events(data)] == [("ok", "192.0.2.0/24")]


@pytest.mark.parametrize("user", ["root,localhost,4,11,QUERY,shop", "root,localhost,4,0,CONNECT,,,0"])
def test_a_name_that_looks_like_the_rest_of_a_record_is_not_its_users(user: str) -> None:
    """The twin of reading from the left end."""
    made = events(line("FAILED_CONNECT", user=user, code=1045))
    assert [(event.kind, event.outcome, event.actor) for event in made] == [("authentication", "denied", actor(user))]


FORGED = line("QUERY", "DROP TABLE customers", user="root", query=7).decode().rstrip("\n")
PIECES = st.sampled_from(
    [
        "x",
        ",",
        "'",
        "\n",
        "\n" + FORGED + "\n",
        FORGED,
        ",localhost,4,0,CONNECT,,,0\n",
        "\\",
        "20261125 20:01:01,vm,root",
    ]
)


def refused(name: str, conn: int = 99, at: int = 1) -> bytes:
    """A login that is refused: two records, each with the whole name."""
    first = line("FAILED_CONNECT", user=name, conn=conn, code=1045, at=at, db="")
    return first + line("DISCONNECT", user=name, conn=conn, at=at, db="")


@settings(max_examples=80)
@given(st.lists(PIECES, max_size=7).map("".join).filter(lambda name: len(name.encode()) <= MOST_USER_BYTES))
@example(FORGED)
@example("\n" + FORGED + "\n" + FORGED)
@example(f",localhost,4,0,CONNECT,,,0\n{FORGED}\n20261125 20:01:01,vm,z")
def test_no_name_that_somebody_sends_forges_a_record_of_another(name: str) -> None:
    """Anybody who reaches the port may send one, password or not. The records beside keep their actor."""
    real = b"".join(select(at=1, query=n) for n in range(1, 12))
    made = events(real + refused(name) + real)
    # whoever is refused may have called himself anything
    assert actor("root") not in {event.actor for event in made if event.outcome != "denied"}
    told = [event for event in made if event.dataset == "shop.customers"]
    assert [event.actor for event in told if event.kind == "data_access"] == [actor("ana")] * 22


def test_a_forged_record_among_others_names_nobody() -> None:
    """Another connection wrote between a login and its end."""
    name = f",localhost,4,0,CONNECT,,,0\n{FORGED}\n20261125 20:01:01,vm,z"
    both = refused(name)
    middle = both.index(b"1045\n") + len(b"1045\n")
    made = events(select(query=1) + both[:middle] + select(query=2) + both[middle:] + select(query=3))
    doubtful = [event for event in made if any(label.key == "doubtful" for label in event.labels)]
    assert [event.kind for event in doubtful].count("administration") == 2
    assert {event.actor for event in doubtful} == {None}
    assert [event.actor for event in made if event.kind == "data_access"] == [actor("ana")] * 3


def test_without_a_forged_record_nothing_is_doubtful() -> None:
    """The quiet twin: refused logins, and a name of two lines that forges nothing."""
    made = events(select() * 3 + refused("x,y") + select() + refused("x\ny", conn=98) + select())
    assert {event.actor for event in made} == {actor("ana"), actor("x,y"), actor("x\ny")}
    assert not any(event.labels for event in made)


@settings(max_examples=80)
@given(
    st.text(max_size=60), st.sampled_from(["", "',0\n", "\\',0\n20261125 20:01:01,vm,root,localhost,4,7,QUERY,s,'x',0"])
)
def test_any_statement_is_one_record_and_comes_back_as_it_was_sent(text: str, end: str) -> None:
    """Its quotes and lines are escaped, so it can end nothing."""
    sent = (text + end).replace("\r", "").encode("utf-8", "replace").decode()
    data = line("QUERY", "SELECT 1 -- " + sent) + line("QUERY", "SELECT 2")
    assert unescaped(escaped(sent)) == sent
    made, tally = parse("mariadb-audit", data, zone=ZONE)
    assert [event.actor for event in made] == [actor("ana")] * 2
    assert tally.failed.total() == 0


@pytest.mark.parametrize(("length", "cut"), [(1_024, True), (1_023, True), (1_022, False)])
def test_a_statement_of_the_limit_was_cut_although_its_quote_closes(length: int, cut: bool) -> None:
    """Nothing else shows it; of a part there is no fingerprint, but a table and a verb."""
    head = "SELECT * FROM customers WHERE id IN ("
    (event,) = events(line("QUERY", head + "1" * (length - len(head))))
    assert (event.truncated, event.statement_fingerprint is None) == (cut, cut)
    assert (event.kind, event.dataset) == ("data_access", "shop.customers")
    (event,) = events(line("QUERY", head + "1" * 60), server_audit_query_log_limit=64)
    assert event.truncated


def test_a_cut_behind_a_backslash_hides_no_quote() -> None:
    """The closing quote counts whatever stands before it."""
    data = line("QUERY", "SELECT 'it").replace(b"it',", b"it\\',") + select()
    made, tally = parse("mariadb-audit", data, zone=ZONE)
    assert (len(made), tally.failed.total()) == (2, 0)


def test_bytes_that_are_no_utf8_cost_a_replacement() -> None:
    """Latin-1 clients write such."""
    made, tally = parse("mariadb-audit", line("QUERY", "SELECT 'é' FROM t").replace("é".encode(), b"\xe9"), zone=ZONE)
    assert ([event.dataset for event in made], tally.replaced) == (["shop.t"], 1)


def test_the_hour_that_comes_twice_is_told_by_the_order_of_the_records() -> None:
    """In Berlin 02:30 came at 00:30 and at 01:30 UTC; records of threads that overtake each other are no jump."""
    stamps = ["02:30:00", "02:59:59", "02:59:58", "02:00:00", "02:30:00", "03:00:00"]
    data = b"".join(line("QUERY", "SELECT 1", at=f"20261025 {stamp}") for stamp in stamps)
    made, _ = parse("mariadb-audit", data, zone="Europe/Berlin")
    start = made[0].occurred_at
    assert [(event.occurred_at - start) // 1_000 for event in made] == [0, 1_799, 1_798, 1_800, 3_600, 5_400]


def test_without_a_zone_every_record_is_counted_as_having_no_time() -> None:
    """Guessing would be hours off."""
    made, tally = parse("mariadb-audit", select())
    assert (made, dict(tally.failed)) == ([], {"no_time": 2})


def test_a_statement_has_its_own_tables_whoever_stands_between() -> None:
    """Records of connections mix; those of one statement have its number."""
    data = line("READ", "customers", conn=4, query=1) + line("READ", "orders", conn=5, query=2)
    data += line("READ", "mysql_stats", conn=4, query=1, db="mysql").replace(b"mysql_stats", b"table_stats")
    data += line("QUERY", "SELECT * FROM v", conn=5, query=2) + line("QUERY", "SELECT * FROM v", conn=4, query=1)
    data += line("QUERY", "SELECT * FROM v", conn=4, query=3)
    assert [event.dataset for event in events(data)] == ["shop.orders", "shop.customers", "shop.v"]


def test_a_call_is_told_after_what_it_ran_and_takes_what_its_cursors_read() -> None:
    """Their numbers are higher than its own."""
    data = line("READ", "customers", query=40) + select("orders", query=41) + line("QUERY", "CALL p()", query=38)
    data = line("READ", "proc", db="mysql", query=38) + data
    made = events(data)
    assert [(event.dataset, event.kind) for event in made] == [
        ("shop.orders", "data_access"),
        ("shop.customers", "data_access"),
    ]


def test_a_role_is_kept_beside_the_login_until_it_is_given_back() -> None:
    """Or until the connection ends."""
    data = line("QUERY", "SET ROLE analyst") + select() + line("QUERY", "SET ROLE NONE") + select()
    data += line("QUERY", "SET ROLE analyst") + line("DISCONNECT") + select()
    told = [(event.actor, {label.key: label.value for label in event.labels}) for event in events(data)]
    assert told == [(actor("ana"), {"role": actor("analyst")}), (actor("ana"), {}), (actor("ana"), {})]


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("SELECT * FROM t INTO OUTFILE '/srv/x'", 0, ("data_export", "export", "ok")),
        ("SELECT /*!40001 SQL_NO_CACHE */ `a` FROM `t`", 0, ("data_export", "export", "ok")),
        ("SELECT * FROM t", 1142, ("data_access", "read", "denied")),
        ("SELECT * FROM t", 1317, ("data_access", "read", "aborted")),
        ("SELECT * FROM t", 1146, ("data_access", "read", "failed")),
        ("LOAD DATA INFILE 'x' INTO TABLE t", 0, ("data_change", "alter", "ok")),
        ("DELETE FROM t", 0, ("data_change", "delete", "ok")),
        ("GRANT SELECT ON *.* TO bob", 0, ("privilege_change", "alter", "ok")),
        ("REVOKE SELECT ON *.* FROM bob", 0, ("administration", "alter", "ok")),
        ("SET GLOBAL server_audit_logging = OFF", 0, ("administration", "alter", "ok")),
        ("CREATE TABLE t (a int)", 0, ("administration", "alter", "ok")),
    ],
)
def test_a_statement_becomes_an_event_by_its_verb_and_its_error(
    text: str, code: int, expected: tuple[str, ...]
) -> None:
    """What detectors count by."""
    (event,) = events(line("QUERY", text, code=code))
    assert (event.kind, event.action, event.outcome) == expected


@pytest.mark.parametrize(("text", "code"), [("SELEC 1", 1064), ("SET NAMES utf8", 0), ("BEGIN", 0), ("SHOW TABLES", 0)])
def test_what_reads_and_changes_nothing_is_no_event(text: str, code: int) -> None:
    """Neither is what was never run."""
    assert events(line("QUERY", text, code=code)) == []


def test_rows_and_bytes_are_those_of_the_slow_log(tmp_path: Path) -> None:
    """Of the same run; without it the events are the same but for these."""
    data = sample_of("mariadb-audit")
    without, _ = parse("mariadb-audit", data, zone="UTC")
    made, _ = parse("mariadb-audit", data, zone="UTC", slow_log=str(SLOW_SAMPLE))
    assert [event.event_id for event in made] == [event.event_id for event in without]
    assert {event.rows for event in without} == {None}
    counted = [(event.kind, event.rows, event.bytes) for event in made if event.rows is not None]
    assert ("bulk_query", 1_000, 30_136) in counted
    assert ("data_export", 5_000, None) in counted  # INTO OUTFILE: 13 bytes are none of the file's
    assert ("data_export", 5_000, 251_888) in counted  # mariadb-dump
    assert ("data_change", 10, None) in counted
    missing = str(tmp_path / "none.log")
    assert parse("mariadb-audit", data, zone="UTC", slow_log=missing)[0] == without


def test_each_entry_counts_once_and_for_its_own_connection(tmp_path: Path) -> None:
    """The same text on two connections, twice on one; spaces and the lines of a statement make no difference."""
    slow = tmp_path / "slow.log"
    text = "SELECT *\nFROM customers WHERE a = 'it''s' "
    slow.write_bytes(
        entry(text, 11, conn=5) + entry("BEGIN", 0) + entry(text, 12) + entry("SELECT * FROM b", 99) + entry(text, 13)
    )
    data = select(text=text) + select(text=text, conn=5) + select(text=text) + select(text=text)
    assert rows_of(events(data, slow_log=str(slow))) == [12, 11, 13, None]


class Live:
    """Both logs while the server writes them."""

    def __init__(self, folder: Path) -> None:
        self.slow = folder / "slow.log"
        self.slow.write_bytes(b"")
        self.origin = origin("mariadb-audit", zone=ZONE, slow_log=str(self.slow))
        self.stream = SourceStream(self.origin, "log", warns=False)
        self.splitter = self.origin.splitter(0, 1 << 20)

    def audit(self, data: bytes) -> list[Draft]:
        """The server writes to its audit log."""
        records: list[RawRecord] = self.splitter.feed(data)
        return [draft for record in records for draft in self.stream.feed(record, START_MS)]

    def write(self, data: bytes) -> None:
        """And to its slow log."""
        with self.slow.open("ab") as file:
            file.write(data)

    def silence(self) -> list[Draft]:
        """Two seconds without a record."""
        last = [draft for record in self.splitter.settle() for draft in self.stream.feed(record, START_MS)]
        return last + self.stream.flush()


def filler(at: int) -> bytes:
    """Records that are no events, longer than two names can reach."""
    return line("QUERY", "SET @a = '" + "x" * 800 + "'", at=at, conn=77) * 2


def test_an_event_waits_for_its_entry_and_for_two_seconds_at_most(tmp_path: Path) -> None:
    """Of the audit log's own time: so reading it again waits alike."""
    live = Live(tmp_path)
    assert live.audit(select(query=1) + filler(1) + filler(1)) == []
    live.write(entry("TABLE customers", 42))
    assert rows_of(live.audit(filler(1))) == [42]
    assert live.audit(select(query=2, at=2) + filler(4) + filler(4)) == []
    assert rows_of(live.audit(filler(5) + filler(5))) == [None]
    live.audit(select(query=3, at=6))
    live.write(entry("TABLE customers", 43, at=EPOCH + 6))
    assert rows_of(live.silence()) == [43]


def test_an_entry_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    """The file's end is no record's end."""
    live, whole = Live(tmp_path), entry("TABLE customers", 42)
    live.audit(select() + filler(1) + filler(1))
    for cut in (10, 150, whole.index(b"SET"), whole.index(b"TABLE"), len(whole) - 2):
        live.slow.write_bytes(whole[:cut])
        assert live.audit(filler(1)) == []
    live.slow.write_bytes(whole)
    assert rows_of(live.audit(filler(1))) == [42]


def test_the_slow_log_is_followed_when_it_is_rotated_or_cut(tmp_path: Path) -> None:
    """Its old file to the end first."""
    live, text = Live(tmp_path), "TABLE customers"
    live.write(entry(text, 1))
    made = live.audit(select(query=1) + filler(1) + filler(1))
    live.write(entry(text, 2))
    live.slow.rename(tmp_path / "slow.log.1")
    live.slow.write_bytes(entry(text, 3))
    made += live.audit(select(query=2) + select(query=3) + filler(1) + filler(1))
    live.slow.write_bytes(b"")
    made += live.audit(select(query=4) + filler(1) + filler(1))
    assert rows_of(made) == [1, 2, 3]
    live.write(entry(text, 4))
    assert rows_of(live.silence()) == [4]


def test_an_agent_that_comes_late_looks_into_the_rotated_slow_log_too(tmp_path: Path) -> None:
    """And finds its place in a long one without reading it all."""
    many = b"".join(entry(f"SELECT {n}", n, at=EPOCH - 40_000 + n * 2) for n in range(20_000))
    (tmp_path / "slow.log.1").write_bytes(many + entry("TABLE customers", 5))
    (tmp_path / "slow.log").write_bytes(entry("TABLE customers", 6, at=EPOCH + 2))
    data = select(at=1) + select(at=2)
    started = time.process_time()
    assert rows_of(events(data, slow_log=str(tmp_path / "slow.log"))) == [5, 6]
    assert time.process_time() - started < 2


@pytest.mark.parametrize("forged", [1_000_000_000, 2_000_000_000])
def test_a_session_that_sets_its_own_time_hides_nobodys_rows(tmp_path: Path, forged: int) -> None:
    """The slow log's times are the sessions'; they only tell where to begin to look."""
    slow = tmp_path / "slow.log"
    others = b"".join(entry(f"SELECT {n}", 1, at=forged, conn=9) for n in range(500))
    slow.write_bytes(others + entry("TABLE customers", 42) + others)
    assert rows_of(events(select(), slow_log=str(slow))) == [42]


def test_a_statement_without_an_entry_does_not_read_the_whole_slow_log(tmp_path: Path) -> None:
    """A thousand entries of a later time are enough; the next statement finds its own among them."""
    slow = tmp_path / "slow.log"
    slow.write_bytes(b"".join(entry(f"SELECT {n}", n, at=EPOCH + 20 + n // 100) for n in range(8_000)))
    data = select(at=1) + select(text="SELECT 700", at=27) + select(text="SELECT 2500", at=45)
    assert rows_of(events(data, slow_log=str(slow))) == [None, 700, 2_500]


def test_a_restart_while_events_wait_gives_the_same_events(tmp_path: Path) -> None:
    """What waits is in the checkpoint; the slow log is looked up anew."""
    data = select(query=1) + select("orders", query=2) + filler(1) + select(query=3, at=3) + filler(9)
    slow = tmp_path / "slow.log"
    slow.write_bytes(entry("TABLE customers", 1) + entry("TABLE orders", 2))
    expected = events(data, slow_log=str(slow))
    assert rows_of(expected) == [1, 2, None]
    one = origin("mariadb-audit", zone=ZONE, slow_log=str(slow))
    splitter = one.splitter(0, 1 << 20)
    records = [*splitter.feed(data), *splitter.finish()]
    for stop in range(len(records)):
        first, second = (SourceStream(one, "log", warns=False) for _ in range(2))
        made = [draft for record in records[:stop] for draft in first.feed(record, START_MS)]
        second.load(first.dump())
        made += [draft for record in records[stop:] for draft in second.feed(record, START_MS)] + second.flush()
        assert [(e.event_id, e.rows) for e in made] == [(e.event_id, e.rows) for e in expected]


@pytest.mark.parametrize("part", ["\\'", "\\\\", "'", ",1,2,QUERY,", "\n", ",", "20261125 20:01:01,vm,x"])
def test_hostile_records_of_many_kilobytes_take_linear_time(part: str) -> None:
    """Whatever fills them."""
    started = time.process_time()
    for head in (f"{CLOCK.format(1)},vm,", f"{CLOCK.format(1)},vm,ana,h,4,1,QUERY,shop,'"):
        events((head + part * (60_000 // len(part)) + "',0\n").encode())
    assert time.process_time() - started < 6


@pytest.mark.parametrize("source", ["mariadb-audit", "mariadb-slow", "mysql-slow"])
def test_a_general_log_is_refused_by_name(source: str) -> None:
    """It has the slow log's banner, passwords in clear and no results."""
    banner = (
        b"/usr/sbin/mariadbd, Version: 10.11.19-MariaDB. started with:\nTcp port: 3399\nTime\t Id Command\tArgument\n"
    )
    data = banner + b"261124 22:46:56\t     3 Connect\troot@localhost on  using Socket\n\t\t     3 Query\tselect 1\n"
    made, tally = parse(source, data, zone=ZONE)
    assert (made, set(tally.failed)) == ([], {"general_log"})
