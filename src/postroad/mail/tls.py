"""What an endpoint's TLS must be, from the route's wish (and, later, the domain's policies)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TlsLevel(StrEnum):
    """Rising demands. OPPORTUNISTIC takes STARTTLS when offered and verifies nothing."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    ENCRYPTED = "encrypted"
    VERIFIED = "verified"


@dataclass(frozen=True, slots=True)
class Requirement:
    """The one TLS requirement of a plan. With VERIFIED the certificate must name the endpoint's host."""

    level: TlsLevel
