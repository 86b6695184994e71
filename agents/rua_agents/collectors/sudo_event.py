"""sudo's events as JSON objects, wherever they stand: in a log file of their own or in syslog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rua_agents.collectors.commands import words_of
from rua_agents.collectors.drafting import Ignored
from rua_agents.collectors.host import Deed
from rua_agents.times import BadTime, checked


class _Time(msgspec.Struct):
    seconds: int
    nanoseconds: int = 0


class SudoEvent(msgspec.Struct):
    """The keys that matter. `runenv` is never read: it holds secrets."""

    submituser: str | None = None
    runuser: str | None = None
    command: str | None = None
    runargv: tuple[str, ...] = ()
    reason: str | None = None
    server_time: _Time | None = None
    exit_value: int | None = None

    @property
    def at_ms(self) -> int:
        """When sudo decided.

        Raises:
            BadTime: not told.
        """
        if self.server_time is None:
            raise BadTime("no server_time")
        return checked(self.server_time.seconds * 1_000 + self.server_time.nanoseconds // 1_000_000)

    def deed(self) -> Deed:
        """Who ran what as whom; an event with a reason is a refusal.

        Raises:
            Ignored: the end of a command, or an event that names nobody.
        """
        if self.exit_value is not None or self.submituser is None:
            raise Ignored("other_message")
        program = [self.command] if self.command else []
        return Deed(
            "privileged_access",
            user=self.submituser,
            run_as=self.runuser,
            outcome="denied" if self.reason else "ok",
            words=[*program, *self.runargv[1:]] if program else words_of(" ".join(self.runargv)),
        )


def event_of(value: Mapping[str, Any]) -> SudoEvent:
    """The event in `{"sudo": {"accept": {…}}}`, `{"accept": {…}}` or the inner object alone.

    Raises:
        msgspec.ValidationError: a key of another type than sudo writes.
    """
    for key in ("sudo", "accept", "reject", "alert"):
        inner = value.get(key)
        if isinstance(inner, dict):
            value = inner
    return msgspec.convert(value, SudoEvent)
