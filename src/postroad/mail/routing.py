"""Which way out: recipient -> hop, by the configured routes.

A *route* is a named way out, a *hop* a route and the name of the next host or
domain: stable, stored with the recipient, what the scheduler looks at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from enum import StrEnum

from postroad.mail.address import Address
from postroad.mail.frozen import dataclass
from postroad.mail.throttle import Limits

DIRECT = "mx"
# Domains whose hop is remembered.
KNOWN = 10_000


class TlsWish(StrEnum):
    """What a route asks of TLS: the values of its key `tls`."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class Hop:
    """Route name and next-hop name: a domain for the direct route, else the relay as configured.

    `requiretls`: for messages that go by verified TLS alone, to hosts that promise the same (RFC 8689).
    """

    route: str
    name: str
    requiretls: bool = False

    def __str__(self) -> str:
        name = self.name if self.route == DIRECT else f"{self.route}:{self.name}"
        return f"{name} (REQUIRETLS)" if self.requiretls else name


@dataclass(frozen=True, slots=True)
class Route:
    """A named way out. `relay` empty: by MX of the recipient's domain.

    `match` are lower-case patterns: "example.net" that very domain, "*.example.org"
    any domain below it, "*" all.
    `relay` is host, port; a host in brackets or an address literal is not looked up as MX.
    """

    name: str
    match: tuple[str, ...] = ("*",)
    relay: tuple[str, int] | None = None
    tls: TlsWish = TlsWish.OPPORTUNISTIC
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One host, address and port, with the preference it was found at."""

    host: str
    address: str
    port: int
    preference: int = 0

    def __str__(self) -> str:
        return f"{self.host}[{self.address}]:{self.port}"


class Routes:
    """The configured routes in their order; the first that matches a domain wins.

    However many there are, a domain is looked up by its own name and those above it.
    """

    __slots__ = ("_hops", "_known", "_places", "_routes")

    def __init__(self, routes: Sequence[Route] = ()) -> None:
        self._routes = tuple(routes)
        # Of the routes with a relay the one hop that all their recipients share.
        self._hops = tuple(_relayed(route) for route in self._routes)
        self._places: dict[str, int] = {}
        for place, route in enumerate(self._routes):
            for pattern in route.match:
                self._places.setdefault(pattern, place)
        self._known: dict[str, Hop] = {}

    def place(self, domain: str) -> int | None:
        """Which route is the first that matches this lower-case domain; None: by MX."""
        places = self._places
        if not places:
            return None
        return min((places[p] for p in patterns_of(domain) if p in places), default=None)

    def hop_for(self, address: Address) -> Hop:
        """The hop of a recipient; without a route, its domain by MX."""
        hop = self._known.get(address.domain)
        if hop is None:
            if len(self._known) >= KNOWN:
                self._known.clear()
            hop = self._known[address.domain] = self._hop_of(address.domain)
        return hop

    def _hop_of(self, domain: str) -> Hop:
        place = self.place(domain)
        if place is None:
            return Hop(DIRECT, domain)
        return self._hops[place] or Hop(self._routes[place].name, domain)


def _relayed(route: Route) -> Hop | None:
    if route.relay is None:
        return None
    host, port = route.relay
    return Hop(route.name, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def patterns_of(domain: str) -> list[str]:
    """Every pattern of a route that names this domain."""
    patterns = ["*", domain]
    dot = domain.find(".")
    while dot >= 0:
        patterns.append("*" + domain[dot:])
        dot = domain.find(".", dot + 1)
    return patterns
