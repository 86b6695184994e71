"""Which topics a worker reads while platforms come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given, strategies as st
from rua_streams.platforms import Scan, Topics, follow, stateless

SHOP, MALL = "rua.events.shop", "rua.events.mall"
FIXED = ["rua.alerts", "rua.dlq"]


def scan(*looks: list[str], problem: Callable[[str, Topics], str] = lambda name, found: "") -> Scan:
    """A scan of a worker that reads the shop; at each look these topics exist."""
    answers = iter(looks)
    return Scan([SHOP, *FIXED], lambda: dict.fromkeys([*next(answers), *FIXED], 4), problem)


def after(one: Scan) -> list[str]:
    """Looks once and reads what it says."""
    one.names = one.look()
    return list(one.names)


def test_a_new_platform_is_read_beside_the_others() -> None:
    """No other topic is: a state topic, somebody else's, a name without a platform."""
    assert after(scan([SHOP, MALL, "rua.state.mall", "rua.events.", "orders"])) == [SHOP, *FIXED, MALL]


def test_a_topic_is_given_up_when_it_is_missing_twice() -> None:
    """A broker that has just started may not know it yet."""
    one = scan([SHOP, MALL], [MALL], [MALL, SHOP], [MALL], [MALL])
    looks = [after(one) for _ in range(5)]
    assert [SHOP in names for names in looks] == [True, True, True, True, False]
    assert all(set(FIXED) < set(names) for names in looks)


def test_the_last_platform_is_kept() -> None:
    """A worker that reads nothing would look healthy."""
    one = scan([], [], [])
    assert [after(one) for _ in range(3)] == [[SHOP, *FIXED]] * 3


def test_what_cannot_be_read_yet_is_said_once_and_read_when_it_can(caplog: pytest.LogCaptureFixture) -> None:
    """Each cause once; the others are not held up."""
    causes = iter(["no state", "no state", "no rights", ""])
    one = scan(*[[SHOP, MALL]] * 4, problem=lambda name, found: next(causes))
    assert [MALL in after(one) for _ in range(4)] == [False, False, False, True]
    assert [record.getMessage().split(": ")[-1] for record in caplog.records] == ["no state", "no rights"]


@given(st.lists(st.sets(st.sampled_from([SHOP, MALL, "rua.events.bazaar"])), min_size=1, max_size=12))
def test_whatever_comes_and_goes_what_is_there_is_read(looks: list[set[str]]) -> None:
    """Everything that exists is read, each once; what is read and does not exist has been missing for one look only."""
    one = scan(*map(sorted, looks))
    for before, now in zip([{SHOP}, *looks], looks, strict=False):
        names = after(one)
        assert len(names) == len(set(names))
        assert now <= set(names)
        stale = set(names) - now - set(FIXED)
        assert stale <= before or not now


def test_the_state_topic_must_be_there_with_as_many_partitions() -> None:
    """Else the worker would refuse the partition, and with it everybody's."""
    assert stateless(MALL, {MALL: 4, "rua.state.mall": 4}) == ""
    assert "run `rua topics apply --platform mall`" in stateless(MALL, {MALL: 4, "rua.state.shop": 4})
    assert "has 2 partitions, rua.events.mall has 4" in stateless(MALL, {MALL: 4, "rua.state.mall": 2})


def shell(subscribed: list[list[str]], **state: bool) -> Any:
    """A shell that notes what it is told to read."""

    async def thread(call: Callable[[], Any]) -> Any:
        return call()

    async def resubscribe(names: list[str]) -> None:
        subscribed.append(names)

    app, consumer = (
        SimpleNamespace(rebalancing=state.get("rebalancing", False)),
        SimpleNamespace(resubscribe=resubscribe),
    )
    return SimpleNamespace(ready=state.get("ready", True), app=app, consumer=consumer, thread=thread)


def done(call: Awaitable[None]) -> None:
    """Waits for it."""

    async def wait() -> None:
        await call

    asyncio.run(wait())


def test_only_a_change_is_subscribed() -> None:
    """A rebalance stops everybody for a moment."""
    told: list[list[str]] = []
    one = scan([SHOP], [SHOP, MALL], [SHOP, MALL])
    for _ in range(3):
        done(follow(shell(told), one))
    assert told == [[SHOP, *FIXED, MALL]]


@pytest.mark.parametrize("state", [{"ready": False}, {"rebalancing": True}])
def test_nothing_is_changed_while_partitions_move(state: dict[str, bool]) -> None:
    """It is not even looked."""
    told: list[list[str]] = []
    done(follow(shell(told, **state), scan()))
    assert not told


def test_a_broker_that_is_away_is_asked_again_later(caplog: pytest.LogCaptureFixture) -> None:
    """What is read stays as it is."""

    def away() -> Topics:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    told: list[list[str]] = []
    done(follow(shell(told), Scan([SHOP], away, lambda name, found: "")))
    assert not told
    assert "again later" in caplog.text
