"""`rua demo`: simulated or given logs through the whole product, judged at the end."""

from __future__ import annotations

import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rua_schemas import topics
from rua_sinks.client import connect

from rua_demo import count
from rua_demo.count import Expected, Key
from rua_demo.options import DemoOptions
from rua_demo.profiles import PROFILES
from rua_demo.replay import Replay, Slice, arrivals_root, backlog, known, logs_root, watermark_file
from rua_demo.simulator import simulate
from rua_demo.stack import ROLES, Stack, handled, write_config, write_key
from rua_demo.view import View, view_for
from rua_demo.watch import STARTED, STORED, TICK_SECONDS, Watch
from rua_demo.world import Source, World

__all__ = ["DemoOptions", "run"]

INTERRUPTED = 130
CONCLUSION = "rua_demo.conclusion"
"""Draws and judges with large packages, so it is imported while others work."""
BACKLOG_LINES = 30_000  # written, and not yet read by the slowest agent


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
            try:
                view.close()
            finally:  # the terminal may be gone
                demo.close()


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM stops a run as Ctrl-C does, and so does a terminal that is closed."""
    with handled(signal.default_int_handler, signal.SIGTERM, signal.SIGHUP):
        yield


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
        self.stack = Stack(folder / "data")
        self.watch = Watch(self.stack, view)
        self.world_folder = options.world or folder / "world"
        self.live = folder / "live"

    def run(self) -> int:
        """See `run`."""
        given = Replay.of(self.world_folder, self.live) if self.options.world else None  # or it is refused, at once
        platforms = given.platforms if given else sorted(p.name for p in PROFILES)
        with ThreadPoolExecutor(2) as pool:
            services = pool.submit(self.stack.start_services, platforms)
            replay = given or self._simulate()
            expected = pool.submit(count.expected, self.world_folder, replay.described, replay.unreadable)
            pool.submit(import_module, CONCLUSION)
            for sentence in (*replay.warnings, *replay.skipped, *replay.unreadable.values()):
                self.view.note(sentence)
            services.result()
            self.watch.phase("Kafka and ClickHouse are up")
            self._start(replay, platforms)
            self._replay(replay, platforms)
            self._drain(platforms)
            return self._conclude(replay, platforms, expected.result())

    def close(self) -> None:
        """Ends every process, and keeps their logs, of a run that failed above all."""
        self.watch.close()
        self.stack.kill()
        self.stack.stop_services()
        if self.options.keep is not None and self.stack.logs.exists():
            shutil.copytree(self.stack.logs, self.options.keep / "logs", dirs_exist_ok=True)

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
        self.watch.begin(platforms, replay.total_lines)
        self.watch.wait(lambda: all(self.stack.worker(role).ready for role in ROLES), STARTED)

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
                self.watch.written(step.lines_so_far, step.watermark_ms)
                self.watch.look()
                while self._behind(replay, step, platforms) > BACKLOG_LINES:
                    self.watch.look()
                    time.sleep(TICK_SECONDS)
        finally:
            replay.close()
        self.watch.phase("all log lines are written")

    def _behind(self, replay: Replay, step: Slice, platforms: list[str]) -> int:
        return backlog(replay, step, [self.stack.agent(p).watermark_done_ms or 0 for p in platforms])

    def _drain(self, platforms: list[str]) -> None:
        events, wait = [topics.events_topic(p) for p in platforms], self.watch.wait
        wait(lambda: all(self.stack.agent(p).drained for p in platforms), "agents are drained")
        wait(lambda: self._caught_up("detect", events), "everything is detected")
        self.stack.stop("detect")
        wait(lambda: self._caught_up("store", [*events, topics.ALERTS, topics.DLQ]), STORED)

    def _caught_up(self, role: str, names: list[str]) -> bool:
        status = self.stack.worker(role)
        reached = {(p.topic, p.partition): p.next if role == "detect" else p.committed or 0 for p in status.partitions}
        return all(reached.get(place, 0) >= end for place, end in self.stack.ends(names).items())

    def _conclude(self, replay: Replay, platforms: list[str], expected: Expected) -> int:
        from rua_demo.conclusion import FinishedRun, conclude, size_of, summary  # noqa: PLC0415 - see CONCLUSION

        kept = self.options.keep or self.folder / "kept"
        agents = {p: self.stack.agent(p) for p in platforms}
        finished = FinishedRun(
            replay=replay,
            world_folder=self.world_folder,
            kept=kept,
            expected=expected,
            paths=self._paths(platforms),
            pseudonyms=[self._pseudonyms(p) for p in platforms],
            agents=agents,
            meter=self.watch.meter,
            fresh=self.stack.fresh,
        )
        with ThreadPoolExecutor(1) as pool:
            stopped = pool.submit(self.stack.stop)
            client = connect(self.stack.clickhouse)
            try:
                facts, problems = conclude(client, finished, disk_bytes=size_of(self.folder))
            finally:
                client.close()
                self.watch.close()
            self.watch.phase("judged")
            stopped.result()
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
