"""Events per processor second through the shipped detectors, and bytes of state per actor.

    python -m benchmarks.detectors [--events N] [--sizes N …] [--actors N …]

Frames as the codec gives them, 10,000 events per second of event time: 60 % reads, 10 % exports, 0.2 % privilege
changes, 2 % late. Every actor has a history of 20 days and was seen today. Medians; `midnight` is a batch of events
that are each actor's first of a new day.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
import polars as pl
from rua_streams.detectors import DETECTORS
from rua_streams.engine import Engine
from rua_streams.runs import DAY
from rua_streams.state import State
from rua_streams.testing import SCHEMA, event, frame

START_MS, KIND = 1_790_040_000_000, SCHEMA["kind"]


def frames(actors: int, size: int, count: int, *, start_ms: int = START_MS, seed: int = 1) -> Iterator[pl.DataFrame]:
    """Random traffic of so many actors."""
    rng = np.random.default_rng(seed)
    names = pl.Series([f"{n:032x}" for n in np.random.default_rng(0).integers(0, 1 << 60, actors)])
    networks = pl.Series([f"client:10.{n // 250}.{n % 250}.0/24" for n in range(500)])
    blank = pl.concat([frame([event(0)])] * size).drop("offset")
    for number in range(count):
        who = rng.integers(0, actors, size)
        at = start_ms + np.arange(number * size, (number + 1) * size) // 10
        late = (rng.random(size) < 0.02) * rng.integers(0, 10_000_000, size)
        action = pl.Series(rng.choice(["read", "query", "export", "alter"], size, p=[0.6, 0.298, 0.1, 0.002]))
        yield blank.with_columns(
            event_id=pl.Series([f"{n:032x}" for n in range(number * size, (number + 1) * size)]),
            actor=names.gather(who),
            action=action.cast(SCHEMA["action"]),
            kind=pl.when(action == "alter").then(pl.lit("privilege_change")).otherwise(pl.lit("bulk_query")).cast(KIND),
            rows=pl.Series(rng.integers(0, 50, size)),
            bytes=pl.Series(rng.integers(0, 50_000, size)),
            subjects=pl.Series(rng.integers(0, 20, size)),
            destination=networks.gather((who + rng.integers(0, 3, size)) % 500),
            occurred_at=pl.Series(at - late),
            observed_at=pl.Series(at + 10),
            offset=pl.int_range(number * size, (number + 1) * size, dtype=pl.Int64),
        )  # fmt: skip


def warmed(actors: int) -> tuple[Engine, State]:
    """An engine whose state has met every actor several times on each of 20 days."""
    engine = Engine(DETECTORS)
    state = State(engine.layout)
    for day in range(20, -1, -1):  # the last time today, so that the measured batches close no day
        for batch in frames(
            actors, 50_000, 1 + 2 * actors // 50_000, start_ms=START_MS - day * DAY * 1_000 - 3_600_000, seed=day
        ):
            engine.apply(batch, state)
    return engine, state


def seconds(engine: Engine, state: State, batches: Iterator[pl.DataFrame]) -> list[float]:
    """Processor seconds of each batch, all threads together: a busy machine does not change them much."""
    took = []
    for batch in batches:
        began = time.process_time()
        engine.apply(batch, state)
        took.append(time.process_time() - began)
    return took


def main() -> None:
    """Prints a line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_000, 10_000])
    parser.add_argument("--actors", type=int, nargs="+", default=[1_000, 100_000])
    options = parser.parse_args()
    for actors in options.actors:
        engine, state = warmed(actors)
        for size in options.sizes:
            took = seconds(engine, state, frames(actors, size, max(7, options.events // size)))
            rate, middle = size / np.median(took), np.median(took) * 1e3
            print(
                f"{actors:>7} actors, batches of {size:>6}: {rate:>9,.0f} events/s, {middle:6.2f} ms a batch",
                flush=True,
            )
        (midnight,) = seconds(engine, state, frames(actors, 10_000, 1, start_ms=START_MS + DAY * 1_000))
        state.take_dirty()
        packed = [len(row) for row in list(state.dump().values())[:5_000]]
        dense = sum(c.nbytes for owned in state.columns.values() for c in owned.values()) / state.capacity
        print(f"        midnight: {10_000 / midnight:,.0f} events/s", end="; ")
        print(f"a row: {np.mean(packed):.0f} B packed, {dense:.0f} B dense", flush=True)


if __name__ == "__main__":
    main()
