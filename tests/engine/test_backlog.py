from __future__ import annotations

import asyncio

import pytest

from postroad.engine.backlog import Backlog
from postroad.mail.events import StorageTrouble
from postroad.mail.message import Delivery
from postroad.mail.routing import Hop
from tests.support.build import NOW, hop, message, recipient
from tests.support.engine import Engine, build, engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, down

ORG = {"mx.example.org": Host()}


class Ring:
    """A backlog over a queue with so many messages a hop; `put` is what it claimed, in order."""

    def __init__(self, **waiting: int) -> None:
        self.post: Engine = build({})
        self.room = 10
        self.put: list[Delivery] = []
        self.due: list[tuple[Hop, float]] = []
        self.tasks: list[asyncio.Task[None]] = []
        around = self.post.sites._around
        object.__setattr__(around, "spawn", lambda work: self.tasks.append(asyncio.create_task(work)))
        object.__setattr__(around, "due", lambda hop, at: self.due.append((hop, at)))
        self.backlog = Backlog(around, lambda: self.room, self.put.append)
        number = 0
        for name, count in waiting.items():
            for _ in range(count):
                number += 1
                owner = message(number)
                self.post.queue._insert(owner, [recipient(owner, hop=hop(name))])
            self.backlog.add(hop(name))

    async def settle(self) -> None:
        while any(not task.done() for task in self.tasks):
            await asyncio.wait(self.tasks)


@virtual
async def test_hops_claim_in_turn_as_long_as_there_is_room() -> None:
    ring = Ring(one=25, two=5)
    ring.backlog.refill()
    await ring.settle()
    assert [delivery.hop.name for delivery in ring.put] == ["one"] * 10 + ["two"] * 5 + ["one"] * 15
    assert ring.backlog.is_idle


@virtual
async def test_without_room_nothing_is_claimed() -> None:
    ring = Ring(one=25)
    ring.room = 0
    ring.backlog.refill()
    await ring.settle()
    assert ring.put == []
    assert len(ring.backlog) == 1


@virtual
async def test_there_is_one_claim_at_a_time() -> None:
    ring = Ring(one=25, two=25)
    for _ in range(5):
        ring.backlog.refill()
    assert len(ring.tasks) == 1
    await ring.settle()
    assert len(ring.put) == 50


@virtual
async def test_a_hop_that_has_nothing_due_leaves_and_says_when_it_has() -> None:
    ring = Ring(one=3)
    later = message(99)
    ring.post.queue._insert(later, [recipient(later, hop=hop("one"), due=NOW + 500)])
    ring.backlog.refill()
    await ring.settle()
    assert len(ring.put) == 3
    assert ring.due == [(hop("one"), NOW + 500)]


@pytest.mark.parametrize("delay", [1.0, 2.5])
def test_a_full_disk_delays_claims(delay: float) -> None:
    @virtual
    async def check() -> None:
        async with engine(ORG) as post:
            await asyncio.sleep(1)
            post.resolver.delay = delay
            for n in range(50):
                await post.submit(f"b{n}@example.org")
            post.queue.full = True
            await asyncio.sleep(30)
            assert post.arrived() == []
            assert "claim" in [event.operation for event in post.events.of(StorageTrouble)]
            post.queue.full = False
            await post.gone(within=10)

    check()


@virtual
async def test_a_full_disk_while_a_site_is_put_off_loses_nothing() -> None:
    async with engine({"mx.example.org": Host(down(until=NOW + 10))}, connect_delay=2.0) as post:
        await asyncio.sleep(1)
        for n in range(250):
            await post.submit(f"b{n}@example.org")
        post.queue.full = True
        await asyncio.sleep(30)
        assert {event.operation for event in post.events.of(StorageTrouble)} >= {"record", "defer"}
        post.queue.full = False
        await post.gone(within=600)
        assert len(post.arrived()) == 250
