"""The end of a run: nothing lost, nothing twice, what was found; the files that are kept, the report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client
from rua_streams.detectors import DETECTORS

from rua_demo import count, judge, report, results, world
from rua_demo.count import Expected, Key
from rua_demo.judge import JudgedAlert
from rua_demo.replay import Replay
from rua_demo.report import Facts, duration
from rua_demo.stack import AgentStatus
from rua_demo.view import day_and_time
from rua_demo.watch import STARTED, STORED, Meter

MS_PER_DAY = 86_400_000
REPORT_FILE, FIGURES_FILE = "report.html", "run.json"
SHOWN_PROBLEMS = 12


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run whose agents and workers have stopped.

    Attributes:
        kept: Where its files go.
        expected: The independent count.
        paths: Which file each source id is.
        pseudonyms: What the agents noted.
        fresh: Whether the store holds nothing but this run.
    """

    replay: Replay
    world_folder: Path
    kept: Path
    expected: Expected
    paths: Mapping[str, Key]
    pseudonyms: Sequence[Path]
    agents: Mapping[str, AgentStatus]
    meter: Meter
    fresh: bool


def conclude(client: Client, run: FinishedRun, *, disk_bytes: int) -> tuple[Facts, list[str]]:
    """Compares, judges, and writes what is kept.

    Returns:
        The facts, and every reason for which something was lost or doubled.
    """
    run.kept.mkdir(parents=True, exist_ok=True)
    alerts = results.keep(client, run.kept, run.world_folder, run.paths, run.pseudonyms)
    described = run.replay.described
    stored = results.stored(client, run.paths, described, fresh=run.fresh)
    uncounted = {key: n for key, n in stored.events.items() if key[1] in _uncounted_files(run)}
    expected = {**run.expected.events, **uncounted}
    problems = [str(d) for d in count.differences(expected, stored.events, stored.rows)]
    problems += run.replay.unreadable.values()
    problems += _accounts(run.agents, stored.events.total())
    days = (described.end_ms - described.start_ms) / MS_PER_DAY
    detectors = [d.rule.id for d in DETECTORS]
    verdict, names = judge.judge_folder(
        run.world_folder,
        run.kept,
        detectors=detectors,
        actors=stored.actors,
        days=days,
        accounts=stored.accounts,
    )
    phases = [*run.meter.phases, ("judged", run.meter.seconds)]
    facts = Facts(
        world=described,
        verdict=verdict,
        alerts=alerts,
        names=names,
        hours=results.hours(client, described),
        top=results.top_actors(client, described),
        phases=phases,
        lines=run.replay.total_lines,
        expected=sum(expected.values()),
        stored=stored.events.total(),
        rows=stored.rows.total(),
        events_per_second=stored.events.total() / max(_between(phases, STARTED, STORED), 1e-3),
        peak_memory_bytes=run.meter.peak_memory_bytes,
        disk_bytes=disk_bytes,
    )
    report.write(run.kept / REPORT_FILE, facts)
    (run.kept / FIGURES_FILE).write_text(json.dumps(report.figures(facts), indent=1) + "\n", encoding="utf-8")
    return facts, problems


def _uncounted_files(run: FinishedRun) -> set[str]:
    """Files of sources for which there is no independent counter."""
    sources = [s for s in run.replay.described.sources if s.source in run.expected.uncounted]
    return {str(path) for source in sources for path in world.files(run.world_folder, source)}


def _accounts(agents: Mapping[str, AgentStatus], stored: int) -> list[str]:
    """The agents' own books: every record has one fate, every event was acknowledged and is stored."""
    problems = []
    for platform, a in agents.items():
        fates = a.events_produced - a.split + a.merged + sum(a.ignored.values()) + sum(a.failed.values())
        if fates != a.records:
            problems.append(f"{platform}: {a.records:,} records were read, but {fates:,} are accounted for")
        if a.events_failed or a.events_acked != a.events_produced:
            problems.append(f"{platform}: {a.events_acked:,} of {a.events_produced:,} events were acknowledged")
    acked = sum(a.events_acked for a in agents.values())
    return problems if acked == stored else [*problems, f"{acked:,} events were acknowledged, {stored:,} are stored"]


def _between(phases: Sequence[tuple[str, float]], first: str, last: str) -> float:
    at = dict(phases)
    return at[last] - at[first]


def summary(facts: Facts, problems: Sequence[str], agents: Mapping[str, AgentStatus], kept: Path | None) -> list[str]:
    """What a person reads at the end."""
    verdict = facts.verdict
    lines = ["", "attacks planted and found"]
    for outcome in verdict.attacks:
        label = outcome.label
        after = "" if outcome.seconds is None else f", first alert after {duration(outcome.seconds)}"
        what = f"{label.pattern} ({label.difficulty}) by {', '.join(label.entities[:3])} at {label.platform}"
        lines.append(
            f"  {'found ' if outcome.found else 'MISSED'}  {what}{after}{': ' if outcome.why else ''}{outcome.why}"
        )
    found = sum(o.found for o in verdict.attacks)
    failed = sum(sum(a.failed.values()) for a in agents.values())
    lines += [
        f"{found} of {len(verdict.attacks)} attacks found; {verdict.alerts} alerts, {len(verdict.false_alerts)} of "
        f"them false: {verdict.false_rate_of_accounts:.2f} for each 1,000 accounts and day "
        f"({verdict.false_of_accounts} about {verdict.accounts:,} accounts, {verdict.days:.3g} days), "
        f"{verdict.false_rate:.2f} for each 1,000 actors and day ({verdict.actors:,} actors with customers' addresses)",
        *(f"  false: {_accusation(a, facts)}" for a in verdict.false_alerts[:SHOWN_PROBLEMS]),
        f"{facts.lines:,} log lines; {facts.expected:,} events expected by the independent count, {facts.stored:,} "
        f"stored in {facts.rows:,} rows; {failed:,} records could not be parsed",
        *(f"  LOST OR DOUBLED  {problem}" for problem in problems[:SHOWN_PROBLEMS]),
        f"{facts.events_per_second:,.0f} events/s from log lines to the store; peak memory of all processes "
        f"{facts.peak_memory_bytes / 1e9:.2f} GB, disk {facts.disk_bytes / 1e6:,.0f} MB",
    ]
    if kept is not None:
        lines.append(f"kept in {kept}: {REPORT_FILE}, {FIGURES_FILE}, alerts.jsonl, events.jsonl, pseudonyms.jsonl")
    return lines


def _accusation(alert: JudgedAlert, facts: Facts) -> str:
    who = facts.names.one(alert.platform, alert.subject)
    return f"{alert.detector} of {who} at {alert.platform}, {day_and_time(alert.raised_at)}: {alert.reason}"


def size_of(folder: Path) -> int:
    """Bytes on disk of everything in a folder."""
    return sum(one.stat().st_blocks * 512 for one in folder.rglob("*") if one.is_file())
