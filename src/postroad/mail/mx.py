"""MX answers -> endpoints in order, and the MX group that names a site (RFC 5321 5.1, RFC 7505)."""

from __future__ import annotations

from dataclasses import dataclass

from postroad.mail.routing import Endpoint, Hop
from postroad.mail.tls import Requirement


@dataclass(frozen=True, slots=True)
class SiteKey:
    """Exactly what may share connections, limits and pauses: route, MX group, TLS requirement.

    `group` is the sorted host names of the MX set, joined with ",", or the relay.
    """

    route: str
    group: str
    tls: Requirement

    def __str__(self) -> str:
        return self.group


@dataclass(frozen=True, slots=True)
class Plan:
    """A hop resolved now: where to knock, in order, and how; good until an Instant."""

    hop: Hop
    site: SiteKey
    endpoints: tuple[Endpoint, ...]
    good_until: float
