"""The connection to ClickHouse, and what its errors mean for the caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, Error
from rua_common.errors import BadConfiguration, PoisonEvent, RetryLater

RETRY_SECONDS = 1.0
# Values that no repetition will make fit. Whatever is not named here is tried again, never thrown away.
VALUE_CODES = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        41,  # CANNOT_PARSE_DATETIME
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        128,  # TOO_LARGE_ARRAY_SIZE
        131,  # TOO_LARGE_STRING_SIZE
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    }
)
SCHEMA_CODES = frozenset(
    {
        8,  # THERE_IS_NO_COLUMN
        16,  # NO_SUCH_COLUMN_IN_TABLE
        47,  # UNKNOWN_IDENTIFIER
        60,  # UNKNOWN_TABLE
        81,  # UNKNOWN_DATABASE
    }
)
ACCESS_CODES = frozenset(
    {
        192,  # UNKNOWN_USER
        193,  # WRONG_PASSWORD
        497,  # ACCESS_DENIED
        516,  # AUTHENTICATION_FAILED
    }
)


def connect(
    url: str,
    *,
    user: str | None = None,
    password_file: str | Path | None = None,
    timeout_seconds: int = 60,
) -> Client:
    """A client that any number of threads may share: it has no session.

    Args:
        url: for example `http://127.0.0.1:8123`; it holds no password.
        user: who logs in, `default` if not given.
        password_file: file with the password, read now.
        timeout_seconds: how long one request may take.

    Raises:
        BadConfiguration: the address or the password file cannot be used.
        RetryLater: the server is away.
    """
    if "@" in url:
        raise BadConfiguration("give user and password_file, not a password in the address", key="clickhouse.url")
    with meaning():
        return clickhouse_connect.get_client(
            dsn=url,
            username=user or "default",
            password=_password(password_file),
            connect_timeout=5,
            send_receive_timeout=timeout_seconds,
            autogenerate_session_id=False,
            compress="lz4",
            show_clickhouse_errors="scrub",
        )


@contextmanager
def meaning() -> Iterator[None]:
    """Turns errors of the driver into the two that a sink may raise.

    Raises:
        RetryLater: the store is away, busy, full, not migrated or not open to this user.
        PoisonEvent: a value does not fit its column. The text names the kind of error and never the value.
    """
    try:
        yield
    except (ClickHouseError, OSError) as why:
        code = why.code if isinstance(why, Error) else None
        if isinstance(why, DataError) or code in VALUE_CODES:
            raise PoisonEvent("unstorable", _kind(why)) from why
        raise RetryLater(f"ClickHouse: {_cure(code)}{why}", RETRY_SECONDS) from why


def _cure(code: int | None) -> str:
    if code in SCHEMA_CODES:
        return "a table or column is missing, run `rua migrate`: "
    if code in ACCESS_CODES:
        return "not allowed, check user, password file and grants: "
    return ""


def _kind(why: Exception) -> str:
    name = why.name or f"code {why.code}" if isinstance(why, Error) and (why.name or why.code) else type(why).__name__
    return f"ClickHouse refuses a value: {name}"


def _password(file: str | Path | None) -> str:
    if file is None:
        return ""
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as why:
        raise BadConfiguration(
            f"cannot be read: {why.strerror}", file=str(file), key="clickhouse.password_file"
        ) from why
