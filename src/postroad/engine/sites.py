"""All sites: found by plan, remembered while they matter, closed together.

Owns the tasks of connections and claims: they live in the group of `run`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from postroad.engine.destinations import Destinations
from postroad.engine.ledger import Ledger
from postroad.engine.site import Site
from postroad.engine.slots import Slots
from postroad.engine.surroundings import Surroundings
from postroad.mail.message import Instant
from postroad.mail.mx import Plan, SiteKey
from postroad.mail.routing import DIRECT, Hop
from postroad.mail.rules import Rules
from postroad.mail.throttle import Limits
from postroad.ports.clock import Clock
from postroad.ports.events import Events
from postroad.ports.queue import Queue
from postroad.ports.spool import Spool
from postroad.ports.transport import Transport

MAX_REMEMBERED = 10_000
DRAIN = 5.0


class Sites:
    def __init__(
        self,
        *,
        destinations: Destinations,
        queue: Queue,
        spool: Spool,
        transport: Transport,
        ledger: Ledger,
        clock: Clock,
        events: Events,
        rules: Rules,
        chance: random.Random,
        limits: Mapping[str, Limits],
        max_connections: int,
        due: Callable[[Hop, Instant], None],
    ) -> None:
        """`limits` by route name; the entry of the direct route serves those not named."""
        self._destinations = destinations
        self._limits = dict(limits)
        self._sites: dict[SiteKey, Site] = {}
        self._full_at = MAX_REMEMBERED
        self._tasks: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._closing = asyncio.Event()
        self._around = Surroundings(
            queue=queue,
            spool=spool,
            transport=transport,
            ledger=ledger,
            clock=clock,
            events=events,
            rules=rules,
            chance=chance,
            spawn=self._spawn,
            connections=Slots(max_connections),
            due=due,
        )

    def reload(self, limits: Mapping[str, Limits]) -> None:
        """Other limits and, of the destinations, other routes: also for the sites there are."""
        self._limits = dict(limits)
        self._forget_idle()
        for key, site in self._sites.items():
            route = self._destinations.route(key.route)
            # What is under way by a route that is gone ends as it began.
            if route is not None:
                site.reload(route, self._limits_of(key.route))

    def _limits_of(self, route: str) -> Limits:
        return self._limits.get(route) or self._limits[DIRECT]

    def known(self, hop: Hop) -> Site | None:
        """The site of a hop whose plan is at hand."""
        plan = self._destinations.known(hop)
        return self.of(plan) if plan is not None else None

    def of(self, plan: Plan) -> Site:
        site = self._sites.get(plan.site)
        if site is None:
            if len(self._sites) >= self._full_at:
                self._forget_idle()
                # Not again for every site more, when none of them could be forgotten.
                self._full_at = max(MAX_REMEMBERED, 2 * len(self._sites))
            route = self._destinations.route(plan.hop.route)
            assert route is not None, "a plan was made of this route"
            limits = self._limits_of(plan.hop.route)
            site = self._sites[plan.site] = Site(plan, route, limits, self._around)
        else:
            site.plan = plan
        return site

    def _forget_idle(self) -> None:
        for key in [key for key, site in self._sites.items() if site.is_idle]:
            del self._sites[key]

    def hops_of(self, site: str) -> list[Hop]:
        """Hops that led to this site when they were last planned; by its MX group, or a host in it."""
        return self._destinations.hops_of(site)

    def last(self, hop: Hop) -> Site | None:
        """The site of a hop by its last plan, good or not any more; None: it is not remembered."""
        plan = self._destinations.last(hop)
        return self._sites.get(plan.site) if plan is not None else None

    def resume(self, hop: Hop) -> None:
        """An operator wants a try now."""
        site = self.last(hop)
        if site is not None:
            site.resume()

    def connections(self) -> int:
        """How many connections are open or opening."""
        return sum(site.busy for site in self._sites.values())

    def paused(self) -> list[tuple[str, Instant, str]]:
        """Sites that are paused: name, until, why."""
        answers = ((site, site.paused()) for site in self._sites.values())
        return [
            (str(site.plan.site), pause.at, pause.why.text if pause.why else "")
            for site, pause in answers
            if pause is not None
        ]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._group is None:
            work.close()
            return
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """Until `close`; then until the last connection has finished its transaction, at most DRAIN."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await self._closing.wait()
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=DRAIN)
            finally:
                self._group = None
            for task in self._tasks:
                task.cancel()

    def close(self) -> None:
        self._closing.set()
        for site in self._sites.values():
            site.close()
