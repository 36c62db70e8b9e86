from __future__ import annotations

import asyncio

import pytest

from postroad.engine.scheduler import SLACK
from postroad.mail.events import HopDeferred, HopFailed
from postroad.mail.lifecycle import State
from postroad.mail.outcome import Kind
from tests.support.build import HOUR, NOW, hop
from tests.support.engine import build, engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, greylist

SENDER = {"example.com": {"MX": [(10, "mx.example.com")]}, "mx.example.com": {"A": ["192.0.2.9"]}}
ORG = {"example.org": {"MX": [(10, "mx.example.org")]}, "mx.example.org": {"A": ["192.0.2.1"]}}
HOSTS = {"mx.example.org": Host(), "mx.example.com": Host()}


@virtual
async def test_a_hop_that_cannot_be_resolved_is_put_off_whole_with_one_lookup() -> None:
    async with engine(HOSTS, ORG) as post:
        post.resolver.failing.add("example.org")
        post.resolver.delay = 1
        ids = [await post.submit(f"b{n}@example.org") for n in range(100)]
        await asyncio.sleep(30)
        assert post.resolver.asked.count(("example.org", "MX")) <= 2
        rows = [post.rows(id)[0] for id in ids]
        assert {row.attempts for row in rows} == {0}
        assert all(row.last is not None and "SERVFAIL" in row.last.text for row in rows)
        assert sum(event.count for event in post.events.of(HopDeferred)) >= 100
        post.resolver.failing.clear()
        await post.gone(within=120)
        assert post.attempts(Kind.DEFERRED) == []


@virtual
async def test_new_mail_does_not_lengthen_the_wait_for_a_name_server() -> None:
    async with engine(HOSTS, ORG) as post:
        post.resolver.failing.add("example.org")
        for n in range(50):
            await post.submit(f"b{n}@example.org")
            await asyncio.sleep(1)
        post.resolver.failing.clear()
        await post.gone(within=300)
        assert len(post.resolver.asked) < 6


@virtual
async def test_a_message_for_a_hop_known_to_be_unresolvable_waits_with_the_others_and_says_why() -> None:
    async with engine(HOSTS, ORG) as post:
        post.resolver.failing.add("example.org")
        first = await post.submit("a@example.org")
        await post.until(lambda: bool(post.events.of(HopDeferred)))
        second = await post.submit("b@example.org")
        (one,), (other,) = post.rows(first), post.rows(second)
        assert (other.due, other.last) == (one.due, one.last)
        await post.operate("delete", first, second)


@virtual
async def test_a_name_that_stays_unresolvable_is_asked_for_ever_more_rarely() -> None:
    async with engine(HOSTS, ORG) as post:
        post.resolver.failing.add("example.org")
        id = await post.submit("b@example.org")
        await asyncio.sleep(4 * HOUR - 60)
        asked = post.resolver.asked.count(("example.org", "MX"))
        assert 5 <= asked <= 8
        await post.operate("delete", id)


@pytest.mark.parametrize(
    ("zone", "status"),
    [
        ({}, "5.1.2"),
        ({"example.org": {"MX": [(0, ".")]}}, "5.1.10"),
        (
            {"example.org": {"MX": [(10, "mail.example.com")]}, "mail.example.com": {"A": ["192.0.2.7"]}},
            "5.4.6",
        ),
        ({"example.org": {"A": []}}, "5.4.4"),
    ],
    ids=["no such domain", "null MX", "loop", "no address"],
)
def test_a_way_that_does_not_exist_fails_all_that_waits_for_it(
    zone: dict[str, dict[str, list[object]]], status: str
) -> None:
    @virtual
    async def check() -> None:
        async with engine(HOSTS, {**SENDER, **zone}) as post:
            await post.submit("b@example.org", "c@example.org")
            await post.gone(within=60)
            assert [event.count for event in post.events.of(HopFailed)] == [2]
            (notice,) = post.notices()
            (bounce,) = post.arrived("a@example.com")
            assert notice.kind == "failed"
            assert bounce.content.count(f"Status: {status}".encode()) == 2

    check()


@virtual
async def test_a_full_disk_delays_the_end_of_what_has_no_way() -> None:
    async with engine(HOSTS, SENDER) as post:
        await asyncio.sleep(1)
        post.resolver.delay = 1
        id = await post.submit("b@example.org")
        post.queue.full = True
        await asyncio.sleep(30)
        assert post.rows(id)[0].state is State.WAITING
        post.queue.full = False
        await post.gone(within=10)
        assert len(post.arrived("a@example.com")) == 1


@virtual
async def test_more_unknown_hops_than_may_be_looked_up_at_once_all_get_their_turn() -> None:
    hosts = {f"mx.site{n}.example": Host() for n in range(300)}
    async with engine(hosts) as post:
        post.resolver.delay = 1
        for n in range(300):
            await post.submit(f"b@site{n}.example")
        await post.gone(within=60)
        assert len(post.arrived()) == 300


@virtual
async def test_what_becomes_due_during_a_lookup_is_not_forgotten() -> None:
    """The hop fails for good while one more message comes in for it."""
    async with engine(HOSTS, SENDER) as post:
        post.resolver.delay = 1
        await post.submit("a@nowhere.example")
        for _ in range(400):
            await post.submit("b@nowhere.example")
            await asyncio.sleep(0.005)
        await post.gone(within=60)
        assert len([notice for notice in post.notices() if notice.kind == "failed"]) == 401


@virtual
async def test_after_a_restart_everything_that_waits_is_tried_in_its_time() -> None:
    first = build({"mx.example.org": Host(greylist(300))})
    async with first.running():
        id = await first.submit("b@example.org")
        await first.until(lambda: len(first.attempts()) == 1)
    (row,) = first.rows(id)
    assert (row.state, row.attempts) == (State.WAITING, 1)
    async with engine(
        {"mx.example.org": Host(), "mx.example.com": Host()}, queue=first.queue, spool=first.spool
    ) as second:
        await second.gone(id, within=400)
        (arrived,) = second.arrived()
        assert arrived.at >= row.due


@virtual
async def test_the_heap_holds_hops_and_does_not_grow_with_what_is_said_of_them() -> None:
    post = build({"mx.example.org": Host()})
    for n in range(5000):
        post.scheduler.due(hop(), NOW + 100_000 - n)
    assert len(post.scheduler._heap) <= 2 + SLACK
    assert post.scheduler._due_at == {hop(): NOW + 100_000 - 4999}


@pytest.mark.parametrize("step", [-HOUR, HOUR], ids=["back", "forward"])
def test_a_clock_that_steps_loses_no_mail_and_opens_no_flood(step: float) -> None:
    @virtual
    async def check() -> None:
        hosts = {f"mx.site{n}.example": Host(greylist(300)) for n in range(20)}
        async with engine({**hosts, "mx.example.com": Host()}) as post:
            for n in range(200):
                await post.submit(f"b{n}@site{n % 20}.example")
            await post.until(lambda: len(post.attempts(Kind.DEFERRED)) == 200)
            post.clock.stepped = step
            start = asyncio.get_running_loop().time()
            await post.gone(within=3 * HOUR)
            assert asyncio.get_running_loop().time() - start < 2 * HOUR + 600
            assert len(post.arrived()) == 200
            assert len(post.attempts()) <= 3 * 200
            assert max(post.transport.most_open.values()) <= 10

    check()
