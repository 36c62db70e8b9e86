"""A receiving world on loopback: sites that accept, greylist, refuse, or are down at first.

aiosmtpd speaks the server's part. Everything a site takes is kept as it came.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

LARGEST = 2**26  # octets of one message

# What a site says to a recipient: the whole reply line, or None to take it.
Judgement = Callable[[str, str], str | None]


@dataclass(frozen=True, slots=True)
class Arrival:
    """One accepted message as a site saw it; `sender` is empty for the null reverse-path."""

    sender: str
    recipients: tuple[str, ...]
    octets: bytes
    at: float
    tls: bool


def accepting(sender: str, recipient: str) -> str | None:
    """Takes everything."""
    return None


def refusing(sender: str, recipient: str) -> str | None:
    """Knows nobody."""
    return f"550 5.1.1 <{recipient}> is not known here"


def greylisting(window: float, clock: Callable[[], float] = time.monotonic) -> Judgement:
    """Turns every new pair of sender and recipient away for `window` seconds after its first try."""
    first: dict[tuple[str, str], float] = {}

    def judge(sender: str, recipient: str) -> str | None:
        seen = first.setdefault((sender.lower(), recipient.lower()), clock())
        if clock() - seen < window:
            return "450 4.7.1 Greylisted, please come back later"
        return None

    return judge


class Site:
    """One receiving host: bound at once, so that its port is its own, open when told to be.

    A bound port that does not listen refuses connections, as a host that is down.
    """

    def __init__(
        self,
        domain: str,
        judge: Judgement = accepting,
        tls: ssl.SSLContext | None = None,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.domain = domain
        self.arrivals: list[Arrival] = []
        self.turned_away: list[tuple[float, str, str]] = []
        self.on_change: Callable[[], None] = lambda: None
        self._judge = judge
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(address)
        self.port: int = self._socket.getsockname()[1]

    async def open(self) -> None:
        """From here it answers."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._session, sock=self._socket)

    def _session(self) -> SMTP:
        return SMTP(
            self,
            hostname=f"mx.{self.domain}",
            ident="ESMTP",
            enable_SMTPUTF8=True,
            data_size_limit=LARGEST,
            tls_context=self._tls,
        )

    def close(self) -> None:
        """Close the door; sessions that are under way are the loop's to end."""
        if self._server is not None:
            self._server.close()
        self._socket.close()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        sender = _bare(envelope.mail_from)
        refusal = self._judge(sender, address)
        if refusal is not None:
            self.turned_away.append((time.monotonic(), address, refusal))
            self.on_change()
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Recipient is welcome"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content: Any = envelope.original_content
        self.arrivals.append(
            Arrival(
                sender=_bare(envelope.mail_from),
                recipients=tuple(envelope.rcpt_tos),
                octets=bytes(content or b""),
                at=time.monotonic(),
                tls=session.ssl is not None,
            )
        )
        self.on_change()
        return "250 2.0.0 Thank you"


def _bare(path: str | None) -> str:
    return "" if path in (None, "<>") else str(path)


class World:
    """Several sites that open and close together; those named in `late` open when told to."""

    def __init__(self, sites: list[Site], late: frozenset[str] = frozenset()) -> None:
        self.sites = {site.domain: site for site in sites}
        self._late = late

    def __getitem__(self, domain: str) -> Site:
        return self.sites[domain]

    async def __aenter__(self) -> World:
        for site in self.sites.values():
            if site.domain not in self._late:
                await site.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        for site in self.sites.values():
            site.close()
