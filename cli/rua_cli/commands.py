"""`rua …` but for `rua agent …`: each command reads its settings, puts the parts together and lets them run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rua_common.errors import BadConfiguration, RuaError
from rua_common.logging import configure

from rua_cli import dlq
from rua_cli.backtest import app as backtest_app

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

app = typer.Typer(
    name="rua",
    help="Rua (รั้ว) watches how personal data leaves e-commerce platforms.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(help="Kafka topics as data: make a cluster match, or say what differs.", no_args_is_help=True)
dashboards_app = typer.Typer(help="Grafana dashboards and provisioning files.", no_args_is_help=True)
feed_app = typer.Typer(help="The regulators' feed: aggregated, noisy, closed days only.", no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(dlq.app, name="dlq")
app.add_typer(dashboards_app, name="dashboards")
app.add_typer(feed_app, name="feed")
app.add_typer(backtest_app, name="backtest")

Platforms = Annotated[
    list[str] | None, typer.Option("--platform", help="A platform; repeat for more. Else RUA_PLATFORMS.")
]
UNUSABLE = 2


def run(arguments: Sequence[str]) -> int:
    """Runs a command. A mistake of ours shows a traceback; one of the person's shows one line and the cure."""
    try:
        result = app(list(arguments), standalone_mode=False)
    except RuaError as why:
        sys.stderr.write(f"rua: {why}\n")
        return UNUSABLE
    except typer.Exit as done:
        return done.exit_code
    except typer.Abort:
        return 130
    except typer.TyperException as why:
        if why.format_message():  # empty where typer has shown the help instead
            sys.stderr.write(f"rua: {why.format_message()}\nTry `rua --help`.\n")
        return why.exit_code
    return result if isinstance(result, int) else 0


@app.command()
def demo(
    seed: Annotated[int | None, typer.Option(help="Repeats a run; random, and printed, unless given.")] = None,
    days: Annotated[int, typer.Option(min=1, help="Past days before the day of the attacks.")] = 21,
    keep: Annotated[
        Path | None, typer.Option(help="Leave alerts.jsonl, events.jsonl, pseudonyms.jsonl, report.html here.")
    ] = None,
    world: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Replay this folder of logs instead.")
    ] = None,
) -> int:
    """Run everything on this machine: a real Kafka, simulated platforms, agents, detection, storage, a report."""
    from rua_demo.run import DemoOptions, run as run_demo  # noqa: PLC0415

    return run_demo(DemoOptions(seed=seed, days=days, keep=keep, world=world))


@app.command()
def up(
    data: Annotated[Path, typer.Option(help="Where Kafka and the store keep their data.")] = Path(".rua"),
    platform: Platforms = None,
) -> int:
    """Start Kafka, the store and the workers here, keep them running, print the endpoints. Ctrl-C drains."""
    from rua_demo.up import DEFAULT_PLATFORMS, up as run_up  # noqa: PLC0415

    return run_up(data, platform or list(DEFAULT_PLATFORMS))


@app.command()
def worker(role: Annotated[str, typer.Option(help="detect, store, or all of it.")] = "all") -> int:
    """Run a stream worker until it is told to stop. Settings come from RUA_… variables (docs/settings.md)."""
    from rua_streams.app import run as run_worker, supervise  # noqa: PLC0415
    from rua_streams.settings import from_environment  # noqa: PLC0415

    from rua_cli.services import clickhouse  # noqa: PLC0415

    settings = from_environment()
    match role:
        case "all":
            clickhouse()  # an address that is missing shows before two processes are started
            return supervise(
                [[sys.executable, "-m", "rua_cli", "worker", "--role", one] for one in ("detect", "store")]
            )
        case "detect":
            return run_worker(settings, "detect")
        case "store":
            sink = clickhouse()
            return run_worker(settings, "store", event_sink=sink, alert_sink=sink)
        case _:
            raise BadConfiguration(f"{role} is not a role", key="--role", allowed=["detect", "store", "all"])


@app.command()
def migrate() -> None:
    """Bring the ClickHouse tables up to this release."""
    from rua_sinks.migrate import migrate as run_migrate  # noqa: PLC0415

    from rua_cli.services import clickhouse  # noqa: PLC0415

    sink = clickhouse()
    applied = run_migrate(sink.client, database=sink.database)
    typer.echo(
        "\n".join(f"applied {name}" for name in applied) or "nothing to do: the tables are those of this release"
    )


@topics_app.command("apply")
def topics_apply(
    platform: Platforms = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Overrides the number in topics.yaml, for new topics.")
    ] = None,
    replication: Annotated[int, typer.Option(min=1, help="Copies of each partition.")] = 1,
) -> int:
    """Create and change topics until the cluster matches. Says what it did."""
    from rua_schemas import topics  # noqa: PLC0415

    from rua_cli.services import platforms  # noqa: PLC0415

    lines = topics.apply(_admin(), platforms(platform or []), partitions=partitions, replication=replication)
    typer.echo("\n".join(lines) or "nothing to do: the cluster matches")
    return 0


@topics_app.command("check")
def topics_check(
    platform: Platforms = None,
    partitions: Annotated[int | None, typer.Option(min=1, help="Overrides the number in topics.yaml.")] = None,
) -> int:
    """Say what differs between the cluster and topics.yaml. Exit code 1 if anything does."""
    from rua_schemas import topics  # noqa: PLC0415

    from rua_cli.services import platforms  # noqa: PLC0415

    lines = topics.check(_admin(), platforms(platform or []), partitions=partitions)
    typer.echo("\n".join(lines) or "the cluster matches")
    return int(bool(lines))


@dashboards_app.command("build")
def dashboards_build(
    out: Annotated[Path, typer.Argument(help="Folder for the files.")] = Path("dashboards/generated"),
) -> None:
    """Write dashboards and provisioning files, byte for byte the same each time."""
    from rua_dashboards.build import build  # noqa: PLC0415

    for path in build(out):
        typer.echo(path)


@feed_app.command("build")
def feed_build(
    day: Annotated[str, typer.Option(help="A closed day, YYYY-MM-DD, in the feed's zone.")],
    out: Annotated[Path, typer.Option(help="Folder for rua-feed-DAY.csv and rua-feed-DAY.json.")] = Path("feed"),
    epsilon: Annotated[float, typer.Option(min=0.01, max=4, help="Privacy loss of one cell.")] = 1.0,
    platform: Platforms = None,
) -> None:
    """Write one day's counts, platform by pattern, with noise. A released day never changes."""
    from rua_common.clock import SystemClock  # noqa: PLC0415
    from rua_sinks.feed import build  # noqa: PLC0415
    from rua_sinks.feed_format import Universe  # noqa: PLC0415
    from rua_streams.detectors import DETECTORS  # noqa: PLC0415

    from rua_cli.services import clickhouse, platforms  # noqa: PLC0415

    try:
        wanted = date.fromisoformat(day)
    except ValueError as why:
        raise BadConfiguration(f"{day} is not a day", key="--day", allowed=["YYYY-MM-DD"]) from why
    sink = clickhouse()
    release = build(
        sink.client,
        wanted,
        epsilon=epsilon,
        universe=Universe(tuple(platforms(platform or [])), tuple(d.rule.id for d in DETECTORS)),
        now_ms=SystemClock().now_ms(),
        out_dir=out,
        database=sink.database,
    )
    typer.echo(f"{release.json_file}\n{release.csv_file}")
    if not release.is_new:
        typer.echo(f"{day} was released before: these are the same bytes", err=True)
    for cell in release.outside_universe:
        typer.echo(f"not published, since no --platform or detector names it: {' / '.join(cell)}", err=True)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True}, add_help_option=False)
def agent() -> None:
    """Read a platform's logs and emit events: run, check, parse (see `rua agent --help`)."""
    raise AssertionError("rua_cli.main sends `rua agent …` to the agent's own command line")


@app.callback()
def _start() -> None:
    configure()


def _admin() -> AdminClient:
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415
    from rua_common.kafka import from_environment  # noqa: PLC0415

    return AdminClient(from_environment().librdkafka())
