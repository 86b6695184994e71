"""`rua dlq list|show|replay`: look at dead letters, and send back what can be used now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rua_common.errors import BadConfiguration

if TYPE_CHECKING:
    from rua_common.kafka import KafkaOptions
    from rua_streams.letter_queue import LetterQueue
    from rua_streams.letters import Letter, Place, Wanted

app = typer.Typer(help="Dead letters: what they are, why, and sending them back.", no_args_is_help=True)
MOST_ROWS = 100
SHOWN_BYTES = 1_024
NOT_ALL = 1

Topic = Annotated[str | None, typer.Option(help="Only of this topic, e.g. rua.events.shop.")]
Reason = Annotated[str | None, typer.Option(help="Only with this reason, e.g. unknown_schema.")]
Since = Annotated[str | None, typer.Option(help="Only since: 90m, 24h, 7d ago, or a date or time in UTC.")]
NAME = "TOPIC-PARTITION-OFFSET of the letter in rua.dlq, or of the message it speaks of."


@app.command("list")
def list_letters(topic: Topic = None, reason: Reason = None, since: Since = None) -> None:
    """Count what lies in the queue, by topic, reason and stage."""
    from rua_streams.letters import Heaps, columns, iso, printable  # noqa: PLC0415

    wanted, heaps = _wanted([], topic, reason, since), Heaps()
    with _queue() as (queue, _):
        notes = {one.origin for one in queue.letters() if one.is_note}
        for one in queue.letters():
            if wanted.fits(one):
                heaps.add(one, replayed=one.origin in notes)
    rows = [("topic", "reason", "stage", "letters", "sent back", "first", "last")]
    most = sorted(heaps.heaps.items(), key=lambda item: -item[1].letters)
    for names, heap in most[:MOST_ROWS]:
        first, second, third = (printable(name, 120) for name in names)
        counts = (str(heap.letters), str(heap.replayed), iso(heap.first_ms), iso(heap.last_ms))
        rows.append((first, second, third, *counts))
    typer.echo("\n".join(columns(rows)) if most else "no dead letters")
    if len(most) > MOST_ROWS:
        typer.echo(f"and {len(most) - MOST_ROWS} more kinds: narrow it with --topic, --reason or --since")
    if queue.unreadable:
        typer.echo(f"{queue.unreadable} messages of rua.dlq are no dead letters", err=True)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help=NAME)],
    most_bytes: Annotated[int, typer.Option("--bytes", min=0, help="How many bytes to show.")] = SHOWN_BYTES,
) -> None:
    """Show one letter: why, its key, its bytes, and the fields that can be read. Nothing in it is obeyed."""
    from rua_streams.letters import Wanted, place_of  # noqa: PLC0415

    wanted = Wanted([place_of(name)])
    with _queue() as (queue, _):
        found = [one for one in queue.letters() if wanted.fits(one)]
    if not found:
        raise BadConfiguration("no such dead letter: see `rua dlq list`", key=name)
    for one in found:
        typer.echo("\n".join(_shown(one, most_bytes)))


@app.command()
def replay(  # noqa: PLR0917 - typer's way: one parameter for each option
    names: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help=NAME)] = None,
    topic: Topic = None,
    reason: Reason = None,
    since: Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was sent back before; it is counted once.")] = False,
    unproven: Annotated[
        bool, typer.Option("--unproven", help="Also what its topic does not hold any more: nothing proves its writer.")
    ] = False,
) -> int:
    """Send messages back to their topics, as they were, if they can be used now. Exit code 1 if any was not sent."""
    from rua_common.clock import SystemClock  # noqa: PLC0415
    from rua_streams.letters import printable  # noqa: PLC0415
    from rua_streams.replaying import Judge, Replay, chosen  # noqa: PLC0415

    wanted = _wanted(names or [], topic, reason, since)
    if wanted.everything:
        raise BadConfiguration("say which: IDs, --topic, --reason or --since", key="rua dlq replay")
    with _queue() as (queue, kafka):
        back = {one.origin for one in queue.letters() if one.is_note}
        letters = chosen(one for one in queue.letters() if wanted.fits(one) and not one.is_note)
        judge = Judge(queue.original, back, unproven=unproven, again=again)
        judged = [judge.judge(one) for one in letters]
    missing = {name for name in wanted.places if not any(name in {one.at, one.origin} for one in letters)}
    good = [one for one, problem in judged if not problem]
    for one, problem in judged:
        typer.echo(f"{printable(str(one.origin))}: {'refused: ' + printable(problem) if problem else 'can be sent'}")
    for name in sorted(missing):
        typer.echo(f"{name}: no such dead letter")
    typer.echo(f"{len(good)} can be sent, {len(judged) - len(good)} refused, {len(missing)} not found")
    not_all = NOT_ALL if len(good) < len(judged) or missing else 0
    if dry_run or not good:
        return not_all
    _may_write(kafka, good)
    if not yes:
        typer.confirm(f"Send {len(good)} messages back?", abort=True)
    sending = Replay(kafka.librdkafka(), SystemClock().now_ms)
    sending.send(good)
    for place, why in sending.failed.items():
        what = "sent, but not noted in rua.dlq" if place in sending.done else "not sent"
        typer.echo(f"{printable(str(place))}: {what}: {printable(why)}", err=True)
    typer.echo(f"{len(sending.done)} sent back, {len(good) - len(sending.done)} failed")
    return NOT_ALL if sending.failed else not_all


def _wanted(names: list[str], topic: str | None, reason: str | None, since: str | None) -> Wanted:
    from rua_common.clock import SystemClock  # noqa: PLC0415
    from rua_streams.letters import Wanted, place_of, since as time_of  # noqa: PLC0415

    if names and (topic, reason, since) != (None, None, None):
        raise BadConfiguration("IDs and filters exclude each other", key="ID")
    since_ms = None if since is None else time_of(since, SystemClock().now_ms())
    places: frozenset[Place] = frozenset(place_of(name) for name in names)
    return Wanted(places, topic, reason, since_ms)


@contextmanager
def _queue() -> Iterator[tuple[LetterQueue, KafkaOptions]]:
    """The queue, once it is sure that it may be read."""
    from confluent_kafka import KafkaException  # noqa: PLC0415
    from rua_common.kafka import from_environment  # noqa: PLC0415
    from rua_schemas.diagnose import diagnose  # noqa: PLC0415
    from rua_schemas.topics import DLQ  # noqa: PLC0415
    from rua_streams.letter_queue import LetterQueue  # noqa: PLC0415

    kafka = from_environment()
    _allow(kafka, diagnose(kafka, reads=[DLQ]))
    queue = LetterQueue(kafka.librdkafka())
    try:
        yield queue, kafka
    except KafkaException as why:
        raise BadConfiguration(f"Kafka: {why.args[0]}", key="RUA_KAFKA_BOOTSTRAP") from why
    finally:
        queue.close()


def _may_write(kafka: KafkaOptions, letters: list[Letter]) -> None:
    from rua_schemas.diagnose import diagnose  # noqa: PLC0415
    from rua_schemas.topics import DLQ  # noqa: PLC0415

    targets = sorted({one.letter.topic for one in letters})
    _allow(kafka, diagnose(kafka, reads=targets, writes=[*targets, DLQ]))


def _allow(kafka: KafkaOptions, problems: list[str]) -> None:
    """One address that answers is enough; one topic that is refused is too much."""
    refused = [problem for problem in problems if not problem.startswith("Kafka at ")]
    if refused or len(problems) >= len(kafka.bootstrap.split(",")):
        raise BadConfiguration("; ".join(refused or problems), key="RUA_KAFKA_BOOTSTRAP")


def _shown(one: Letter, most_bytes: int) -> Iterator[str]:
    """Everything about one letter, each word of it neutralised."""
    from rua_schemas.partial import read_partly  # noqa: PLC0415
    from rua_streams.letters import columns, dump, iso, printable, printable_bytes  # noqa: PLC0415

    letter = one.letter
    yield from columns(
        [
            ("letter", str(one.at)),
            (
                "message",
                printable(str(one.origin)) if letter.offset >= 0 else f"of {printable(letter.topic)}, never sent",
            ),
            ("reason", printable(letter.reason)),
            ("detail", printable(letter.detail)),
            ("stage", printable(letter.stage)),
            ("time", iso(letter.failed_at)),
            ("key", printable_bytes(letter.key)),
        ]
    )
    if not letter.value:
        yield "value    none" if letter.value is None else "value    empty"
        return
    read = read_partly(letter.value)
    yield f"reads as {'an event of a schema that this release knows' if not read.problem else printable(read.problem)}"
    for field, value in read.fields.items():
        yield f"    {printable(field)} = {printable(value if isinstance(value, str) else repr(value))}"
    if read.next_field is not None:
        yield f"    {printable(read.next_field)}: cannot be read, from byte {read.read_bytes} on"
    yield f"{len(letter.value)} bytes{', the first of a longer message' if one.is_cut else ''}:"
    yield from dump(letter.value, most_bytes)
    if len(letter.value) > most_bytes:
        yield f"… {len(letter.value) - most_bytes} more: --bytes {len(letter.value)}"
