"""The port `Transport` over real connections: aiosmtplib establishes, our protocol carries the mail.

aiosmtplib sends one command at a time and copies a message four times; what it
is good at is everything before the first MAIL. There `SmtpSession` takes its
transport over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from postroad.adapters.smtp_connect import Connector, TlsContexts
from postroad.adapters.smtp_dots import DotsInFlight
from postroad.adapters.smtp_session import SmtpSession, Timeouts
from postroad.mail.routing import Endpoint, Route
from postroad.mail.tls import Requirement
from postroad.ports.transport import Session


class SmtpTransport:
    """`hostname` is what EHLO says; `ca_file` the roots for verified TLS, None: the system's.

    `source_address` is a local IP address to connect from, where the family fits.
    """

    def __init__(
        self,
        hostname: str,
        ca_file: Path | None = None,
        source_address: str | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._dots = DotsInFlight()
        self._connector = Connector(hostname, TlsContexts(ca_file), self._timeouts, source_address)

    @asynccontextmanager
    async def connect(
        self,
        endpoint: Endpoint,
        tls: Requirement,
        route: Route | None,
        *,
        plaintext: bool = False,
        hurried: bool = False,
    ) -> AsyncIterator[Session]:
        made = await self._connector.establish(endpoint, tls, route, plaintext=plaintext, hurried=hurried)
        session = SmtpSession(
            made.transport, endpoint, made.capabilities, made.tls, self._timeouts, self._dots, made.steps
        )
        made.transport.set_protocol(session)
        try:
            yield session
        finally:
            session.close()
