"""What all sessions of the doors share of the world."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection
from ipaddress import IPv4Network, IPv6Network, ip_address

from postroad.adapters.smtpd_auth import Logins
from postroad.adapters.smtpd_guard import LoginGuard
from postroad.adapters.smtpd_registry import Registry
from postroad.config.model import Listener, SubmissionConfig
from postroad.mail.frozen import dataclass
from postroad.mail.source import plain_address
from postroad.ports.clock import Clock
from postroad.ports.events import Events
from postroad.ports.intake import Intake
from postroad.ports.queue_id import NewId
from postroad.ports.rights import Rights
from postroad.ports.spool import Spool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a session needs of the world. `tls` gives the context of the moment, None: no TLS.

    `short_names`: domains without a dot that can be reached.
    `login_delay`: seconds the first failed login waits for its answer, the second twice that.
    """

    hostname: str
    submission: SubmissionConfig
    tls: Callable[[], ssl.SSLContext | None]
    intake: Intake
    logins: Logins
    guard: LoginGuard
    events: Events
    clock: Clock
    spool: Spool
    new_id: NewId
    rights: Rights
    login_delay: float = 1.0
    short_names: frozenset[str] = frozenset()

    def reaches(self, domain: str) -> bool:
        """Whether a domain is a full name (RFC 6409 4.2), a literal, or a short one that is known."""
        if "." in domain and not domain[-1].isdigit():
            return True
        return (
            # No top-level domain is all digits (RFC 3696 2): "1.2.3.4" is a literal without its brackets.
            ("." in domain and not domain.rpartition(".")[2].isdigit())
            or domain[0] == "["
            or domain in self.short_names
            or self.submission.allow_unqualified_domains
        )

    def trusts(self, address: str) -> bool:
        """Whether the client's address lies in the trusted networks."""
        return among(address, self.submission.trusted_networks)


@dataclass(frozen=True, slots=True)
class Door:
    """What a session is made from: its listener, the world as it is now, and who counts sessions.

    `scarce` is told of a connection that got one of the last descriptors.
    """

    loop: asyncio.AbstractEventLoop
    listener: Listener
    world: Surroundings
    registry: Registry
    scarce: Callable[[], None] = lambda: None


def among(address: str, networks: Collection[IPv4Network | IPv6Network]) -> bool:
    """Whether a client's address lies in one of the networks; what is no IP address lies in none."""
    try:
        known = ip_address(address)
    except ValueError:
        return False
    return any(known in network for network in networks)


def client_address(peername: object) -> tuple[str, int]:
    """Address and port of a socket's peer; an IPv4 client of an IPv6 socket under its IPv4 address."""
    if not isinstance(peername, tuple) or len(peername) < 2:
        return "unknown", 0
    return plain_address(str(peername[0])), int(peername[1])
