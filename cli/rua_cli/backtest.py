"""`rua backtest`: a stored log judged again, by these rules or by two versions of them; and logs as files."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import typer
from rua_common.errors import BadConfiguration

if TYPE_CHECKING:
    from rua_sinks.clickhouse import ClickHouseSink
    from rua_sinks.history import Place
    from rua_streams.backtest.judge import Span, Told
    from rua_streams.backtest.logs import Log, Slice
    from rua_streams.backtest.rules import Rules

app = typer.Typer(help="What the rules would have said about a stored log.", invoke_without_command=True)
SHIPPED = "shipped rules"
SCHEMES: Mapping[str, str] = {"clickhouse": "http", "clickhouses": "https"}
MS_PER_DAY = 86_400_000
BYTES_PER_EVENT = 120  # in a packed file
END_OF_TIME_MS = 1 << 42
TOLD_SECONDS = 5.0  # between two lines about the progress, where they are kept

From = Annotated[
    str, typer.Option("--from", help="An .avro file, a folder of them, or clickhouse://HOST:PORT/DATABASE.")
]
Since = Annotated[str | None, typer.Option(help="YYYY-MM-DD or YYYY-MM-DDTHH:MM, in the zone.")]
Zone = Annotated[str, typer.Option(help="IANA zone of the platforms.")]


@dataclass(frozen=True)
class Store:
    """Where events are stored, in a form that another process can use."""

    url: str
    database: str
    user: str
    password_file: str | None

    def sink(self) -> ClickHouseSink:
        """A connection of one's own."""
        from rua_sinks.clickhouse import ClickHouseSink  # noqa: PLC0415 - a client, only where a store is used

        return ClickHouseSink(self.url, database=self.database, user=self.user, password_file=self.password_file)


@dataclass(frozen=True)
class StoredPartition:
    """One partition's events in a store."""

    store: Store
    place: Place
    span: Span

    @property
    def size(self) -> int:
        """About as many bytes as in a file."""
        return self.place.rows * BYTES_PER_EVENT

    def slices(self, columns: Collection[str]) -> Iterator[Slice]:
        """As they come over the wire."""
        from rua_sinks.history import events  # noqa: PLC0415 - as above
        from rua_streams.backtest.logs import Slice  # noqa: PLC0415 - so that other commands start sooner

        sink, (begin, end) = self.store.sink(), bounds(self.span)
        try:
            wanted = events(sink.client, self.place, columns, begin_ms=begin, end_ms=end, database=self.store.database)
            for frame in wanted:
                yield Slice(self.place.topic, self.place.partition, frame)
        finally:
            sink.close()


@app.callback()
def backtest(
    context: typer.Context,
    *,
    source: From = "",
    detector: Annotated[list[str] | None, typer.Option(help="A detector; repeat for more; or all.")] = None,
    since: Since = None,
    until: Annotated[str | None, typer.Option(help="Likewise; alerts raised before it are told.")] = None,
    history: Annotated[
        int, typer.Option(min=0, help="Days before --since that are read, so that the rules know everybody.")
    ] = 91,
    rules: Annotated[str | None, typer.Option(help="A .py file, or a module, with a tuple DETECTORS.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="DETECTOR.FIELD=VALUE: another threshold; repeat for more.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="What to compare with: rules (.py), a wheel of Rua, or a git revision.")
    ] = None,
    chart: Annotated[Path | None, typer.Option(help="Draw it: FILE.png or FILE.svg.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as one JSON document.")] = False,
    zone: Zone = "Asia/Bangkok",
    processes: Annotated[int | None, typer.Option(min=1, help="At most so many; else one for each core.")] = None,
) -> None:
    """Print the alerts that would have been raised; with other rules or thresholds, what they change."""
    if context.invoked_subcommand is not None:
        return
    from rua_streams.backtest.judge import Span  # noqa: PLC0415 - as above
    from rua_streams.backtest.rules import Rules  # noqa: PLC0415
    from rua_streams.facts import zone_named  # noqa: PLC0415

    local, begin, end = zone_named(zone), moment(since, zone, "--since"), moment(until, zone, "--until")
    span = Span(None if begin is None else begin - history * MS_PER_DAY, begin, end)
    ids = None if not detector or "all" in detector else tuple(detector)
    new = Rules(named(rules, change or []), rules, ids, tuple(change or []))
    old, logs, theirs = earlier(new, against), logs_of(source, span), None
    versions = [new] if old is None else [old, new]
    if against is not None and old is None:
        from rua_cli.versions import alerts_of  # noqa: PLC0415 - as above

        same = {"--since": since, "--until": until, "--history": history, "--zone": zone, "--processes": processes}
        theirs = alerts_of(against, arguments(source, ids, same))
    told, names = judged(logs, versions, zone, span, processes), [version.name for version in versions]
    if theirs is not None:
        told.alerts, names = [theirs, *told.alerts], [str(against), *names]
    tell(told, names, span, local, chart=chart, as_json=as_json)


def tell(told: Told, names: Sequence[str], span: Span, zone: ZoneInfo, *, chart: Path | None, as_json: bool) -> None:
    """Prints and draws what was found with one version of the rules, or with two."""
    from rua_streams.backtest.compare import Difference, differences, incidents  # noqa: PLC0415 - as above
    from rua_streams.backtest.telling import comparison, document, listing  # noqa: PLC0415

    sides = [incidents(alerts) for alerts in told.alerts]
    found = differences(*sides) if len(sides) > 1 else None
    if as_json:
        typer.echo(json.dumps(document(told, names, found), ensure_ascii=False, indent=1))
    else:
        lines = listing(told.alerts[0], zone) if found is None else comparison(found, names, zone)
        typer.echo("\n".join(lines))
    if chart is not None:
        from rua_streams.backtest.chart import Picture, draw  # noqa: PLC0415 - half a second, only where it is wanted

        drawn = [Difference(fate="same", after=i) for i in sides[0]] if found is None else found
        start, end = span.told_from or told.first_ms, span.until or told.last_ms
        draw(chart, Picture(drawn, names, start, end, zone))
        typer.echo(f"{chart}", err=True)


@app.command("export")
def export(
    source: From,
    out: Annotated[Path, typer.Option(help="Folder for one file a partition.")],
    since: Since = None,
    until: Annotated[str | None, typer.Option(help="Likewise; events observed before it.")] = None,
    zone: Zone = "Asia/Bangkok",
) -> None:
    """Write stored events to Avro files that `rua backtest --from` reads, and whoever reads Avro."""
    from rua_schemas.columns import ColumnCodec  # noqa: PLC0415 - as above
    from rua_schemas.container import write  # noqa: PLC0415
    from rua_streams.backtest.judge import Span  # noqa: PLC0415
    from rua_streams.backtest.logs import file_name  # noqa: PLC0415

    begin, end = moment(since, zone, "--since"), moment(until, zone, "--until")
    out.mkdir(parents=True, exist_ok=True)
    for one in stored(store_at(source), Span(begin, begin, end), margin=False):
        frames = (piece.frame for piece in one.slices(ColumnCodec().schema.names()))
        first = next((frame for frame in frames if frame.height), None)
        if first is not None:
            name = file_name(one.place.topic, one.place.partition, int(first["offset"][0]))
            count = write(out / name, chain((first,), frames))
            typer.echo(f"{out / name}: {count:,} events")


def named(rules: str | None, changes: Sequence[str]) -> str:
    """What a person reads about a version."""
    return " ".join([Path(rules).name if rules else SHIPPED, *(f"with {c}" for c in changes)])


def earlier(new: Rules, against: str | None) -> Rules | None:
    """The rules to compare with, if any can be judged by this very release."""
    from rua_streams.backtest.rules import Rules, detectors_of  # noqa: PLC0415 - as above

    if against is None:
        if new.module is None and not new.changes:
            return None
        name, module = SHIPPED, None
    elif against.endswith(".py"):
        name, module = Path(against).name, against
    else:
        return None
    known = {d.rule.id for d in detectors_of(module)}
    ids = None if new.ids is None else tuple(i for i in new.ids if i in known)  # a new detector has no past
    return Rules(name, module, ids)


def judged(logs: Sequence[Log], versions: Sequence[Rules], zone: str, span: Span, processes: int | None) -> Told:
    """Judges, and says on stderr how it goes."""
    from rua_streams.backtest.spread import backtest as run  # noqa: PLC0415 - as above

    progress = Progress()
    told = run(logs, versions, zone=zone, span=span, processes=processes, progress=progress)
    progress.end(told, ZoneInfo(zone))
    return told


class Progress:
    """How many events, and how fast: over and over in one line on a terminal, now and then in a file."""

    def __init__(self) -> None:
        self.began = self.told = time.monotonic()
        self.live = sys.stderr.isatty()

    def __call__(self, events: int) -> None:
        """Says it, if it is time."""
        now = time.monotonic()
        if now - self.told >= (0.2 if self.live else TOLD_SECONDS):
            self.told = now
            sys.stderr.write(f"{events:,} events, {self.rate(events):,.0f}/s" + ("\r" if self.live else "\n"))
            sys.stderr.flush()

    def rate(self, events: int) -> float:
        """Events a second."""
        return events / max(time.monotonic() - self.began, 1e-9)

    def end(self, told: Told, zone: ZoneInfo) -> None:
        """Says what it was."""
        from rua_streams.backtest.telling import local  # noqa: PLC0415 - as above

        copies = f", {told.copies:,} sent again and counted once" if told.copies else ""
        seconds = time.monotonic() - self.began
        when = f" observed {local(told.first_ms, zone)} - {local(told.last_ms, zone)}" if told.events else ""
        sys.stderr.write(f"{told.events:,} events{when} in {seconds:.1f} s, {self.rate(told.events):,.0f}/s{copies}\n")


def logs_of(source: str, span: Span) -> Sequence[Log]:
    """The logs that `--from` names.

    Raises:
        BadConfiguration: there is nothing.
    """
    from rua_streams.backtest.logs import logs_in  # noqa: PLC0415 - as above

    if not source:
        raise BadConfiguration("say what to judge", key="--from", allowed=["FILE.avro", "DIR", "clickhouse://…"])
    return stored(store_at(source), span) if "://" in source else logs_in(Path(source))


def stored(store: Store, span: Span, *, margin: bool = True) -> list[StoredPartition]:
    """The partitions in a store.

    Raises:
        BadConfiguration: it holds no event of that time.
    """
    from rua_sinks.history import places  # noqa: PLC0415 - as above

    sink, wanted = store.sink(), span if margin else replace(span, margin_ms=0)
    try:
        begin, end = bounds(wanted)
        found = places(sink.client, begin_ms=begin, end_ms=end, database=store.database)
    finally:
        sink.close()
    if not found:
        raise BadConfiguration("the store holds no event of that time", key="--from")
    return [StoredPartition(store, place, wanted) for place in found]


def bounds(span: Span) -> tuple[int, int]:
    """From when until when events are read."""
    return span.read_from or 0, END_OF_TIME_MS if span.read_until is None else span.read_until


def store_at(source: str, environ: Mapping[str, str] = os.environ) -> Store:
    """The store at `clickhouse://host:port/database`; who logs in is told by `RUA_CLICKHOUSE_USER`, `…_PASSWORD_FILE`.

    Raises:
        BadConfiguration: it is no such address.
    """
    parts = urlsplit(source)
    if parts.scheme not in SCHEMES or not parts.hostname or "@" in source:
        allowed = ["clickhouse://HOST:PORT/DATABASE", "clickhouses://… with TLS"]
        problem = "is no address of a store; user and password_file come from RUA_CLICKHOUSE_USER and _PASSWORD_FILE"
        raise BadConfiguration(problem, key="--from", allowed=allowed)
    return Store(
        f"{SCHEMES[parts.scheme]}://{parts.netloc}",
        parts.path.strip("/") or environ.get("RUA_CLICKHOUSE_DATABASE", "rua"),
        environ.get("RUA_CLICKHOUSE_USER", "default"),
        environ.get("RUA_CLICKHOUSE_PASSWORD_FILE"),
    )


def moment(text: str | None, zone: str, key: str) -> int | None:
    """Milliseconds since the epoch of a local date, or date and time.

    Raises:
        BadConfiguration: it is neither.
    """
    if text is None:
        return None
    from rua_streams.facts import zone_named  # noqa: PLC0415 - as above

    try:
        at = datetime.fromisoformat(text)
    except ValueError as why:
        raise BadConfiguration(f"{text!r} is no time", key=key, allowed=["2026-03-24", "2026-03-24T10:30"]) from why
    return round((at if at.tzinfo else at.replace(tzinfo=zone_named(zone))).timestamp() * 1_000)


def arguments(source: str, ids: Sequence[str] | None, options: Mapping[str, object]) -> list[str]:
    """The same command, for another version of Rua."""
    given = {"--from": source, **options}
    words = [str(word) for name, value in given.items() if value is not None for word in (name, value)]
    return ["backtest", "--json", *words, *(word for one in ids or () for word in ("--detector", one))]
