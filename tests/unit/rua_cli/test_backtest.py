"""`rua backtest` as a person types it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rua_cli.backtest import Store, moment, store_at
from rua_cli.commands import UNUSABLE, run
from rua_common.errors import BadConfiguration
from rua_schemas.container import write
from rua_streams.backtest.logs import file_name
from rua_streams.testing import at, event, frame, workdays


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Three weeks of work, then 30,000 rows, then 60,000."""
    work = workdays("2026-03-02", 15)  # made first, for positions grow
    thefts = [event("2026-03-24 10:10", rows=30_000), event("2026-03-25 10:10", rows=60_000)]
    write(tmp_path / file_name("rua.events.lazada", 2, 0), [frame([*work, *thefts])])
    return tmp_path


def test_the_alerts_are_printed_and_how_it_went_is_said_beside(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines on stdout, the rest on stderr."""
    assert run(["backtest", "--from", str(log), "--detector", "bulk-export-volume"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert [line.split()[:4] for line in lines[:-1]] == [
        ["2026-03-24", "10:10", "medium", "bulk-export-volume"],
        ["2026-03-25", "10:10", "high", "bulk-export-volume"],
    ]
    assert lines[-1] == "2 alerts: 2 bulk-export-volume"
    assert re.fullmatch(r"62 events observed 2026-03-02 09:05 - 2026-03-25 10:10 in .* s, .*/s\n", said.err)


def test_another_threshold_is_compared_with_the_shipped_rules_and_drawn(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The smaller theft vanishes, the larger one is less grave."""
    picture = tmp_path / "chart.png"
    command = ["backtest", "--from", str(log), "--detector", "bulk-export-volume", "--chart", str(picture)]
    assert run([*command, "--set", "bulk-export-volume.rows=40000,100000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines] == ["-", "~", " ", "s", "0"]
    assert lines[-1] == "0 appear (+), 1 vanish (-), 1 change (~)"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_rules_of_ones_own_are_compared_with_others(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two files; a detector that only one of them has appears."""
    for name, kind in (("old", "BulkExportVolume"), ("new", "OffHours")):
        module = re.sub(r"(?<!^)([A-Z])", r"_\1", kind).lower()
        source = f"from rua_streams.detectors.{module} import {kind}\nDETECTORS = ({kind}(),)\n"
        (tmp_path / f"{name}.py").write_text(source)
    rules = ["--rules", str(tmp_path / "new.py"), "--against", str(tmp_path / "old.py")]
    assert run(["backtest", "--from", str(log), *rules, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(v["name"], len(v["alerts"])) for v in told["versions"]] == [("old.py", 2), ("new.py", 0)]
    assert [d["fate"] for d in told["differences"]] == ["vanishes", "vanishes"]
    assert run(["backtest", "--from", str(log), *rules, "--detector", "off-hours"]) == 0
    assert "old.py: 0 alerts" in capsys.readouterr().out


def test_only_alerts_of_the_asked_for_time_are_told(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the platforms' local time."""
    words = ["backtest", "--from", str(log), "--detector", "bulk-export-volume", "--since", "2026-03-25"]
    assert run([*words, "--until", "2026-03-26"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 alert: 1 bulk-export-volume"
    assert run([*words, "--until", "2026-03-25T10:10"]) == 0
    assert capsys.readouterr().out == "0 alerts\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], r"--from: say what to judge \(allowed: FILE.avro, DIR, clickhouse://…\)"),
        (["--from", "nowhere"], "nowhere: --from: there is no such file"),
        (["--from", "mysql://host/rua"], r"--from: is no address of a store.*clickhouse://HOST:PORT/DATABASE"),
        (["--from", "clickhouse://me:secret@host/rua"], "RUA_CLICKHOUSE_USER"),
        (["--from", ".", "--since", "yesterday"], r"--since: 'yesterday' is no time \(allowed: 2026-03-24,"),
        (["--from", ".", "--zone", "Mars"], "no IANA time zone"),
        (["--from", ".", "--detector", "x"], "x is no detector"),
        (["--from", ".", "--set", "x=1"], "is no change"),
        (["--from", ".", "--against", "no-such-revision"], "neither a file nor a revision"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_cure(
    log: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    """And no secret is repeated."""
    monkeypatch.chdir(log)
    assert run(["backtest", *words]) == UNUSABLE
    err = capsys.readouterr().err.splitlines()[-1]
    assert err.startswith("rua: ")
    assert re.search(said, err)
    assert "secret" not in err


def test_a_store_is_named_by_its_address_and_who_logs_in_by_the_environment() -> None:
    """The database too, where the address names none."""
    environ = {"RUA_CLICKHOUSE_USER": "me", "RUA_CLICKHOUSE_PASSWORD_FILE": "p", "RUA_CLICKHOUSE_DATABASE": "d"}
    assert store_at("clickhouse://host:8123/other", environ) == Store("http://host:8123", "other", "me", "p")
    assert store_at("clickhouses://host:8443", environ) == Store("https://host:8443", "d", "me", "p")
    assert store_at("clickhouse://host", {}) == Store("http://host", "rua", "default", None)


def test_times_are_local_unless_they_say_otherwise() -> None:
    """A date is its midnight."""
    assert moment("2026-03-24", "Asia/Bangkok", "--since") == at("2026-03-24 00:00")
    assert moment("2026-03-24T10:00+00:00", "Asia/Bangkok", "--since") == at("2026-03-24 17:00")
    with pytest.raises(BadConfiguration):
        moment("24.3.", "UTC", "--since")
