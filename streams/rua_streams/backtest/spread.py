"""A backtest over several processes: whole logs each, or, of logs too few for that, each its share of the subjects."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from rua_streams.backtest.judge import Judge, Share, Span, Told
from rua_streams.backtest.logs import Log
from rua_streams.backtest.rules import Rules

LOOK_SECONDS = 0.5
SMALL_BYTES = 24 << 20  # judged before other processes would have started


@dataclass(frozen=True)
class Task:
    """What one process does: logs from first to last, of each this share of the subjects."""

    logs: tuple[Log, ...]
    share: Share
    versions: tuple[Rules, ...]
    zone: str
    span: Span


Progress = Callable[[int], None]


def backtest(
    logs: Sequence[Log],
    versions: Sequence[Rules],
    *,
    zone: str = "Asia/Bangkok",
    span: Span | None = None,
    processes: int | None = None,
    progress: Progress = lambda events: None,
) -> Told:
    """Judges logs with versions of the rules.

    Args:
        logs: whole partitions; together everything that is known of a subject.
        versions: one or more; each event is read and decoded once for all of them.
        zone: IANA zone of the platforms.
        span: what is read and told.
        processes: at most so many; as many as there are cores if not given.
        progress: is told now and then how many events have been applied.

    Returns:
        The alerts of each version in the order of time.

    Raises:
        BadConfiguration: rules, zone or a file cannot be used.
    """
    chosen = span or Span()
    Judge(versions, zone, chosen)  # so that what is wrong with the rules is said before anything is started
    many = processes or len(os.sched_getaffinity(0))
    tasks = [Task(own, share, tuple(versions), zone, chosen) for own, share in shared_out(logs, many)]
    told = Told([[] for _ in versions])
    for one in run_here(tasks, progress) if len(tasks) == 1 else run_apart(tasks, progress):
        told.add(one)
    for alerts in told.alerts:
        alerts.sort(key=lambda a: (a.raised_at, a.alert_id, a.revision))
    return told


def shared_out(logs: Sequence[Log], processes: int) -> list[tuple[tuple[Log, ...], Share]]:
    """Who judges what. The largest logs are given out first, each to whoever has least.

    Where the largest would keep one process busy while others wait, all take all logs, and of each a share of the
    subjects: decoding is then done by each of them, and the rest, which costs more, divided.
    """
    total = sum(log.size for log in logs)
    if total < SMALL_BYTES:
        return [(tuple(logs), Share())]
    if processes > 1 and max((log.size for log in logs), default=0) > 1.25 * total / processes:
        return [(tuple(logs), Share(part, processes)) for part in range(processes)]
    heaps: list[list[Log]] = [[] for _ in range(processes)]
    for log in sorted(logs, key=lambda one: -one.size):
        min(heaps, key=lambda heap: sum(one.size for one in heap)).append(log)
    return [(tuple(heap), Share()) for heap in heaps if heap]


def run_here(tasks: Sequence[Task], progress: Progress) -> Iterator[Told]:
    """In this process."""
    for task in tasks:
        yield done(task, progress)


def run_apart(tasks: Sequence[Task], progress: Progress) -> Iterator[Told]:
    """Each in a process of its own: new ones, since polars' threads do not survive a fork."""
    context = multiprocessing.get_context("spawn")
    count: Synchronized[int] = context.Value("q", 0)
    with ProcessPoolExecutor(len(tasks), context, initializer=count_in, initargs=(count,)) as pool:
        futures: list[Future[Told]] = [pool.submit(done_apart, task) for task in tasks]
        waiting = set(futures)
        while waiting:
            _, waiting = wait(waiting, LOOK_SECONDS, return_when="FIRST_EXCEPTION")
            progress(count.value)
            for future in futures:
                if future.done():
                    future.result()  # a mistake in one ends all, at once
    yield from (future.result() for future in futures)


_COUNT: list[Any] = []  # of this process: the number that all of them add to


def count_in(count: Synchronized[int]) -> None:
    """Tells a new process where to count."""
    _COUNT.append(count)


def done_apart(task: Task) -> Told:
    """A task, in a process that counts with others."""
    counted = 0

    def add(events: int) -> None:
        nonlocal counted
        with _COUNT[0].get_lock():
            _COUNT[0].value += events - counted
        counted = events

    return done(task, add)


def done(task: Task, progress: Progress) -> Told:
    """Judges a task's logs."""
    judge = Judge(task.versions, task.zone, task.span, task.share)
    for log in task.logs:
        for told in judge.judge(log):
            progress(told.events)
    return judge.told
