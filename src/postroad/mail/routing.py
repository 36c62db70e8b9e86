"""Which way out: recipient -> hop, by the configured routes.

A *route* is a named way out, a *hop* a route and the name of the next host or
domain: stable, stored with the recipient, what the scheduler looks at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from postroad.mail.address import Address
from postroad.mail.throttle import Limits

DIRECT = "mx"


class TlsWish(StrEnum):
    """What a route asks of TLS: the values of its key `tls`."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class Hop:
    """Route name and next-hop name: a domain for the direct route, else the relay as configured."""

    route: str
    name: str

    def __str__(self) -> str:
        return self.name if self.route == DIRECT else f"{self.route}:{self.name}"


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


def matches(pattern: str, domain: str) -> bool:
    """Whether a route's pattern names this lower-case domain."""
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return domain.endswith(pattern[1:])
    return domain == pattern


def route_for(domain: str, routes: Sequence[Route]) -> Route | None:
    """The first route that matches, or None: by MX."""
    for route in routes:
        if any(matches(pattern, domain) for pattern in route.match):
            return route
    return None


def hop_for(address: Address, routes: Sequence[Route]) -> Hop:
    """The hop of a recipient: first matching route wins; without one, its domain by MX."""
    route = route_for(address.domain, routes)
    if route is None:
        return Hop(DIRECT, address.domain)
    if route.relay is None:
        return Hop(route.name, address.domain)
    host, port = route.relay
    return Hop(route.name, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
