"""The generic JSON source: two presets, a mapping of one's own, hostile records."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings, strategies as st
from rua_agents.collectors import Draft
from rua_agents.collectors.json_mapping import moment_ms
from rua_agents.pseudonyms import KeyRing
from rua_agents.settings import collector_of, options_of, zone_of
from rua_agents.tally import Tally
from rua_agents.times import BadTime
from rua_common.errors import BadConfiguration
from rua_schemas.codec import encode

from tests.agent_rig import DATA, KEY, START_MS, origin, parse

NAMES = KeyRing(KEY, "lazada").at(START_MS)
PAGE = Path(__file__).parents[4] / "docs" / "sources" / "json.md"
TEN_MS = 1_772_445_600_000
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=9,
)


def read(*records: Any, **options: Any) -> list[Draft]:
    """The events of these records."""
    return told(*records, **options)[0]


def told(*records: Any, **options: Any) -> tuple[list[Draft], Tally]:
    """The events, and the account."""
    return parse("json", b"".join(json.dumps(record).encode() + b"\n" for record in records), **options)


def event(**fields: Any) -> dict[str, Any]:
    """A record in the plain spelling."""
    return {"time": "2026-03-02T10:00:00Z", "operation": "export", "user": "ana"} | fields


def order(**fields: Any) -> dict[str, Any]:
    """A record of the order access log."""
    record = {"userId": "Gadgets:som", "userIp": "203.0.113.7", "appId": "100231", "url": "https://erp.example/orders"}
    return record | {"tradeIds": "1;2", "operation": "view order", "time": "1772445600000"} | fields


def page_options() -> dict[str, Any]:
    """The second example of the page."""
    block = re.search(r"^    options:\n(?:      .*\n)+", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert block
    return dict(yaml.safe_load(textwrap.dedent(block[0]))["options"])


def test_a_log_in_the_plain_spelling_needs_no_mapping() -> None:
    """Whoever writes the log may choose these names."""
    record = event(ip="203.0.113.7", merchant="shop-42", app="erp", dataset="orders", rows=5, bytes=9, status=200)
    made = read(record | {"user_agent": "curl/8", "ticket": "see CHG-1"})[0]
    assert (made.kind, made.action, made.outcome, made.rows, made.bytes) == ("data_export", "export", "ok", 5, 9)
    assert (made.actor, made.merchant, made.app, made.dataset) == (
        NAMES.pseudonym("actor", "ana"),
        "shop-42",
        "erp",
        "orders",
    )
    assert (made.tool, made.ticket, made.destination) == ("curl", "CHG-1", "client:203.0.113.0/24")


def test_an_order_access_log_shows_the_app_and_the_merchant_as_such() -> None:
    """The case of 2020: a third-party app read the orders of many merchants."""
    made, tally = parse("json", (DATA / "order-access.log").read_bytes(), preset="order-access", zone="Asia/Bangkok")
    assert (tally.events, tally.failed.total(), tally.replaced) == (8, 0, 0)
    assert {one.app for one in made} == {"100231"}
    assert made[5].merchant == "TH1234567"
    assert made[0].merchant == NAMES.pseudonym("merchant", "Bangkok Gadgets")
    assert [(one.kind, one.rows) for one in made] == [
        ("data_access", 1),
        ("data_access", 3),
        ("data_export", 100),
        ("data_export", 100),
        ("bulk_query", 100),
        ("data_access", 12),
        ("data_change", 1),
        ("data_access", None),
    ]
    assert [one.occurred_at - TEN_MS for one in made] == [563, 1_000, 2_000, 2_050, 3_000, 4_000, 6_000, 7_000]


def test_an_order_named_twice_is_one_row_and_customers_are_at_most_as_many() -> None:
    """Semicolons separate, also behind the last one."""
    made = read(order(tradeIds="7; 8;7;"), preset="order-access")[0]
    assert (made.rows, made.rows_quality) == (2, "exact")
    assert (made.subjects, made.subjects_quality) == (2, "upper_bound")
    every = read(
        order(tradeIds="7;8;7"), preset="order-access", lists={"rows": {"from": "tradeIds", "distinct": False}}
    )
    assert every[0].rows == 3


def test_a_user_without_a_company_names_no_merchant() -> None:
    """An app whose accounts are unique writes them as they are."""
    plain = read(order(userId="ana@erp.example"), preset="order-access")[0]
    assert (plain.merchant, plain.actor) == (None, NAMES.pseudonym("actor", "ana@erp.example"))


def test_the_example_of_the_page_maps_another_shop() -> None:
    """One record, an event for each thing that was exported."""
    made, tally = parse("json", (DATA / "shop-admin.log").read_bytes(), zone="Asia/Bangkok", **page_options())
    assert [(one.dataset, one.kind, one.outcome, one.rows) for one in made] == [
        ("customers", "data_export", "ok", 3),
        ("addresses", "data_export", "ok", 4),
        ("orders", "data_access", "ok", 1),
        ("customers", "data_export", "denied", None),
    ]
    assert dict(tally.ignored) == {"not_wanted": 1}
    assert {(one.channel, one.merchant, one.actor_type) for one in made} == {("web", "th-main", "interactive")}
    assert made[0].occurred_at == made[1].occurred_at == TEN_MS
    assert made[1].source_position == made[0].source_position + 1


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-02T10:00:00.250Z",
        "2026-03-02 17:00:00.250 +07",
        "2026-03-02 17:00:00.250",
        1_772_445_600.25,
        "1772445600.25",
        1_772_445_600_250,
        "1772445600250",
    ],
)
def test_times_in_every_spelling_are_the_same_moment(written: Any) -> None:
    """A stamp without an offset is the source's zone's."""
    assert moment_ms(written, zone_of("Asia/Bangkok")) == TEN_MS + 250


@pytest.mark.parametrize(
    "written", [None, True, "", "soon", -5, "9" * 400, [1], 1e300, float("nan"), 1_772_445_600_250_000]
)
def test_what_is_no_time_is_none(written: Any) -> None:
    """Nor is a number that could only be one of another unit."""
    with pytest.raises(BadTime):
        moment_ms(written, None)
    made, tally = told(event(time=written))
    assert (made, dict(tally.failed)) == ([], {"no_time": 1})


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("Export", "data_export"),
        ("bulk-download orders", "data_export"),
        ("orders.print", "unknown"),
        ("view_order", "data_access"),
        ("Nightly Sync", "privileged_access"),
        ("frobnicate", "unknown"),
        (None, "unknown"),
    ],
)
def test_an_operation_is_known_as_a_whole_or_by_its_first_known_word(operation: str | None, kind: str) -> None:
    """What is given goes before what is known from the start."""
    kinds = {"Nightly sync": {"kind": "privileged_access"}}
    assert read(event(operation=operation), kinds=kinds)[0].kind == kind


def test_an_unknown_operation_is_what_the_constants_say() -> None:
    """And a known one is not."""
    constants = {"kind": "data_access", "action": "read", "destination": "partner:crm", "destination_external": True}
    unknown, known = read(event(operation="frobnicate"), event(operation="export"), constants=constants)
    assert (unknown.kind, known.kind) == ("data_access", "data_export")
    assert (known.destination, known.destination_external, unknown.destination) == ("partner:crm", True, None)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "ok"),
        (403, "denied"),
        ("500", "failed"),
        (True, "ok"),
        (False, "failed"),
        ("Success", "ok"),
        ("odd", "unknown"),
    ],
)
def test_an_outcome_is_a_status_or_a_word(status: Any, outcome: str) -> None:
    """Words of one's own can be added."""
    assert read(event(status=status))[0].outcome == outcome
    assert read(event(status="odd"), outcomes={"ODD": "aborted"})[0].outcome == "aborted"


def test_a_mapped_destination_goes_before_the_constant_and_names_no_person() -> None:
    """Of a URL the company's domain, of anything else a pseudonym."""
    constants = {"destination": "partner:crm"}
    made = read(
        *(event(recipient=to) for to in ("https://in.partner.example/x?a=b", "ana@x.example", None)),
        constants=constants,
    )
    assert made[0].destination == "https:in.partner.example"
    assert made[1].destination == f"name:{NAMES.pseudonym('destination', 'ana@x.example')}"
    assert made[2].destination == "partner:crm"


def test_a_read_of_many_rows_is_bulk_and_of_fewer_is_not() -> None:
    """An export is an export whatever its size."""
    made = read(*(event(operation=o, rows=n) for o, n in (("view", 9), ("view", 10), ("export", 10))), bulk_rows=10)
    assert [one.kind for one in made] == ["data_access", "bulk_query", "data_export"]


def test_a_value_of_a_wrong_type_is_unknown_and_counted() -> None:
    """The event stays; an absent value is nothing to count."""
    made, tally = told(event(rows=[1], user={"id": 7}, merchant=True), event())
    assert [(one.rows, one.rows_quality, one.merchant) for one in made] == [(None, "unknown", None)] * 2
    assert (made[0].actor, tally.replaced) == (None, 3)


def test_an_expression_that_fails_over_a_record_is_unknown_and_counted() -> None:
    """length() of a number, a sum of words."""
    made, tally = told(event(ids=7), event(ids=[1, 2]), map={"rows": "length(ids)"})
    assert [(one.rows, one.kind) for one in made] == [(None, "data_export"), (2, "data_export")]
    assert tally.replaced == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"map": {"rows": "length("}}, r"map\.rows: column \d+ of 'length\('"),
        ({"map": {"actor": "nosuch(a)"}}, "map.actor: no function is called nosuch"),
        ({"map": {"rows": "length(a, b)"}}, r"map\.rows: length\(\) takes 1 arguments, not 2"),
        ({"map": {"colour": "a"}}, "map"),
        ({"when": "a ==="}, "when: column"),
        ({"each": "'a"}, "each: column"),
        ({"lists": {"rows": {"from": "]"}}}, r"lists\.rows\.from: column 1"),
        ({"lists": {"rows": {"from": "a", "separator": ""}}}, "separator: one character"),
        ({"labels": {"Bad Name": "a"}}, "labels: at most"),
        ({"kinds": {"a": {"kind": "exports"}}}, "kinds"),
        ({"preset": "lazada"}, "preset"),
        ({"bulk_rows": 0}, "bulk_rows: 1 or more"),
        ({"map": {"rows": "a" * 2_000}}, r"map\.rows: longer than"),
    ],
)
def test_a_wrong_option_stops_the_start_and_is_named(options: dict[str, Any], says: str) -> None:
    """With the column of the expression where it breaks."""
    with pytest.raises(BadConfiguration, match=says):
        options_of(collector_of("json"), options)


def test_what_is_given_goes_before_the_preset_key_by_key() -> None:
    """Also a mapped number before the preset's list."""
    made = read(order(count=9, who="eve"), preset="order-access", map={"actor": "who", "rows": "count"})[0]
    assert (made.actor, made.rows, made.app) == (NAMES.pseudonym("actor", "eve"), 9, "100231")


def test_records_that_are_not_wanted_are_no_events_and_0_is_a_value() -> None:
    """As jmespath takes truth."""
    values: list[Any] = [True, 0, "x", False, None, "", [], {}]
    records = [event(ok=value) for value in values]
    made, tally = told(*records, when="ok")
    assert (len(made), dict(tally.ignored)) == (3, {"not_wanted": 5})


def test_items_of_a_list_are_events_and_very_many_are_bounded() -> None:
    """Positions are 1,024 a record; what is left out is told."""
    few, many = (event(ids=list(range(size))) for size in (1_024, 1_025))
    options: dict[str, Any] = {"each": "ids", "map": {"rows": "each"}}
    exact, cut = read(few, **options), read(many, **options)
    assert (len(exact), exact[-1].rows, exact[0].truncated) == (1_024, 1_023, False)
    assert (len(cut), cut[0].truncated) == (1_024, True)
    assert read(event(ids=None), **options) == []
    assert [one.rows for one in read(event(ids=3), **options)] == [3]


def test_items_without_a_time_do_not_hide_the_others() -> None:
    """And the others say that something is missing."""
    made = read({"items": [{"t": "x"}, {"t": 1_772_445_600}]}, each="items", map={"occurred_at": "each.t"})
    assert [(one.occurred_at, one.truncated) for one in made] == [(TEN_MS, True)]


@pytest.mark.parametrize(
    ("layout", "data"), [("array", [event(), event()]), ("wrapped", {"records": [event(), event()], "next": None})]
)
def test_objects_of_arrays_are_records(layout: str, data: Any) -> None:
    """Also of a file that is one object."""
    made, tally = parse("json", json.dumps(data).encode(), layout=layout)
    assert (len(made), tally.records) == (2, 2)


def test_a_record_cut_before_its_time_has_the_time_of_the_one_before() -> None:
    """Whoever can make a record long cannot hide it."""
    long = {"operation": "export", "note": "x" * 3_000} | {"time": "2026-03-02T10:00:09Z"}
    data = b"".join(json.dumps(one).encode() + b"\n" for one in (event(), long))
    made, _ = parse("json", data, limit_bytes=1_024)
    assert [(one.kind, one.truncated, one.occurred_at) for one in made] == [
        ("data_export", False, TEN_MS),
        ("data_export", True, TEN_MS),
    ]


def test_a_record_cut_in_its_list_is_one_event_that_says_so() -> None:
    """Not none: a list of very many must not be the way to hide them."""
    data = json.dumps(event(ids=[1] * 1_000)).encode() + b"\n"
    made, _ = parse("json", data, limit_bytes=1_024, each="ids")
    assert [(one.kind, one.truncated) for one in made] == [("data_export", True)]
    assert parse("json", data, limit_bytes=1_024, each="ids", when="each")[0] == []


def test_a_label_holds_no_number_and_no_address() -> None:
    """It is the reader's own choice, and still written by others."""
    made = read(event(a="export-771234", b="ana@example.com", c=[1]), labels={"a": "a", "b": "b", "c": "c"})[0]
    assert {one.key: one.value for one in made.labels} == {"a": "export-{n}", "b": "{email}"}


def test_the_first_record_names_the_file_by_its_mapped_time_wanted_or_not() -> None:
    """A file's first line may be of a kind that is no event."""
    source = origin("json", map={"occurred_at": "x.y"}, when="z")
    record = source.splitter(0, 1 << 20).feed(json.dumps({"x": {"y": TEN_MS}}).encode() + b"\n")[0]
    assert source.time_ms(record, START_MS) == TEN_MS


@pytest.mark.parametrize("depth", [500, 5_000, 100_000])
def test_a_deep_record_is_read_or_counted(depth: int) -> None:
    """And costs its own length."""
    data = b'{"time":1772445600,"operation":"export","user":' + b"[" * depth + b"]" * depth + b"}\n"
    _, tally = parse(
        "json", data + json.dumps(event()).encode(), map={"rows": "user[][][]", "dataset": "to_string(user)"}
    )
    assert (tally.records, tally.open) == (2, 0)


OPTIONS = st.fixed_dictionaries(
    {
        "map": st.dictionaries(
            st.sampled_from(
                ["operation", "outcome", "actor", "merchant", "address", "dataset", "rows", "tool", "ticket"]
            ),
            st.sampled_from(
                ["a", "a.b", "a[*].b", "length(a)", "sum(a)", "a > b", "to_string(@)", "split(a, b)", "a[0]"]
            ),
        ),
        "lists": st.dictionaries(st.just("subjects"), st.just({"from": "b"})),
        "labels": st.just({"a": "a", "all": "to_string(@)"}),
        "each": st.sampled_from([None, "a", "b[]", "keys(@)"]),
        "when": st.sampled_from([None, "a", "a || b", "length(a) > `1`"]),
    }
)


@settings(deadline=None)
@given(OPTIONS, st.dictionaries(st.sampled_from(["a", "b", "time", "operation", "rows", "user", "ip"]), JSON))
def test_any_json_under_any_mapping_is_read_or_counted(options: dict[str, Any], record: dict[str, Any]) -> None:
    """A value of any type, wherever it stands, and every event can be written."""
    made, tally = told(record, event(**record), event(a=record, b=[record, 1, "x"]), **options)
    assert (tally.records, tally.open, tally.events + tally.split) == (3, 0, len(made))
    assert all(encode(one) for one in made)
