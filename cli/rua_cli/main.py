"""The command line. Imports wait until a command needs them, so that `rua agent run` stays small."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `rua`. Exits with the command's own code; 2 for a configuration or usage error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["agent"]:  # an endpoint has neither typer nor rich
        from rua_agents.__main__ import main as agent  # noqa: PLC0415

        sys.exit(agent(arguments[1:]))
    from rua_cli.commands import run  # noqa: PLC0415

    sys.exit(run(arguments))
