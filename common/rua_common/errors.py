"""Errors that say what the runtime does next: stop at start, try again, or dead-letter."""

from __future__ import annotations

from collections.abc import Sequence


class RuaError(Exception):
    """Any error that Rua raises on purpose. Its text tells a person what to do."""


class BadConfiguration(RuaError):
    """The process must not start. Names the file, the line, the key, and what would be allowed."""

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        line: int | None = None,
        key: str | None = None,
        allowed: Sequence[str] = (),
    ) -> None:
        self.problem, self.file, self.line, self.key, self.allowed = problem, file, line, key, tuple(allowed)
        place = f"{file}:{line}: " if file and line else f"{file}: " if file else ""
        name = f"{key}: " if key else ""
        choice = f" (allowed: {', '.join(allowed)})" if allowed else ""
        super().__init__(f"{place}{name}{problem}{choice}")


class RetryLater(RuaError):
    """Keep what you hold and try again after `after_seconds`: something outside is slow or away."""

    def __init__(self, reason: str, after_seconds: float) -> None:
        self.reason, self.after_seconds = reason, after_seconds
        super().__init__(f"{reason}; trying again in {after_seconds:g} s")


class PoisonEvent(RuaError):
    """These bytes will never become an event: send them to the dead-letter queue with `reason`, go on with the next."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class Refused(RuaError):
    """State and source contradict each other: a person must look. The text names the cure."""
