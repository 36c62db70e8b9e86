"""Why recipients wait, asked of the daemon: the facts of this moment, for `mail.why` to decide on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from postroad.engine.destinations import Destinations
from postroad.engine.scheduler import Scheduler
from postroad.engine.sites import Sites
from postroad.mail.local_names import LOCAL
from postroad.mail.message import Message, Recipient
from postroad.mail.routing import Hop
from postroad.mail.why import Live, Why, explain
from postroad.ports.clock import Clock
from postroad.ports.control import Explained

# "file:line" of a setting, or "default": by its key and the route it is asked for.
Origin = Callable[[str, str], str]


class Explainer:
    def __init__(
        self, destinations: Destinations, scheduler: Scheduler, sites: Sites, clock: Clock, origin: Origin
    ) -> None:
        self._destinations = destinations
        self._scheduler = scheduler
        self._sites = sites
        self._clock = clock
        self._origin = origin

    def live(self, hop: Hop) -> Live:
        """How its way stands now."""
        site = self._sites.last(hop)
        live = Live() if site is None else site.live()
        unresolved = self._scheduler.unresolved(hop, self._clock.now())
        if unresolved is None:
            return live
        return replace(live, lookup=unresolved.why, lookup_until=unresolved.until)

    def explain(self, message: Message, recipient: Recipient) -> Explained:
        hop = recipient.hop
        routed = hop.route == LOCAL or self._destinations.route(hop.route) is not None
        site = self._sites.last(hop)
        why = explain(
            message,
            recipient,
            self._clock.now(),
            self._scheduler.retry,
            self.live(hop),
            routed=routed,
            in_line=site is not None and site.in_line(recipient),
        )
        return Explained(message, recipient, why, self._origin_of(why, hop))

    def _origin_of(self, why: Why, hop: Hop) -> str | None:
        return None if why.key is None else self._origin(why.key, hop.route)
