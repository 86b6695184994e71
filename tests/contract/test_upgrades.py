"""Rows that are told later, by another source, are in every sum once, and are no second export."""

from __future__ import annotations

import msgspec
from rua_agents.collectors.pg_counters import Row
from rua_streams.facts import facts
from rua_streams.testing import frame

from tests.agent_rig import START_MS, audit, parse


def test_an_export_and_the_rows_that_upgrade_it_are_one_export_with_these_rows() -> None:
    """Pgaudit says who copied where, pg-stats how many rows: what detectors add up is both, once."""
    (export,), _ = parse("pgaudit-jsonlog", audit(START_MS, 1, "COPY t TO STDOUT", command="COPY", table=""))
    row = Row(START_MS + 9, START_MS, "copy", "ana", "shop", 5_000, exact=True, calls=1, query="COPY t TO STDOUT")
    (rows,), _ = parse("pg-stats", msgspec.json.encode(row))
    told = frame([export, rows]).with_columns(**facts("UTC"))
    assert told["actor"].n_unique() == told["dataset"].n_unique() == told["statement_fingerprint"].n_unique() == 1
    assert {name: told[name].sum() for name in ("rows", "volume", "mass", "unsized", "sent")} == {
        **{"rows": 5_000, "volume": 5_000, "mass": 5_000},
        **{"unsized": 1, "sent": 1},
    }
