"""A real PostgreSQL, a scripted workload, and the events that its three logs and its counters must give."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pg8000.native
import pytest
from rua_agents.collectors import Draft
from rua_agents.collectors.pg_counters import Row
from rua_agents.collectors.pg_stats import PgStatsOptions
from rua_agents.collectors.pg_stats_poller import PgStatsPoller
from rua_agents.intake.contract import PollFailed
from rua_agents.intake.polled import PolledSource
from rua_agents.pseudonyms import KeyRing
from rua_agents.spool.settings import SpoolSettings
from rua_agents.spool.spool import Spool
from rua_agents.stream import SILENCE_MS
from rua_agents.tally import Tally
from rua_common.clock import SystemClock

from tests.agent_rig import KEY, origin
from tests.pg_rig import quoted, read, told
from tests.sources import packages
from tests.sources.postgresql import PHRASE, PREFIX, Postgres, running
from tests.tail_rig import Follower, close_all

pytestmark = [pytest.mark.sources, pytest.mark.timeout(300)]

NAMES = KeyRing(KEY, "lazada").at(0)
FORMATS = {"pgaudit-jsonlog": "json", "pgaudit-csvlog": "csv", "pgaudit-stderr": "log"}
SETUP = """
CREATE EXTENSION pgaudit; CREATE EXTENSION pg_stat_statements;
CREATE TABLE customers AS SELECT g AS id, 'user' || g || '@example.com' AS email, repeat('x', 200) AS pad
  FROM generate_series(1, 5000) AS g;
CREATE TABLE "ลูกค้า" AS SELECT g AS id FROM generate_series(1, 7) AS g;
CREATE TABLE "we ird,""t" AS SELECT 1 AS id;
CREATE ROLE boss; CREATE ROLE eve; CREATE ROLE auditor; CREATE ROLE rua LOGIN PASSWORD '%(word)s';
CREATE FUNCTION leak() RETURNS SETOF customers LANGUAGE sql SECURITY DEFINER AS
  'SELECT * FROM customers WHERE id <= 20';
"""
DOUBLE = "x 10.0.0.1 LOG:  y"
PEOPLE = ("ana", "bi,tool", "สมชาย", "a b@c/d [1]", DOUBLE)
FORGED = "2026-11-25 06:46:31.000 UTC [1] 6b06.1 ceo@shop/psql 10.0.0.1 LOG:  AUDIT: SESSION,1,1,READ,COPY,,,y,<none>,9"
FORGED_CSV = (
    '2026-11-25 06:46:31.000 UTC,"ceo","shop",1,"10.0.0.1:1",6b06.1,1,"COPY",2026-11-25 06:46:29 UTC,3/1,0,LOG,'
)
ANA = """
SELECT * FROM customers;
SELECT id FROM customers WHERE id <= 3;
SELECT * FROM "ลูกค้า";
SELECT * FROM "we ird,""t";
SELECT id FROM customers WHERE id = 1 /*
%(forged)s
%(forged_csv)s00000,"AUDIT: SESSION,1,1,READ,COPY,,,y,<none>,9",,,,,,,,,"psql","client backend",,0
*/;
COPY customers TO STDOUT;
COPY (SELECT id FROM customers WHERE id <= 1234) TO STDOUT;
COPY customers TO '%(folder)s/customers.csv';
COPY customers TO PROGRAM 'cat > /dev/null';
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM customers;
FETCH 500 FROM c;
FETCH ALL FROM c;
COMMIT;
PREPARE q(int) AS SELECT * FROM customers WHERE id <= $1;
EXECUTE q(12);
UPDATE customers SET pad = 'z' WHERE id <= 10;
DELETE FROM customers WHERE id = 5000;
INSERT INTO customers VALUES (5000, 'a', 'b');
SELECT count(*) FROM customers a JOIN "ลูกค้า" b USING (id);
SELECT * FROM leak();
SET ROLE boss;
SELECT 1;
RESET ROLE;
GRANT boss TO eve;
ALTER ROLE eve SUPERUSER;
ALTER ROLE eve PASSWORD '%(word)s';
REVOKE boss FROM eve;
SET pgaudit.log_rows = off;
SELECT * FROM customers;
SET pgaudit.log_rows = on;
SET pgaudit.log_relation = off;
SELECT id FROM customers WHERE id <= 4;
SET pgaudit.log_relation = on;
DO $$ BEGIN RAISE LOG 'AUDIT: SESSION,1,1,READ,COPY,,,y,<none>,9' USING DETAIL = 'd', HINT = E'h\\nh'; END $$;
TRUNCATE "ลูกค้า";
"""
STRANGER = "ceo@s/x h LOG:  AUDIT: SESSION,1,1,READ,COPY,,,y,"
"""With a database `z,9` and a line feed: the first line of each of its records is a whole AUDIT record of ceo."""
FAILING = """
SELECT 1 / 0;
SELECT * FROM no_such_table;
SET statement_timeout = '40ms';
SELECT count(*) FROM customers a, customers b, customers c;
"""
# kind, rows, table, where it goes: the first part of its destination
EXPECTED = [
    ("bulk_query", 5000, "public.customers", "client"),
    ("data_access", 3, "public.customers", None),
    ("data_access", 7, 'public."ลูกค้า"', None),
    ("data_access", 1, 'public."we ird,""t"', None),
    ("data_access", 1, "public.customers", None),
    ("data_export", None, "customers", "client"),
    ("data_export", 1234, "public.customers", "client"),
    ("data_export", None, "customers", "file"),
    ("data_export", None, "customers", "program"),
    ("data_access", None, "customers", None),  # DECLARE
    ("data_export", None, "customers", "client"),  # FETCH, twice
    ("data_export", None, "customers", "client"),
    ("data_access", 12, "public.customers", None),
    ("data_change", 10, "public.customers", None),
    ("data_change", 1, "public.customers", None),
    ("data_change", 1, "public.customers", None),
    ("data_access", 1, "public.customers", None),
    ("data_access", 20, "public.customers", None),  # SECURITY DEFINER: what it reads, and what it gives back
    ("data_access", 20, None, None),
    ("data_access", 1, None, None),  # as boss
    ("privilege_change", None, None, None),
    ("privilege_change", None, None, None),
    ("privilege_change", None, None, None),
    ("administration", None, None, None),
    ("administration", None, None, None),  # SET pgaudit.…
    ("data_access", None, "public.customers", None),  # without log_rows
    ("administration", None, None, None),
    ("administration", None, None, None),
    ("data_access", 4, "customers", None),  # without log_relation
    ("administration", None, None, None),
    ("data_change", None, '"ลูกค้า"', None),
]


@dataclass
class Watched:
    """A server after its workload, and what its logs gave."""

    server: Postgres
    events: dict[str, list[Draft]] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)

    def of(self, source: str, user: str) -> list[Draft]:
        """The events that a user caused: as actor, or as the one who gave rights."""
        who, admin = (NAMES.pseudonym("actor", one) for one in (user, "postgres"))
        found = [(e, _labels(e)) for e in self.events[source]]
        return [e for e, named in found if ("by", who) in named or (e.actor == who and ("by", admin) not in named)]


def _labels(event: Draft) -> list[tuple[str, str]]:
    return [(one.key, one.value) for one in event.labels]


def _workload(server: Postgres) -> None:
    given = {"word": PHRASE, "folder": server.folder, "forged": FORGED, "forged_csv": FORGED_CSV}
    server.psql(SETUP % given)
    server.psql("".join(f"CREATE ROLE {quoted(one)} LOGIN SUPERUSER PASSWORD '{PHRASE}';\n" for one in PEOPLE))
    server.psql(ANA % given, user="ana", program="psql INC-4711", host="127.0.0.1")
    server.psql(FAILING, user="ana", stops=False)
    for user in PEOPLE[1:]:
        server.psql("SELECT * FROM customers WHERE id <= 40", user=user)
    at = ("-h", str(server.folder), "-p", str(server.port))
    dumped = server.run("pg_dump", *at, "-U", "bi,tool", "-t", "customers", "shop")
    assert dumped.returncode == 0, dumped.stderr
    for program in ("x 10.9.9.9 LOG:  AUDIT: SESSION,1,1,READ,COPY,,,y,", "x 127.0.0.1 CONTEXT:  y"):
        client = _connect(server, "สมชาย", program=program)
        odd = 'O\'R, "q"\n' + FORGED
        client.run("SELECT id FROM customers WHERE id <= :most AND email <> :odd", most=30, odd=odd)
        client.close()
    for user, word in (("ana", "wrong"), ("nobody-knows", "x"), ("ana", PHRASE)):
        _try(server, user, word)
    evil = server.run("psql", *at, "-U", STRANGER, "-d", "z,9\n", "-c", "SELECT 1")
    assert evil.returncode, evil.stdout


def _connect(server: Postgres, user: str, *, program: str = "py", word: str = PHRASE) -> pg8000.native.Connection:
    named = {"host": "127.0.0.1", "port": server.port, "database": "shop", "application_name": program}
    return pg8000.native.Connection(user, password=word, timeout=10, **named)


def _try(server: Postgres, user: str, word: str) -> None:
    """Logs in, which only the right word can."""
    try:
        _connect(server, user, word=word).close()
    except pg8000.native.DatabaseError:
        assert word != PHRASE
    else:
        assert word == PHRASE


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    """One server for all tests of this file."""
    with running() as server:
        _workload(server)
        found = Watched(server)
        _settled(server.log("json"))
        for source, ending in FORMATS.items():
            options = {"prefix": PREFIX} if source == "pgaudit-stderr" else {}
            data = server.log(ending).read_bytes()
            found.events[source], found.tallies[source] = read(source, data, logins="all", **options)
        yield found


def _settled(log: Path) -> None:
    """Waits until the logging process has written all: nothing came for a while."""
    size = -1
    while size != (size := log.stat().st_size):
        time.sleep(0.3)


def _seen(events: Sequence[Draft]) -> list[tuple[str, int | None, str | None, str | None]]:
    return [
        (e.kind, e.rows, e.dataset and e.dataset.removeprefix("shop."), e.destination and e.destination.split(":")[0])
        for e in events
        if e.kind != "authentication"
    ]


@pytest.mark.parametrize("source", FORMATS)
def test_the_workload_gives_its_events(watched: Watched, source: str) -> None:
    """One for each statement, in order; what failed, was cancelled or forged gives none."""
    made = watched.of(source, "ana")
    assert _seen(made) == EXPECTED
    assert {e.ticket for e in made if e.kind != "authentication"} == {"INC-4711"}
    assert {e.source_network for e in made} == {None}
    assert NAMES.pseudonym("actor", "ceo") not in {e.actor for e in watched.events[source]}


@pytest.mark.parametrize("source", FORMATS)
def test_every_record_is_accounted_for(watched: Watched, source: str) -> None:
    """And what was refused is what the workload forged."""
    tally, forged = watched.tallies[source], {"not_from_pgaudit": 1}
    assert tally.open == 0
    if (
        source == "pgaudit-stderr"
    ):  # the tail of the stranger's name is a line without the prefix, each time it is tried
        assert tally.failed.pop("other_prefix") == tally.failed.pop("not_authorized") > 0
    assert tally.failed == forged


def test_all_three_formats_give_the_same_events(watched: Watched) -> None:
    """Times, people, sessions and statements; but for names that a prefix cannot tell."""
    json, csv, text = (watched.events[source] for source in FORMATS)
    assert told(json) == told(csv)
    assert [e.session for e in json] == [e.session for e in csv]
    strange, double = (NAMES.pseudonym("actor", one) for one in (STRANGER, DOUBLE))
    own = [e for e in csv if "by" not in dict(_labels(e))]  # what a session tells of itself, by its prefix
    untold = [e for e in own if e.actor == strange or (e.actor == double and e.kind == "authentication")]
    untold += [e for e in csv if e.rows == 30]  # their programs are called like records
    assert told([e for e in text if e.rows != 30]) == told([e for e in csv if e not in untold])


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("user", ["bi,tool", "สมชาย", "a b@c/d [1]", DOUBLE])
def test_odd_names_are_told_as_they_are(watched: Watched, source: str, user: str) -> None:
    """A comma, another script, a false severity."""
    assert ("data_access", 40, "public.customers", None) in _seen(watched.of(source, user))


@pytest.mark.parametrize("source", FORMATS)
def test_pg_dump_is_an_export_of_unknown_size(watched: Watched, source: str) -> None:
    """Its COPY reports 0 rows."""
    dumped = [e for e in watched.of(source, "bi,tool") if e.tool == "pg_dump" and e.kind == "data_export"]
    assert [(e.rows, e.rows_quality, e.dataset) for e in dumped] == [(None, "unknown", "shop.public.customers")]


@pytest.mark.parametrize("source", FORMATS)
def test_parameters_with_whole_records_in_them_change_nothing(watched: Watched, source: str) -> None:
    """Of prepared statements, and of programs called like records."""
    assert [one for one in _seen(watched.of(source, "สมชาย")) if one[1] == 30] == [
        ("data_access", 30, "public.customers", None)
    ] * 2


@pytest.mark.parametrize("source", FORMATS)
def test_logins_are_told_and_failed_ones_as_denied(watched: Watched, source: str) -> None:
    """A wrong password, an unknown user."""
    outcomes = [e.outcome for e in watched.of(source, "ana") if e.kind == "authentication"]
    assert (outcomes.count("denied"), outcomes.count("ok")) == (1, 3)
    assert [e.outcome for e in watched.of(source, "nobody-knows")] == ["denied"]


@pytest.mark.parametrize("source", FORMATS)
def test_nothing_personal_leaves(watched: Watched, source: str) -> None:
    """No password, address, literal, parameter, path or person."""
    text = str(watched.events[source])
    for secret in (PHRASE, "example.com", "O'R", "customers.csv", "สมชาย", "nobody-knows", "/dev/null", "boss"):
        assert secret not in text, secret


def test_the_counters_of_the_live_server_tell_what_pgaudit_does_not(watched: Watched, tmp_path: Path) -> None:
    """COPY and FETCH by their rows, a COPY that is cancelled by what it had sent; each row once."""
    server = watched.server
    word = tmp_path / "password"
    word.write_text(PHRASE + "\n")
    word.chmod(0o400)
    options = PgStatsOptions(port=server.port, database="shop", password_file=str(word), tls=False)
    poller = PgStatsPoller(options)
    with pytest.raises(PollFailed, match="pg_read_all_stats"):
        poller.poll(None, 0)
    server.psql("GRANT pg_read_all_stats TO rua; SELECT pg_stat_statements_reset()")
    cursor = poller.poll(None, 0).cursor
    server.psql("COPY customers TO STDOUT; COPY (SELECT * FROM customers) TO STDOUT", user="ana")
    server.psql(
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM customers; FETCH 500 FROM c; FETCH ALL FROM c", user="bi,tool"
    )
    answer = poller.poll(cursor, 0)
    rows = [msgspec.json.decode(row, type=Row) for row in answer.rows]
    assert sorted((row.user, row.command, row.rows, row.exact) for row in rows) == [
        ("ana", "copy", 5000, True),
        ("bi,tool", "fetch", 500, True),
        ("bi,tool", "fetch", 4500, True),
    ]
    events, tally = read("pg-stats", b"\n".join(answer.rows))
    assert (len(events), tally.failed.total()) == (3, 0)
    assert {e.actor for e in events} == {NAMES.pseudonym("actor", user) for user in ("ana", "bi,tool")}
    assert not poller.poll(answer.cursor, 0).rows
    poller.close()


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ({}, "the password is refused"),
        ({"word": "wrong"}, "the password is refused"),
        ({"word": PHRASE, "database": "nope"}, "there is no database nope"),
        ({"word": PHRASE, "database": "postgres"}, "CREATE EXTENSION pg_stat_statements"),
        ({"word": PHRASE, "tls": True}, "the server offers no TLS"),
        ({"word": PHRASE, "port": 1}, "no answer"),
    ],
)
def test_what_stops_the_poller_is_told_with_its_cure(
    watched: Watched, tmp_path: Path, given: dict[str, Any], cure: str
) -> None:
    """And it can be asked again."""
    options: dict[str, Any] = {"port": watched.server.port, "database": "shop", "tls": False, **given}
    if word := options.pop("word", None):
        (tmp_path / "password").write_text(word)
        (tmp_path / "password").chmod(0o400)
        options["password_file"] = str(tmp_path / "password")
    poller = PgStatsPoller(PgStatsOptions(**options))
    for _ in range(2):
        with pytest.raises(PollFailed, match=cure):
            poller.poll(None, 0)


def test_a_running_copy_is_seen_and_told_once(watched: Watched) -> None:
    """A client that reads slowly, and is cancelled in the middle; then one that reads to the end."""
    server = watched.server
    server.psql(
        "CREATE TABLE big AS SELECT repeat('x', 500) FROM generate_series(1, 60000); GRANT pg_read_all_stats TO rua"
    )
    options = PgStatsOptions(host=str(server.folder), port=server.port, database="shop")
    poller = PgStatsPoller(options)
    cursor = poller.poll(None, 0).cursor
    words = ["-h", str(server.folder), "-p", str(server.port), "-U", "ana", "-d", "shop", "-Xqc", "COPY big TO STDOUT"]
    command = packages.unprivileged([str(server.binaries / "psql"), *words])
    for cancelled in (True, False):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=packages.environment(server.root)
        ) as slow:
            assert slow.stdout is not None
            slow.stdout.read(3_000_000)
            time.sleep(0.5)
            answer = poller.poll(cursor, 0)
            (first,) = [msgspec.json.decode(row, type=Row) for row in answer.rows]
            assert (first.relation, first.exact, first.rows > 5_000) == ("public.big", False, True)
            assert (first.bytes or 0) > 500 * first.rows
            if cancelled:
                server.psql("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_copy")
            slow.stdout.read()
        answer = poller.poll(answer.cursor, 0)
        rest = [msgspec.json.decode(row, type=Row).rows for row in answer.rows]
        assert rest == ([] if cancelled else [60_000 - first.rows])
        cursor = poller.poll(answer.cursor, 0).cursor
    poller.close()


@pytest.mark.parametrize("source", FORMATS)
def test_a_live_log_that_is_rotated_meanwhile_gives_each_event_once(watched: Watched, source: str) -> None:
    """Renamed and made anew as logrotate does it; the last record of a quiet server comes when it is silent."""
    server, ending = watched.server, FORMATS[source]
    log = server.log(ending)
    options: dict[str, Any] = {"prefix": PREFIX} if source == "pgaudit-stderr" else {}
    follower = Follower(f"{log}*", source=source, logins="none", **options)
    follower.poll(turns=20).poll(SILENCE_MS).poll(SILENCE_MS)
    try:
        before = len(follower.events)
        for n in (1, 2):
            server.psql("SELECT id FROM customers WHERE id <= 5")
            follower.poll()
            log.rename(log.with_suffix(f".{ending}.{n}"))
            server.psql("SELECT pg_rotate_logfile()")
            server.psql("SELECT id FROM customers WHERE id <= 6")
            _settled(log)
            follower.poll(turns=5)
        follower.poll(SILENCE_MS, turns=5).poll(SILENCE_MS)
    finally:
        close_all()
    # each pg_rotate_logfile() is a SELECT of its own
    assert len(follower.events) - before == 6
    assert len(set(follower.events)) == len(follower.events)
    assert follower.tally.open == 0


def test_what_the_poller_tells_is_durable_and_not_asked_again(watched: Watched, tmp_path: Path) -> None:
    """Through the agent's own intake: a restarted one still has what nobody acknowledged, and asks where it stopped."""
    server = watched.server
    server.psql("GRANT pg_read_all_stats TO rua")
    given: dict[str, Any] = {"host": str(server.folder), "port": server.port, "database": "shop", "every_seconds": 1.0}
    for n, expected in ((1, [5000]), (2, [5000, 4000])):
        spool = Spool(tmp_path / "spool", SpoolSettings())
        place = origin("pg-stats", **given)
        feed = PolledSource("pg-stats", place, PgStatsPoller(place.options), spool, clock=SystemClock())
        if n == 1:
            assert not _fed(feed, spool, 1.5)
            server.psql("COPY customers TO STDOUT", user="ana")
        else:  # sent while no agent ran
            server.psql("CREATE TABLE four AS SELECT generate_series(1, 4000); COPY four TO STDOUT", user="ana")
        assert [event.rows for event in _fed(feed, spool, 2.5)] == expected
        assert not feed.problems
        feed.close()
        spool.close()


def _fed(feed: PolledSource, spool: Spool, seconds: float) -> list[Draft]:
    """What comes into the spool meanwhile."""
    made: list[Draft] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        feed.take(SystemClock().now_ms())
        spool.commit()
        feed.committed()
        made += spool.read()
        time.sleep(0.05)
    return made
