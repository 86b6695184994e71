"""What an error of the driver means, and what may not be configured."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, DataError, OperationalError
from rua_common.errors import BadConfiguration, PoisonEvent, RetryLater
from rua_sinks.client import ACCESS_CODES, SCHEMA_CODES, VALUE_CODES, connect, meaning

TOO_MANY_PARTS, MEMORY_LIMIT, TIMEOUT, UNKNOWN = 252, 241, 159, 99_999


@pytest.mark.parametrize("code", [TOO_MANY_PARTS, MEMORY_LIMIT, TIMEOUT, UNKNOWN, None, *SCHEMA_CODES, *ACCESS_CODES])
def test_whatever_may_pass_is_tried_again(code: int | None) -> None:
    """An error nobody foresaw holds the batch back; it never throws it away."""
    with pytest.raises(RetryLater), meaning():
        raise DatabaseError("busy", code=code)


@pytest.mark.parametrize("why", [OperationalError("lost"), ConnectionResetError("lost"), TimeoutError("late")])
def test_a_lost_connection_is_tried_again(why: Exception) -> None:
    """The token makes the repetition harmless."""
    with pytest.raises(RetryLater), meaning():
        raise why


@pytest.mark.parametrize("code", sorted(VALUE_CODES))
def test_a_value_that_will_never_fit_is_poison(code: int) -> None:
    """The text names the error, not the value."""
    with pytest.raises(PoisonEvent) as caught, meaning():
        raise DatabaseError("cannot parse 'somchai@example.com'", code=code)
    assert "somchai" not in str(caught.value)


def test_a_frame_that_is_no_table_is_poison() -> None:
    """The driver itself refuses it."""
    with pytest.raises(PoisonEvent), meaning():
        raise DataError("Failed to convert")


def test_a_mistake_in_the_program_is_not_hidden() -> None:
    """Only errors of the store are given a meaning."""
    with pytest.raises(KeyError), meaning():
        raise KeyError("x")


def test_a_server_that_is_away_is_waited_for() -> None:
    """Also at the first connection."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RetryLater):
        connect(f"http://127.0.0.1:{port}")


def test_no_password_in_the_address() -> None:
    """Addresses end up in logs and process lists."""
    with pytest.raises(BadConfiguration, match="password_file"):
        connect("http://rua:secret@127.0.0.1:8123")


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    """Before anything is sent."""
    with pytest.raises(BadConfiguration, match="absent"):
        connect("http://127.0.0.1:1", password_file=tmp_path / "absent")
