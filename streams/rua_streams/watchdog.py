"""Tells a worker that is slow or waiting on purpose from one that is stuck. Pure: the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Watchdog:
    """Stuck means: there is lag, nothing was made safe for `limit_seconds`, and nobody has declared a back-off.

    All times are seconds of a monotonic clock.
    """

    limit_seconds: float
    at: float
    reasons: dict[str, float] = field(default_factory=dict)

    def progress(self, now: float) -> None:
        """Something was taken or made safe."""
        self.at = max(self.at, now)

    def back_off(self, reason: str, until: float) -> None:
        """Something outside is slow or away, and the worker waits for it until then."""
        self.reasons[reason] = max(until, self.reasons.get(reason, until))

    def over(self, reason: str) -> None:
        """The wait is over."""
        self.reasons.pop(reason, None)

    def stuck(self, lag: int, now: float) -> str | None:
        """Why the process should end, or None."""
        if lag <= 0 or any(until + self.limit_seconds > now for until in self.reasons.values()):
            self.at = now
        if now - self.at <= self.limit_seconds:
            return None
        return f"{lag} events wait and none was processed for {now - self.at:.0f} s, without a declared back-off"
