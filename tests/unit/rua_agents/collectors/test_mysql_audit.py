"""MySQL's audit log as JSON and as XML in two styles: one event a statement, and no text of a user is structure."""

from __future__ import annotations

import json
import time
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.collectors import Draft
from rua_agents.pseudonyms import Pseudonymiser

from tests.agent_rig import KEY, parse

NAMES = Pseudonymiser(KEY, "lazada")
AT_MS = 1_772_445_600_000
"""2026-03-02T10:00:00Z."""
TEXTS = st.text(max_size=40).map(lambda text: "".join(c for c in text if c.isprintable() or c in "\n\t"))
HOSTILE = st.sampled_from(
    ["", "},{", "]", '"}', "</SQLTEXT>", "<AUDIT_RECORD>", "\n<AUDIT_RECORD NAME='x'/>", "]]>", "&amp;", "'>"]
)


def actor(name: str) -> str:
    """Their pseudonym."""
    return NAMES.pseudonym("actor", name)


def record(
    second: int = 0, sort: str = "general", event: str = "status", user: str = "app", **fields: Any
) -> dict[str, Any]:
    """One record of the newer JSON."""
    who = {"user": user, "host": "192.0.2.51"}
    found = {"timestamp": f"2026-03-02 10:00:{second:02}", "id": 0, "class": sort, "event": event, "connection_id": 21}
    return {**found, "account": who, "login": {**who, "os": "", "ip": "192.0.2.51", "proxy": ""}, **fields}


def query(text: str, status: int = 0, rows: int | None = None, **fields: Any) -> dict[str, Any]:
    """A statement's end."""
    data = {"command": "Query", "sql_command": "select", "query": text, "status": status}
    statistics: dict[str, Any] = (
        {} if rows is None else {"query_statistics": {"rows_sent": rows, "bytes_sent": rows * 10}}
    )
    return record(general_data=data, **statistics, **fields)


def table(name: str, use: str = "read", **fields: Any) -> dict[str, Any]:
    """A table that it used."""
    return record(
        sort="table_access", event=use, table_access_data={"db": "shop", "table": name, "query": "TABLE v"}, **fields
    )


def events(*records: dict[str, Any], **options: Any) -> list[Draft]:
    """The events of a live array."""
    data = "[\n" + "".join(json.dumps(one, ensure_ascii=False) + ",\n" for one in records)
    return parse("mysql-audit-json", data.encode("utf-8", "replace"), **options)[0]


OLD = {"TIMESTAMP": "2026-03-02T10:00:00 UTC", "NAME": "Query", "CONNECTION_ID": "21", "STATUS": "0"}
OLD |= {"USER": "app[app] @ bi-1.example [192.0.2.51]", "HOST": "bi-1.example", "IP": "192.0.2.51"}


def elements(**fields: str) -> str:
    """A record in the new style."""
    inner = "".join(f"  <{name}>{escape(value)}</{name}>\n" for name, value in {**OLD, **fields}.items())
    return f" <AUDIT_RECORD>\n{inner} </AUDIT_RECORD>\n"


def attributes(**fields: str) -> str:
    """A record in the old style."""
    given = "".join(
        f"  {name}={quoteattr(value, {chr(10): '&#10;', chr(9): '&#9;'})}\n"
        for name, value in {**OLD, **fields}.items()
    )
    return f"<AUDIT_RECORD\n{given}/>\n"


def one_line(**fields: str) -> str:
    """The old style as MySQL writes it."""
    return attributes(**fields).replace("\n", " ").strip() + "\n"


STYLES = {"elements": elements, "attributes": attributes, "one line": one_line}


def xml(*records: str, source: str = "mysql-audit-xml", **options: Any) -> list[Draft]:
    """The events of a file whose root is open."""
    data = '<?xml version="1.0" encoding="utf-8"?>\n<AUDIT>\n' + "".join(records)
    made, tally = parse(source, data.encode("utf-8", "replace"), **options)
    assert tally.failed.total() == 0
    return made


def test_a_live_array_gives_each_statement_and_its_bracket_nothing() -> None:
    """Case MY-02: two statements hold `},{` and `]` as text; the file names no zone and is UTC."""
    made = events(
        *(
            query(text, timestamp=f"2026-03-02 10:00:0{n}")
            for n, text in enumerate(
                ["SELECT * FROM customers", "SELECT '},\n{' AS trap", "SELECT ']' AS trap2", "SELECT 4"]
            )
        )
    )
    assert [event.occurred_at for event in made] == [AT_MS + n * 1_000 for n in range(4)]
    assert {event.actor for event in made} == {actor("app")}


@settings(max_examples=80)
@given(TEXTS, HOSTILE)
def test_whatever_a_statement_holds_it_is_one_event_in_every_format(text: str, part: str) -> None:
    """And has the same fingerprint."""
    sent = " ".join(("SELECT 1 /*", text + part, "*/ FROM customers"))
    found = [events(query(sent), query("SELECT 2"))]
    found += [xml(style(SQLTEXT=sent), style(SQLTEXT="SELECT 2")) for style in STYLES.values()]
    for made in found:
        assert [event.actor for event in made] == [actor("app")] * 2
        assert len({event.statement_fingerprint for event in made}) == 2
    assert len({made[1].statement_fingerprint for made in found}) == 1


def test_tables_name_what_a_statement_read_and_are_no_events() -> None:
    """Of its own connection; a filter that logs no general records makes them events."""
    records = [table("customers"), table("orders", connection_id=22), query("SELECT * FROM v", rows=5)]
    (event,) = events(*records)
    assert (event.dataset, event.rows, event.bytes, event.kind) == ("shop.customers", 5, 50, "data_access")
    made = events(*records, statements="table_access")
    assert [event.dataset for event in made] == ["shop.customers", "shop.orders"]


def test_many_rows_are_a_bulk_query_and_a_file_takes_no_bytes_of_the_client() -> None:
    """By the statistics of MySQL 8.0.30."""
    bulk, export = events(query("SELECT * FROM t", rows=1_000), query("SELECT * FROM t INTO OUTFILE '/srv/x'", rows=9))
    assert (bulk.kind, bulk.rows, bulk.bytes, bulk.destination) == ("bulk_query", 1_000, 10_000, "client:192.0.2.0/24")
    assert (export.kind, export.rows, export.bytes) == ("data_export", 9, None)
    assert export.destination == "file:" + NAMES.pseudonym("file", "/srv/x")


@pytest.mark.parametrize(("status", "outcome"), [(0, "ok"), (1142, "denied"), (1146, "failed"), (1317, "aborted")])
def test_the_status_is_the_outcome(status: int, outcome: str) -> None:
    """In both."""
    assert events(query("SELECT * FROM t", status))[0].outcome == outcome
    assert xml(elements(SQLTEXT="SELECT * FROM t", STATUS=str(status)))[0].outcome == outcome


def test_logins_and_the_end_of_the_audit_log_are_events() -> None:
    """Whoever stops the log must be seen."""
    login = record(sort="connection", event="connect", connection_data={"status": 1045, "db": ""})
    end = record(sort="audit", event="shutdown", user="")
    assert [(e.kind, e.outcome) for e in events(login, end)] == [("authentication", "denied"), ("administration", "ok")]
    made = xml(elements(NAME="Connect", STATUS="1045"), elements(NAME="NoAudit", USER=""), elements(NAME="Quit"))
    assert [(e.kind, e.outcome) for e in made] == [("authentication", "denied"), ("administration", "ok")]


def test_a_connections_program_is_its_statements_tool() -> None:
    """As it calls itself when it connects; a dump exports, and the next connection of that number is none."""
    attributes = {"program_name": "mysqldump", "_pid": "1"}
    login = record(
        sort="connection", event="connect", connection_data={"status": 0, "connection_attributes": attributes}
    )
    end = record(sort="connection", event="disconnect", connection_data={"connection_type": "tcp/ip"})
    made = events(login, query("SELECT * FROM t"), end, query("SELECT * FROM t"))
    told = [(event.kind, event.tool) for event in made]
    assert told == [("authentication", "mysqldump"), ("data_export", "mysqldump"), ("data_access", None)]


ROOT = "root[root] @ localhost []"


@pytest.mark.parametrize("user", ["app", "a[b] @ c", "x] @ y [", "bi,tool", "ลูกค้า"])
def test_the_user_of_a_composite_account_is_the_one_in_brackets(user: str) -> None:
    """Read from its right end: a name may hold any of that."""
    account = f"{user}[{user}] @ localhost [192.0.2.51]"
    assert events(query("SELECT 1", user=account))[0].actor == actor(user)
    assert xml(elements(USER=account, SQLTEXT="SELECT 1"))[0].actor == actor(user)


def test_a_name_that_looks_like_an_account_is_not_roots() -> None:
    """MySQL writes names plainly: as soon as one was seen, nothing is taken apart; Percona's are always composite."""
    assert [e.actor for e in events(query("SELECT 1"), query("SELECT 1", user=ROOT))] == [actor("app"), actor(ROOT)]
    composite = f"{ROOT}[{ROOT}] @ evil [192.0.2.9]"
    assert xml(elements(USER=composite, SQLTEXT="SELECT 1"))[0].actor == actor(ROOT)


def test_perconas_older_objects_are_read_too() -> None:
    """One a line, under a key of their own."""
    old: dict[str, Any] = {
        "name": "Query",
        "record": "1_2026",
        "timestamp": "2026-03-02T10:00:00 UTC",
        "command_class": "select",
    }
    old |= {"connection_id": "37", "status": 0, "sqltext": "SELECT * FROM customers", "user": ROOT, "host": "localhost"}
    made, _ = parse("mysql-audit-json", json.dumps({"audit_record": old}).encode() + b"\n")
    assert [(e.occurred_at, e.actor, e.dataset) for e in made] == [(AT_MS, actor("root"), "customers")]


@pytest.mark.parametrize("bad", ["\x00", "\x01", "\ufffe", "\ud800"])
def test_characters_that_xml_forbids_cost_a_replacement(bad: str) -> None:
    """Raw or by number."""
    number = f"&#{ord(bad)};"
    for text in (elements(SQLTEXT=f"SELECT '{bad}'"), elements(SQLTEXT="SELECT '@'").replace("@", number)):
        made, tally = parse("mysql-audit-xml", text.encode("utf-8", "replace"))
        assert (len(made), tally.failed.total()) == (1, 0)
        assert tally.replaced >= (bad != "\ud800" or number in text)


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>\n<AUDIT_RECORD NAME="Query" USER="&b;"/>\n',
        '<AUDIT_RECORD NAME="Query" TIMESTAMP="2026-03-02T10:00:00 UTC" USER="&b;"/>\n',
        "<AUDIT_RECORD><!DOCTYPE a><NAME>Query</NAME></AUDIT_RECORD>\n",
    ],
)
def test_no_entity_is_ever_read(text: str) -> None:
    """There is no document type for one."""
    made, tally = parse("mysql-audit-xml", text.encode())
    assert (made, tally.failed.total() >= 1) == ([], True)


def test_a_long_comment_does_not_hide_a_statement() -> None:
    """The statement stands in an object inside of the record, before its status."""
    long = query("SELECT * FROM customers /* " + "x" * 5_000 + " */")
    made, tally = parse("mysql-audit-json", json.dumps(long).encode(), limit_bytes=2_048)
    assert [(e.kind, e.dataset, e.actor, e.outcome, e.truncated) for e in made] == [
        ("data_access", "customers", actor("app"), "unknown", True)
    ]
    assert (tally.ignored.total(), tally.failed.total()) == (0, 0)


@pytest.mark.parametrize("style", STYLES)
def test_a_record_beyond_the_limit_is_an_event_that_says_so(style: str) -> None:
    """With what stands before the cut."""
    long = STYLES[style](SQLTEXT="SELECT * FROM customers WHERE id IN (" + "1," * 5_000 + "1)")
    made, tally = parse("mysql-audit-xml", (long + STYLES[style](SQLTEXT="SELECT 2")).encode(), limit_bytes=2_048)
    assert [(e.truncated, e.dataset, e.actor) for e in made] == [
        (True, "customers", actor("app")),
        (False, None, actor("app")),
    ]
    made, tally = parse("mysql-audit-json", json.dumps(query("SELECT 1" * 5_000)).encode(), limit_bytes=2_048)
    assert tally.open == 0


@pytest.mark.parametrize("part", ["<", "&lt;", "&#10;", '"', "<a>", "x", "\n", "'", "<AUDIT_RECORD"])
def test_hostile_records_take_linear_time(part: str) -> None:
    """Whatever fills them."""
    started = time.process_time()
    for head in ('<AUDIT_RECORD NAME="', "<AUDIT_RECORD>\n<SQLTEXT>", '<AUDIT_RECORD NAME="Query" SQLTEXT="'):
        parse("mysql-audit-xml", (head + part * (60_000 // len(part))).encode())
    assert time.process_time() - started < 5
