"""The report: one file, nothing outside of it, nothing unescaped."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from rua_demo import judge, report
from rua_demo.conclusion import summary
from rua_demo.judge import ClearNames, JudgedAlert, Pseudonym
from rua_demo.report import Facts
from rua_demo.results import Hour, TopActor
from rua_demo.stack import AgentStatus
from rua_demo.world import Label, Source, World

T = 1_790_000_000
HOUR = 3_600
WORLD = World(
    timezone="Asia/Bangkok",
    start=T,
    end=T + 48 * HOUR,
    sources=[Source(platform=p, host="h", glob="*", source="nginx-json") for p in ("jd", "lazada")],
    about="Simulated <data>.",
    seed=7,
)


@pytest.fixture
def facts() -> Facts:
    """A run in which one attack was found, one missed, and one alert is false."""
    labels = [
        Label(id="1", pattern="off-hours", platform="jd", entities=["ศิริพร"], first=T + 30 * HOUR, last=T + 31 * HOUR),
        Label(id="2", pattern="x", platform="lazada", entities=["b"], first=T + 40 * HOUR, last=T + 40 * HOUR),
    ]
    found = JudgedAlert(
        alert_id="1",
        detector="off-hours",
        severity="high",
        platform="jd",
        subject="p1",
        reason="took <b>900</b> rows",
        window_start=(T + 30 * HOUR) * 1_000,
        window_end=(T + 30 * HOUR) * 1_000,
        raised_at=(T + 30 * HOUR + 42) * 1_000,
    )
    alerts = [found, msgspec.structs.replace(found, alert_id="2", subject="p9", severity="medium")]
    names = ClearNames([Pseudonym(platform="jd", clear="ศิริพร", pseudonym="p1")])
    return Facts(
        world=WORLD,
        verdict=judge.judge(labels, alerts, names, detectors=["off-hours"], actors=50, days=2, accounts=4),
        alerts=alerts,
        names=names,
        hours=[Hour(p, (T + k * HOUR) * 1_000, k % 9) for p in ("jd", "lazada") for k in range(48)],
        top=[TopActor("jd", "p1", 120_000, 9_000, 3), TopActor("lazada", "svc_etl", 0, 0, 0)],
        phases=[("services are up", 3.0), ("judged", 40.0)],
        lines=1_000,
        expected=900,
        stored=900,
        rows=900,
        events_per_second=12_345,
        peak_memory_bytes=1_500_000_000,
        disk_bytes=2_000_000,
    )


def test_the_report_is_one_file_with_pictures_and_both_languages(facts: Facts, tmp_path: Path) -> None:
    """Nothing is loaded from anywhere; text from logs is escaped."""
    text = report.write(tmp_path / "report.html", facts).read_text(encoding="utf-8")
    assert text.count("<svg") == 2
    assert "รั้ว" in text
    assert "ศิริพร" in text
    assert "<script" not in text
    assert "src=" not in text
    assert "Simulated &lt;data&gt;." in text
    assert "took &lt;b&gt;900&lt;/b&gt; rows" in text


def test_figures_come_with_their_units(facts: Facts) -> None:
    """As a reader meets them."""
    text = report.page(facts)
    for figure in ("1 of 2", "900 / 900", "12,345", "1.50 GB", "2 MB", "120,000", "42 s", "3.0 s"):
        assert figure in text


def test_what_no_event_tells_is_unknown_and_not_zero(facts: Facts) -> None:
    """A database's log knows no bytes, a web server's no rows."""
    top = [TopActor("jd", "p1", None, 9_000_000, 3), TopActor("lazada", "svc_etl", 7, None, 0)]
    text = report.page(Facts(**{f: getattr(facts, f) for f in Facts.__slots__} | {"top": top}))
    assert '<td class="n">unknown</td><td class="n">3</td><td class="n">9.0 MB</td>' in text
    assert '<td class="n">7</td><td class="n">0</td><td class="n">unknown</td>' in text


def test_the_last_day_is_read_at_whole_hours(facts: Facts) -> None:
    """Of the clock in Bangkok, however the world ends."""
    (ax,) = report.last_day(facts).axes
    ticks = ax.get_xticks()
    assert len(ticks) >= 8
    assert all(abs((tick * 24 + 7) % 3) < 1e-6 or abs((tick * 24 + 7) % 3 - 3) < 1e-6 for tick in ticks)


def test_the_picture_is_the_same_each_time(facts: Facts) -> None:
    """Apart from ids that matplotlib draws anew there is no date in it."""
    assert "<dc:date>" not in report.svg(report.over_time(facts))


def test_a_run_without_alerts_has_a_report_too(facts: Facts) -> None:
    """The empty case."""
    verdict = judge.judge([], [], facts.names, detectors=[], actors=0, days=0)
    quiet = Facts(
        **{f: getattr(facts, f) for f in Facts.__slots__} | {"alerts": [], "hours": [], "top": [], "verdict": verdict}
    )
    assert "0 of 0" in report.page(quiet)


def test_the_summary_names_what_was_missed_and_what_is_false(facts: Facts) -> None:
    """And what was lost, first of all."""
    lines = summary(facts, ["jd: a: expected 3"], {"jd": AgentStatus(failed={"not_json": 2})}, Path("kept"))
    text = "\n".join(lines)
    assert "MISSED  x (unknown) by b at lazada: no detector for this pattern yet" in text
    assert "found   off-hours (unknown) by ศิริพร at jd, first alert after 42 s" in text
    assert "LOST OR DOUBLED  jd: a: expected 3" in text
    assert "false: off-hours of p9 at jd" in text
    assert "2 records could not be parsed" in text
    assert "10.00 for each 1,000 actors and day" in text
    assert "125.00 for each 1,000 accounts and day (1 about 4 accounts" in text


def test_durations_are_short_to_read() -> None:
    """Seconds, minutes, hours."""
    assert [report.duration(s) for s in (-1, 42, 300, 11_520)] == ["0 s", "42 s", "5 min", "3.2 h"]
