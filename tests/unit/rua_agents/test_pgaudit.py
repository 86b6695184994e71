"""pgaudit's records to events: the rules that real logs taught."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from rua_agents.collectors import Draft
from rua_agents.collectors.pgaudit import BadAudit, read_audit
from rua_agents.collectors.pgaudit_parser import MAX_OPEN
from rua_agents.keyfile import KeyEpoch
from rua_agents.parse import drafts
from rua_agents.pseudonyms import KeyRing
from rua_agents.stream import SourceStream
from rua_agents.tally import Tally
from rua_common.clock import ManualClock

from tests.agent_rig import KEY, PG_SAMPLE, START_MS, audit, origin, parse, pg_line

NAMES = KeyRing(KEY, "lazada").at(0)
T = START_MS


def events(*lines: bytes) -> list[Draft]:
    """The events of these lines; every record must be accounted for."""
    made, tally = parse("pgaudit-jsonlog", b"".join(lines))
    assert tally.open == 0
    assert tally.failed.total() == 0
    return made


def label(event: Draft, key: str) -> str | None:
    """A label's value."""
    return next((one.value for one in event.labels if one.key == key), None)


def test_every_record_of_the_sample_is_accounted_for() -> None:
    """PostgreSQL 15 with pgaudit 1.7: 9 and 10 fields, several lines in a statement, quoted and non-ASCII names."""
    made, tally = parse("pgaudit-jsonlog", PG_SAMPLE.read_bytes())
    assert tally.records == 145 == len(made) + tally.merged + tally.ignored.total() + tally.failed.total()
    assert (len(made), tally.events, tally.merged, tally.failed.total()) == (49, 49, 25, 0)
    assert tally.ignored == {"not_audit": 55, "session_control": 12, "prepared": 2, "code_block": 1, "routine": 1}
    datasets = {event.dataset for event in made}
    assert {'shop.public."we ird,""tbl"', 'shop.public."đơn_hàng"', "shop.public.customers"} <= datasets


def test_exports_of_the_sample_are_never_zero_rows() -> None:
    """COPY and FETCH report 0 where they do not know; COPY (query) is known from its query."""
    made, _ = parse("pgaudit-jsonlog", PG_SAMPLE.read_bytes())
    exports = [event for event in made if event.action == "export"]
    assert Counter(event.rows for event in exports) == {None: 9, 1234: 1, 5000: 1}
    assert all((event.rows is None) == (event.rows_quality == "unknown") for event in exports)
    assert [event.tool for event in exports].count("pg_dump") == 1
    where = Counter((event.destination or "").partition(":")[0] for event in exports)
    assert where == {"client": 9, "file": 1, "program": 1}


def test_a_join_is_one_event_with_the_largest_row_count() -> None:
    """Each table repeats the statement's rows, OBJECT doubles SESSION: never a sum."""
    one = "SELECT * FROM customers JOIN orders USING (id)"
    (event,) = events(
        audit(T, 1, one, rows=700, kind="OBJECT"),
        audit(T, 1, one, rows=700, table="public.orders"),
        audit(T, 1, one, rows=701),
    )
    assert (event.rows, event.rows_quality, event.dataset) == (701, "exact", "shop.public.customers")


def test_copy_of_a_query_is_one_export_with_the_rows_of_the_query() -> None:
    """Standing at the position of its last record, with that record's id."""
    copy = "COPY (SELECT * FROM customers) TO STDOUT"
    first = audit(T, 6, copy, rows=1234)
    lines = (first, audit(T, 6, copy, sub=2, command="COPY", table="", rows=0))
    (event,) = events(*lines)
    assert (event.kind, event.action, event.rows, event.rows_quality) == ("data_export", "export", 1234, "exact")
    assert event.dataset == "shop.public.customers"
    assert event.destination == "client:10.1.2.0/24"
    assert event.source_position == len(first) * 1024


@pytest.mark.parametrize(
    ("text", "command", "klass"), [("COPY t TO STDOUT", "COPY", "READ"), ("FETCH 500 FROM c", "FETCH", "MISC")]
)
def test_plain_copy_and_fetch_export_an_unknown_number_of_rows(text: str, command: str, klass: str) -> None:
    """0 means that pgaudit does not know."""
    (event,) = events(audit(T, 1, text, command=command, klass=klass, table="", rows=0))
    assert (event.action, event.rows, event.rows_quality) == ("export", None, "unknown")


def test_a_select_that_found_nothing_has_zero_rows() -> None:
    """There 0 is exact."""
    (event,) = events(audit(T, 1, "SELECT 1 FROM t", rows=0))
    assert (event.kind, event.rows, event.rows_quality, event.outcome) == ("data_access", 0, "exact", "ok")


@pytest.mark.parametrize("rows", [-5, 1 << 63, 1 << 70])
def test_a_row_count_that_cannot_be_true_is_unknown_and_hides_no_export(rows: int) -> None:
    """The record stays; only its number is not believed."""
    (event,) = events(audit(T, 1, "COPY t TO '/x'", command="COPY", rows=rows))
    assert (event.action, event.rows, event.rows_quality) == ("export", None, "unknown")


def test_the_largest_row_count_that_is_believed_is_exact() -> None:
    """No server will ever return 10^18 rows."""
    (event,) = events(audit(T, 1, "SELECT 1 FROM t", rows=10**18 - 1))
    assert (event.rows, event.rows_quality) == (10**18 - 1, "exact")


def test_rows_of_a_bulk_query_go_to_the_client_like_those_of_a_copy() -> None:
    """A network never used before must show, whichever statement takes the data; a small read stays without one."""
    many, local, few = events(
        audit(T, 1, "SELECT 1 FROM t", rows=1_000),
        audit(T, 2, "SELECT 1 FROM t", rows=1_800, remote_host="[local]"),
        audit(T, 3, "SELECT 1 FROM t", rows=999),
    )
    assert (many.kind, many.destination, many.destination_external) == ("bulk_query", "client:10.1.2.0/24", None)
    assert (local.destination, local.destination_external) == ("client:local", False)
    assert (few.kind, few.destination, few.destination_external) == ("data_access", None, None)


def test_nine_fields_mean_unknown_rows() -> None:
    """Without pgaudit.log_rows; it is not even known whether the statement ended well."""
    (event,) = events(audit(T, 1, "SELECT 1 FROM t", rows=None))
    assert (event.rows, event.rows_quality, event.outcome) == (None, "unknown", "unknown")


def test_pg_dump_exports_tables_and_only_reads_the_catalog() -> None:
    """It asks much before it dumps, and sets its session up by SELECT."""
    dump: dict[str, Any] = {"application_name": "pg_dump"}
    made = events(
        audit(T, 1, "SELECT oid FROM pg_catalog.pg_class", table="pg_catalog.pg_class", rows=400, **dump),
        audit(T, 2, "SELECT set_config(1)", table="", rows=1, **dump),
        audit(T, 3, "SELECT * FROM customers", rows=9, **dump),
    )
    assert [e.kind for e in made] == ["data_access", "data_access", "data_export"]


@pytest.mark.parametrize(
    ("text", "command", "dataset"),
    [
        ("SELECT * FROM crm.customers JOIN orders USING (id)", "SELECT", "shop.crm.customers"),
        ("UPDATE customers SET a = 1", "UPDATE", "shop.customers"),
        ("SELECT * FROM leak()", "SELECT", None),
        ("SELECT 1", "SELECT", None),
    ],
)
def test_without_log_relation_the_text_names_the_table(text: str, command: str, dataset: str | None) -> None:
    """It is off by default, and then pgaudit names none; a function is no table."""
    klass = "READ" if command == "SELECT" else "WRITE"
    (event,) = events(audit(T, 1, text, klass=klass, command=command, table="", rows=3))
    assert (event.dataset, event.rows) == (dataset, 3)


def test_set_role_keeps_the_login_as_actor_and_names_the_role() -> None:
    """Until the session resets it, or ends."""
    ana, boss = NAMES.pseudonym("actor", "ana"), NAMES.pseudonym("actor", "boss")
    set_role = audit(T, 1, "SET ROLE boss", klass="MISC", command="SET", table="")
    made = events(
        set_role,
        audit(T, 2, "SELECT 1 FROM t"),
        audit(T, 3, "RESET ROLE", klass="MISC", command="RESET", table=""),
        audit(T, 4, "SELECT 1 FROM t"),
    )
    assert [(event.actor, label(event, "role"), event.privilege) for event in made] == [
        (ana, boss, "elevated"),
        (ana, None, "unknown"),
    ]


def test_a_role_and_a_cursor_outlive_a_change_of_keys() -> None:
    """Each event names the role by the key of its own time, and a FETCH still knows its table."""
    keys = KeyRing((KeyEpoch(1, 0, KEY), KeyEpoch(2, T + 5_000, b"n" * 32)), "lazada")
    place = replace(origin("pgaudit-jsonlog", Tally()), keys=keys)
    lines = (
        audit(T, 1, "SET ROLE boss", klass="MISC", command="SET", table=""),
        audit(T, 2, "DECLARE c CURSOR FOR SELECT * FROM t", command="DECLARE CURSOR", table=""),
        audit(T + 9_000, 3, "FETCH ALL FROM c", klass="MISC", command="FETCH", table=""),
    )
    declared, fetched = drafts(io.BytesIO(b"".join(lines)), place, ManualClock(T))
    assert (declared.dataset, fetched.dataset) == ("shop.t", "shop.t")
    assert label(declared, "role") == keys.at(T).pseudonym("actor", "boss")
    assert label(fetched, "role") == keys.at(T + 9_000).pseudonym("actor", "boss") != label(declared, "role")
    assert fetched.session == keys.at(T + 9_000).pseudonym("session", "s1")


def test_set_role_to_a_superuser_is_a_change_of_privilege() -> None:
    """An ordinary role is not: applications set one for each request."""
    (event,) = events(audit(T, 1, "SET ROLE postgres", klass="MISC", command="SET", table=""))
    assert (event.kind, event.action, event.privilege) == ("privilege_change", "alter", "superuser")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SET pgaudit.log = 'none'", True),
        ('set /* x */ session "pgaudit.log" to none', True),
        ("SET LOCAL pgaudit.log_catalog TO off", True),
        ("SET log_min_messages = panic", True),
        ("RESET pgaudit.log", True),
        ("SET search_path = log_archive, public", False),
        ("SET search_path TO pgaudit", False),
        ("SET application_name = 'pgaudit.log'", False),
    ],
)
def test_whoever_silences_the_log_for_a_session_is_told(text: str, told: bool) -> None:
    """From then on there is nothing of that session; any other setting is no event."""
    made = events(audit(T, 1, text, klass="MISC", command=text.split(maxsplit=1)[0].upper(), table=""))
    assert [(e.kind, e.action, e.rows) for e in made] == [("administration", "alter", None)] * told


def test_a_table_or_database_that_is_somebodys_address_is_masked() -> None:
    """Any text can be a quoted identifier."""
    (event,) = events(audit(T, 1, "SELECT 1", table='public."ana@mail.example"', dbname="bo@mail.example"))
    assert event.dataset == '{email}.public."{email}"'


@pytest.mark.parametrize(
    ("program", "ticket"),
    [
        ("psql INC-4711", "INC-4711"),
        ("DBeaver 24.1 CHG0012345 somchai", "CHG0012345"),
        ("psql", None),
        ("psql SOMCHAI-7", None),
        ("psql INC-0812345678", None),
    ],
)
def test_a_ticket_is_named_with_the_program(program: str, ticket: str | None) -> None:
    """Where people can name one with psql; neither names nor telephone numbers pass for tickets."""
    (event,) = events(audit(T, 1, "SELECT 1 FROM t", application_name=program))
    assert event.ticket == ticket


def test_a_grant_is_about_the_grantee() -> None:
    """Who did it is a label."""
    (event,) = events(audit(T, 1, "GRANT analyst TO bob", klass="ROLE", command="GRANT ROLE", table=""))
    assert event.actor == NAMES.pseudonym("actor", "bob")
    assert label(event, "by") == NAMES.pseudonym("actor", "ana")
    assert (event.kind, event.privilege, event.rows) == ("privilege_change", "elevated", None)


def test_a_grant_to_two_people_is_two_events_and_the_account_says_so() -> None:
    """Each can be followed by an export."""
    made, tally = parse("pgaudit-jsonlog", audit(T, 1, "GRANT a TO bob, eve", klass="ROLE", command="GRANT ROLE"))
    assert [event.source_position for event in made] == [0, 1]
    assert len({event.event_id for event in made}) == 2
    assert (tally.records, tally.events, tally.split, tally.open) == (1, 1, 1, 0)
    assert tally.line() == (
        "records 1 = events 1 + merged 0 + ignored 0 + failed 0; 1 more event, from records that name several people"
    )


def test_a_grant_to_a_crowd_is_one_event_of_the_doer_with_the_number() -> None:
    """Whoever writes one line never gets thousands of events for it."""
    crowd = ", ".join(f"u{n}" for n in range(101))
    (event,) = events(audit(T, 1, f"GRANT postgres TO {crowd}", klass="ROLE", command="GRANT ROLE", table=""))
    assert (event.kind, event.actor, event.truncated) == ("privilege_change", NAMES.pseudonym("actor", "ana"), True)
    assert (label(event, "grantees"), label(event, "by"), event.privilege) == ("101", None, "superuser")
    made, tally = parse(
        "pgaudit-jsonlog", audit(T, 1, f"GRANT a TO {crowd[:-6]}", klass="ROLE", command="GRANT ROLE", table="")
    )
    assert (len(made), tally.split, tally.open) == (100, 99, 0)
    assert {(event.truncated, label(event, "grantees")) for event in made} == {(False, None)}


def test_a_copy_whose_target_is_hidden_behind_padding_goes_to_an_unknown_place() -> None:
    """It must not pass for the client that this account always uses."""
    hidden = f"COPY /* {'x' * 300_000} */ t TO PROGRAM 'curl'"
    (event,) = events(audit(T, 1, hidden, command="COPY", table=""))
    assert (event.action, event.destination, event.truncated) == ("export", "unknown", True)


def test_taking_rights_away_is_administration() -> None:
    """Nobody becomes able to export by a REVOKE."""
    (event,) = events(audit(T, 1, "REVOKE a FROM bob", klass="ROLE", command="REVOKE ROLE", table=""))
    assert event.kind == "administration"


def test_a_statement_ends_when_the_session_goes_on() -> None:
    """And only then; another session's records do not end it."""
    made = events(
        audit(T, 1, "SELECT 1 FROM t", rows=5),
        audit(T, 9, "SELECT 2 FROM u", rows=7, session_id="s2"),
        audit(T, 1, "SELECT 1 FROM t", rows=6),
        audit(T, 2, "SELECT 3 FROM t", rows=8),
    )
    assert [event.rows for event in made] == [7, 6, 8]


def test_a_statement_ends_when_any_record_is_a_second_younger() -> None:
    """Told by the records' own times: reading again merges the same way."""
    last = audit(T + 1_001, 1, "SELECT 1 FROM t", rows=6)
    made = events(audit(T, 1, "SELECT 1 FROM t", rows=5), pg_line(T + 1_001, "checkpoint", session_id="x"), last)
    assert [event.rows for event in made] == [5, 6]
    last = audit(T + 1_000, 1, "SELECT 1 FROM t", rows=6)
    made = events(audit(T, 1, "SELECT 1 FROM t", rows=5), pg_line(T + 1_000, "checkpoint", session_id="x"), last)
    assert [event.rows for event in made] == [6]


def test_a_line_from_the_future_holds_nothing_back() -> None:
    """One forged date, or a clock that jumped at boot, must not silence the file for the rest of its life."""
    reads = [audit(T + 2_000 * n, n, "SELECT 1 FROM t", rows=n, session_id=f"s{n}") for n in range(1, 6)]
    forged = audit(T + 10**12, 1, "SELECT 1 FROM t", rows=99, session_id="x")
    assert while_open(reads[0], forged, *reads[1:]) == [1, 99, 2, 3, 4]


def test_a_clock_set_back_holds_nothing_back() -> None:
    """Each statement before the jump is complete, and so is each after it."""
    at = enumerate((0, -9_000, -7_000))
    assert while_open(*[audit(T + ms, n, "SELECT 1 FROM t", rows=n, session_id=f"s{n}") for n, ms in at]) == [0, 1]


def while_open(*lines: bytes) -> list[int | None]:
    """Rows of the events that come while the file may still grow."""
    place = origin("pgaudit-jsonlog", Tally())
    stream = SourceStream(place, "log", warns=False)
    records = place.splitter(0, 1 << 20).feed(b"".join(lines))
    return [draft.rows for record in records for draft in stream.feed(record, START_MS)]


def test_events_come_in_the_order_of_their_positions() -> None:
    """A complete event waits for an open statement that began before it."""
    made = events(
        audit(T, 1, "SELECT 1 FROM t", rows=1),
        *[audit(T, n, "SELECT 2 FROM u", rows=n, session_id="s2") for n in range(2, 9)],
        audit(T, 1, "SELECT 1 FROM t", rows=9),
    )
    positions = [event.source_position for event in made]
    assert positions == sorted(positions)
    assert [event.rows for event in made] == [2, 3, 4, 5, 6, 7, 8, 9]


def test_previously_logged_means_the_text_before() -> None:
    """pgaudit.log_statement_once leaves it out of later records."""
    copy = "COPY (SELECT * FROM customers) TO '/x'"
    (event,) = events(
        audit(T, 1, copy, rows=50), audit(T, 1, "<previously logged>", sub=2, command="COPY", table="", rows=0)
    )
    assert event.rows == 50
    assert event.destination == "file:" + NAMES.pseudonym("file", "/x")


def test_not_logged_means_no_fingerprint() -> None:
    """The direction of a COPY then follows from its class."""
    out, into = events(
        audit(T, 1, "<not logged>", command="COPY"), audit(T, 2, "<not logged>", command="COPY", klass="WRITE")
    )
    assert (out.action, out.statement_fingerprint, out.rows) == ("export", None, None)
    assert (into.action, into.kind) == ("alter", "data_change")


def test_a_function_cannot_forge_an_audit_record() -> None:
    """RAISE LOG writes what it likes, but with a context."""
    made, tally = parse(
        "pgaudit-jsonlog", pg_line(T, "AUDIT: SESSION,1,1,READ,SELECT,,,x,<none>,9", context="PL/pgSQL")
    )
    assert made == []
    assert tally.failed == {"not_from_pgaudit": 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{not json\n", "not_json"),
        (b"[1]\n", "not_json"),
        (b'{"timestamp":5,"message":"AUDIT: "}\n', "unexpected_type"),
        (b'{"message":"AUDIT: SESSION"}\n', "no_time"),
        (pg_line(T, "AUDIT: SESSION,1,1,READ"), "bad_audit"),
        (pg_line(T, "AUDIT: SESSION,one,1,READ,SELECT,,,x,<none>"), "bad_audit"),
        (pg_line(T, 'AUDIT: SESSION,1,1,READ,SELECT,,,"open,<none>'), "bad_audit"),
        (pg_line(T, f"AUDIT: SESSION,{1 << 70},1,READ,SELECT,,,x,<none>,1"), "bad_audit"),
        (pg_line(T, "AUDIT: SESSION,1,-1,READ,SELECT,,,x,<none>,1"), "bad_audit"),
        (pg_line(T, "AUDIT: SESSION,1,1,READ,SELECT,,,x,<none>,many"), "bad_audit"),
    ],
)
def test_what_cannot_be_parsed_is_counted_by_reason_and_blocks_nothing(line: bytes, reason: str) -> None:
    """The records around it are events."""
    made, tally = parse("pgaudit-jsonlog", audit(T, 1, "SELECT 1") + line + audit(T, 2, "SELECT 1"))
    assert len(made) == 2
    assert (tally.failed, tally.open) == ({reason: 1}, 0)


def test_a_record_above_the_limit_is_an_event_marked_truncated() -> None:
    """Who, when and what are read; rows stand behind the cut and are unknown."""
    data = audit(T, 1, "SELECT " + "x" * 5_000, rows=77) + audit(T, 2, "SELECT 1", rows=1)
    (cut, whole), tally = parse("pgaudit-jsonlog", data, limit_bytes=600)
    assert (cut.truncated, cut.rows, cut.actor) == (True, None, NAMES.pseudonym("actor", "ana"))
    assert (whole.truncated, whole.rows, tally.open) == (False, 1, 0)


def test_a_loop_in_a_function_does_not_fill_the_memory() -> None:
    """Thousands of substatements of one statement leave as they come, in order."""
    made = events(
        *[audit(T, 1, "INSERT INTO t VALUES (1)", sub=n, klass="WRITE", command="INSERT") for n in range(500)]
    )
    assert len(made) == 500
    assert [event.source_position for event in made] == sorted(event.source_position for event in made)


def test_a_crowd_of_sessions_does_not_fill_the_memory() -> None:
    """Of more open statements than any server has the oldest are told, in order; none is lost."""
    lines = [audit(T, 1, "SELECT 1 FROM t", session_id=f"s{n}") for n in range(3 * MAX_OPEN)]
    stream = SourceStream(origin("pgaudit-jsonlog", Tally()), "log", warns=False)
    made: list[Draft] = []
    for record in stream.origin.splitter(0, 1 << 20).feed(b"".join(lines)):
        made += stream.feed(record, START_MS)
    assert len(made) >= 2 * MAX_OPEN
    made += stream.flush()
    assert len(made) == 3 * MAX_OPEN
    assert [event.source_position for event in made] == sorted(event.source_position for event in made)


def test_surrogates_and_nul_bytes_cost_a_replacement_never_the_record() -> None:
    """They are counted."""
    line = audit(T, 1, "SELECT 1 FROM t", user="an\\").replace(b'"an\\\\"', b'"an\\ud800\\u0000"')
    made, tally = parse("pgaudit-jsonlog", line)
    assert len(made) == 1
    assert tally.replaced == 2


def test_audit_fields_are_csv() -> None:
    """Never cut at commas."""
    found = read_audit('AUDIT: SESSION,3,1,READ,SELECT,TABLE,"public.""we ird,""""tbl""","SELECT\n"",""",<none>,0')
    assert (found.table, found.text, found.rows) == ('public."we ird,""tbl"', 'SELECT\n","', 0)
    with pytest.raises(BadAudit):
        read_audit("AUDIT: SESSION,3,1,READ,SELECT,TABLE,a,b,<none>,0,extra")


def test_nothing_personal_of_the_sample_leaves() -> None:
    """No password, e-mail address, literal, parameter or name of a person."""
    made, _ = parse("pgaudit-jsonlog", PG_SAMPLE.read_bytes())
    text = json.dumps([str(event) for event in made], ensure_ascii=False)
    for secret in ("hunter2", "example.com", "Singapore", "Nguy", "O'Reilly", "Johor", "analyst", "breakglass", "/srv"):
        assert secret not in text, secret
