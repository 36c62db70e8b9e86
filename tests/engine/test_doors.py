"""Which of a site's hosts a message goes to."""

from __future__ import annotations

import asyncio

import pytest

from postroad.mail.outcome import Kind, Stage
from postroad.mail.throttle import Limits
from tests.support.build import NOW
from tests.support.engine import build, engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, Rule, down, greylist, say, slow
from tests.support.zones import TWO_MX


@virtual
async def test_a_421_greeting_sends_the_message_to_the_next_mx() -> None:
    hosts = {"mx1.example.org": Host(say(Stage.GREETING, "421 4.3.2 Closing")), "mx2.example.org": Host()}
    async with engine(hosts, TWO_MX) as post:
        await post.submit("b@example.org")
        await post.gone()
        assert [str(one.endpoint.host) for one in post.arrived()] == ["mx2.example.org"]
        assert post.attempts(Kind.DEFERRED) == []


@virtual
async def test_a_greylisted_message_knocks_at_the_same_door_again() -> None:
    zone = {
        "example.org": {"MX": [(10, f"mx{n}.example.org") for n in range(8)]},
        **{f"mx{n}.example.org": {"A": [f"192.0.2.{n + 1}"]} for n in range(8)},
    }
    hosts = {f"mx{n}.example.org": Host(greylist(300)) for n in range(8)}
    for seed in range(10):
        async with engine(hosts, zone, seed=seed, ttl=60.0) as post:
            await post.submit("b@example.org", sender=f"a{seed}@example.com")
            await post.gone(within=320)
            first, second = post.transport.established
            assert first.endpoint == second.endpoint


def greylisting_one(recipient: str) -> Rule:
    grey = greylist(300)
    return Rule(
        Stage.RCPT, lambda moment: grey.decide(moment) if str(moment.recipient) == recipient else None
    )


def two_equal_doors(*rules: Rule) -> tuple[dict[str, Host], dict[str, dict[str, list[object]]]]:
    """Two hosts of equal preference that know nothing of each other."""
    zone: dict[str, dict[str, list[object]]] = {
        "example.org": {"MX": [(10, "mx1.example.org"), (10, "mx2.example.org")]},
        "mx1.example.org": {"A": ["192.0.2.1"]},
        "mx2.example.org": {"A": ["192.0.2.2"]},
    }
    return {f"mx{n}.example.org": Host((greylisting_one("grey@example.org"), *rules)) for n in (1, 2)}, zone


@pytest.mark.parametrize("connections", [1, 2])
def test_a_greylisted_message_goes_to_its_door_though_others_have_connections(connections: int) -> None:
    @virtual
    async def check() -> None:
        for seed in range(4):
            hosts, zone = two_equal_doors(slow(Stage.DOT, 0.3))
            limits = Limits(connections=connections)
            async with engine(hosts, zone, seed=seed, ttl=60.0, limits=limits) as post:
                id = await post.submit("grey@example.org")
                while not post.arrived("grey@example.org"):
                    await post.submit("b@example.org")
                    await asyncio.sleep(3)
                tries = [
                    tried.attempt for tried in post.attempts() if tried.attempt.delivery.message.id == id
                ]
                assert len(tries) == 2
                assert tries[0].endpoint == tries[1].endpoint
                await post.gone()

    check()


@virtual
async def test_a_greylisted_message_goes_through_another_door_where_its_own_is_shut() -> None:
    hosts, zone = two_equal_doors()
    async with engine(hosts, zone) as post:
        await post.submit("grey@example.org")
        await post.until(lambda: bool(post.attempts()))
        first = post.transport.established[0].endpoint
        hosts[first.host].rules = down()
        other = next(host for name, host in hosts.items() if name != first.host)
        other.rules = ()
        await post.gone(within=400)
        assert [one.endpoint == first for one in post.arrived()] == [False]


@pytest.mark.parametrize("seed", range(6))
def test_a_daemon_that_was_restarted_knows_the_door_that_greylisted_a_message(seed: int) -> None:
    @virtual
    async def check() -> None:
        hosts, zone = two_equal_doors()
        post = build(hosts, zone, seed=seed)
        async with post.running():
            await post.submit("grey@example.org")
            await post.until(lambda: bool(post.attempts()))
        again = build(hosts, zone, seed=seed + 100, queue=post.queue, spool=post.spool)
        async with again.running():
            await again.gone(within=400)
        (connection,) = again.transport.established
        assert connection.endpoint == post.transport.established[0].endpoint

    check()


@virtual
async def test_a_dead_host_costs_ten_seconds_while_another_is_left_and_soon_nothing() -> None:
    hosts = {"mx1.example.org": Host(slow(Stage.CONNECT, 1000)), "mx2.example.org": Host()}
    async with engine(hosts, TWO_MX, limits=Limits(idle_timeout=1)) as post:
        took = []
        for n in range(4):
            start = post.clock.now()
            await post.submit(f"b{n}@example.org")
            await post.gone(within=40)
            took.append(post.clock.now() - start)
            await asyncio.sleep(2)
        assert [round(seconds) for seconds in took] == [10, 10, 0, 0]
        assert post.attempts(Kind.DEFERRED) == []


@virtual
async def test_a_slow_host_has_its_whole_time_when_it_is_the_last_or_was_heard_before() -> None:
    sluggish = Host(slow(Stage.CONNECT, 20))
    hosts = {"mx1.example.org": Host(down(until=NOW + 60)), "mx2.example.org": sluggish}
    async with engine(hosts, TWO_MX, limits=Limits(idle_timeout=1)) as post:
        await post.submit("a@example.org")
        await post.gone(within=40)
        assert [one.endpoint.host for one in post.arrived()] == ["mx2.example.org"]
        await asyncio.sleep(60)
        await post.submit("b@example.org")
        await post.gone()
        hosts["mx1.example.org"].rules = slow(Stage.CONNECT, 20)
        await asyncio.sleep(5)
        await post.submit("c@example.org")
        await post.gone(within=40)
        assert [one.endpoint.host for one in post.arrived()][1:] == ["mx1.example.org"] * 2
