"""`rua agent status`: what a running agent says of itself, as a table or as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import msgspec
from rua_common.errors import BadConfiguration, RuaError

from rua_agents.lock import StateLock
from rua_agents.settings import AgentSettings, address_of, load
from rua_agents.status import Status

HEALTHY, NOT_HEALTHY, NOBODY = 0, 1, 3
STALE_SECONDS = 30.0
TIMEOUT_SECONDS = 5.0


class NobodyThere(RuaError):
    """No agent answers, and none has left a fresh status."""


def run(config: Path | None, url: str | None, *, as_json: bool) -> int:
    """Prints it; 0 if the agent is healthy, 1 if it is not, 3 if nobody is there.

    Raises:
        BadConfiguration: the configuration cannot be read.
    """
    try:
        status, place = find(config, url)
    except NobodyThere as why:
        print(f"no agent: {why}", file=sys.stderr)  # noqa: T201 - the command's own output
        return NOBODY
    if as_json:
        print(json.dumps(msgspec.to_builtins(status), indent=2, ensure_ascii=False))  # noqa: T201 - likewise
    else:
        print("\n".join(table(status, place)))  # noqa: T201 - likewise
    return NOT_HEALTHY if status.wrong else HEALTHY


def find(config: Path | None, url: str | None) -> tuple[Status, str]:
    """The status, and where it was found: at the endpoint, else in `status.json`.

    Raises:
        BadConfiguration: the configuration cannot be read, or neither is given.
        NobodyThere: nobody answers.
    """
    if url is not None:
        return ask(url), url
    if config is None:
        raise BadConfiguration("name the agent's configuration, or the address of its endpoint", key="-c, --url")
    settings = load(config)
    try:
        return _ask_endpoint(settings)
    except NobodyThere as why:
        if StateLock(Path(settings.state_dir)).is_free():
            raise NobodyThere(f"{why}; no process runs with {settings.state_dir}") from why
        return _read_file(Path(settings.state_dir) / "status.json", str(why))


def ask(url: str) -> Status:
    """What an endpoint says. Never through a proxy: it is this host's or this network's.

    Raises:
        NobodyThere: nobody answers, or it is no agent.
        BadConfiguration: not a web address.
    """
    if not url.startswith(("http://", "https://")):
        raise BadConfiguration(f"{url} does not begin with http://", key="--url")
    try:
        with build_opener(ProxyHandler({})).open(url.rstrip("/") + "/status", timeout=TIMEOUT_SECONDS) as answer:
            return msgspec.json.decode(answer.read(), type=Status)
    except (URLError, OSError, ValueError) as why:
        raise NobodyThere(f"{url}: {getattr(why, 'reason', why)}") from why


def _ask_endpoint(settings: AgentSettings) -> tuple[Status, str]:
    if settings.http is None:
        raise NobodyThere("no http.listen is configured")
    host, port = address_of(settings.http.listen)
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what listens everywhere is here too
    url = f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
    return ask(url), url


def _read_file(path: Path, why: str) -> tuple[Status, str]:
    try:
        age = time.time() - path.stat().st_mtime
        status = msgspec.json.decode(path.read_bytes(), type=Status)
    except (OSError, ValueError) as trouble:
        raise NobodyThere(f"{why}; {path}: {trouble}") from trouble
    if age > STALE_SECONDS:
        raise NobodyThere(f"{why}; {path} was written {_duration(age)} ago")
    return status, str(path)


def table(status: Status, place: str) -> Iterator[str]:
    """Lines for a person."""
    up = _duration((status.at_ms - status.started_ms) / 1_000)
    memory, cpu = _size(status.rss_bytes), f"{status.cpu_seconds:.1f} s of CPU"
    yield f"agent {status.agent_id} of {status.platform}, version {status.version}, up {up}, {memory}, {cpu} ({place})"
    yield ""
    files = [
        (file.path, file.source, _size(file.size - file.acked_offset), _duration(file.lag_ms / 1_000))
        for file in status.files
    ]
    yield from _columns([("file", "source", "behind", "since"), *files])
    yield ""
    rows = [
        (name, str(one.records), str(one.events), str(one.merged), _reasons(one.ignored), _reasons(one.failed))
        for name, one in sorted(status.sources.items())
    ]
    yield from _columns([("source", "records", "events", "merged", "ignored", "failed"), *rows])
    yield ""
    yield from _columns(_facts(status))
    yield ""
    yield "healthy" if not status.wrong else "not healthy:"
    yield from (f"  {one}" for one in status.wrong)


def _facts(status: Status) -> list[tuple[str, ...]]:
    clock = "not measured"
    if status.clock_offset_ms is not None:
        clock = f"{status.clock_offset_ms} ms from the broker's, within {status.clock_error_ms} ms"
    age = "none yet"
    if status.checkpoint_ms is not None:
        age = f"{_duration(max(0, status.at_ms - status.checkpoint_ms) / 1_000)} ago"
    events = f"{status.events_acked} of {status.events_produced} acknowledged, {status.events_failed} dead letters"
    return [
        ("events", events),
        ("dropped", _reasons(status.dropped)),
        ("queue", f"{status.queue_messages} messages, {_size(status.queue_bytes)}"),
        ("spool", f"{status.spool_records} events, {_size(status.spool_bytes)}"),
        ("clock", clock),
        ("checkpoint", age),
        ("disk", f"{_size(status.disk_free_bytes)} free"),
    ]


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _reasons(counts: Mapping[str, int]) -> str:
    named = ", ".join(f"{reason} {n}" for reason, n in sorted(counts.items()))
    return f"{sum(counts.values())} ({named})" if named else "0"


def _size(size: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.1f} {unit}"
    return f"{size} B"


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 86_400:
        return f"{whole // 86_400} d {whole % 86_400 // 3_600} h"
    if whole >= 3_600:
        return f"{whole // 3_600} h {whole % 3_600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{seconds:.1f} s"
