from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from postroad.engine import destinations
from postroad.engine.destinations import Destinations, Ground
from postroad.mail.mx import Plan
from postroad.mail.outcome import Kind, Outcome, Reason
from postroad.mail.routing import Endpoint, Route, TlsWish
from postroad.mail.rules import default_rules
from postroad.mail.tls import TlsLevel
from tests.support.build import NOW, hop
from tests.support.engine import build, engine
from tests.support.loop import VirtualClock, virtual
from tests.support.scripted_network import Host, ScriptedResolver

ZONE: dict[str, dict[str, list[Any]]] = {
    "example.org": {"MX": [(20, "b.example.org"), (10, "a.example.org")]},
    "a.example.org": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
    "b.example.org": {"A": ["192.0.2.2"]},
    "bare.example": {"A": ["192.0.2.3"]},
    "inside.example": {"MX": [(10, "inside.example")], "A": ["10.0.0.1"]},
    "relay.example": {"A": ["10.0.0.2"]},
}
RELAY = Route("smart", ("*",), ("relay.example", 2525), TlsWish.REQUIRED)
GROUND = Ground(25, False, frozenset({"mail.example.com"}), frozenset({"203.0.113.1"}))


class Asked:
    """Destinations with their resolver, built on the running loop."""

    def __init__(self, *routes: Route, ttl: float = 300.0, delay: float = 0.0) -> None:
        self.resolver = ScriptedResolver(ZONE, ttl=ttl, delay=delay)
        self.clock = VirtualClock()
        self.destinations = Destinations(
            self.resolver, self.clock, default_rules(), random.Random(1), GROUND, routes
        )

    async def plan(self, name: str, route: str = "mx") -> Plan:
        plan = await self.destinations.plan(hop(name, route))
        assert isinstance(plan, Plan), plan
        return plan

    async def refusal(self, name: str, route: str = "mx") -> Outcome:
        outcome = await self.destinations.plan(hop(name, route))
        assert isinstance(outcome, Outcome), outcome
        return outcome


@virtual
async def test_the_best_preference_comes_first_and_the_site_is_named_by_all_hosts() -> None:
    plan = await Asked().plan("example.org")
    assert plan.endpoints == (
        Endpoint("a.example.org", "2001:db8::1", 25, 10),
        Endpoint("a.example.org", "192.0.2.1", 25, 10),
        Endpoint("b.example.org", "192.0.2.2", 25, 20),
    )
    assert plan.site.group == "a.example.org,b.example.org"
    assert plan.site.tls.level is TlsLevel.OPPORTUNISTIC


@virtual
async def test_a_domain_without_mx_is_its_own_host() -> None:
    plan = await Asked().plan("bare.example")
    assert [str(endpoint) for endpoint in plan.endpoints] == ["bare.example[192.0.2.3]:25"]


@virtual
async def test_an_address_literal_asks_nobody() -> None:
    asked = Asked()
    plan = await asked.plan("[192.0.2.77]")
    assert plan.endpoints[0].address == "192.0.2.77"
    assert asked.resolver.asked == []


@virtual
async def test_a_relay_that_cannot_be_found_is_waited_for() -> None:
    lost = Route("lost", ("*",), ("typo.example", 25), TlsWish.OPPORTUNISTIC)
    outcome = await Asked(lost).refusal("typo.example:25", "lost")
    assert (outcome.kind, outcome.reason) == (Kind.DEFERRED, Reason.DNS)
    assert "typo.example" in outcome.text


@virtual
async def test_localhost_as_a_relay_is_this_machine_and_asks_nobody() -> None:
    asked = Asked(Route("local", ("*",), ("localhost", 2525), TlsWish.VERIFIED))
    plan = await asked.plan("localhost:2525", "local")
    assert {endpoint.address for endpoint in plan.endpoints} == {"127.0.0.1", "::1"}
    assert {endpoint.host for endpoint in plan.endpoints} == {"localhost"}
    assert asked.resolver.asked == []


@virtual
async def test_a_relay_is_the_operators_word() -> None:
    plan = await Asked(RELAY).plan("relay.example:2525", "smart")
    assert plan.endpoints == (Endpoint("relay.example", "10.0.0.2", 2525),)
    assert plan.site.tls.level is TlsLevel.ENCRYPTED


@virtual
async def test_private_addresses_found_in_dns_are_not_delivered_to() -> None:
    outcome = await Asked().refusal("inside.example")
    assert (outcome.kind, outcome.reason) == (Kind.DEFERRED, Reason.ROUTING)


@virtual
async def test_a_hop_whose_route_is_gone_waits_for_the_operator() -> None:
    outcome = await Asked().refusal("relay.example:2525", "smart")
    assert outcome.kind is Kind.DEFERRED
    assert "smart is not configured" in outcome.text


@virtual
async def test_a_plan_is_good_as_long_as_the_answers_and_a_minute_at_least() -> None:
    for ttl, lasts in ((300.0, 300.0), (5.0, 60.0)):
        asked = Asked(ttl=ttl)
        plan = await asked.plan("example.org")
        assert plan.good_until == NOW + asyncio.get_running_loop().time() + lasts
        assert asked.destinations.known(hop("example.org")) is plan
        await asyncio.sleep(lasts)
        assert asked.destinations.known(hop("example.org")) is None
        assert asked.destinations.last(hop("example.org")) is plan


@virtual
async def test_many_who_ask_at_once_cost_one_lookup() -> None:
    asked = Asked(delay=1)
    plans = await asyncio.gather(*(asked.plan("example.org") for _ in range(50)))
    assert len(set(map(id, plans))) == 1
    assert asked.resolver.asked.count(("example.org", "MX")) == 1


@virtual
async def test_who_stops_asking_takes_the_answer_from_nobody() -> None:
    asked = Asked(delay=1)
    first = asyncio.create_task(asked.plan("example.org"))
    second = asyncio.create_task(asked.plan("example.org"))
    await asyncio.sleep(0.5)
    first.cancel()
    assert isinstance(await second, Plan)


@pytest.mark.parametrize("broken", ["a.example.org", "b.example.org"])
def test_a_host_that_cannot_be_looked_up_is_passed_over(broken: str) -> None:
    @virtual
    async def check() -> None:
        asked = Asked()
        asked.resolver.failing.add(broken)
        plan = await asked.plan("example.org")
        assert broken not in {endpoint.host for endpoint in plan.endpoints}
        assert plan.site.group == "a.example.org,b.example.org"

    check()


@virtual
async def test_when_no_host_can_be_looked_up_the_mail_waits() -> None:
    asked = Asked()
    asked.resolver.failing = {"a.example.org"}
    asked.resolver.zone.pop("b.example.org")
    outcome = await asked.refusal("example.org")
    assert (outcome.kind, outcome.reason) == (Kind.DEFERRED, Reason.DNS)


@virtual
async def test_a_reload_in_the_middle_of_a_lookup_is_answered_by_the_new_routes() -> None:
    asked = Asked(RELAY, delay=1)
    lookup = asyncio.create_task(asked.plan("relay.example:2525", "smart"))
    await asyncio.sleep(0.5)
    elsewhere = Route("smart", ("*",), ("192.0.2.99", 25))
    asked.destinations.reload(GROUND, (elsewhere,))
    assert (await lookup).endpoints == (Endpoint("192.0.2.99", "192.0.2.99", 25),)


@virtual
async def test_after_a_reload_mail_that_waits_takes_the_new_way() -> None:
    old = Route("smart", ("*",), ("192.0.2.1", 25))
    new = Route("smart", ("*",), ("192.0.2.2", 25))
    async with engine({"192.0.2.2": Host()}, {}, routes=(old,)) as post:
        await post.submit("b@example.org")
        await post.until(lambda: bool(post.sites.paused()))
        post.packer.reload(post.signer, (new,), post.settings.retry)
        post.destinations.reload(post.ground(), (new,))
        post.sites.reload(post.limits())
        await post.gone(within=600)
        assert [one.endpoint.address for one in post.arrived()] == ["192.0.2.2"]


@virtual
async def test_a_route_that_goes_while_its_way_is_looked_up_defers_its_mail() -> None:
    async with engine({}, {"relay.example": {"A": ["192.0.2.1"]}}, routes=(RELAY,)) as post:
        post.resolver.delay = 5
        id = await post.submit("b@example.org")
        await asyncio.sleep(2)
        post.destinations.reload(post.ground(), ())
        post.sites.reload(post.limits())
        await asyncio.sleep(10)
        (row,) = post.rows(id)
        assert row.last is not None
        assert "not configured" in row.last.text
        await post.operate("delete", id)


@virtual
async def test_of_too_many_plans_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destinations, "MAX_PLANS", 2)
    asked = Asked()
    names = ("example.org", "bare.example", "[192.0.2.9]")
    for name in names:
        await asked.plan(name)
    assert [asked.destinations.known(hop(name)) is not None for name in names] == [False, True, True]


def test_a_plan_that_nobody_made_is_not_known() -> None:
    @virtual
    async def check() -> None:
        assert build({}).destinations.known(hop()) is None

    check()
