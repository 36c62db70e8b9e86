"""Events fan out to all sinks, and to followers of one message who never hold anybody up."""

from __future__ import annotations

import asyncio

import pytest

from postroad.adapters.hub import EventHub
from postroad.mail.events import Event, Removed
from tests.support.build import queue_id
from tests.support.happenings import EVERY


class Sink:
    def __init__(self) -> None:
        self.seen: list[Event] = []

    def emit(self, event: Event) -> None:
        self.seen.append(event)


def test_every_sink_sees_every_event_in_order() -> None:
    first, second = Sink(), Sink()
    hub = EventHub(first, second)
    for event in EVERY:
        hub.emit(event)
    assert first.seen == second.seen == list(EVERY)


async def test_a_follower_sees_all_until_it_names_a_message_and_then_what_concerns_it() -> None:
    hub = EventHub()
    with hub.follow() as follower:
        for event in EVERY:
            hub.emit(event)
        follower.narrow(queue_id(1), {"example.org"})
        hub.emit(Removed(queue_id(2)))
        hub.emit(Removed(queue_id(1)))
        kept: list[Event] = []
        while not kept or not isinstance(kept[-1], Removed):
            kept.append(await follower.next())
    assert [type(event).__name__ for event in kept] == [
        "Accepted",
        "Tried",
        "HopDeferred",
        "Notified",
        "DoubleBounce",
        "Removed",
    ]


async def test_a_follower_waits_for_what_comes() -> None:
    hub = EventHub()
    with hub.follow() as follower:
        waiting = asyncio.ensure_future(follower.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.emit(Removed("x"))
        assert await waiting == Removed("x")


async def test_a_slow_follower_loses_the_oldest_and_knows_how_many() -> None:
    hub = EventHub()
    with hub.follow(limit=2) as follower:
        for name in "abc":
            hub.emit(Removed(name))
        assert follower.lost == 1
        assert [await follower.next(), await follower.next()] == [Removed("b"), Removed("c")]


async def test_a_follower_that_has_left_gets_nothing_more() -> None:
    hub = EventHub()
    with hub.follow() as follower:
        pass
    hub.emit(Removed("a"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await follower.next()
