"""ClickHouse's HTTP interface in front of `engine.py`: requests into queries, answers into responses."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hmac
import json
import re
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import lz4.frame  # type: ignore[import-untyped]  # has no stubs
import zstandard
from aiohttp import BodyPartReader, web
from rua_common.errors import BadConfiguration
from rua_common.settings import Struct

from rua_local import native
from rua_local.engine import Answer, Engine, ExternalTable, Query
from rua_local.statements import StatementRefused

T = TypeVar("T")
R = TypeVar("R")
LARGEST_BODY = 256 << 20
SMALLEST_COMPRESSED = 4096  # bytes of an answer
THREADS = 8
# keys of the query string that a server takes for itself; every other one is a setting of the query
TRANSPORT = frozenset(
    {
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "session_id",
        "session_timeout",
        "session_check",
        "query_id",
        "quota_key",
        "compress",
        "decompress",
        "wait_end_of_query",
        "buffer_size",
        "client_protocol_version",
        "role",
        "stacktrace",
        "enable_http_compression",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "cancel_http_readonly_queries_on_client_close",
        "max_result_bytes_to_buffer",
        "readonly",
    }
)
STATUS = {60: 404, 81: 404, 47: 404, 62: 400, 73: 400, 48: 501, 159: 408, 164: 403, 201: 429, 497: 403, 516: 403}
_HELLO = re.compile(
    rb"(?i)\s*SELECT\s+displayName\(\),\s*version\(\),\s*revision\(\),\s*timezone\(\)\s*;?\s*"  # clickhouse-go's first
)
_CODE = re.compile(r"Code: (\d+)")
_NAME = re.compile(r"[A-Za-z_]\w*")
_PACK: Mapping[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": lambda data: zstandard.ZstdCompressor(1).compress(data),
    "gzip": lambda data: gzip.compress(data, 1),
}
_UNPACK: Mapping[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


class User(Struct, frozen=True):
    """Somebody who may log in. A restricted one reads, and only from the database."""

    name: str
    password_file: str
    restricted: bool = False


class Users(Struct, frozen=True):
    """The file behind `--users`."""

    users: tuple[User, ...]


@dataclass(frozen=True)
class Account:
    """A user with the password from its file."""

    password: str
    restricted: bool


def accounts(users: Sequence[User]) -> dict[str, Account]:
    """Reads the passwords.

    Raises:
        BadConfiguration: a file cannot be read, or is empty.
    """
    found = {}
    for user in users:
        try:
            password = Path(user.password_file).read_text(encoding="utf-8").strip()
        except OSError as why:
            raise BadConfiguration(f"cannot be read: {why.strerror}", file=user.password_file) from why
        if not password:
            raise BadConfiguration(f"is empty; write {user.name}'s password into it", file=user.password_file)
        found[user.name] = Account(password, user.restricted)
    return found


class Gateway:
    """The handler of every request. Nothing blocks the loop: the engine and the compression run in threads."""

    def __init__(self, engine: Engine, users: Mapping[str, Account] | None = None) -> None:
        self.engine, self.users = engine, users
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="engine")

    def application(self) -> web.Application:
        """The application, for a runner with `auto_decompress=False`: bodies are decompressed here."""
        application = web.Application(client_max_size=LARGEST_BODY)
        application.router.add_get("/ping", self._ping)
        application.router.add_route("*", "/", self._answer)
        return application

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _answer(self, request: web.Request) -> web.Response:
        headers = {
            "X-ClickHouse-Query-Id": request.query.get("query_id") or str(uuid.uuid4()),
            "X-ClickHouse-Server-Display-Name": "chdb",
            "X-ClickHouse-Timezone": self.engine.timezone,
        }
        try:
            user, restricted = self._login(request)
            url = dict(request.query)
            sql, files = await self._body(request, url)
            if not sql.strip():
                return web.Response(text="Ok.\n", headers=headers)
            if _HELLO.fullmatch(sql):
                with_info = "client_protocol_version" in url
                body = native.hello(self.engine.version, self.engine.timezone, with_block_info=with_info)
                return web.Response(body=body, headers=headers | {"X-ClickHouse-Format": "Native"})
            query = _query(sql, url, files, user=user, restricted=restricted, method=request.method)
            answer = await self._in_thread(self.engine.run, query)
        except (StatementRefused, RuntimeError, ValueError, EOFError, zlib.error, zstandard.ZstdError) as why:
            return _failure(why, headers)
        return await self._response(answer, headers, _packing(request, url))

    def _login(self, request: web.Request) -> tuple[str, bool]:
        name, password = _credentials(request)
        if self.users is None:
            return name, False
        account = self.users.get(name)
        if account is None or not hmac.compare_digest(account.password.encode(), password.encode()):
            raise StatementRefused(516, "AUTHENTICATION_FAILED", f"{name}: Authentication failed")
        return name, account.restricted

    async def _body(self, request: web.Request, url: dict[str, str]) -> tuple[bytes, dict[str, bytes]]:
        """The statement with its data, and files of external tables; fields of a form join the query string."""
        files: dict[str, bytes] = {}
        body = b""
        if request.content_type == "multipart/form-data":
            async for part in await request.multipart():
                if isinstance(part, BodyPartReader) and part.name:
                    data = bytes(await part.read())
                    if part.filename is None:
                        url[part.name] = data.decode()
                    else:
                        files[part.name] = data
        else:
            body = await request.read()
            encoding = request.headers.get("Content-Encoding", "")
            if body and encoding in _UNPACK:
                body = await self._in_thread(_UNPACK[encoding], body)
            elif encoding:
                raise StatementRefused(48, "NOT_IMPLEMENTED", f"Content-Encoding {encoding}: use lz4, zstd or gzip")
        asked = url.get("query", "").encode()
        return asked + (b"\n" if asked and body else b"") + body, files

    async def _response(self, answer: Answer, headers: dict[str, str], packing: str | None) -> web.Response:
        kind = "written" if answer.insert else "read"
        summary = {f"{kind}_rows": answer.rows, f"{kind}_bytes": answer.bytes, "result_rows": 0}
        summary["elapsed_ns"] = int(answer.seconds * 1e9)
        headers["X-ClickHouse-Summary"] = json.dumps({name: str(value) for name, value in summary.items()})
        body = answer.body
        if body:
            headers["X-ClickHouse-Format"] = answer.format
        if packing and len(body) > SMALLEST_COMPRESSED:
            body = await self._in_thread(_PACK[packing], body)
            headers["Content-Encoding"] = packing
        return web.Response(body=body, headers=headers, content_type="application/octet-stream")

    async def _in_thread(self, function: Callable[[T], R], argument: T) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, argument)


def _credentials(request: web.Request) -> tuple[str, str]:
    kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if kind == "Basic":
        name, _, password = base64.b64decode(encoded).decode().partition(":")
        return name or "default", password
    name = request.headers.get("X-ClickHouse-User") or request.query.get("user") or "default"
    return name, request.headers.get("X-ClickHouse-Key") or request.query.get("password") or ""


def _query(
    sql: bytes, url: Mapping[str, str], files: Mapping[str, bytes], *, user: str, restricted: bool, method: str
) -> Query:
    if url.get("decompress") == "1":
        raise StatementRefused(48, "NOT_IMPLEMENTED", "Compression of the native protocol: use Content-Encoding")
    of_files = {f"{name}_{part}" for name in files for part in ("format", "structure", "types")}
    others = {k: v for k, v in url.items() if k not in TRANSPORT and k not in of_files and _NAME.fullmatch(k)}
    return Query(
        sql=sql,
        format=url.get("default_format", "TabSeparated"),
        settings={k: v for k, v in others.items() if not k.startswith("param_")},
        parameters={k.removeprefix("param_"): v for k, v in others.items() if k.startswith("param_")},
        database=url.get("database"),
        restricted=restricted,
        reading=method in {"GET", "HEAD"} or url.get("readonly", "0") != "0",
        session=(user, url["session_id"]) if "session_id" in url else None,
        session_seconds=min(float(url.get("session_timeout", "60")), 3600),
        external=[_external(name, data, url) for name, data in files.items()],
    )


def _external(name: str, data: bytes, url: Mapping[str, str]) -> ExternalTable:
    kinds = url.get(f"{name}_types", "").split(",")
    structure = url.get(f"{name}_structure") or ", ".join(f"_{i} {kind}" for i, kind in enumerate(kinds, 1))
    return ExternalTable(name, structure, url.get(f"{name}_format", "TabSeparated"), data)


def _packing(request: web.Request, url: Mapping[str, str]) -> str | None:
    """How the client wants its answer compressed. clickhouse-go says so by the header alone."""
    if url.get("enable_http_compression") != "1" and "client_protocol_version" not in url:
        return None
    accepted = request.headers.get("Accept-Encoding", "")
    return next((name for name in _PACK if name in accepted), None)


def _failure(why: Exception, headers: Mapping[str, str]) -> web.Response:
    text = str(why)
    text = text[max(text.find("Code: "), 0) :]
    found = _CODE.search(text)
    code = int(found[1]) if found else 1002  # ClickHouse's UNKNOWN_EXCEPTION
    status = STATUS.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
    return web.Response(text=text + "\n", status=status, headers={**headers, "X-ClickHouse-Exception-Code": str(code)})
