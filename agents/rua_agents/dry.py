"""`rua agent run --dry-run`: reads for real, from the checkpoint on, and sends, moves and writes nothing."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from rua_common.clock import Clock, SystemClock
from rua_common.errors import BadConfiguration
from rua_schemas.events import TelemetryEvent

from rua_agents.checkpoint import Checkpoint, CheckpointFile
from rua_agents.keyfile import read_keys
from rua_agents.parse import sendable
from rua_agents.pseudonyms import KeyRing
from rua_agents.run import watched
from rua_agents.sealing import opened
from rua_agents.settings import AgentSettings, collector_of, load, reads
from rua_agents.stream import SILENCE_MS
from rua_agents.tail import Tail, Watched
from rua_agents.tally import Tally

SETTLE_MS = 500
IDLE_SECONDS = 0.05
set_field: Callable[[Any, str, Any], None] = msgspec.structs.force_setattr


def run(config: Path, *, once: bool, prints: bool) -> int:
    """Prints what would be sent, if asked to, and at the end what became of every record.

    Raises:
        RuaError: bad configuration.
    """
    settings = load(config)
    if settings.replay is not None:
        raise BadConfiguration("a replay cannot be tried dry: use rua agent parse", file=str(config), key="replay")
    tallies: dict[str, Tally] = {}
    keys = KeyRing(read_keys(Path(settings.key_file)), settings.platform)
    files = [source for source in settings.sources if reads(collector_of(source.source)) == "files"]
    for source in settings.sources:
        if source not in files:
            print(f"{source.source}: left out, a dry run reads files only", file=sys.stderr)  # noqa: T201 - the command's own output
    logs = watched(msgspec.structs.replace(settings, sources=files), keys, tallies)
    plain = [Watched(replace(one.origin, drafts_only=True), one.patterns) for one in logs]
    tail = Tail(plain, settings.limits)
    found = checkpoint_of(settings)
    if found:
        tail.restore(found.files)
    clock = SystemClock()
    sink = Sink(tallies, clock.now_ms(), prints=prints)
    read(tail, clock, sink.take, stopped=None if once else _Told().stopped)
    sys.stdout.buffer.flush()
    faults = [f"{path}: {why}" for path, why in tail.problems.items()]
    print("\n".join([sink.account(), *faults]), file=sys.stderr)  # noqa: T201 - likewise
    tail.close()
    return int(bool(tail.problems))


def checkpoint_of(settings: AgentSettings) -> Checkpoint | None:
    """Where a real run would go on. A damaged checkpoint stays as it is: a real run would read everything again."""
    path = CheckpointFile(Path(settings.state_dir)).path
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Checkpoint)
    except (OSError, ValueError):
        return None
    return found if found.platform == settings.platform else None


def read(
    tail: Tail,
    clock: Clock,
    take: Callable[[TelemetryEvent], None],
    *,
    stopped: Callable[[], bool] | None,
) -> None:
    """Gives every draft to `take` until it is stopped; without `stopped`, until silence has completed what waits."""
    moved_ms = clock.now_ms()
    while stopped is None or not stopped():
        moved = False
        for drafts in tail.turn(clock.now_ms()):
            moved = True
            for draft in drafts:
                take(opened(draft))
        if moved:
            moved_ms = clock.now_ms()
        elif stopped is None and clock.now_ms() - moved_ms > SILENCE_MS + SETTLE_MS:
            break
        else:
            time.sleep(IDLE_SECONDS)


class Sink:
    """Where events go instead of Kafka: counted, and printed if asked to."""

    def __init__(self, tallies: Mapping[str, Tally], epoch_ms: int, *, prints: bool) -> None:
        self.kinds: Counter[tuple[str, str]] = Counter()
        self._tallies, self._epoch_ms, self._prints, self._seq = tallies, epoch_ms, prints, 0

    def take(self, draft: TelemetryEvent) -> None:
        """Takes an event if a real run could send it."""
        for event in sendable(iter([draft]), self._tallies[draft.source]):
            self._seq += 1
            set_field(event, "agent_epoch", self._epoch_ms)
            set_field(event, "agent_seq", self._seq)
            self.kinds[event.source, str(event.kind)] += 1
            if self._prints:
                sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")

    def account(self) -> str:
        """What became of every record, and what would be sent: a line a source."""
        lines = []
        for source, tally in sorted(self._tallies.items()):
            named = ", ".join(f"{kind} {n}" for (of, kind), n in sorted(self.kinds.items()) if of == source)
            lines.append(f"{source}: {tally.line()}; would send {named or 'nothing'}")
        return "\n".join(lines)


class _Told:
    """Whether a signal asked to end."""

    def __init__(self) -> None:
        self._signals = 0
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, self._count)

    def stopped(self) -> bool:
        return self._signals > 0

    def _count(self, *_: object) -> None:
        self._signals += 1
