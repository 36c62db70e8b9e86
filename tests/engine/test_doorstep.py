from __future__ import annotations

from collections.abc import Callable

import pytest

from postroad.engine.doorstep import HANDSHAKES, Doorstep, Unreachable
from postroad.mail.mx import Plan, SiteKey
from postroad.mail.outcome import Fault, Stage
from postroad.mail.routing import DIRECT, Endpoint, Route
from postroad.mail.rules import default_rules
from postroad.mail.tls import Requirement, TlsLevel
from tests.support.build import NOW, hop
from tests.support.loop import VirtualClock, virtual
from tests.support.scripted_network import Host, ScriptedTransport, down, fail, say

ENDPOINTS = tuple(Endpoint(f"mx{n}.example.org", f"192.0.2.{n}", 25, n) for n in range(1, 6))
NAMES = [endpoint.host for endpoint in ENDPOINTS]


class Door:
    """A doorstep before five hosts; `at` says which one opened, or how none did."""

    def __init__(self, *hosts: Host, level: TlsLevel = TlsLevel.OPPORTUNISTIC) -> None:
        self.clock = VirtualClock()
        self.transport = ScriptedTransport(self.clock, dict(zip(NAMES, hosts, strict=False)))
        self.doorstep = Doorstep(self.transport, default_rules(), self.clock, 300)
        self.plan = Plan(hop(), SiteKey(DIRECT, "mx", Requirement(level)), ENDPOINTS, NOW + 1e9)

    async def at(self, prefer: str | None = None) -> str:
        async with self.doorstep.session(self.plan, Route(DIRECT), prefer) as session:
            return session.endpoint.host

    @property
    def knocked(self) -> list[str]:
        return [connection.endpoint.host for connection in self.transport.connections]


@virtual
async def test_hosts_are_tried_in_order_until_one_opens() -> None:
    door = Door(Host(down()), Host(fail(Stage.CONNECT, Fault.TIMEOUT)), Host(), Host())
    assert await door.at() == NAMES[2]
    assert door.knocked == NAMES[:3]


@pytest.mark.parametrize(
    "closed",
    [
        lambda: Host(say(Stage.GREETING, "554 5.7.1 Go away")),
        lambda: Host(say(Stage.GREETING, "421 4.3.2 Busy")),
        lambda: Host(fail(Stage.EHLO, Fault.LOST)),
        lambda: Host(tls="broken"),
    ],
    ids=["554", "421", "lost", "tls"],
)
def test_one_attempt_costs_two_greetings_at_most(closed: Callable[[], Host]) -> None:
    @virtual
    async def check() -> None:
        door = Door(*(closed() for _ in NAMES))
        with pytest.raises(Unreachable) as caught:
            await door.at()
        assert door.knocked == NAMES[:HANDSHAKES]
        assert caught.value.endpoint == ENDPOINTS[HANDSHAKES - 1]

    check()


@virtual
async def test_an_address_that_was_dead_twice_is_passed_over() -> None:
    door = Door(Host(down()), Host())
    for _ in range(3):
        await door.at()
    assert door.knocked == [NAMES[0], NAMES[1], NAMES[0], NAMES[1], NAMES[1]]


@virtual
async def test_when_all_are_dead_all_are_tried_all_the_same() -> None:
    door = Door(*(Host(down()) for _ in NAMES))
    for _ in range(3):
        with pytest.raises(Unreachable):
            await door.at()
    assert door.knocked == NAMES * 3


@virtual
async def test_what_was_held_against_an_address_is_forgotten_on_request() -> None:
    door = Door(Host(down()), Host())
    for _ in range(3):
        await door.at()
    door.doorstep.forget()
    await door.at()
    assert door.knocked[-2:] == NAMES[:2]


@virtual
async def test_a_preferred_door_comes_first_even_if_the_plan_does_not_name_it_any_more() -> None:
    door = Door(*(Host() for _ in NAMES))
    door.plan = Plan(hop(), door.plan.site, ENDPOINTS[3:], NOW + 1e9)
    assert await door.at() == NAMES[3]
    door.plan = Plan(hop(), door.plan.site, ENDPOINTS[:3], NOW + 1e9)
    assert await door.at() == NAMES[0]
    assert await door.at(prefer=str(ENDPOINTS[3])) == NAMES[3]
    assert await door.at(prefer="unheard.example[192.0.2.99]:25") == NAMES[0]


@virtual
async def test_what_goes_wrong_in_the_session_closes_it_and_comes_out() -> None:
    door = Door(Host())
    with pytest.raises(ZeroDivisionError):
        async with door.doorstep.session(door.plan, Route(DIRECT), None):
            raise ZeroDivisionError
    assert door.transport.connections[0].closed is not None
    assert sum(door.transport.open.values()) == 0


@virtual
async def test_a_plan_without_endpoints_leads_nowhere() -> None:
    door = Door()
    door.plan = Plan(hop(), door.plan.site, (), NOW + 1e9)
    with pytest.raises(Unreachable) as caught:
        await door.at()
    assert caught.value.outcome.status == "5.4.4"
