"""One HTML file that explains a run: no script, no link to anywhere, pictures inside."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter, HourLocator
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rua_demo.judge import ClearNames, JudgedAlert, Verdict
from rua_demo.results import Hour, TopActor
from rua_demo.view import day_and_time
from rua_demo.world import World
from rua_demo.writers import BANGKOK

COLOURS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#0891b2", "#be123c", "#ca8a04", "#475569")
MS_PER_DAY = 86_400_000
UNKNOWN = "unknown"
MARKS = {"critical": "#991b1b", "high": "#dc2626", "medium": "#f59e0b", "low": "#0ea5e9"}
STYLE = """
body{font:15px/1.5 system-ui,"Noto Sans Thai",sans-serif;color:#1f2937;background:#f8fafc;margin:0}
main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0}h2{font-size:18px;margin:34px 0 10px}
.th{color:#475569;font-size:17px;margin:2px 0 14px}.about{color:#475569;margin:0 0 18px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(155px,1fr));gap:12px}
.card{background:#fff;border:1px solid #e2e8f0;border-radius:10px;padding:12px 14px}
.card b{display:block;font-size:22px}.card span{color:#64748b;font-size:13px}
.good b{color:#15803d}.bad b{color:#b91c1c}
figure{background:#fff;border:1px solid #e2e8f0;border-radius:10px;margin:0;padding:10px}svg{width:100%;height:auto}
table{border-collapse:collapse;width:100%;background:#fff;border:1px solid #e2e8f0;font-size:14px}
th,td{padding:6px 10px;text-align:left;border-bottom:1px solid #eef2f7;vertical-align:top}th{background:#f1f5f9}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{height:14px;border-radius:3px;background:#94a3b8;min-width:2px}.bar.red{background:#dc2626}
td:has(.bar){width:38%}
.yes{color:#15803d;font-weight:600}.no{color:#b91c1c;font-weight:600}
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a report tells. Phases are in seconds since the start."""

    world: World
    verdict: Verdict
    alerts: Sequence[JudgedAlert]
    names: ClearNames
    hours: Sequence[Hour]
    top: Sequence[TopActor]
    phases: Sequence[tuple[str, float]]
    lines: int
    expected: int
    stored: int
    rows: int
    events_per_second: float
    peak_memory_bytes: int
    disk_bytes: int


def write(path: Path, facts: Facts) -> Path:
    """Writes the report."""
    path.write_text(page(facts), encoding="utf-8")
    return path


def page(facts: Facts) -> str:
    """The report as HTML."""
    simulated = html.escape(facts.world.about or "A world of logs that was replayed.")
    seed = f" Seed {facts.world.seed}." if facts.world.seed is not None else ""
    span = f"{day_and_time(facts.world.start_ms)} - {day_and_time(facts.world.end_ms)}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Rua - demo report</title><style>{STYLE}</style></head><body><main>
<h1>Rua: how personal data left {len(facts.world.platforms)} platforms</h1>
<p class="th">รั้ว - รายงานการสาธิต: ข้อมูลส่วนบุคคลรั่วไหลออกจากแพลตฟอร์มอย่างไร</p>
<p class="about">{simulated}{seed} {span}, times in Bangkok.</p>
{_cards(facts)}
<h2>Events over time, and the alerts on them · เหตุการณ์และการแจ้งเตือน</h2>
<figure>{svg(over_time(facts))}</figure>
<h2>The last day · วันสุดท้าย</h2>
<figure>{svg(last_day(facts))}</figure>
<h2>Attacks planted and found · การโจมตีที่จำลองและที่ตรวจพบ</h2>
{_attacks(facts)}
<h2>Who took out the most rows · ผู้ที่นำข้อมูลออกมากที่สุด</h2>
{_most_rows(facts)}
<h2>Alerts · การแจ้งเตือน</h2>
{_alerts(facts)}
<h2>Phases · ลำดับเวลา</h2>
{table(("phase", "seconds after start"), [(name, f"{seconds:.1f} s") for name, seconds in facts.phases], numeric=(1,))}
</main></body></html>
"""


def _cards(facts: Facts) -> str:
    verdict = facts.verdict
    found = sum(o.found for o in verdict.attacks)
    exact = facts.expected == facts.stored == facts.rows
    cards = [
        ("attacks found", f"{found} of {len(verdict.attacks)}", "good" if verdict.all_found else "bad"),
        ("events stored of expected", f"{facts.stored:,} / {facts.expected:,}", "good" if exact else "bad"),
        (
            f"false alerts per 1,000 accounts and day ({verdict.accounts:,} accounts)",
            f"{verdict.false_rate_of_accounts:.2f}",
            "good" if verdict.false_rate_of_accounts <= 1 else "",
        ),
        (
            f"false alerts per 1,000 actors and day ({verdict.actors:,} actors, addresses too)",
            f"{verdict.false_rate:.2f}",
            "good" if verdict.false_rate <= 1 else "",
        ),
        ("log lines", f"{facts.lines:,}", ""),
        ("events a second, whole way", f"{facts.events_per_second:,.0f}", ""),
        ("peak memory, all processes", f"{facts.peak_memory_bytes / 1e9:.2f} GB", ""),
        ("disk", f"{facts.disk_bytes / 1e6:,.0f} MB", ""),
    ]
    inner = "".join(f'<div class="card {kind}"><b>{value}</b><span>{name}</span></div>' for name, value, kind in cards)
    return f'<div class="cards">{inner}</div>'


def _attacks(facts: Facts) -> str:
    rows = []
    for outcome in facts.verdict.attacks:
        label = outcome.label
        after = "" if outcome.seconds is None else duration(outcome.seconds)
        verdict = '<span class="yes">found</span>' if outcome.found else f'<span class="no">missed</span> {outcome.why}'
        who, when = ", ".join(label.entities), day_and_time(label.first_ms)
        rows.append((label.pattern, label.difficulty, label.platform, who, when, verdict, after))
    heads = ("pattern", "difficulty", "platform", "who", "first line", "verdict", "first alert after")
    return table(heads, rows, raw=(5,), numeric=(6,))


def _alerts(facts: Facts) -> str:
    false = {a.alert_id for a in facts.verdict.false_alerts}
    rows = [
        (
            day_and_time(a.raised_at),
            a.severity,
            a.platform,
            a.detector,
            facts.names.one(a.platform, a.subject),
            a.reason,
            '<span class="no">false</span>' if a.alert_id in false else '<span class="yes">of an attack</span>',
        )
        for a in facts.alerts
    ]
    return table(("raised", "severity", "platform", "detector", "subject", "why", "judged"), rows, raw=(6,))


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, raw: Sequence[int] = (), numeric: Sequence[int] = ()
) -> str:
    """A table; cells are escaped except the columns in `raw`."""
    kinds = dict.fromkeys(numeric, ' class="n"')
    head = "".join(f"<th{kinds.get(k, '')}>{html.escape(h)}</th>" for k, h in enumerate(heads))
    body = "".join(
        "<tr>"
        + "".join(f"<td{kinds.get(k, '')}>{c if k in raw else html.escape(c)}</td>" for k, c in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def duration(seconds: float) -> str:
    """`42 s`, `5 min`, `3.2 h`."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"


def over_time(facts: Facts) -> Figure:
    """Events an hour of each platform, with a mark where an alert was raised."""
    platforms = facts.world.platforms
    days = math.ceil(_days(facts.world.end_ms - facts.world.start_ms))
    ticks = [_days(facts.world.start_ms) + k for k in range(0, days + 1, math.ceil(days / 8))]
    day_labels = DateFormatter("%d %b", tz=BANGKOK)  # type: ignore[no-untyped-call]  # not annotated
    figure = Figure(figsize=(10.5, 1.25 * len(platforms) + 0.9))
    axes = figure.subplots(len(platforms), 1, sharex=True, squeeze=False)
    for k, (platform, ax) in enumerate(zip(platforms, axes[:, 0], strict=True)):
        mine = [h for h in facts.hours if h.platform == platform]
        colour = COLOURS[k % len(COLOURS)]
        at = [_days(h.at_ms) for h in mine]
        ax.fill_between(at, [h.events for h in mine], step="mid", color=colour, alpha=0.35, linewidth=0)
        ax.plot(at, [h.events for h in mine], drawstyle="steps-mid", color=colour, linewidth=0.8)
        _mark_alerts(ax, [a for a in facts.alerts if a.platform == platform], max((h.events for h in mine), default=1))
        ax.set_ylim(0)
        ax.set_title(platform, loc="left", fontsize=9, color=colour, pad=2)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xticks(ticks)
        ax.xaxis.set_major_formatter(day_labels)
    figure.supylabel("events an hour", fontsize=9)
    figure.legend(*_legend(facts), loc="upper right", ncol=4, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    return figure


def _mark_alerts(ax: Axes, alerts: Sequence[JudgedAlert], top: int) -> None:
    for severity, colour in MARKS.items():
        at = [_days(a.raised_at) for a in alerts if a.severity == severity]
        if at:
            ax.vlines(at, 0, top, color=colour, linewidth=0.7, alpha=0.6)
            ax.plot(at, [top] * len(at), "v", color=colour, markersize=6, clip_on=False)


def _legend(facts: Facts) -> tuple[list[Line2D], list[str]]:
    shown = [s for s in MARKS if any(a.severity == s for a in facts.alerts)]
    marks = [Line2D([], [], marker="v", linestyle="", color=MARKS[s], markersize=6) for s in shown]
    return marks, [f"{s} alert" for s in shown]


def last_day(facts: Facts) -> Figure:
    """The world's last day: when attacks were going on (bars) and when alerts were raised (marks)."""
    platforms, until = facts.world.platforms, facts.world.end_ms
    figure = Figure(figsize=(10.5, 0.55 * len(platforms) + 1.2))
    ax = figure.subplots()
    for outcome in facts.verdict.attacks:
        first, last = outcome.label.first_ms, outcome.label.last_ms
        y, colour = platforms.index(outcome.label.platform), "#16a34a" if outcome.found else "#111827"
        ax.barh(y, max(_days(last - first), 0.004), left=_days(first), height=0.5, color=colour, alpha=0.35)
    for severity, colour in MARKS.items():
        mine = [a for a in facts.alerts if a.severity == severity and a.platform in platforms]
        at, ys = [_days(a.raised_at) for a in mine], [platforms.index(a.platform) for a in mine]
        ax.plot(at, ys, "v", color=colour, markersize=8, markeredgecolor="white", linestyle="")
    ax.set_xlim(_days(until - MS_PER_DAY) - 0.05, _days(until))
    ax.set_yticks(range(len(platforms)), platforms)
    ax.set_ylim(len(platforms) - 0.4, -0.6)
    ax.xaxis.set_major_locator(HourLocator(range(0, 24, 3), tz=BANGKOK))  # type: ignore[no-untyped-call]  # not annotated
    ax.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=BANGKOK))  # type: ignore[no-untyped-call]  # not annotated
    ax.set_xlabel("time in Bangkok; bars: attacks going on, green if found; triangles: alerts raised", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def _most_rows(facts: Facts) -> str:
    """Rows of the actors who took out most; red: has an alert. Bars are logarithmic."""
    accused = {(a.platform, name) for a in facts.alerts for name in a.names}
    longest = math.log10(max((t.rows or 0 for t in facts.top), default=1) + 10)
    rows = []
    for one in facts.top:
        width = 100 * math.log10((one.rows or 0) + 1) / longest
        kind = "bar red" if (one.platform, one.actor) in accused else "bar"
        who = facts.names.one(one.platform, one.actor)
        bar = f'<div class="{kind}" style="width:{width:.1f}%"></div>'
        taken = UNKNOWN if one.rows is None else f"{one.rows:,}"
        sent = UNKNOWN if one.bytes is None else f"{one.bytes / 1e6:,.1f} MB"
        rows.append((who, one.platform, bar, taken, f"{one.exports:,}", sent))
    return table(("who", "platform", "", "rows", "exports", "bytes"), rows, raw=(2,), numeric=(3, 4, 5))


def svg(figure: Figure) -> str:
    """The picture as text to put into HTML; letters become shapes, so it looks the same everywhere."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def _days(at_ms: int) -> float:
    """Days since 1970, as matplotlib draws dates."""
    return at_ms / MS_PER_DAY


def figures(facts: Facts) -> Mapping[str, object]:
    """The numbers of the report, for `run.json`."""
    verdict = facts.verdict
    return {
        "lines": facts.lines,
        "events_expected": facts.expected,
        "events_stored": facts.stored,
        "rows_stored": facts.rows,
        "events_per_second": round(facts.events_per_second),
        "alerts": verdict.alerts,
        "attacks": len(verdict.attacks),
        "attacks_found": sum(o.found for o in verdict.attacks),
        "by_pattern": {p: {"found": f, "planted": n} for p, (f, n) in verdict.by_pattern.items()},
        "missed": [
            {"id": o.label.id, "pattern": o.label.pattern, "why": o.why} for o in verdict.attacks if not o.found
        ],
        "false_alerts": len(verdict.false_alerts),
        "false_alerts_per_1000_actors_and_day": round(verdict.false_rate, 3),
        "false_alerts_about_accounts": verdict.false_of_accounts,
        "false_alerts_per_1000_accounts_and_day": round(verdict.false_rate_of_accounts, 3),
        "actors": verdict.actors,
        "accounts": verdict.accounts,
        "days": verdict.days,
        "phases_seconds": dict(facts.phases),
        "peak_memory_bytes": facts.peak_memory_bytes,
        "disk_bytes": facts.disk_bytes,
    }
