"""`rua agent …`, or `python -m rua_agents …`: argparse only, so that an agent starts fast and stays small."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rua_common.clock import SystemClock
from rua_common.errors import RuaError
from rua_common.logging import configure

from rua_agents.collectors import COLLECTORS
from rua_agents.records import DEFAULT_LIMIT_BYTES, LEAST_LIMIT_BYTES, MOST_LIMIT_BYTES

log = logging.getLogger("rua_agents")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="rua agent", description="Reads a platform's logs and sends events.")
    commands = top.add_subparsers(dest="command", required=True)
    run = _configured(commands, "run", "read, pseudonymise, send")
    run.add_argument("--dry-run", action="store_true", help="read for real from the checkpoint on, but send nothing")
    run.add_argument("--once", action="store_true", help="with --dry-run: end when everything is read")
    run.add_argument("--print", action="store_true", dest="prints", help="with --dry-run: the events, as JSON lines")
    _configured(commands, "check", "prove that `run` would work")
    status = commands.add_parser("status", help="what a running agent does; the exit status says if it is healthy")
    status.add_argument("-c", "--config", type=Path, metavar="FILE")
    status.add_argument("--url", metavar="URL", help="of its endpoint, e.g. http://127.0.0.1:9469")
    status.add_argument("--json", action="store_true", dest="as_json")
    _init(commands)
    _parse(commands)
    return top


def _configured(commands: Any, name: str, what: str) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = commands.add_parser(name, help=what)
    one.add_argument("-c", "--config", type=Path, required=True, metavar="FILE")
    one.add_argument("--log-json", action="store_true", help="log lines as JSON")
    return one


def _init(commands: Any) -> None:
    init = commands.add_parser("init", help="write a configuration to start from, and say what to switch on")
    init.add_argument("source", choices=sorted(COLLECTORS), metavar="SOURCE", help=", ".join(sorted(COLLECTORS)))
    init.add_argument("--platform", default="local", metavar="PLATFORM")
    init.add_argument("--out", type=Path, default=Path("agent.yaml"), metavar="FILE", help="keys are made beside it")
    init.add_argument("--state-dir", type=Path, metavar="DIR", help="/var/lib/rua-agent/PLATFORM unless given")
    init.add_argument("--bootstrap", default="127.0.0.1:9092", metavar="HOST:PORT", help="of the brokers")


def _parse(commands: Any) -> None:
    parse = commands.add_parser("parse", help="print the events that a file gives, as JSON lines; no broker needed")
    parse.add_argument("--source", required=True, choices=sorted(COLLECTORS))
    parse.add_argument("--zone", metavar="ZONE", help="IANA zone of stamps that name none, e.g. Asia/Bangkok")
    parse.add_argument(
        "--option",
        type=_option,
        action="append",
        default=[],
        dest="options",
        metavar="NAME=VALUE",
        help="of the source, as in its configuration; anything but text as JSON",
    )
    parse.add_argument("--platform", default="local", metavar="PLATFORM")
    parse.add_argument("--host", default=socket.gethostname(), metavar="HOST", help="host that wrote the file")
    parse.add_argument(
        "--key-file", metavar="FILE", help="pseudonymisation key; without it one is thrown away after use"
    )
    parse.add_argument(
        "--record-bytes", type=_record_bytes, default=DEFAULT_LIMIT_BYTES, metavar="N", help="longer ones are cut"
    )
    parse.add_argument("file", metavar="FILE", help="the log, or - for standard input")


def _option(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _record_bytes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not LEAST_LIMIT_BYTES <= int(text) <= MOST_LIMIT_BYTES:
        raise argparse.ArgumentTypeError(f"{text} is not from {LEAST_LIMIT_BYTES} to {MOST_LIMIT_BYTES}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; the exit status says whether all went well."""
    given = parser().parse_args(argv)
    configure("INFO", as_json=getattr(given, "log_json", False))
    try:
        return _dispatch(given)
    except RuaError as why:
        log.error("%s", why)
        return 1
    except BrokenPipeError:
        return 1
    except OSError as why:
        log.error("%s: %s", why.filename, why.strerror)
        return 1


def _dispatch(given: argparse.Namespace) -> int:
    if given.command == "parse":
        from rua_agents.parse import run as run_parse  # noqa: PLC0415 - only this command needs it

        return run_parse(
            given.source,
            given.file,
            platform=given.platform,
            host=given.host,
            zone=given.zone,
            options=dict(given.options),
            key_file=given.key_file,
            limit_bytes=given.record_bytes,
            clock=SystemClock(),
        )
    if given.command == "check":
        from rua_agents.check import run as run_check  # noqa: PLC0415 - likewise

        return run_check(given.config)
    if given.command == "status":
        from rua_agents.show import run as run_show  # noqa: PLC0415 - likewise

        return run_show(given.config, given.url, as_json=given.as_json)
    if given.command == "init":
        from rua_agents.init import Choices, run as run_init  # noqa: PLC0415 - likewise

        state_dir = given.state_dir or Path("/var/lib/rua-agent") / given.platform
        return run_init(Choices(given.source, given.platform, given.out, state_dir, given.bootstrap))
    if given.dry_run:
        from rua_agents.dry import run as run_dry  # noqa: PLC0415 - likewise

        return run_dry(given.config, once=given.once, prints=given.prints)
    from rua_agents.session import run as run_agent  # noqa: PLC0415 - likewise

    return run_agent(given.config)


if __name__ == "__main__":
    sys.exit(main())
