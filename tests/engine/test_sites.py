from __future__ import annotations

import asyncio

import pytest

from postroad.engine import sites
from postroad.mail.outcome import Stage
from postroad.mail.routing import Route, TlsWish
from postroad.mail.throttle import Limits
from tests.support.engine import Engine, engine
from tests.support.loop import virtual
from tests.support.scripted_network import Host, Moment, Rule, Said, down, reply, slow

RELAY = {"relay.example": {"A": ["192.0.2.1"]}}


def reload(post: Engine, *routes: Route, limits: Limits | None = None) -> None:
    """As the daemon takes a new configuration."""
    post.settings.routes = routes
    if limits is not None:
        post.settings.limits = limits
    post.packer.reload(post.signer, routes, post.settings.retry)
    post.destinations.reload(post.ground(), routes)
    post.sites.reload(post.limits())


@virtual
async def test_a_password_that_was_corrected_is_used_at_once() -> None:
    wrong = Route("smart", ("*",), ("relay.example", 25), username="user", password="wrong")
    right = Route("smart", ("*",), ("relay.example", 25), username="someone", password="right")

    def login(moment: Moment) -> Said | None:
        known = moment.connection.username == "someone"
        return None if known else reply("535 5.7.8 Authentication failed")

    async with engine({"relay.example": Host(Rule(Stage.AUTH, login))}, RELAY, routes=(wrong,)) as post:
        id = await post.submit("b@example.org")
        await asyncio.sleep(3600)
        assert post.sites.paused()
        reload(post, right)
        await post.operate("retry", id)
        await post.gone(id, within=1)


@virtual
async def test_new_limits_hold_for_sites_that_are_busy() -> None:
    async with engine({"mx.example.org": Host(slow(Stage.DOT, 1))}, limits=Limits(connections=10)) as post:
        for n in range(300):
            await post.submit(f"b{n}@example.org")
        await asyncio.sleep(10)
        assert post.sites.connections() == 10
        reload(post, limits=Limits(connections=2))
        # What is open may work until it is worn out or idle.
        post.transport.most_open.clear()
        await post.gone(within=600)
        await asyncio.sleep(20)
        for n in range(100):
            await post.submit(f"c{n}@example.org")
        post.transport.most_open.clear()
        await post.gone(within=600)
        assert post.transport.most_open["mx.example.org"] <= 2


@virtual
async def test_routes_with_different_wishes_for_tls_share_no_connection() -> None:
    zone = {
        "one.example": {"MX": [(10, "mx.host.example")]},
        "two.example": {"MX": [(10, "mx.host.example")]},
        "mx.host.example": {"A": ["192.0.2.1"]},
    }
    strict = Route("strict", ("two.example",), tls=TlsWish.REQUIRED)
    async with engine({"mx.host.example": Host()}, zone, routes=(strict,)) as post:
        await post.submit("b@one.example", "b@two.example")
        await post.gone()
        assert len(post.transport.connections) == 2


@virtual
async def test_a_route_without_limits_of_its_own_has_those_of_the_direct_one() -> None:
    route = Route("smart", ("*",), ("relay.example", 25))
    async with engine({"relay.example": Host(slow(Stage.DOT, 1))}, RELAY, routes=(route,)) as post:
        post.sites.reload({"mx": Limits(connections=1)})
        for n in range(20):
            await post.submit(f"b{n}@example.org")
        await post.gone(within=60)
        assert post.transport.most_open["relay.example"] == 1


@virtual
async def test_sites_that_idle_are_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sites, "MAX_REMEMBERED", 10)
    hosts = {f"mx.site{n}.example": Host() for n in range(40)} | {"mx.dead.example": Host(down())}
    async with engine(hosts) as post:
        stuck = await post.submit("b@dead.example")
        for n in range(40):
            await post.submit(f"b@site{n}.example")
            await asyncio.sleep(10)
        assert len(post.sites._sites) <= 11
        assert [site for site, _, _ in post.sites.paused()] == ["mx.dead.example"]
        await post.operate("delete", stuck)


@virtual
async def test_when_no_site_can_be_forgotten_that_is_not_looked_into_for_each_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sites, "MAX_REMEMBERED", 10)
    async with engine({f"mx.dead{n}.example": Host(down()) for n in range(100)}) as post:
        for n in range(100):
            await post.submit(f"b@dead{n}.example")
        await post.until(lambda: len(post.sites.paused()) == 100, within=60)
        # Looked for among ten, twenty, forty and eighty.
        assert post.sites._full_at == 160
        await post.operate("delete")
