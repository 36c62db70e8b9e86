"""Sessions made with a scripted peer, and what making one raises."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postroad.adapters.smtp import SmtpTransport
from postroad.adapters.smtp_session import Timeouts
from postroad.mail.outcome import Fault, Stage, Trouble
from postroad.mail.routing import Endpoint, Route
from postroad.mail.tls import Requirement, TlsLevel
from postroad.ports.transport import ConnectFailed, Session
from tests.support.scripted_smtp import Mail, Peer, Script, ScriptedSmtp

NONE, OPPORTUNISTIC, ENCRYPTED, VERIFIED = map(Requirement, TlsLevel)


@asynccontextmanager
async def connected(
    script: Script,
    tls: Requirement = OPPORTUNISTIC,
    route: Route | None = None,
    *,
    plaintext: bool = False,
    ca_file: Path | None = None,
    timeouts: Timeouts | None = None,
    host: str = "mx.example.org",
) -> AsyncIterator[tuple[Session, ScriptedSmtp]]:
    async with ScriptedSmtp(script) as server:
        transport = SmtpTransport("client.example.com", ca_file, timeouts=timeouts)
        endpoint = Endpoint(host, "127.0.0.1", server.port)
        async with transport.connect(endpoint, tls, route, plaintext=plaintext) as session:
            yield session, server


async def failure(script: Script, *args: Requirement | Route, **kwargs: object) -> ConnectFailed:
    """What connecting to this script raises."""
    with pytest.raises(ConnectFailed) as failed:
        async with connected(script, *args, **kwargs):  # type: ignore[arg-type]
            pass
    assert failed.value.stage is getattr(failed.value.what, "stage", failed.value.stage)
    return failed.value


def trouble(failed: ConnectFailed) -> tuple[Stage, Fault]:
    assert isinstance(failed.what, Trouble), failed.what
    assert failed.what.text.isprintable()
    return failed.what.stage, failed.what.fault


def saying(*lines: str) -> Script:
    """Greets with these lines and then listens."""

    async def script(peer: Peer) -> None:
        peer.say(*lines)
        await peer.closed()

    return script


def over_tls(context: ssl.SSLContext, then: Script) -> Script:
    """Offers STARTTLS and follows `then` inside, EHLO first."""

    async def script(peer: Peer) -> None:
        await peer.greet("STARTTLS", "PIPELINING")
        await peer.expect("STARTTLS")
        peer.say("220 Go ahead")
        await peer.start_tls(context)
        await then(peer)

    return script


def serving(*offered: str, into: list[Mail] | None = None) -> Script:
    """EHLO and messages, without a greeting."""

    async def script(peer: Peer) -> None:
        await peer.hello(*offered)
        while (mail := await peer.take_mail()) is not None:
            if into is not None:
                into.append(mail)

    return script
