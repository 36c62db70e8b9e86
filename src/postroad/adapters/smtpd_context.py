"""What all sessions of the doors share: their world, and the count of them."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Collection
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_auth import Logins
from postroad.adapters.smtpd_guard import LoginGuard
from postroad.config.model import SubmissionConfig
from postroad.mail.frozen import dataclass
from postroad.mail.reply import Reply
from postroad.mail.source import holder, plain_address
from postroad.ports import Clock, Events, Intake, NewId, Rights, Spool


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
        return (
            "." in domain
            or domain[:1] == "["
            or domain in self.short_names
            or self.submission.allow_unqualified_domains
        )

    def trusts(self, address: str) -> bool:
        """Whether the client's address lies in the trusted networks."""
        return among(address, self.submission.trusted_networks)


class Member(Protocol):
    """A session, as the registry sees it."""

    def leave(self) -> None: ...
    def leave_now(self) -> None: ...


class Registry:
    """The live sessions, all and by where they come from; full when a limit is reached."""

    def __init__(self, config: SubmissionConfig) -> None:
        self.config = config
        self._members: dict[Member, str] = {}
        self._by_address: Counter[str] = Counter()
        self._empty: asyncio.Future[None] | None = None
        self._leaving = False

    def __len__(self) -> int:
        return len(self._members)

    def admit(self, member: Member, address: str | None) -> Reply | None:
        """Count a session in; or the reply that turns it away, uncounted.

        Whoever has one IPv6 address has its /64, and is counted by that. Without an
        address, until it is known, it counts only among all.
        """
        if self._leaving:
            return replies.SHUTTING_DOWN
        if len(self._members) >= self.config.max_connections:
            return replies.TOO_MANY_CONNECTIONS
        source = "" if address is None else holder(address)
        if source and self._by_address[source] >= self.config.max_connections_per_address:
            return replies.TOO_MANY_FROM_YOU
        self._members[member] = source
        self._by_address[source] += 1
        return None

    def gone(self, member: Member) -> None:
        """Its task ended and its connection is closed; harmless when repeated."""
        source = self._members.pop(member, None)
        if source is None:
            return
        self._by_address[source] -= 1
        if not self._by_address[source]:
            del self._by_address[source]
        if not self._members and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def leave(self) -> None:
        """Turn newcomers away and ask everyone to end soon."""
        self._leaving = True
        for member in list(self._members):
            member.leave()

    async def wait_empty(self, seconds: float) -> None:
        """Until the last session is gone; those still receiving after `seconds` are cut short.

        A message that is being made durable is always waited for.
        """
        if not self._members:
            return
        loop = asyncio.get_running_loop()
        self._empty = loop.create_future()
        hurry = loop.call_later(seconds, self._hurry)
        try:
            await self._empty
        finally:
            hurry.cancel()

    def _hurry(self) -> None:
        for member in list(self._members):
            member.leave_now()


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
