"""Transactions over a session with a scripted peer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields

from postroad.adapters.smtp import SmtpTransport
from postroad.adapters.smtp_session import Timeouts
from postroad.mail.address import Address
from postroad.mail.message import Envelope, EnvelopeRecipient
from postroad.mail.outcome import Trouble
from postroad.mail.routing import Endpoint
from postroad.mail.tls import Requirement, TlsLevel
from postroad.mail.transaction import Transaction
from postroad.ports.transport import Session
from tests.support.memory_spool import MemoryStored
from tests.support.scripted_smtp import Script, ScriptedSmtp
from tests.support.witnesses import Told

HEAD = b"Subject: hello\r\n\r\n"
STORED = MemoryStored(HEAD, b"Good morning.\r\n", False)
# No wait of a session is longer.
SHORT = Timeouts(*[0.2] * len(fields(Timeouts)))
PIPELINED_GROUP = """
    C: MAIL FROM:<a@example.com>
    C: RCPT TO:<b@example.org>
    C: DATA
"""


def envelope(*to: str) -> Envelope:
    recipients = tuple(EnvelopeRecipient(Address(local, "example.org")) for local in to or ("b",))
    return Envelope(Address("a", "example.com"), recipients)


@asynccontextmanager
async def session(*scripts: Script, timeouts: Timeouts | None = None) -> AsyncIterator[Session]:
    async with ScriptedSmtp(*scripts) as server:
        transport = SmtpTransport("client.example.com", timeouts=timeouts)
        endpoint = Endpoint("mx.example.org", "127.0.0.1", server.port)
        async with transport.connect(endpoint, Requirement(TlsLevel.NONE), None) as made:
            yield made


async def send(made: Session, *to: str, stored: MemoryStored = STORED, dotted: bool = False) -> Transaction:
    return await made.send(envelope(*to), stored, len(stored.head + stored.octets), dotted, Told())


def trouble(result: Transaction) -> Trouble:
    assert result.trouble is not None
    return result.trouble
