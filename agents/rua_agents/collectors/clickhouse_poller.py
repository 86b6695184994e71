"""Asks a ClickHouse server for what is new in its query log.

Rows appear some seconds after the time that they bear, and not in its order. So a stretch of time is looked at again
and again: first for the keys of its rows alone, then for the rows whose keys were not seen yet.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from rua_common.errors import BadConfiguration

from rua_agents.collectors.clickhouse_query_log import ClickhouseOptions
from rua_agents.collectors.clickhouse_text import MOST_CHARACTERS
from rua_agents.intake.contract import MOST_ROWS, Poll, PollFailed
from rua_agents.keyfile import read_secret

TIMEOUT_SECONDS = 30
MOST_KEYS = 50_000
"""Of one look; in a stretch with more rows the rest is seen with the next one."""
MOST_ANSWER_BYTES = 64 << 20
SECOND_US = 1_000_000
KEY = struct.Struct("<Q")
COLUMNS = (
    "toString(type) AS type, toUnixTimestamp64Micro(event_time_microseconds) AS event_us, query_duration_ms, "
    "toString(query_kind) AS query_kind, tables, used_table_functions, result_rows, result_bytes, read_rows, "
    "written_rows, written_bytes, exception_code, user, toString(address) AS address, client_name, http_user_agent, "
    "toString(normalized_query_hash) AS normalized_query_hash, query_id, length(query) AS query_bytes, "
    f"substringUTF8(query, 1, {MOST_CHARACTERS}) AS query"
)
# a client chooses its query_id and may use it again: the time makes it one row's
_KEY = "cityHash64(query_id, toString(type), event_time_microseconds)"
# what this agent itself asks for would never end; whatever else its user does is seen
_OWN = (
    "user = currentUser() AND query_kind = 'Select' AND has(tables, 'system.query_log') AND "
    "arrayAll(one -> one = 'system.query_log' OR startsWith(one, '_table_function.cluster'), tables)"
)
_WANTED = f"type != 'QueryStart' AND is_initial_query AND NOT ({_OWN})"
_CURES = {
    401: "user or password refused: see options.user and options.password_file",
    403: "user or password refused: see options.user and options.password_file",
    404: "is options.url the HTTP interface of a ClickHouse server?",
}


class Key(NamedTuple):
    """A row, as the first question knows it."""

    at_us: int
    """Microseconds since the epoch."""
    key: int


class ClickhousePoller:
    """One server."""

    def __init__(self, options: ClickhouseOptions) -> None:
        self.every_seconds = options.poll_seconds
        self._options, self._url = options, urlsplit(options.url)
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise BadConfiguration(f"{options.url} is no http:// or https:// address", key="options.url")
        password = read_secret(Path(options.password_file), "options.password_file") if options.password_file else b""
        self._headers = {"X-ClickHouse-User": options.user, "X-ClickHouse-Key": password.decode().strip()}
        self._connection: http.client.HTTPConnection | None = None

    def poll(self, cursor: Any, now_ms: int) -> Poll:
        """Rows that were not seen yet, oldest first.

        Raises:
            PollFailed, OSError: the server did not answer as it should.
        """
        del now_ms  # the server's clock stamps its rows
        since, seen = self._start() if cursor is None else (int(cursor["since_us"]), _unpacked(cursor["seen"]))
        found = self._keys(since)
        fresh = [one for one in found if one.key not in seen][:MOST_ROWS]
        rows = self._rows(fresh) if fresh else []
        complete = len(found) < MOST_KEYS and len(fresh) < MOST_ROWS
        last_us = (found if complete else fresh or found)[-1].at_us if found else since
        following = max(since, last_us - self._options.overlap_seconds * SECOND_US)
        taken = seen | {one.key for one in fresh}
        kept = [one.key for one in found if one.at_us >= following and one.key in taken]
        if len(kept) >= MOST_KEYS:  # more rows in the overlap than can be remembered: it becomes shorter
            following, kept = last_us, [one.key for one in found if one.at_us >= last_us and one.key in taken]
        return Poll(rows, {"since_us": following, "seen": _packed(kept)}, more=not complete)

    def close(self) -> None:
        """Lets the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _start(self) -> tuple[int, set[int]]:
        now_us = int(self._ask("SELECT toUnixTimestamp64Micro(now64(6)) FORMAT TabSeparated"))
        return now_us - self._options.first_seconds * SECOND_US, set()

    def _keys(self, since_us: int) -> list[Key]:
        answer = self._ask(
            f"SELECT toUnixTimestamp64Micro(event_time_microseconds) AS at, {_KEY} AS key "  # noqa: S608 - numbers, and the person's own setting
            f"FROM {self._options.table} WHERE {_between(since_us)} AND {_WANTED} "
            f"ORDER BY at, key LIMIT {MOST_KEYS} FORMAT TabSeparated"
        )
        return [Key(int(at), int(key)) for at, _, key in (line.partition(b"\t") for line in answer.splitlines())]

    def _rows(self, fresh: list[Key]) -> list[bytes]:
        keys = ",".join(str(one.key) for one in fresh)
        first, last = fresh[0].at_us, fresh[-1].at_us
        answer = self._ask(
            f"SELECT {COLUMNS} FROM {self._options.table} "  # noqa: S608 - as above
            f"WHERE {_between(first, last)} AND {_WANTED} AND {_KEY} IN ({keys}) "
            f"ORDER BY event_us, {_KEY} FORMAT JSONEachRow"
        )
        return answer.splitlines()

    def _ask(self, sql: str) -> bytes:
        try:
            return self._answer(sql)
        except http.client.HTTPException as why:
            self.close()
            raise PollFailed(f"{self._options.url} does not speak HTTP: {type(why).__name__}: see options.url") from why
        except OSError:
            self.close()
            raise

    def _answer(self, sql: str) -> bytes:
        if self._connection is None:
            self._connection = self._connected()
        # so that an error in the middle is one; no setting is changed, which a readonly user may not
        self._connection.request("POST", f"{self._url.path or '/'}?wait_end_of_query=1", sql.encode(), self._headers)
        answer = self._connection.getresponse()
        data = answer.read(MOST_ANSWER_BYTES + 1)
        if answer.status != http.client.OK or len(data) > MOST_ANSWER_BYTES:
            self.close()
            raise PollFailed(_told(answer.status, data))
        return data

    def _connected(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, port or 8123, timeout=TIMEOUT_SECONDS)
        context = ssl.create_default_context(cafile=self._options.ca_file)
        return http.client.HTTPSConnection(host, port or 8443, timeout=TIMEOUT_SECONDS, context=context)


def _between(first_us: int, last_us: int | None = None) -> str:
    """The rows of a stretch of time; the table is sorted by day and second, so that it reads no more than these."""
    second = first_us // SECOND_US
    since = f"event_date >= toDate({second}) - 1 AND event_time >= toDateTime({second})"
    since += f" AND event_time_microseconds >= fromUnixTimestamp64Micro({first_us})"
    return since if last_us is None else f"{since} AND event_time_microseconds <= fromUnixTimestamp64Micro({last_us})"


def _told(status: int, answer: bytes) -> str:
    """What to do, with the first line of what the server says."""
    line = answer.partition(b"\n")[0].decode("utf-8", "replace")
    said = line[:300]
    if len(answer) > MOST_ANSWER_BYTES:
        return f"the answer is longer than {MOST_ANSWER_BYTES >> 20} MiB"
    if "UNKNOWN_IDENTIFIER" in line:
        return f"needs ClickHouse 21.11 or newer: {said}"
    if "UNKNOWN_TABLE" in line:
        return f"switch the query log on; its table appears some seconds after the first query: {said}"
    if "ACCESS_DENIED" in line:
        return f"GRANT SELECT ON system.query_log to this user: {said}"
    return f"HTTP {status}: {_CURES.get(status, 'see the server')}: {said}"


def _packed(keys: Iterable[int]) -> str:
    return base64.b64encode(b"".join(map(KEY.pack, keys))).decode()


def _unpacked(text: str) -> set[int]:
    return {key for (key,) in KEY.iter_unpack(base64.b64decode(text))}
