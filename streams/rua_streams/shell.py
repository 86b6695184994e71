"""What both roles share: cursors of the owned partitions, rewinding, pausing, lag, the status file, the way out."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from faust.types import TP
from rua_common.clock import SystemClock
from rua_common.errors import Refused
from rua_common.metrics import Metrics

from rua_streams.partition import Cursor
from rua_streams.settings import WorkerSettings
from rua_streams.transport import Batch, BatchApp, Consumer, Mark, Revoked
from rua_streams.watchdog import Watchdog

LOG = logging.getLogger(__name__)
T = TypeVar("T")
EX_START_AGAIN, EX_REFUSED, EX_BUG = 75, 78, 70
QUEUED_BATCHES = 2  # of one partition, handed over and not yet taken


class BaseShell(ABC):
    """A `transport.Shell`. Everything runs on the event loop, except what `thread` is given."""

    role = ""

    def __init__(self, app: BatchApp, settings: WorkerSettings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self.watchdog = Watchdog(settings.stall_seconds, time.monotonic())
        self.paused: set[TP] = set()
        self.ready = False
        self.pool = ThreadPoolExecutor(8, thread_name_prefix=f"rua-{self.role}")

    @property
    def consumer(self) -> Consumer:
        """The transport's consumer."""
        consumer: Consumer = self.app.consumer  # type: ignore[assignment]  # the app was built with our transport
        return consumer

    @abstractmethod
    def cursors(self) -> Mapping[TP, Cursor]:
        """The cursor of each owned partition."""

    @abstractmethod
    def marks(self) -> Mapping[TP, Mark]:
        """See `transport.Shell`."""

    @abstractmethod
    async def acquire(self) -> None:
        """Holds exactly the assigned partitions."""

    @abstractmethod
    def apply(self, tp: TP, batch: Batch) -> None:
        """Takes a batch that starts where it should."""

    def positions(self) -> Mapping[TP, int]:
        """See `transport.Shell`."""
        return {tp: cursor.next for tp, cursor in self.cursors().items()}

    def room(self, tp: TP) -> bool:
        """See `transport.Shell`."""
        return tp in self.cursors() and tp not in self.paused and self.consumer.queued[tp] < QUEUED_BATCHES

    async def receive(self, tp: TP, batch: Batch, epoch: int) -> None:
        """Applies a batch, or rewinds if it does not start at the expected offset. Lets no exception out."""
        try:
            cursor = self.cursors().get(tp)
            if cursor is None or epoch != self.consumer.epoch[tp]:
                return  # not ours any more, or fetched before a seek
            if cursor.accepts(batch[0].offset):
                self.apply(tp, batch)
                self.watchdog.progress(time.monotonic())
                return
            LOG.warning("%s-%d: expected offset %d, found %d", *tp, cursor.next, batch[0].offset)
            await self.consumer.rewind({tp: cursor.next})
        except Revoked:
            LOG.info("%s-%d was revoked meanwhile", *tp)
        except Exception:
            LOG.exception("%s-%d: a batch from offset %d failed", *tp, batch[0].offset)
            self.leave(EX_BUG, "the state may be half changed; the next start goes on from the last checkpoint")

    async def own(self) -> None:
        """Awaited by Faust after each assignment, before it seeks and resumes."""
        self.ready = False
        try:
            await self.acquire()
        except Refused as why:
            self.leave(EX_REFUSED, str(why))
        except Exception:
            LOG.exception("partitions could not be taken over")
            self.leave(EX_START_AGAIN, "start again")
        self.paused &= set(self.cursors())
        self.ready = True
        self.watchdog.progress(time.monotonic())

    def took_over(self, new: Sequence[TP], seconds: float) -> None:
        """Says where the new partitions go on."""
        places = " ".join(f"{tp.topic}-{tp.partition}@{self.cursors()[tp].next}" for tp in new)
        LOG.info("%d partitions taken over in %.1f s: %s", len(new), seconds, places)

    async def guarded(self, tick: Callable[[], Awaitable[None]]) -> None:
        """Runs what recurs. An exception that nobody foresaw ends the process, before Faust would flush and commit."""
        try:
            await tick()
        except Exception:
            LOG.exception("a recurring task failed")
            self.leave(EX_BUG, "the next start goes on from the last checkpoint")

    def pause(self, tp: TP, reason: str) -> None:
        """Takes no more of this partition until a restart."""
        LOG.error("%s-%d is paused: %s. Mend the producer, then restart the worker to go on", *tp, reason)
        self.paused.add(tp)

    def lags(self) -> dict[TP, tuple[int, int]]:
        """Next offset and end of each owned partition, as far as the last fetch told."""
        if not self.cursors():
            return {}  # Faust's consumer may not even have started
        assigned = self.consumer.assignment()
        ends = {tp: self.consumer.highwater(tp) or 0 for tp in self.cursors() if tp in assigned}
        return {tp: (cursor.next, max(ends.get(tp, 0), cursor.next)) for tp, cursor in self.cursors().items()}

    def watch(self) -> None:
        """Ends the process if it is stuck. Called each second."""
        lags = self.lags()
        for tp, (at, end) in lags.items():
            self.metrics.set("rua_worker_lag_events", end - at, topic=tp.topic, partition=str(tp.partition))
        waiting = sum(end - at for tp, (at, end) in lags.items() if tp not in self.paused)
        if self.ready and (why := self.watchdog.stuck(waiting, time.monotonic())):
            self.leave(EX_START_AGAIN, why)

    def status(self) -> dict[str, Any]:
        """What the status file holds."""
        lags = self.lags()
        counts = {
            name: round(
                sum(v for (metric, _), v in self.metrics.values.items() if metric == f"rua_worker_{name}_total")
            )
            for name in ("events", "duplicates", "late", "unknown_symbols", "dead_letters", "alerts")
        }
        return {
            "role": self.role,
            "pid": os.getpid(),
            "at_ms": SystemClock().now_ms(),
            "ready": self.ready and bool(self.cursors()),
            "lag": sum(end - at for at, end in lags.values()),
            **counts,
            "rss_bytes": memory_bytes(),
            "partitions": [
                {"topic": tp.topic, "partition": tp.partition, "next": at, "end": end, "lag": end - at}
                | {"committed": mark.offset if (mark := self.marks().get(tp)) else None, "paused": tp in self.paused}
                for tp, (at, end) in sorted(lags.items())
            ],
        }

    def write_status(self) -> None:
        """Rewrites the status file, whole or not at all."""
        if self.settings.status_file is not None:
            path = Path(self.settings.status_file.replace("{role}", self.role))
            new = path.with_name(f"{path.name}.new")
            new.write_text(json.dumps(self.status()), encoding="utf-8")
            new.replace(path)

    async def thread(self, call: Any, *args: Any) -> Any:
        """Runs what blocks, off the loop."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, call, *args)

    def leave(self, code: int, why: str) -> NoReturn:
        """Ends the process at once: nothing may be flushed or committed any more."""
        LOG.critical("the worker ends: %s", why)
        sys.stderr.flush()
        os._exit(code)


def memory_bytes() -> int:
    """Resident memory now where the system tells, else the peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1_024)
    return pages * resource.getpagesize()
