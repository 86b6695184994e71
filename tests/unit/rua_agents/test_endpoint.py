"""The endpoint: probes, metrics that Prometheus can read, and clients that behave badly."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest
from hypothesis import given, strategies as st
from rua_agents import exposition
from rua_agents.endpoint import REQUEST_BYTES, STANDS_STILL_SECONDS, Board, Endpoint, reply
from rua_agents.reader import FileStatus
from rua_agents.status import Status
from rua_common.errors import BadConfiguration
from rua_common.metrics import CATALOGUE

from tests.agent_rig import a_status

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (-?[0-9.e+-]+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"')


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The values of an exposition, read by the letter of the format (version 0.0.4); a broken one fails."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    kinds: dict[str, str] = {}
    family = ""
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            family = line.split(" ")[2]
            assert family not in kinds, f"{family} stands in two places"
        elif line.startswith("# TYPE "):
            assert line.split(" ")[2] == family
            kinds[family] = line.split(" ")[3]
            assert kinds[family] in ("counter", "gauge")
        else:
            whole = SAMPLE.fullmatch(line)
            assert whole, line
            assert whole[1] == family
            labels = tuple((k, _clear(v)) for k, v in LABEL.findall(whole[2] or ""))
            assert (family, labels) not in found, f"{line} stands there twice"
            found[family, labels] = float(whole[3])
            assert kinds[family] == "gauge" or found[family, labels] >= 0
    return found


def _clear(value: str) -> str:
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], value)


def test_metrics_are_what_prometheus_reads() -> None:
    """Every one is in the catalogue; lag in bytes and in seconds, faults by reason and source."""
    found = samples(exposition.text(a_status()))
    assert {name for name, _ in found} <= {metric.name for metric in CATALOGUE}
    assert found["rua_agent_lag_bytes", (("file", "/var/log/a.log"),)] == 5_000_000
    assert found["rua_agent_lag_seconds", (("file", "/var/log/a.log"),)] == 75
    assert found["rua_agent_failed_total", (("source", "nginx-json"), ("reason", "not_json"))] == 2
    assert found["rua_agent_records_total", (("source", "nginx-json"), ("outcome", "event"))] == 2
    assert found["rua_agent_open_records", (("source", "nginx-json"),)] == 1
    assert found["rua_agent_dropped_total", (("reason", "spool_full"),)] == 4
    assert found["rua_agent_clock_offset_ms", ()] == -7
    assert found["rua_agent_checkpoint_age_seconds", ()] == 2.5
    assert found["rua_agent_build_info", (("version", "1.2.3"), ("platform", "lazada"))] == 1


@given(path=st.text(st.characters(exclude_categories=["Cs"])), size=st.integers(0, 1 << 52))
def test_no_file_name_breaks_the_format_and_no_number_is_rounded(path: str, size: int) -> None:
    """Quotes, line ends and backslashes; a counter of millions keeps its last digit."""
    file = FileStatus(path, "nginx-json", None, size, size)
    found = samples(exposition.text(a_status(files=[file])))
    assert found["rua_agent_lag_bytes", (("file", path),)] == size


def test_files_of_one_path_are_one_line() -> None:
    """A rotated one and its successor: what waits is added up, the older wait counts."""
    both = [FileStatus("/a.log", "x", str(n), 0, 10 * n, lag_ms=1_000 * n) for n in (3, 2)]
    found = samples(exposition.text(a_status(files=both)))
    assert found["rua_agent_lag_bytes", (("file", "/a.log"),)] == 50
    assert found["rua_agent_lag_seconds", (("file", "/a.log"),)] == 3


def test_what_was_not_measured_is_left_out() -> None:
    """A clock offset of 0 would be a claim."""
    found = samples(exposition.text(a_status(clock_offset_ms=None, clock_error_ms=None, checkpoint_ms=None)))
    names = {name for name, _ in found}
    assert not names & {"rua_agent_clock_offset_ms", "rua_agent_clock_error_ms", "rua_agent_checkpoint_age_seconds"}
    assert all(math.isfinite(value) for value in found.values())


def ask(board: Board, path: str) -> tuple[int, str]:
    """Code and body of a GET."""
    head, _, body = reply(board, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def test_ready_says_what_is_wrong_with_its_cure() -> None:
    """Not ready before the first status; ready; not ready with a reason a line."""
    board = Board()
    assert ask(board, "/readyz") == (503, "starting\n")
    assert ask(board, "/healthz") == (200, "alive\n")
    board.publish(a_status())
    assert ask(board, "/readyz?verbose") == (200, "ready\n")
    board.publish(a_status(wrong=["Kafka: down: start it", "/a: not readable: chmod"]))
    assert ask(board, "/readyz") == (503, "Kafka: down: start it\n/a: not readable: chmod\n")
    assert ask(board, "/healthz")[0] == 200


def test_a_loop_that_stands_still_is_neither_alive_nor_ready() -> None:
    """Whatever its last status was; and one that goes on is."""
    now = [0.0]
    board = Board(lambda: now[0])
    board.publish(a_status())
    now[0] = STANDS_STILL_SECONDS
    assert ask(board, "/healthz")[0] == ask(board, "/readyz")[0] == 200
    now[0] += 1
    assert ask(board, "/healthz") == (503, "the loop has stood still for 61 s\n")
    assert ask(board, "/readyz")[0] == 503
    board.publish(a_status())
    assert ask(board, "/healthz")[0] == 200


def test_status_is_json_and_other_paths_are_named() -> None:
    """For `rua agent status`; and a person who mistypes learns what there is."""
    board = Board()
    board.publish(a_status())
    assert msgspec.json.decode(ask(board, "/status")[1], type=Status) == a_status()
    assert ask(board, "/")[0] == 404
    assert "/metrics" in ask(board, "/nothing")[1]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
        (b"DELETE /status HTTP/1.1\r\n\r\n", 405),
        (b"GET /healthz HTTP/2\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
    ],
)
def test_anything_but_a_get_is_refused(asked: bytes, code: int) -> None:
    """Nothing that is sent there changes anything."""
    assert reply(Board(), asked).startswith(f"HTTP/1.1 {code} ".encode())


def test_head_is_get_without_its_body() -> None:
    """As HTTP wants it."""
    head, _, body = reply(Board(), b"HEAD /healthz HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")
    assert body == b""
    assert b"Content-Length: 6" in head


@given(st.binary(max_size=300))
def test_no_request_breaks_the_endpoint(asked: bytes) -> None:
    """There is always an answer."""
    assert reply(Board(), asked).startswith(b"HTTP/1.1 ")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A real one, impatient."""
    monkeypatch.setattr("rua_agents.endpoint.CLIENT_SECONDS", 0.2)
    board = Board()
    board.publish(a_status())
    with closing(Endpoint("127.0.0.1:0", board)) as running:
        yield running


def talk(endpoint: Endpoint, *parts: bytes) -> bytes:
    """Everything that comes back."""
    with socket.create_connection(("127.0.0.1", endpoint.port), 5) as client:
        for part in parts:
            client.sendall(part)
        return b"".join(iter(lambda: client.recv(65_536), b""))


def test_it_answers_over_a_real_socket_also_in_pieces(endpoint: Endpoint) -> None:
    """And closes the connection after each answer."""
    assert talk(endpoint, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"\r\n\r\nalive\n")
    assert talk(endpoint, b"GET /rea", b"dyz HTTP/1.1\r\n", b"\r\n").endswith(b"ready\n")


def test_silent_slow_and_endless_clients_do_not_keep_it(endpoint: Endpoint) -> None:
    """Each is sent away, and the next one is served."""
    with socket.create_connection(("127.0.0.1", endpoint.port), 5):
        assert talk(endpoint, b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"alive\n")
    assert b" 400 " in talk(endpoint, b"GET /" + b"a" * REQUEST_BYTES)
    with socket.create_connection(("127.0.0.1", endpoint.port), 5) as gone:
        gone.sendall(b"GET /")
    assert talk(endpoint, b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"alive\n")


def test_an_address_that_is_taken_is_said(endpoint: Endpoint) -> None:
    """The agent does not run without what was asked for."""
    with pytest.raises(BadConfiguration, match="cannot listen at"):
        Endpoint(f"127.0.0.1:{endpoint.port}", Board())
