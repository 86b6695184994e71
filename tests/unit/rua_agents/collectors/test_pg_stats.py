"""PostgreSQL's counters: what left is told once, whether a COPY was seen running, finished, or both."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, strategies as st
from rua_agents.collectors.pg_counters import Copy, Row, Seen, Snapshot, Statement, look, uncounted
from rua_agents.collectors.pg_stats import PgStatsOptions
from rua_agents.pseudonyms import KeyRing

from tests.agent_rig import KEY, START_MS, parse

T = START_MS
NAMES = KeyRing(KEY, "lazada").at(0)
COPY = "COPY customers TO STDOUT"


def statement(calls: int, rows: int, query: str = COPY, key: str = "1/2/3") -> Statement:
    """An entry of pg_stat_statements."""
    return Statement(key, "ana", "shop", query, calls, rows)


def copy(tuples: int, size: int = 0, key: str = "7/1", relation: str | None = "public.customers") -> Copy:
    """A COPY that runs."""
    return Copy(key, "1/2/3", "ana", "shop", relation, "10.1.2.3", "psql", tuples, size)


def snapshot(n: int, *seen: Statement | Copy, reset_ms: int = 5, evicted: int = 0) -> Snapshot:
    """What both views hold at the n-th look."""
    statements = [one for one in seen if isinstance(one, Statement)]
    copies = [one for one in seen if isinstance(one, Copy)]
    return Snapshot(T + 10_000 * n, reset_ms, evicted, statements, copies)


def rows_of(*looks: Snapshot) -> list[list[tuple[int, bool]]]:
    """Rows and whether they are exact, look by look; what is remembered goes through the checkpoint."""
    seen, made = None, []
    for now in looks:
        rows, after = look(seen, now)
        seen = msgspec.json.decode(msgspec.json.encode(after), type=Seen)
        made.append([(row.rows, row.exact) for row in rows])
    return made


def test_what_a_statement_sent_since_the_last_look_is_told_exactly() -> None:
    """At the first look nobody knows how old a count is."""
    looks = (snapshot(0, statement(3, 900)), snapshot(1, statement(4, 1_000)), snapshot(2, statement(4, 1_000)))
    assert rows_of(*looks) == [[], [(100, True)], []]


def test_a_statement_that_is_new_is_told_whole() -> None:
    """It was not there at the last look."""
    assert rows_of(snapshot(0), snapshot(1, statement(1, 5_000))) == [[], [(5_000, True)]]


def test_counters_that_were_set_back_are_a_lower_bound() -> None:
    """By a reset of all, by an entry that was dropped and came again, or while others were dropped."""
    before = snapshot(0, statement(9, 9_000))
    assert rows_of(before, snapshot(1, statement(10, 9_100), reset_ms=6))[1] == [(9_100, False)]
    assert rows_of(before, snapshot(1, statement(1, 100)))[1] == [(100, False)]
    assert rows_of(before, snapshot(1, statement(10, 9_100), evicted=2))[1] == [(100, False)]


def test_a_running_copy_is_told_as_it_goes_and_not_again_at_its_end() -> None:
    """Its statement's count is the truth: 5,000 in all."""
    looks = (snapshot(0), snapshot(1, copy(2_000)), snapshot(2, copy(4_500)), snapshot(3, statement(1, 5_000)))
    assert rows_of(*looks) == [[], [(2_000, False)], [(2_500, False)], [(500, True)]]


def test_a_copy_may_leave_the_view_one_look_before_it_is_counted() -> None:
    """The server does the one just before the other."""
    looks = (snapshot(0), snapshot(1, copy(4_000)), snapshot(2), snapshot(3, statement(1, 5_000)))
    assert rows_of(*looks) == [[], [(4_000, False)], [], [(1_000, True)]]


def test_what_a_cancelled_copy_sent_is_told_and_taken_off_nothing_else() -> None:
    """It is never counted as a statement; the same COPY an hour later is."""
    quiet = [snapshot(n) for n in (2, 3, 4)]
    looks = (snapshot(0), snapshot(1, copy(4_000)), *quiet, snapshot(5, statement(1, 5_000)))
    assert rows_of(*looks)[1] == [(4_000, False)]
    assert rows_of(*looks)[-1] == [(5_000, True)]


def test_a_copy_that_runs_at_the_first_look_is_told_whole_at_the_next() -> None:
    """It has not ended: nobody can have told it."""
    looks = (snapshot(0, copy(1_000)), snapshot(1, copy(1_500)), snapshot(2, statement(1, 1_600)))
    assert rows_of(*looks) == [[], [(1_500, False)], [(100, True)]]


def test_a_copy_of_a_query_is_left_to_pgaudit() -> None:
    """Which knows its rows."""
    assert rows_of(snapshot(0), snapshot(1, copy(2_000, relation=None)), snapshot(2)) == [[], [], []]


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12))
def test_progress_and_statements_together_tell_each_row_once(steps: list[tuple[int, bool]]) -> None:
    """One COPY after another, seen running or not, each ended before the next look but one: the sum is the truth."""
    calls = total = told = tuples = 0
    seen, number = None, 0
    for n, (grows, ends) in enumerate([*steps, (1, True)]):
        tuples += grows
        running = [] if ends else [copy(tuples, key=f"7/{number}")]
        if ends:
            calls, total, tuples, number = calls + 1, total + tuples, 0, number + 1
        counted = [statement(calls, total)] if total else []
        rows, seen = look(seen or Seen(T, 5, 0), snapshot(n, *running, *counted))
        told += sum(row.rows for row in rows)
    assert told == total


@pytest.mark.parametrize(
    ("query", "command"),
    [
        (COPY, "copy"),
        ("/* x */ copy public.\"cust\" (id) TO PROGRAM 'gzip'", "copy"),
        ("FETCH 500 FROM c", "fetch"),
        ("fetch all in c", "fetch"),
        ("COPY (SELECT * FROM customers) TO STDOUT", None),
        ("COPY customers FROM STDIN", None),
        ("SELECT 'copy x to y'", None),
        ("COPY", None),
        ("", None),
        ("'unfinished", None),
    ],
)
def test_only_what_pgaudit_cannot_count_is_taken(query: str, command: str | None) -> None:
    """Everything else would be counted twice."""
    assert uncounted(query) == command


def line(**given: object) -> bytes:
    """One row, as the poller gives it."""
    row = Row(T, T - 10_500, "copy", "ana", "shop", 5_000, exact=True, calls=1, query=COPY)
    return msgspec.json.encode(msgspec.structs.replace(row, **given))


def test_a_row_is_an_event_that_adds_rows_and_is_no_second_export() -> None:
    """Pgaudit's own event is the export; this one brings its number, and goes nowhere itself."""
    (event,), _ = parse("pg-stats", line())
    assert (event.kind, event.action, event.outcome, event.destination) == ("bulk_query", "query", "ok", None)
    assert (event.rows, event.rows_quality, event.bytes, event.dataset) == (5_000, "exact", None, "shop.customers")
    assert event.actor == NAMES.pseudonym("actor", "ana")
    assert {(one.key, one.value) for one in event.labels} == {
        *(("upgrades", "rows"), ("command", "copy"), ("within_seconds", "10"), ("calls", "1"))
    }


def test_a_row_of_progress_tells_where_from_and_its_bytes() -> None:
    """Both are lower bounds; few rows are no bulk query."""
    told = {"exact": False, "query": None, "relation": "public.customers", "bytes": 70_000, "address": "10.1.2.3"}
    (event,), _ = parse("pg-stats", line(rows=900, program="DBeaver 24", **told))
    assert (event.kind, event.rows_quality, event.bytes, event.bytes_quality) == (
        *("data_access", "lower_bound", 70_000, "lower_bound"),
    )
    assert (event.dataset, event.source_network, event.tool) == ("shop.public.customers", "10.1.2.0/24", "DBeaver")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "not_json"),
        (b"{}", "unexpected_type"),
        (line(rows=-1), "impossible_count"),
        (line(bytes=10**18), "impossible_count"),
        (line(at_ms=-1), "no_time"),
    ],
)
def test_what_is_no_row_is_counted(data: bytes, reason: str) -> None:
    """A server may be wrong."""
    made, tally = parse("pg-stats", data)
    assert (made, tally.failed) == ([], {reason: 1})


def test_intervals_that_cannot_work_are_refused() -> None:
    """Before the first question."""
    with pytest.raises(ValueError, match="every_seconds"):
        PgStatsOptions(every_seconds=0.01)
