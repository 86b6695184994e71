"""What a person sees while a demonstration runs: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rua_schemas.events import Alert

from rua_demo.writers import BANGKOK

COLOURS = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan"}
PLAIN_SECONDS = 5.0
SHOWN_ALERTS = 9


@dataclass(slots=True)
class Progress:
    """How far a run is. Rates: events read, judged and stored in a second of real time."""

    seconds: float = 0.0
    world_ms: int = 0
    lines: int = 0
    total_lines: int = 0
    produced: int = 0
    detected: int = 0
    stored: int = 0
    rates: tuple[float, float, float] = (0.0, 0.0, 0.0)
    memory_bytes: int = 0
    alerts: int = 0

    @property
    def lag(self) -> tuple[int, int]:
        """Events that wait for detection, and for the store."""
        return max(self.produced - self.detected, 0), max(self.produced - self.stored, 0)


class View(Protocol):
    """Where a run tells what it does."""

    def phase(self, name: str, seconds: float) -> None:
        """Something is reached, so many seconds after the start."""
        ...

    def note(self, text: str) -> None:
        """A sentence for the person."""
        ...

    def progress(self, now: Progress) -> None:
        """Called about four times a second."""
        ...

    def alert(self, alert: Alert) -> None:
        """An incident was raised."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


def day_and_time(at_ms: int) -> str:
    """`Fri 31 Jul 2026 14:05`, in Bangkok."""
    return f"{datetime.fromtimestamp(at_ms / 1_000, BANGKOK):%a %d %b %Y %H:%M}"


def speeds(now: Progress) -> str:
    """`8,000 read, 7,000 judged, 6,000 stored`."""
    return ", ".join(f"{rate:,.0f} {what}" for rate, what in zip(now.rates, ("read", "judged", "stored"), strict=True))


def one_line(alert: Alert) -> str:
    """An alert in one line."""
    return f"{day_and_time(alert.raised_at)}  {alert.platform:<16} {alert.severity:<8} {alert.detector}: {alert.title}"


@dataclass(slots=True)
class PlainView:
    """Lines, for files and pipes."""

    console: Console
    told_at: float = -PLAIN_SECONDS

    def phase(self, name: str, seconds: float) -> None:
        """See `View`."""
        self._say(f"[{seconds:6.1f} s] {name}")

    def note(self, text: str) -> None:
        """See `View`."""
        self._say(text)

    def progress(self, now: Progress) -> None:
        """See `View`."""
        if now.seconds - self.told_at < PLAIN_SECONDS:
            return
        self.told_at = now.seconds
        detect, store = now.lag
        self._say(
            f"[{now.seconds:6.1f} s] {now.lines:,} of {now.total_lines:,} lines, {now.produced:,} events; events/s "
            f"{speeds(now)}; lag detect {detect:,} store {store:,}; {now.alerts} alerts"
        )

    def alert(self, alert: Alert) -> None:
        """See `View`."""
        self._say(f"  ALERT {one_line(alert)}")

    def close(self) -> None:
        """See `View`."""

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


@dataclass(slots=True)
class LiveView:
    """A picture that is redrawn four times a second."""

    console: Console
    title: str
    now: Progress = field(default_factory=Progress)
    phases: list[tuple[str, float]] = field(default_factory=list)
    alerts: deque[Alert] = field(default_factory=lambda: deque(maxlen=SHOWN_ALERTS))
    live: Live = field(init=False)

    def __post_init__(self) -> None:
        self.live = Live(self._picture(), console=self.console, refresh_per_second=4, transient=True)
        self.live.start()

    def phase(self, name: str, seconds: float) -> None:
        """See `View`."""
        self.phases.append((name, seconds))
        self._draw()

    def note(self, text: str) -> None:
        """See `View`."""
        self.console.print(text, markup=False, highlight=False)

    def progress(self, now: Progress) -> None:
        """See `View`."""
        self.now = now
        self._draw()

    def alert(self, alert: Alert) -> None:
        """See `View`."""
        self.alerts.append(alert)
        self._draw()

    def close(self) -> None:
        """See `View`."""
        if not self.live.is_started:
            return
        self.live.stop()
        for name, seconds in self.phases:
            self.console.print(f"[{seconds:6.1f} s] {name}", markup=False, highlight=False)

    def _draw(self) -> None:
        self.live.update(self._picture())

    def _picture(self) -> RenderableType:
        now = self.now
        detect, store = now.lag
        facts = Table.grid(padding=(0, 2))
        for _ in range(3):
            facts.add_column(style="dim")
            facts.add_column(style="bold")
        world = day_and_time(now.world_ms) if now.world_ms else "-"
        memory = f"{now.memory_bytes / 1e9:.2f} GB, {now.seconds:.0f} s"
        facts.add_row("world time", world, "events", f"{now.produced:,}", "events/s", speeds(now))
        facts.add_row("lag detect", f"{detect:,}", "lag store", f"{store:,}", "memory, time", memory)
        lines = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=max(now.total_lines, 1), completed=now.lines, width=60)
        lines.add_row(bar, f"{now.lines:,} of {now.total_lines:,} log lines, {now.alerts} alerts")
        phases = Text("   ".join(f"{name} {seconds:.1f} s" for name, seconds in self.phases[-4:]), style="dim")
        found = [Text(one_line(a), style=COLOURS.get(a.severity, ""), no_wrap=True) for a in self.alerts]
        alerts = Panel(Group(*found) if found else Text("none yet", style="dim"), title="alerts", border_style="red")
        return Panel(Group(facts, lines, phases, alerts), title=self.title, border_style="blue")


def view_for(console: Console, title: str) -> View:
    """Live on a terminal, plain elsewhere."""
    if console.is_terminal:
        return LiveView(console, title)
    console.print(title, markup=False, highlight=False)
    return PlainView(console)
