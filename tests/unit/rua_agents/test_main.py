"""The command line: events on stdout, the account on stderr, an exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from rua_agents.__main__ import main
from rua_agents.parse import sendable

from tests.agent_rig import DATA, KEY, NGINX_SAMPLE, PG_SAMPLE, START_MS, parse, web_line


@pytest.mark.parametrize(
    ("source", "sample", "account"),
    [
        ("pgaudit-jsonlog", PG_SAMPLE, "records 145 = events 49 + merged 25 + ignored 71 ("),
        ("nginx-json", NGINX_SAMPLE, "records 11 = events 10 + merged 0 + ignored 1 (not_http: 1) + failed 0"),
    ],
)
def test_parse_prints_events_and_accounts_for_every_record(
    source: str, sample: Path, account: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A key that is thrown away is said to be one."""
    assert main(["parse", "--source", source, str(sample)]) == 0
    out, err = capfdbinary.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert account in err.decode()
    assert "thrown away" in err.decode()
    assert f"events {len(events)} " in err.decode()
    assert [event["agent_seq"] for event in events] == list(range(1, len(events) + 1))


def test_parse_refuses_utf16_and_a_missing_file(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """With words, not with a traceback."""
    assert main(["parse", "--source", "nginx-json", str(DATA / "tail_utf16le_crlf.log")]) == 1
    assert main(["parse", "--source", "nginx-json", str(tmp_path / "none")]) == 1
    err = capfdbinary.readouterr().err.decode()
    assert "unsupported encoding" in err
    assert "No such file" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("source", "sample", "records"), [("nginx-json", PG_SAMPLE, 145), ("pgaudit-jsonlog", NGINX_SAMPLE, 11)]
)
def test_parse_says_that_a_file_is_of_another_source(
    source: str, sample: Path, records: int, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Once, and with an exit status."""
    assert main(["parse", "--source", source, str(sample)]) == 1
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert err.decode().count("does not look like") == 1
    assert f"{sample} does not look like {source}: none of {records} records could be read" in err.decode()


@pytest.mark.parametrize("data", [b"", b"\n\n", b"{half\n" * 30 + web_line(START_MS)])
def test_parse_stays_quiet_if_anything_could_be_read_or_nothing_was_there(
    data: bytes, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """An empty file is no other source's."""
    (tmp_path / "log").write_bytes(data)
    assert main(["parse", "--source", "nginx-json", str(tmp_path / "log")]) == 0
    assert b"does not look like" not in capfdbinary.readouterr().err


@pytest.mark.parametrize("size", ["-5", "0", "1023", "268435457", "many"])
def test_a_record_limit_out_of_range_is_refused(size: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """With the range that is allowed."""
    with pytest.raises(SystemExit):
        main(["parse", "--source", "nginx-json", f"--record-bytes={size}", str(NGINX_SAMPLE)])
    assert f"{size} is not from 1024 to 268435456" in capfdbinary.readouterr().err.decode()


def test_a_record_limit_within_the_range_is_taken() -> None:
    """The least one included."""
    assert main(["parse", "--source", "nginx-json", "--record-bytes=1024", str(NGINX_SAMPLE)]) == 0


def test_the_zone_of_the_process_never_shows(tmp_path: Path) -> None:
    """Case AV-01: the same bytes under any TZ, and neither typer, rich nor polars is imported."""
    key = tmp_path / "key"
    key.write_bytes(KEY)
    key.chmod(0o400)
    script = (
        "import sys; from rua_agents.__main__ import main; key, *files = sys.argv[1:];"
        "codes = [main(['parse', '--key-file', key, '--source', *f.split('=')]) for f in files];"
        "heavy = {'typer', 'rich', 'polars', 'pydantic', 'confluent_kafka'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else max(codes))"
    )
    files = [f"pgaudit-jsonlog={PG_SAMPLE}", f"nginx-json={NGINX_SAMPLE}"]
    made = set()
    for zone in ("UTC", "Asia/Bangkok", "America/New_York"):
        command = [sys.executable, "-c", script, str(key), *files]
        done = subprocess.run(command, env=os.environ | {"TZ": zone}, capture_output=True, check=True, timeout=60)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        keep = [{k: v for k, v in e.items() if k not in ("observed_at", "agent_epoch")} for e in events]
        made.add(json.dumps(keep))
    assert len(made) == 1
    assert len(json.loads(made.pop())) == 59


def test_parse_takes_the_options_of_a_source(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """As its configuration would: text as it is, the rest as JSON."""
    log = tmp_path / "log"
    log.write_text("2026-11-25 06:46:31 UTC|7|ana LOG:  AUDIT: SESSION,1,1,READ,SELECT,TABLE,public.t,x,<none>,5\n")
    given = ["--source", "pgaudit-stderr", "--option", "prefix=%t|%p|%u ", "--option", "bulk_rows=5", str(log)]
    assert main(["parse", *given]) == 0
    assert b'"kind":"bulk_query"' in capfdbinary.readouterr().out
    with pytest.raises(SystemExit):
        main(["parse", "--source", "pgaudit-stderr", "--option", "prefix", str(log)])
    assert main(["parse", "--source", "pgaudit-stderr", "--option", "prefix=%m", str(log)]) == 1


def test_parse_leaves_out_what_run_could_not_send() -> None:
    """And counts it as failed; the events around it stay."""
    made, tally = parse("nginx-json", 3 * web_line(START_MS))
    made[1] = msgspec.structs.replace(made[1], rows=1 << 70)
    assert list(sendable(iter(made), tally)) == [made[0], made[2]]
    assert (tally.events, tally.failed, tally.open) == (2, {"unencodable": 1}, 0)
