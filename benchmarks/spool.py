"""The agent's spool against SQLite (WAL, synchronous=FULL), same events, groups and disk, same run; and the SDK's call.

`python -m benchmarks.spool [--events 50000] [--directory DIR]` prints CPU microseconds and events per second of wall
time for writing (encoded, durable in groups), for reading and releasing, the ratio, and what an export costs the one
who makes it.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from rua_agents.sdk import configure, export
from rua_agents.spool.settings import SpoolSettings
from rua_agents.spool.spool import Spool
from rua_schemas.events import TelemetryEvent

from benchmarks.codec import made_up

GROUPS = (1, 100, 500)
EXPORTS = 20_000


class Cost(NamedTuple):
    """Of one event."""

    cpu_us: float
    per_second: float


def cost(work: Callable[[], None], events: int) -> Cost:
    """Runs it once."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Cost(cpu / events * 1e6, events / wall)


class Segments:
    """The spool."""

    def __init__(self, directory: Path) -> None:
        self._spool = Spool(directory, SpoolSettings())

    def write(self, events: list[TelemetryEvent], group: int) -> None:
        """Durable, group by group."""
        for at in range(0, len(events), group):
            self._spool.append(events[at : at + group], {"source": at})
            if not self._spool.commit():
                raise OSError(self._spool.problem)

    def drain(self) -> int:
        """Reads and releases everything."""
        found = 0
        while events := self._spool.read():
            found += len(events)
            self._spool.release(self._spool.cursor)
        return found


class Sqlite:
    """The usual way: a table as a queue."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._base = sqlite3.connect(directory / "queue.db", isolation_level=None)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=FULL")
        self._base.execute("CREATE TABLE queue (id INTEGER PRIMARY KEY, event BLOB)")

    def write(self, events: list[TelemetryEvent], group: int) -> None:
        """Durable, transaction by transaction."""
        encode = msgspec.msgpack.Encoder().encode
        for at in range(0, len(events), group):
            self._base.execute("BEGIN")
            rows = [(encode(one),) for one in events[at : at + group]]
            self._base.executemany("INSERT INTO queue (event) VALUES (?)", rows)
            self._base.execute("COMMIT")

    def drain(self) -> int:
        """Reads and deletes everything, 500 at a time."""
        decode, found = msgspec.msgpack.Decoder(TelemetryEvent).decode, 0
        while rows := self._base.execute("SELECT id, event FROM queue ORDER BY id LIMIT 500").fetchall():
            found += len([decode(event) for _, event in rows])
            self._base.execute("DELETE FROM queue WHERE id <= ?", (rows[-1][0],))
        return found


def compare(events: list[TelemetryEvent], group: int, directory: Path) -> None:
    """Both, one after the other."""
    taken = events[: max(200, min(len(events), 100 * group))]
    written: dict[str, Cost] = {}
    drained: dict[str, Cost] = {}
    for kind in (Segments, Sqlite):
        queue = kind(directory / f"{kind.__name__}{group}")
        written[kind.__name__] = cost(lambda queue=queue: queue.write(taken, group), len(taken))  # type: ignore[misc]  # bound at once
        counts: list[int] = []
        drained[kind.__name__] = cost(lambda queue=queue, counts=counts: counts.append(queue.drain()), len(taken))  # type: ignore[misc]  # likewise
        if counts != [len(taken)]:
            raise RuntimeError(f"{kind.__name__} gave {counts} of {len(taken)} events")
    told(f"write, durable in groups of {group}", written["Segments"], written["Sqlite"])
    told(f"read and release ({group})", drained["Segments"], drained["Sqlite"])


def told(what: str, ours: Cost, theirs: Cost) -> None:
    """One line."""
    print(
        f"{what:34} spool {ours.cpu_us:7.2f} us CPU {ours.per_second:9,.0f}/s   "
        f"SQLite {theirs.cpu_us:7.2f} us CPU {theirs.per_second:9,.0f}/s   "
        f"CPU {theirs.cpu_us / ours.cpu_us:4.1f} x, wall {ours.per_second / theirs.per_second:4.1f} x"
    )


def call(path: str) -> None:
    """What an export costs the thread that makes it, with nobody at the socket: the worst case."""
    configure(path)
    took = []
    for n in range(EXPORTS):
        began = time.perf_counter_ns()
        with export(
            dataset="orders", actor=f"u{n}", merchant="m-1", app="erp", destination="https://x.example/in"
        ) as e:
            e.rows(120)
        took.append(time.perf_counter_ns() - began)
    took.sort()
    median, late = took[EXPORTS // 2] / 1e3, took[EXPORTS * 99 // 100] / 1e3
    print(f"{'SDK: one export, in its caller':34} median {median:.1f} us, 99 % below {late:.1f} us")


def main() -> None:
    """Runs all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--directory", type=Path, help="on the disk in question (default: the temporary one)")
    given = parser.parse_args()
    rng = random.Random(1)
    events = [made_up(rng, seq) for seq in range(given.events)]
    with tempfile.TemporaryDirectory(dir=given.directory) as name:
        for group in GROUPS:
            compare(events, group, Path(name))
        call(f"{name}/nobody")


if __name__ == "__main__":
    main()
