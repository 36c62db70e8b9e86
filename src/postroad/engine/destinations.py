"""Hop -> plan: where to knock now, found once for all who ask (RFC 5321 5.1).

Cached until the answers expire; one lookup at a time per hop. What the answers
mean is decided in `mail.mx`; here they are only fetched.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from postroad.mail import mx
from postroad.mail.classify import judge
from postroad.mail.frozen import dataclass
from postroad.mail.mx import Plan, SiteKey
from postroad.mail.outcome import Fault, Outcome, Stage, Trouble
from postroad.mail.routing import DIRECT, Endpoint, Hop, Route, TlsWish
from postroad.mail.rules import Rules
from postroad.mail.tls import requirement
from postroad.ports.clock import Clock
from postroad.ports.resolver import AddressAnswer, MxAnswer, NoData, NoSuchName, Resolver, TryLater

# Answers without a time to live of their own (literals) hold this long; it also
# bounds how long a reloaded route's old plan could matter.
LASTING = 3600.0
SHORTEST = 60.0
MAX_PLANS = 20_000
DIRECT_ROUTE = Route(DIRECT)
LOCALHOST = AddressAnswer(("127.0.0.1",), ("::1",), LASTING)


@dataclass(frozen=True, slots=True)
class Ground:
    """Where we stand: the port to knock at, whether private addresses are allowed, who we are."""

    port: int
    allow_private: bool
    own_names: frozenset[str]
    own_addresses: frozenset[str]


class Destinations:
    def __init__(
        self,
        resolver: Resolver,
        clock: Clock,
        rules: Rules,
        chance: random.Random,
        ground: Ground,
        routes: Sequence[Route],
    ) -> None:
        self._resolver = resolver
        self._clock = clock
        self._rules = rules
        self._chance = chance
        self._ground = ground
        # The oldest first.
        self._plans: OrderedDict[Hop, Plan] = OrderedDict()
        self._lookups: dict[Hop, asyncio.Future[Plan | Outcome]] = {}
        self._routes = {route.name: route for route in routes}

    def reload(self, ground: Ground, routes: Sequence[Route]) -> None:
        """Other routes: what was planned by the old ones is forgotten."""
        self._ground = ground
        self._routes = {route.name: route for route in routes}
        self._plans.clear()

    def route(self, name: str) -> Route | None:
        """The route of a hop; None: it is no longer configured."""
        return DIRECT_ROUTE if name == DIRECT else self._routes.get(name)

    def known(self, hop: Hop) -> Plan | None:
        """The plan, if there is one now, without asking anybody."""
        plan = self._plans.get(hop)
        return plan if plan is not None and plan.good_until > self._clock.now() else None

    def last(self, hop: Hop) -> Plan | None:
        """The plan as it was last found, good or not any more."""
        return self._plans.get(hop)

    def hops_of(self, site: str) -> list[Hop]:
        """Whose last plan led to this MX group, or to one that this host is in."""
        name = site.lower()
        return [
            hop for hop, plan in self._plans.items() if name in (plan.site.group, *plan.site.group.split(","))
        ]

    async def plan(self, hop: Hop) -> Plan | Outcome:
        """The plan, or why there is none: deferred (ask later) or failed (no such way)."""
        plan = self.known(hop)
        if plan is not None:
            return plan
        running = self._lookups.get(hop)
        if running is None:
            running = self._lookups[hop] = asyncio.ensure_future(self._find(hop))
            running.add_done_callback(lambda _: self._lookups.pop(hop, None))
        return await asyncio.shield(running)

    async def _find(self, hop: Hop) -> Plan | Outcome:
        while True:
            routes, ground = self._routes, self._ground
            found = await self._find_once(hop)
            # A reload in between made this an answer to an old question.
            if routes is self._routes and ground is self._ground:
                break
        if isinstance(found, Plan):
            self._plans[hop] = found
            self._plans.move_to_end(hop)
            if len(self._plans) > MAX_PLANS:
                self._plans.popitem(last=False)
        return found

    async def _find_once(self, hop: Hop) -> Plan | Outcome:
        route = self.route(hop.route)
        if route is None:
            return self._judged(Trouble(Stage.LOCAL, Fault.INTERNAL, f"route {hop.route} is not configured"))
        found = await (self._by_mx(hop, route) if route.relay is None else self._by_relay(route.relay))
        if isinstance(found, Trouble):
            return self._judged(found)
        endpoints, group, ttl = found
        site = SiteKey(route.name, group, requirement(route.tls, hop.requiretls))
        return Plan(hop, site, endpoints, self._clock.now() + max(ttl, SHORTEST))

    def _judged(self, trouble: Trouble) -> Outcome:
        return judge(trouble.stage, trouble, None, self._rules)

    async def _by_relay(self, relay: tuple[str, int]) -> tuple[tuple[Endpoint, ...], str, float] | Trouble:
        """A relay is the operator's word: no MX, no own-host cut, private addresses allowed.

        One that has no address is the operator's mistake, which no sender should pay for: the mail waits.
        """
        host, port = relay
        literal = mx.written_address(host)
        addresses = AddressAnswer((literal,), (), LASTING) if literal else await self._relay_addresses(host)
        if isinstance(addresses, Trouble):
            return replace(addresses, fault=Fault.DNS_TEMPORARY)
        spots = [(0, host, (*addresses.v4, *addresses.v6))]
        endpoints = mx.endpoints(spots, port, (), True, shuffle=self._chance.shuffle)
        if isinstance(endpoints, Trouble):
            return endpoints
        return endpoints, f"{host}:{port}", addresses.ttl

    async def _relay_addresses(self, host: str) -> AddressAnswer | Trouble:
        # RFC 6761 6.3: localhost is never a question to DNS servers.
        return LOCALHOST if host == "localhost" else await self._addresses(host)

    async def _by_mx(self, hop: Hop, route: Route) -> tuple[tuple[Endpoint, ...], str, float] | Trouble:
        literal = mx.literal_address(hop.name)
        if literal is not None:
            return self._settled([(0, hop.name, (literal,))], [hop.name], LASTING)
        answer = await self._resolver.mx(hop.name)
        if isinstance(answer, NoSuchName):
            text = f"Host or domain name not found: domain {hop.name} does not exist"
            return Trouble(Stage.DNS, Fault.NO_SUCH_DOMAIN, text)
        if isinstance(answer, TryLater):
            text = f"Host or domain name not found, MX lookup of {hop.name}: {answer.text}"
            return Trouble(Stage.DNS, Fault.DNS_TEMPORARY, text)
        records = [] if isinstance(answer, NoData) else [(r.preference, r.host) for r in answer.records]
        if hop.requiretls and records and route.tls is not TlsWish.VERIFIED:
            return _unvalidated(hop.name)
        hosts = mx.arrange(hop.name, records, self._chance.shuffle, self._ground.own_names)
        if isinstance(hosts, Trouble):
            return hosts
        ttl = answer.ttl if isinstance(answer, MxAnswer) else LASTING
        return await self._with_addresses(hosts, ttl)

    async def _with_addresses(
        self, hosts: list[tuple[int, str]], ttl: float
    ) -> tuple[tuple[Endpoint, ...], str, float] | Trouble:
        """Look up every host. One that cannot be found now is passed over as long as another can."""
        answers = await asyncio.gather(*(self._addresses(host) for _, host in hosts))
        spots: list[mx.HostAddresses] = []
        trouble: Trouble | None = None
        for (preference, host), answer in zip(hosts, answers, strict=True):
            if isinstance(answer, Trouble):
                if trouble is None or answer.fault is Fault.DNS_TEMPORARY:
                    trouble = answer
                continue
            ttl = min(ttl, answer.ttl)
            spots.append((preference, host, (*answer.v4, *answer.v6)))
        if not spots and trouble is not None:
            return trouble
        return self._settled(spots, [host for _, host in hosts], ttl)

    def _settled(
        self, spots: list[mx.HostAddresses], names: list[str], ttl: float
    ) -> tuple[tuple[Endpoint, ...], str, float] | Trouble:
        ground = self._ground
        endpoints = mx.endpoints(
            spots, ground.port, ground.own_addresses, ground.allow_private, shuffle=self._chance.shuffle
        )
        if isinstance(endpoints, Trouble):
            return endpoints
        return endpoints, mx.group(names), ttl

    async def _addresses(self, host: str) -> AddressAnswer | Trouble:
        answer = await self._resolver.addresses(host)
        if isinstance(answer, AddressAnswer):
            return answer
        if isinstance(answer, TryLater):
            text = f"Host name not found, address lookup of {host}: {answer.text}"
            return Trouble(Stage.DNS, Fault.DNS_TEMPORARY, text)
        return Trouble(Stage.DNS, Fault.NO_ADDRESS, f"Host or domain name not found: no address for {host}")


def _unvalidated(domain: str) -> Trouble:
    """RFC 8689 2: whoever forges an MX record names a host of his own, with a good certificate."""
    text = (
        f"TLS is required, and no DNSSEC or MTA-STS validates the MX hosts of {domain}; "
        'a route with tls = "verified" trusts them'
    )
    return Trouble(Stage.DNS, Fault.UNVALIDATED_MX, text)
