"""Why mail waits, asked of a running engine that really makes it wait."""

from __future__ import annotations

import asyncio

from postroad.mail.lifecycle import State
from postroad.mail.outcome import Stage
from postroad.mail.throttle import Limits
from postroad.ports.control import Explained
from postroad.ports.queue import QueueFilter
from tests.support.engine import Engine, engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, down, greylist, slow


async def asked(post: Engine, id: str) -> Explained:
    (found,) = await post.control.explain(QueueFilter(ids=(id,)), 10)
    return found


@virtual
async def test_a_paused_site_is_named_with_what_paused_it_and_when() -> None:
    async with engine({"mx.example.org": Host(down())}) as post:
        id = await post.submit("b@example.org")
        await asyncio.sleep(30)
        found = await asked(post, id)
        assert (found.why.constraint, found.origin) == ("site-paused", "limits.pause_first of mx")
        assert found.why.learned is not None
        assert "refused" in found.why.learned.text
        assert found.why.at is not None
        assert 0 < post.clock.now() - found.why.at <= 30
        ((_, until, _),) = post.sites.paused()
        assert found.why.next_try == until
        assert post.control.hops_of("mx.example.org") == ["mx:example.org"]
        await post.operate("delete", id)


@virtual
async def test_each_wait_has_its_name() -> None:
    hosts = {"mx.example.org": Host(greylist(300)), "mx.example.net": Host(slow(Stage.DOT, 30))}
    async with engine(hosts) as post:
        post.resolver.failing.add("example.com")
        grey, slow_one, silent = [
            await post.submit(f"b@{domain}") for domain in ("example.org", "example.net", "example.com")
        ]
        held = await post.submit("c@example.com")
        await post.operate("hold", held)
        await asyncio.sleep(5)
        named = {id: (await asked(post, id)).why.constraint for id in (grey, slow_one, silent, held)}
        assert named == {grey: "greylisted", slow_one: "active", silent: "dns", held: "held"}
        await post.operate("delete")
        await post.gone(slow_one, within=60)
        await post.operate("delete")


@virtual
async def test_the_limit_of_connections_is_what_binds_when_they_are_taken() -> None:
    limits = Limits(connections=1, initial_window=1)
    async with engine({"mx.example.org": Host(slow(Stage.DOT, 30))}, limits=limits) as post:
        await post.submit("warm@example.org")
        await asyncio.sleep(1)
        ids = [await post.submit(f"b{n}@example.org") for n in range(600)]
        await asyncio.sleep(1)
        # One that is claimed already, and one that is not.
        for id, state in ((ids[0], State.ACTIVE), (ids[-1], State.WAITING)):
            found = await asked(post, id)
            assert found.recipient.state is state
            assert (found.why.constraint, found.why.value) == ("connection-limit", "1 of 1 now, 1 at most")
            assert found.origin == "limits.connections_per_site of mx"
        await post.operate("delete")


@virtual
async def test_other_sites_may_have_every_connection() -> None:
    hosts = {"mx.example.org": Host(slow(Stage.DOT, 30)), "mx.example.net": Host()}
    async with engine(hosts, max_connections=1) as post:
        await post.submit("b@example.org")
        await asyncio.sleep(1)
        live = post.control.live((await asked(post, next(iter(post.queue.messages)))).recipient.hop)
        assert (live.full, live.busy, live.most) == (True, 1, 1)
        await post.gone(within=60)
