"""Platforms that come and go while a worker runs: which topics it should read now, asked from time to time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaException
from rua_schemas.topics import EVENTS, platform_of, state_topic

from rua_streams.shell import BaseShell

LOG = logging.getLogger(__name__)
Topics = Mapping[str, int]  # name -> partitions, of every topic that exists


@dataclass
class Scan:
    """What is read, and what it should become. Pure but for the two questions, which block.

    Attributes:
        names: The topics that are read now, those that every worker of the role reads among them.
        topics: What exists.
        problem: Why a new platform's topic cannot be read yet, with the cure; "" if it can.
    """

    names: Sequence[str]
    topics: Callable[[], Topics]
    problem: Callable[[str, Topics], str]
    missed: frozenset[str] = frozenset()
    told: dict[str, str] = field(default_factory=dict)

    def look(self) -> list[str]:
        """What should be read from now on.

        A topic must be missing twice before it is given up: a broker that has just started may not know it yet. The
        last one is kept. What cannot be read is said once, and looked at again the next time.
        """
        found = self.topics()
        missed = frozenset(name for name in self.names if name.startswith(EVENTS) and name not in found)
        gone, self.missed = missed & self.missed, missed
        kept, come = [name for name in self.names if name not in gone], self._newcomers(found)
        if any(name.startswith(EVENTS) for name in (*kept, *come)):
            return kept + come
        return list(self.names)

    def _newcomers(self, found: Topics) -> list[str]:
        new = sorted(name for name in found if name.startswith(EVENTS) and name != EVENTS and name not in self.names)
        problems = {name: self.problem(name, found) for name in new}
        for name, problem in problems.items():
            if problem and self.told.get(name) != problem:
                LOG.error("%s is new and is not read yet: %s", name, problem)
        self.told = problems
        return [name for name in new if not problems[name]]


async def follow(shell: BaseShell, scan: Scan) -> None:
    """Looks once, and reads what should be read. Not while partitions move."""
    if not shell.ready or shell.app.rebalancing:
        return
    try:
        names = await shell.thread(scan.look)
    except KafkaException as why:
        LOG.warning("the topics could not be listed, again later: %s", why.args[0])
        return
    if names == list(scan.names) or shell.app.rebalancing:
        return
    LOG.info("platforms have changed: now reads %s", ", ".join(names))
    scan.names = names
    await shell.consumer.resubscribe(names)


def stateless(name: str, found: Topics) -> str:
    """What is wrong with the state topic of an events topic; "" if nothing is."""
    platform = platform_of(name)
    state, cure = state_topic(platform), f"run `rua topics apply --platform {platform}`"
    if state not in found:
        return f"{state} does not exist: {cure}"
    if found[state] < found[name]:
        more = f"{state} has {found[state]} partitions, {name} has {found[name]}"
        return f"{more}: delete and re-create {state}, with `--partitions {found[name]}`: {cure}"
    return ""
