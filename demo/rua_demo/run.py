"""`rua demo`: simulated or given logs through the whole product, judged at the end."""

from __future__ import annotations

import secrets
import shutil
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rua_common.errors import RuaError
from rua_schemas import topics
from rua_sinks.client import connect

from rua_demo import count
from rua_demo.count import Expected, Key
from rua_demo.options import DemoOptions
from rua_demo.profiles import PROFILES
from rua_demo.replay import Replay, Slice, arrivals_root, backlog, known, logs_root, watermark_file
from rua_demo.simulator import simulate
from rua_demo.stack import ROLES, Stack, write_config, write_key
from rua_demo.view import Progress, View, view_for
from rua_demo.watch import STARTED, STORED, AlertTap, Meter
from rua_demo.world import Source, World

__all__ = ["DemoOptions", "run"]

INTERRUPTED = 130
CONCLUSION = "rua_demo.conclusion"
"""Draws and judges with large packages, so it is imported while others work."""
BACKLOG_LINES = 30_000
TICK_SECONDS, LOOK_SECONDS = 0.02, 0.25
PATIENCE_SECONDS = 120.0
"""So long nothing may move before the run gives up."""


def run(options: DemoOptions) -> int:
    """Runs a demonstration.

    Returns:
        0 if nothing was lost or doubled and every planted attack was found, 1 if not, 130 after Ctrl-C.

    Raises:
        RuaError: something did not start, crashed, or stands still.
    """
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    again = f"--world {options.world}" if options.world else f"--seed {seed}"
    view = view_for(Console(stderr=False), f"Rua demo รั้ว   ({again})")
    with _stoppable(), _folder() as folder:
        demo = Demo(options, seed, folder, view)
        try:
            return demo.run()
        except KeyboardInterrupt:
            view.note("stopped")
            return INTERRUPTED
        finally:
            view.close()
            demo.stack.kill()
            demo.stack.stop_services()


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM stops a run as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that is gone afterwards, whatever still writes into it at the moment."""
    folder = Path(tempfile.mkdtemp(prefix="rua-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Demo:
    """One demonstration, from an empty folder to a verdict."""

    def __init__(self, options: DemoOptions, seed: int, folder: Path, view: View) -> None:
        self.options, self.seed, self.folder, self.view = options, seed, folder, view
        self.stack, self.meter, self.now = Stack(folder / "data"), Meter(), Progress()
        self.world_folder = options.world or folder / "world"
        self.live = folder / "live"
        self._looked_at = self._moved_at = 0.0
        self._last_counts: tuple[int, ...] = ()
        self._history: deque[tuple[float, int, int, int]] = deque(maxlen=round(5 / LOOK_SECONDS))
        self._tap: AlertTap | None = None

    def run(self) -> int:
        """See `run`."""
        replay, platforms = self._set_up()
        for sentence in replay.skipped:
            self.view.note(sentence)
        with ThreadPoolExecutor(1) as counting:
            expected = counting.submit(count.expected, self.world_folder, replay.described)
            counting.submit(import_module, CONCLUSION)
            self._start(replay, platforms)
            self._replay(replay, platforms)
            self._drain(platforms)
            return self._conclude(replay, platforms, expected.result())

    def _set_up(self) -> tuple[Replay, list[str]]:
        """The services, and meanwhile the world; a given one that is broken is refused before anything starts."""
        given = Replay.of(self.world_folder, self.live) if self.options.world else None
        platforms = given.platforms if given else sorted(p.name for p in PROFILES)
        with ThreadPoolExecutor(1) as pool:
            services = pool.submit(self.stack.start_services, platforms)
            replay = given or self._simulate()
            services.result()
        self._phase("Kafka and ClickHouse are up")
        return replay, platforms

    def _simulate(self) -> Replay:
        made = simulate(self.world_folder, self.seed, days=self.options.days, scale=self.options.scale)
        self.view.note(f"{made.world.about} {made.lines:,} log lines, {made.attacks} attacks; seed {self.seed}.")
        return Replay.of(self.world_folder, self.live)

    def _start(self, replay: Replay, platforms: list[str]) -> None:
        self.stack.start_workers(platforms)
        key = write_key(self.folder / "key")
        for platform in platforms:
            sources = [s for s in known(replay.described) if s.platform == platform]
            config = self._agent_config(platform, sources, replay.described, key)
            self.stack.start_agent(platform, write_config(self.folder / f"{platform}.yaml", config))
        self._tap = AlertTap(self.stack.kafka)
        self.now.total_lines = replay.total_lines
        self._wait(platforms, lambda: all(self.stack.worker(role).ready for role in ROLES), STARTED)

    def _agent_config(self, platform: str, sources: list[Source], described: World, key: Path) -> dict[str, object]:
        read = [
            {"source": s.source, "paths": [str(logs_root(self.live) / s.glob)], "zone": s.zone, "host": s.host}
            | ({"options": s.options} if s.options else {})
            for s in sources
        ]
        return {
            "platform": platform,
            "agent_id": f"{platform}-agent",
            "key_file": str(key),
            "state_dir": str(self.stack.agent_state(platform)),
            "kafka": {"bootstrap": self.stack.kafka},
            "sources": read,
            "replay": {
                "start_ms": described.start_ms,
                "watermark_file": str(watermark_file(self.live)),
                "arrivals_root": str(arrivals_root(self.live)),
                "logs_root": str(logs_root(self.live)),
                "pseudonyms_file": str(self._pseudonyms(platform)),
            },
        }

    def _pseudonyms(self, platform: str) -> Path:
        return self.folder / f"pseudonyms-{platform}.jsonl"

    def _replay(self, replay: Replay, platforms: list[str]) -> None:
        try:
            for step in replay.slices():
                self.now.lines, self.now.world_ms = step.lines_so_far, step.watermark_ms
                self._look(platforms)
                while self._behind(replay, step, platforms) > BACKLOG_LINES:
                    self._look(platforms)
                    time.sleep(TICK_SECONDS)
        finally:
            replay.close()
        self._phase("all log lines are written")

    def _behind(self, replay: Replay, step: Slice, platforms: list[str]) -> int:
        return backlog(replay, step, [self.stack.agent(p).watermark_done_ms or 0 for p in platforms])

    def _drain(self, platforms: list[str]) -> None:
        events = [topics.events_topic(p) for p in platforms]
        self._wait(platforms, lambda: all(self.stack.agent(p).drained for p in platforms), "agents are drained")
        self._wait(platforms, lambda: self._caught_up("detect", events), "everything is detected")
        self.stack.stop("detect")
        everything = [*events, topics.ALERTS, topics.DLQ]
        self._wait(platforms, lambda: self._caught_up("store", everything), STORED)

    def _wait(self, platforms: list[str], done: Callable[[], bool], name: str) -> None:
        while not done():
            self._look(platforms)
            time.sleep(TICK_SECONDS)
        self._looked_at = 0.0
        self._look(platforms)
        self._phase(name)

    def _caught_up(self, role: str, names: list[str]) -> bool:
        status = self.stack.worker(role)
        reached = {(p.topic, p.partition): p.next if role == "detect" else p.committed or 0 for p in status.partitions}
        return all(reached.get(place, 0) >= end for place, end in self.stack.ends(names).items())

    def _look(self, platforms: list[str]) -> None:
        """Four times a second: crashes, progress, alerts, memory; and whether anything moves at all."""
        seconds = self.meter.seconds
        if seconds - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = seconds
        self.stack.check()
        now, agents = self.now, [self.stack.agent(p) for p in platforms]
        now.seconds, now.memory_bytes = seconds, self.meter.memory_bytes()
        now.produced = sum(a.events_produced for a in agents)
        now.detected, now.stored = self.stack.worker("detect").events or now.detected, self._stored_events()
        self._rates(seconds)
        for alert in self._tap.new() if self._tap else []:
            now.alerts += 1
            self._first("first alert", now.alerts)
            self.view.alert(alert)
        self._first("first event", now.produced)
        self._stuck(seconds, (now.lines, now.produced, now.detected, now.stored))
        self.view.progress(now)

    def _stored_events(self) -> int:
        partitions = self.stack.worker("store").partitions
        return sum(p.committed or 0 for p in partitions if p.topic.startswith(topics.EVENTS))

    def _rates(self, seconds: float) -> None:
        """Events a second over the last five seconds, at three places of the way."""
        now = self.now
        self._history.append((seconds, now.produced, now.detected, now.stored))
        then, at = self._history[0], self._history[-1]
        span = max(at[0] - then[0], 1e-3)
        now.rates = ((at[1] - then[1]) / span, (at[2] - then[2]) / span, (at[3] - then[3]) / span)

    def _first(self, name: str, number: int) -> None:
        if number and all(name != known_name for known_name, _ in self.meter.phases):
            self._phase(name)

    def _phase(self, name: str) -> None:
        self.meter.phases.append((name, self.meter.seconds))
        self.view.phase(name, self.meter.seconds)

    def _stuck(self, seconds: float, counts: tuple[int, ...]) -> None:
        if counts != self._last_counts:
            self._last_counts, self._moved_at = counts, seconds
        if seconds - self._moved_at > PATIENCE_SECONDS:
            raise RuaError(
                f"nothing has moved for {PATIENCE_SECONDS:.0f} s (lines, events, detected, stored: {counts}); "
                f"the logs are in {self.stack.logs}"
            )

    def _conclude(self, replay: Replay, platforms: list[str], expected: Expected) -> int:
        from rua_demo.conclusion import FinishedRun, conclude, size_of, summary  # noqa: PLC0415 - see CONCLUSION

        paths = self._paths(platforms)
        agents = {p: self.stack.agent(p) for p in platforms}
        self.stack.stop(*self.stack.names)
        self._phase("agents and workers are stopped")
        if self._tap is not None:
            self._tap.close()
        self.meter.memory_bytes()
        pseudonyms = [self._pseudonyms(p) for p in platforms]
        kept = self.options.keep or self.folder / "kept"
        finished = FinishedRun(
            replay,
            self.world_folder,
            kept,
            expected,
            paths,
            pseudonyms,
            agents,
            self.meter,
            fresh=self.stack.fresh,
        )
        client = connect(self.stack.clickhouse)
        try:
            facts, problems = conclude(client, finished, disk_bytes=size_of(self.folder))
        finally:
            client.close()
        self._phase("judged")
        if self.options.keep is not None:
            shutil.copytree(self.stack.logs, self.options.keep / "logs", dirs_exist_ok=True)
        self.view.close()
        for sentence in summary(facts, problems, agents, self.options.keep):
            self.view.note(sentence)
        return int(bool(problems) or not facts.verdict.all_found)

    def _paths(self, platforms: list[str]) -> dict[str, Key]:
        """Which file of the world each source id is."""
        root = logs_root(self.live)
        return {
            file.source_id: (platform, str(Path(file.path).relative_to(root)))
            for platform in platforms
            for file in self.stack.agent(platform).files
            if file.source_id is not None
        }
