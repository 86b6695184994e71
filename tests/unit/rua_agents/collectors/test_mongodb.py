"""MongoDB's audit log and its own log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from rua_agents.collectors import Draft
from rua_agents.collectors.mongodb import fingerprint
from rua_agents.collectors.mongodb_log import MAX_CONNECTIONS
from rua_agents.pseudonyms import KeyRing
from rua_agents.stream import SourceStream

from tests.agent_rig import KEY, START_MS, origin, parse, sample_of

NAMES = KeyRing(KEY, "lazada").at(START_MS)
CASES = Path(__file__).parents[3] / "data" / "agents"
CURSOR = (1 << 63) - 1
"""Ids of cursors are as large as this."""
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=9,
)


def who(name: str) -> str:
    """The pseudonym of a user."""
    return NAMES.pseudonym("actor", name)


def audit(atype: str = "authCheck", param: Any = None, **fields: Any) -> dict[str, Any]:
    """One audit record."""
    record: dict[str, Any] = {"atype": atype, "ts": {"$date": "2026-03-02T10:00:00.563+00:00"}, "param": param or {}}
    record |= {"users": [{"user": "report", "db": "admin"}], "remote": {"ip": "192.0.2.61", "port": 1}, "result": 0}
    return record | fields


def log(message: str, attr: dict[str, Any], ctx: str = "conn3", **fields: Any) -> dict[str, Any]:
    """One line of the server's log."""
    stamp = {"$date": "2026-03-02T10:00:00.563+00:00"}
    return {"t": stamp, "s": "I", "c": "COMMAND", "id": 1, "ctx": ctx, "msg": message, "attr": attr} | fields


def slow(command: dict[str, Any], ctx: str = "conn3", **attr: Any) -> dict[str, Any]:
    """A slow operation."""
    told = {"type": "command", "ns": "shop.customers", "command": command, "remote": "192.0.2.61:40001"}
    return log("Slow query", told | attr, ctx)


def login(user: str, ctx: str = "conn3") -> dict[str, Any]:
    """A login that succeeded."""
    return log("Successfully authenticated", {"client": "192.0.2.61:40001", "user": user, "db": "admin"}, ctx)


def lines(*records: dict[str, Any]) -> bytes:
    """As the server writes them."""
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def audited(*records: dict[str, Any]) -> list[Draft]:
    """The events of audit records."""
    return parse("mongodb-audit", lines(*records))[0]


def logged(*records: dict[str, Any], **options: Any) -> list[Draft]:
    """The events of log lines."""
    return parse("mongodb-log", lines(*records), **options)[0]


def labels(event: Draft) -> dict[str, str]:
    """Its labels."""
    return {label.key: label.value for label in event.labels}


def test_every_spelling_of_a_date_is_the_same_moment() -> None:
    """Case MO-01: server versions write +0000, +00:00, Z, another zone, or numberLong."""
    made, tally = parse("mongodb-audit", (CASES / "mongo_dates.json").read_bytes())
    assert [event.occurred_at for event in made] == [1_772_445_600_563] * 5
    assert {(event.actor, event.dataset) for event in made} == {(who("report"), "shop.customers")}
    assert tally.failed.total() == 0


def test_what_a_sparse_record_does_not_tell_is_unknown_and_it_is_still_an_event() -> None:
    """Case CH-03: no users, no param, no remote; the neighbours are untouched."""
    made, tally = parse("mongodb-audit", (CASES / "mongo_sparse.json").read_bytes())
    assert (len(made), tally.failed.total()) == (5, 0)
    assert [event.kind for event in made] == ["data_access", "data_access", "unknown", "data_access", "data_access"]
    assert made[1].actor_type == "network"
    assert made[1].actor == made[1].source_ip
    assert made[2].dataset is None
    assert made[3].source_ip is None
    assert made[0].actor == made[4].actor == who("report")


@pytest.mark.parametrize(
    ("command", "kind", "action"),
    [
        ("find", "data_access", "read"),
        ("aggregate", "data_access", "query"),
        ("getMore", "data_export", "export"),
        ("insert", "data_change", "alter"),
        ("delete", "data_change", "delete"),
        ("createIndexes", "administration", "alter"),
        ("somethingNew", "unknown", "unknown"),
    ],
)
def test_an_authorised_command_is_the_event_that_its_name_says(command: str, kind: str, action: str) -> None:
    """Commands of the future are events too, of unknown kind."""
    event = audited(audit(param={"command": command, "ns": "shop.customers"}))[0]
    assert (event.kind, event.action, event.rows, event.rows_quality) == (kind, action, None, "unknown")
    assert labels(event) == {"command": command}


def test_an_export_names_its_client_and_a_read_does_not() -> None:
    """A page of a cursor leaves; a read may be anything."""
    page, read = audited(*(audit(param={"command": c, "ns": "a.b"}) for c in ("getMore", "find")))
    assert (page.destination, read.destination) == ("client:192.0.2.0/24", None)


def test_a_pipeline_that_writes_what_it_reads_is_an_export_and_any_other_is_not() -> None:
    """`$out` and `$merge` copy a collection to another one."""
    out: list[Any] = [{"$match": {}}, {"$out": {"db": "scratch", "coll": "copy"}}]
    merge: list[Any] = [{"$merge": {"into": "copy"}}]
    pipelines: list[list[Any]] = [out, merge, [{}]]
    made = audited(*(audit(param={"command": "aggregate", "ns": "shop.c", "args": {"pipeline": p}}) for p in pipelines))
    told = [(event.kind, event.destination) for event in made]
    assert told == [
        ("data_export", "collection:scratch.copy"),
        ("data_export", "collection:copy"),
        ("data_access", None),
    ]


def test_what_a_pipeline_reads_beside_its_collection_is_told() -> None:
    """Else a harmless collection would be the way to a telling one."""
    inner = [{"$unionWith": {"coll": "payments", "pipeline": [{"$graphLookup": {"from": "staff"}}]}}]
    pipeline = [{"$lookup": {"from": "customers", "pipeline": inner}}, {"$unionWith": "customers"}]
    args = {"aggregate": "counters", "pipeline": pipeline}
    event = audited(audit(param={"command": "aggregate", "ns": "shop.counters", "args": args}))[0]
    assert (event.dataset, labels(event)["joins"]) == ("shop.counters", "customers payments staff")
    assert labels(logged(slow(args, nreturned=1))[0])["joins"] == "customers payments staff"
    assert "joins" not in labels(audited(audit(param={"command": "aggregate", "args": {"pipeline": [{}]}}))[0])


def test_who_gets_rights_is_the_actor_and_who_gives_them_is_told() -> None:
    """As for every database."""
    by = {"users": [{"user": "dba", "db": "admin"}], "roles": [{"role": "root", "db": "admin"}]}
    given, taken = audited(
        audit("grantRolesToUser", {"user": "som", "roles": [{"role": "readAnyDatabase", "db": "admin"}]}, **by),
        audit("dropUser", {"user": "som", "db": "admin"}, **by),
    )
    assert (given.kind, given.actor, given.privilege) == ("privilege_change", who("som"), "elevated")
    assert (taken.kind, taken.actor) == ("administration", who("som"))
    assert labels(given)["by"] == labels(taken)["by"] == who("dba")


def test_a_login_that_failed_is_denied_and_names_who_tried() -> None:
    """Nobody is logged in, so `users` is empty."""
    failed, won = audited(audit("authenticate", {"user": "root"}, users=[], result=18), audit("authenticate", {}))
    assert (failed.kind, failed.outcome, failed.actor) == ("authentication", "denied", who("root"))
    assert (won.outcome, won.actor) == ("ok", who("report"))


def test_a_refused_command_is_denied_and_another_error_failed() -> None:
    """13 is Unauthorized."""
    made = audited(*(audit(param={"command": "find"}, result=code) for code in (0, 13, 59, None)))
    assert [event.outcome for event in made] == ["ok", "denied", "failed", "unknown"]


def test_further_users_of_a_connection_are_told() -> None:
    """The first is the actor."""
    event = audited(audit(param={"command": "find"}, users=[{"user": u, "db": "a"} for u in ("ana", "som")]))[0]
    assert (event.actor, labels(event)["also"]) == (who("ana"), who("som"))


def test_what_returns_no_data_is_ignored_and_a_read_is_not() -> None:
    """Heartbeats of drivers would drown everything."""
    records = lines(audit(param={"command": "hello"}), audit("clientMetadata"), audit(param={"command": "find"}))
    made, tally = parse("mongodb-audit", records)
    assert (len(made), dict(tally.ignored)) == (1, {"no_data": 1, "client_metadata": 1})


def test_a_record_of_another_schema_fails() -> None:
    """OCSF has no atype: silence would be worse."""
    made, tally = parse("mongodb-audit", lines({"ts": {"$date": "2026-03-02T10:00:00Z"}, "class_uid": 3002}))
    assert (made, dict(tally.failed)) == ([], {"no_atype": 1})


def test_the_fingerprint_is_of_names_and_not_of_values() -> None:
    """Nor of a list's length, the driver's session, or the order number in it."""
    first = {"find": "c", "filter": {"email": "ana@example.com", "n": {"$in": [1, 2]}}, "lsid": {"id": 1}}
    same = {"find": "c", "filter": {"email": "som@example.com", "n": {"$in": [3]}}}
    other = {"find": "c", "filter": {"phone": "1", "n": {"$in": [3]}}}
    assert fingerprint(first, NAMES) == fingerprint(same, NAMES) != fingerprint(other, NAMES)
    assert fingerprint(None, NAMES) is None


def test_nothing_of_a_sample_that_names_somebody_leaves() -> None:
    """Names, addresses, e-mail, telephone numbers and the text of commands stay on the host."""
    for source in ("mongodb-audit", "mongodb-log"):
        told = repr(parse(source, sample_of(source))[0])
        for secret in ("ana@", "+668", "สมชาย", "somchai", "192.0.2.61", "Bangkok", "7190045731422871041"):
            assert secret not in told, (source, secret)


def test_pages_of_a_cursor_are_exports_with_their_own_counts() -> None:
    """Their sum is what left; the label joins them."""
    made = logged(
        slow({"find": "customers"}, nreturned=101, reslen=20_000, cursorid=CURSOR),
        slow({"getMore": CURSOR, "collection": "customers"}, nreturned=16_384, reslen=3_000_000, cursorid=CURSOR),
    )
    assert [(e.kind, e.action, e.rows, e.bytes) for e in made] == [
        ("data_access", "read", 101, 20_000),
        ("data_export", "export", 16_384, 3_000_000),
    ]
    assert labels(made[0])["cursor"] == labels(made[1])["cursor"]
    assert made[1].destination == "client:192.0.2.0/24"


def test_a_read_of_many_documents_is_bulk_and_of_fewer_is_not() -> None:
    """The border is an option."""
    made = logged(*(slow({"find": "c"}, nreturned=n) for n in (9, 10)), bulk_rows=10)
    assert [event.kind for event in made] == ["data_access", "bulk_query"]
    assert [event.destination for event in made] == [None, "client:192.0.2.0/24"]


def test_a_dump_is_an_export_whatever_its_size() -> None:
    """As pg_dump is."""
    made = logged(*(slow({"find": "c"}, nreturned=3, appName=app) for app in ("mongodump", "shop-api")))
    assert [(event.kind, event.tool) for event in made] == [("data_export", "mongodump"), ("data_access", "shop-api")]


def test_who_logged_in_on_a_connection_is_the_actor_until_it_ends() -> None:
    """Then its number may be somebody else's."""
    ended = log("Connection ended", {"connectionId": 3})
    mine, others, after = logged(
        login("ana"), slow({"find": "c"}), slow({"find": "c"}, "conn4"), ended, slow({"find": "c"})
    )[1:]
    assert mine.actor == who("ana")
    assert (others.actor_type, after.actor_type) == ("network", "network")


@pytest.mark.parametrize(
    "anew", [log("Connection accepted", {"connectionId": 3}, "listener"), log("MongoDB starting", {}, "initandlisten")]
)
def test_a_number_that_is_given_anew_names_nobody(anew: dict[str, Any]) -> None:
    """Whoever connects after a restart must not be taken for the last one."""
    assert logged(login("ana"), anew, slow({"find": "c"}))[-1].actor_type == "network"


def test_connections_that_never_end_cost_bounded_memory() -> None:
    """The oldest login is forgotten, the youngest is not."""
    stream = SourceStream(origin("mongodb-log"), "log", warns=False)
    data = lines(*(login(f"user{n}", f"conn{n}") for n in range(MAX_CONNECTIONS + 1)))
    for record in stream.origin.splitter(0, 1 << 20).feed(data):
        stream.feed(record, START_MS)
    kept = stream.dump()["parser"]["connections"]
    assert len(kept) == MAX_CONNECTIONS
    assert ("conn0" in kept, f"conn{MAX_CONNECTIONS}" in kept) == (False, True)


def test_replication_is_no_event_and_anybody_else_who_reads_the_oplog_is() -> None:
    """Members of the cluster read it all day."""
    page = {"getMore": 8, "collection": "oplog.rs"}
    member = logged(login("__system"), slow(page, ns="local.oplog.rs"))
    other = logged(login("ana"), slow(page, ns="local.oplog.rs"))
    assert [event.kind for event in member] == ["authentication"]
    assert [event.kind for event in other] == ["authentication", "data_export"]


def test_a_refused_command_of_the_log_is_denied_and_its_filter_stays_here() -> None:
    """The server writes the whole command into its error."""
    error = 'not authorized on payroll to execute command { find: "salaries", filter: { name: "Ana" } }'
    event = logged(login("ana"), log("Checking authorization failed", {"error": {"code": 13, "errmsg": error}}))[1]
    assert (event.kind, event.outcome, event.dataset, event.actor) == ("data_access", "denied", "salaries", who("ana"))
    assert "Ana" not in repr(event)


def test_a_line_that_is_cut_is_an_event_that_says_so() -> None:
    """Nobody can hide an export behind a long filter."""
    data = lines(slow({"find": "c", "filter": {"n": "x" * 5_000}}, nreturned=9))
    made, _ = parse("mongodb-log", data, limit_bytes=2_000)
    assert [(event.kind, event.rows, event.truncated) for event in made] == [("data_access", None, True)]
    made, _ = parse("mongodb-log", data, limit_bytes=data.index(b'"command"') + 5)
    assert [(event.kind, event.truncated) for event in made] == [("unknown", True)]
    assert [event.truncated for event in logged(slow({"find": "c"}))] == [False]


@pytest.mark.parametrize("source", ["mongodb-audit", "mongodb-log"])
@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["atype", "ts", "users", "roles", "param", "remote", "uuid", "result"]), JSON), JSON
)
def test_any_json_is_read_or_counted(source: str, fields: dict[str, Any], attr: Any) -> None:
    """A value of any type, wherever it stands."""
    told = {"type": attr, "command": attr, "nreturned": attr, "remote": attr, "error": attr, "client": attr}
    records = [audit(**fields), log("Slow query", told), log("Failed to authenticate", attr), slow({"find": attr})]
    made, tally = parse(source, b"".join(json.dumps(r).encode() + b"\n" for r in records))
    assert (tally.records, tally.open, tally.events) == (4, 0, len(made))
