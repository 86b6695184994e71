"""From the configuration to a spool and what feeds it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rua_common.clock import Clock
from rua_common.errors import BadConfiguration

from rua_agents.composed import Composed
from rua_agents.disk import free_bytes
from rua_agents.intake.contract import Feed, PolledCollector
from rua_agents.intake.files import SpooledFiles
from rua_agents.intake.polled import PolledSource
from rua_agents.intake.thread import Intake
from rua_agents.pace import Pace, paced
from rua_agents.reader import Reader
from rua_agents.settings import AgentSettings, SourceSettings, collector_of, reads
from rua_agents.spool.reader import SPOOL, SpoolReader
from rua_agents.spool.spool import Spool
from rua_agents.tail import Tail, Watched

if TYPE_CHECKING:
    from rua_agents.intake.listener import Listener

SpooledSource = tuple[SourceSettings, Sequence[Watched]]


def needs_spool(source: SourceSettings) -> bool:
    """Whether nobody keeps what comes from there until the broker has it."""
    return source.spool or _reads(source) != "files"


def with_spool(
    settings: AgentSettings, sources: Sequence[SpooledSource], logs: Reader, dropped: Counter[str], clock: Clock
) -> Reader:
    """The reader of the logs, beside the spool if any source needs one or one was left with events in it.

    Raises:
        BadConfiguration: a source cannot work.
    """
    directory = Path(settings.state_dir) / SPOOL
    if not sources and not any(directory.glob("*.seg")):
        return logs
    spool = Spool(
        directory,
        settings.spool,
        dropped,
        free_bytes=lambda: free_bytes(directory),
        least_free_bytes=settings.disk.min_free_bytes,
    )
    files, listeners = _files(settings, sources, spool), _listeners(sources, spool)
    feeds: list[Feed] = [*listeners, *_polled(sources, spool, clock), *files]
    wait = listeners[0].wait if listeners else None
    tallies, pace = [one.origin.tally for _, ready in sources for one in ready[:1]], Pace(settings.limits)

    def pause(now: float) -> float:
        return pace.pause(now, read_bytes=sum(tally.read_bytes for tally in tallies), events=spool.taken)

    intake = Intake(spool, feeds, clock=clock, wait=wait, pace=pause)
    return Composed(logs, SpoolReader(spool, intake, files))


def _listeners(sources: Sequence[SpooledSource], spool: Spool) -> list[Listener]:
    from rua_agents.intake.listener import Listener  # noqa: PLC0415 - sockets and the SDK: few need them

    pushed = [(source, ready[0].origin) for source, ready in sources if _reads(source) == "push"]
    return [Listener(Path(source.socket or ""), origin, spool) for source, origin in pushed]


def _polled(sources: Sequence[SpooledSource], spool: Spool, clock: Clock) -> list[PolledSource]:
    made: dict[str, PolledSource] = {}
    for source, ready in sources:
        if _reads(source) != "poll":
            continue
        origin = ready[0].origin
        name = f"{source.source}:{origin.host}"
        if name in made:
            raise BadConfiguration(
                f"two sources {source.source} of host {origin.host}: name their hosts", key="sources"
            )
        poller = cast(PolledCollector, origin.collector).poller(origin.options)
        made[name] = PolledSource(name, origin, poller, spool, clock=clock)
    return list(made.values())


def _files(settings: AgentSettings, sources: Sequence[SpooledSource], spool: Spool) -> list[SpooledFiles]:
    files = [one for source, ready in sources if _reads(source) == "files" for one in ready]
    # an event that is written for one version's wire could not be sent by the next one
    kept = [one._replace(origin=replace(one.origin, drafts_only=True)) for one in files]
    return [SpooledFiles(Tail(kept, paced(settings.limits)), spool)] if kept else []


def _reads(source: SourceSettings) -> str:
    return reads(collector_of(source.source))
