"""An agent says that it lives, up to where its chain of events goes, and what was lost on the way.

What a heartbeat tells, and how it is verified, is written in docs/heartbeats.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rua_common.release import release
from rua_schemas.events import Count, Heartbeat

from rua_agents.checkpoint import Checkpoint
from rua_agents.settings import AgentSettings
from rua_agents.signing import Signer
from rua_agents.status import Status

WARM_BEATS, WARM_SECONDS = 6, 10.0
"""So many come closer together at first: the clock's offset is the best of several."""
QUIET_MS = 300_000
"""How long a planned stop may last before it is silence: an upgrade, a node that is drained."""


class Head(NamedTuple):
    """Up to where the broker has everything: the number of an event, and the hash of its message."""

    seq: int
    chain: str | None


class Pulse:
    """Numbers an agent's heartbeats, says in each what holds for its whole run, and signs them.

    Args:
        settings: what is configured.
        epoch: the agent's.
        before: the last checkpoint of the run before this one.
        signer: without one they go unsigned.
        config_digest: of the configuration file.
    """

    def __init__(
        self,
        settings: AgentSettings,
        epoch: int,
        before: Checkpoint | None,
        signer: Signer | None = None,
        config_digest: str | None = None,
    ) -> None:
        self._epoch, self._before = epoch, before
        self._signer, self._version = signer, release()
        self._beats = 0
        self.configure(settings, config_digest)

    def configure(self, settings: AgentSettings, config_digest: str | None) -> None:
        """Other settings hold from now on."""
        self._settings, self._digest = settings, config_digest
        self._sources = tuple(sorted({source.source for source in settings.sources}))

    def seconds(self, beats: int | None = None) -> float:
        """From the heartbeat of this number (the last one unless given) to the next."""
        beats, configured = self._beats if beats is None else beats, self._settings.limits.heartbeat_seconds
        return min(configured, WARM_SECONDS) if beats < WARM_BEATS else configured

    def sent(self) -> None:
        """The heartbeat that was made last is on its way: the next one gets the next number."""
        self._beats += 1

    def beat(self, status: Status, head: Head, *, stops: bool = False) -> Heartbeat:
        """The next heartbeat; `stops`: it is the last one, and silence after it is planned."""
        now_ms, before, settings = status.at_ms, self._before, self._settings
        heartbeat = Heartbeat(
            agent_id=settings.agent_id,
            agent_epoch=self._epoch,
            agent_version=self._version,
            platform=settings.platform,
            sent_at=now_ms,
            last_seq=head.seq,
            events_acked=status.events_acked,
            records_failed=sum(status.failed.values()),
            lag_bytes=status.lag_bytes,
            files=len(status.files),
            clock_offset_ms=status.clock_offset_ms,
            clock_error_ms=status.clock_error_ms,
            beat_seq=self._beats + 1,
            interval_ms=round(1_000 * self.seconds(self._beats + 1)),
            quiet_until=now_ms + QUIET_MS if stops else None,
            chain_seq=head.seq if head.chain else None,
            chain_head=head.chain,
            previous_epoch=before.agent_epoch if before else None,
            previous_seq=before.agent_seq if before and before.chain_head else None,
            previous_head=before.chain_head if before else None,
            events_dead=status.events_failed,
            records_read=status.records,
            records_merged=status.merged,
            records_ignored=sum(status.ignored.values()),
            dropped=counts(status.dropped),
            spool_records=status.spool_records,
            spool_bytes=status.spool_bytes,
            sources=self._sources,
            config_digest=self._digest,
        )
        return self._signer.signed(heartbeat) if self._signer else heartbeat


def counts(dropped: Mapping[str, int]) -> tuple[Count, ...]:
    """Sorted by reason, without those that never were."""
    return tuple(Count(reason=reason, count=count) for reason, count in sorted(dropped.items()) if count)
