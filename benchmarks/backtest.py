"""A back-test from files: events a second with one detector and with all, over all cores.

    python -m benchmarks.backtest [--events N] [--files N] [--keep DIR] [--repeat 3] [--processes N]

The log is that of `benchmarks.detectors`, of 2,000 actors, drawn out over twenty days, one file for each partition.
Clock seconds of the whole run, processes started included; medians with the range. With `--keep` the files are made
once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from rua_schemas.container import write
from rua_streams.backtest.logs import file_name, logs_in
from rua_streams.backtest.rules import Rules
from rua_streams.backtest.spread import backtest
from rua_streams.runs import DAY

from benchmarks.detectors import START_MS, frames

TOPIC, BATCH, ACTORS, DAYS = "rua.events.lazada", 10_000, 2_000, 20
CHOICES: dict[str, tuple[str, ...] | None] = {"one detector": ("bulk-export-volume",), "all detectors": None}


def log(events: int, actors: int, seed: int) -> Iterator[pl.DataFrame]:
    """One partition's events, drawn out over so many days."""
    step_ms = DAYS * DAY * 1_000 // events
    for number, frame in enumerate(frames(actors, BATCH, -(-events // BATCH), seed=seed)):
        place = number * BATCH + pl.int_range(pl.len(), dtype=pl.Int64)
        late = pl.col("observed_at") - pl.col("occurred_at")
        observed = START_MS + place * step_ms
        yield frame.with_columns(
            source_position=place * 1_024,
            observed_at=observed,
            occurred_at=observed - late,
            source_id=pl.lit(str(seed)),
        )


def main() -> None:
    """Prints a line for each choice of detectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = given.keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        if not any(place.iterdir()):
            for number in range(given.files):
                write(
                    place / file_name(TOPIC, number, 0), log(given.events // given.files, ACTORS // given.files, number)
                )
        size = sum(path.stat().st_size for path in place.iterdir())
        print(f"{given.processes} processes, {len(list(place.iterdir()))} files, {size / 1e6:,.0f} MB")
        for name, ids in CHOICES.items():
            rates = [rate(place, ids, given.processes) for _ in range(given.repeat)]
            print(f"{name:<14} {statistics.median(rates):>10,.0f} events/s  ({min(rates):,.0f} - {max(rates):,.0f})")


def rate(place: Path, ids: tuple[str, ...] | None, processes: int) -> float:
    """Events a second of one run."""
    began = time.perf_counter()
    told = backtest(logs_in(place), [Rules("shipped", ids=ids)], processes=processes)
    return told.events / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
