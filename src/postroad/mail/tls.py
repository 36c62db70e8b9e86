"""What an endpoint's TLS must be, from the route's wish (and, later, the domain's policies)."""

from __future__ import annotations

from enum import StrEnum

from postroad.mail.frozen import dataclass
from postroad.mail.routing import TlsWish


class TlsLevel(StrEnum):
    """Rising demands. OPPORTUNISTIC takes STARTTLS when offered and verifies nothing."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    ENCRYPTED = "encrypted"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class Requirement:
    """The one TLS requirement of a plan. With VERIFIED the certificate must name the endpoint's host.

    `requiretls`: and the host must offer REQUIRETLS (RFC 8689 4.2.1).
    """

    level: TlsLevel
    requiretls: bool = False


_LEVELS = {
    TlsWish.NONE: TlsLevel.NONE,
    TlsWish.OPPORTUNISTIC: TlsLevel.OPPORTUNISTIC,
    TlsWish.REQUIRED: TlsLevel.ENCRYPTED,
    TlsWish.VERIFIED: TlsLevel.VERIFIED,
}


def requirement(wish: TlsWish, requiretls: bool = False) -> Requirement:
    """What a route's wish, or the senders who require TLS, demand of every endpoint of a plan."""
    return Requirement(TlsLevel.VERIFIED, True) if requiretls else Requirement(_LEVELS[wish])
