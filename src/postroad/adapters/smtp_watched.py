"""aiosmtplib's protocol under watch, and what goes wrong before a session is there, as ConnectFailed.

aiosmtplib drops what arrives unasked, takes any number for a code and tells one
lost connection from no other, and each of its replies costs a lock and a task's
timeout. So every octet passes our own parser, whose replies are the ones judged,
and what was not asked for ends the connection (RFC 3207 6: octets injected before
TLS must not be believed after it); aiosmtplib hears what it asked itself, which is
STARTTLS alone.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from aiosmtplib import SMTPException
from aiosmtplib.protocol import SMTPProtocol

from postroad.mail.message import Step
from postroad.mail.outcome import Fault, Stage, Trouble
from postroad.mail.printable import one_line
from postroad.mail.reply import Reply, ReplyParser
from postroad.ports.transport import ConnectFailed


class Watched(SMTPProtocol):
    """aiosmtplib's protocol, with every reply parsed by our rules and counted against what was asked."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.violation: str | None = None
        self.steps: list[Step] = []
        self._parser = ReplyParser()
        self._heard: list[Reply] = []
        self._asked = 1
        self._loop = asyncio.get_running_loop()
        self._reply: asyncio.Future[Reply] | None = None
        self._theirs = False

    def data_received(self, data: bytes) -> None:
        self._heard += self._parser.feed(data)
        if self._parser.violation is not None:
            self.violation = self._parser.violation.text
        elif len(self._heard) + self._parser.pending > self._asked:
            self.violation = "the peer spoke before it was asked"
        if self.violation is not None:
            self._fail(ConnectionAbortedError(self.violation))
            self.abort()
        elif self._theirs:
            super().data_received(data)
        elif len(self._heard) == self._asked and self._reply is not None and not self._reply.done():
            self._reply.set_result(self._heard[-1])

    def eof_received(self) -> bool:
        self._fail(ConnectionResetError("the peer closed the connection"))
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("connection lost"))
        super().connection_lost(exc)

    def _fail(self, error: Exception) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)

    async def _hear(self, timeout: float) -> Reply:
        """The reply to what was asked last. Raises OSError, TimeoutError among them."""
        if len(self._heard) >= self._asked:
            return self._heard[-1]
        if self.transport is None or self.carrier.is_closing():
            raise ConnectionResetError("connection lost")
        reply: asyncio.Future[Reply] = self._loop.create_future()
        self._reply = reply
        timer = self._loop.call_later(timeout, self._fail, TimeoutError())
        try:
            return await reply
        finally:
            timer.cancel()

    @property
    def secured(self) -> bool:
        """Whether the peer agreed to begin the TLS handshake."""
        return len(self._heard) == self._asked and self._heard[-1].code == 220

    @property
    def carrier(self) -> asyncio.Transport:
        return cast(asyncio.Transport, self.transport)

    def abort(self) -> None:
        if self.transport is not None:
            self.carrier.abort()

    async def greeting(self, timeout: float) -> Reply:
        return await self._hear(timeout)

    async def ask(self, *words: bytes, timeout: float) -> Reply:
        self._asked += 1
        self.carrier.write(b" ".join(words) + b"\r\n")
        return await self._hear(timeout)

    async def secure(self, context: ssl.SSLContext, name: str, timeout: float) -> None:
        """STARTTLS and the handshake. Raises ConnectFailed when the peer's reply is not 220."""
        self._asked += 1
        self._theirs = True
        try:
            await self.start_tls(context, server_hostname=name, timeout=timeout)
        except SMTPException:
            if len(self._heard) == self._asked and not self.secured and self.violation is None:
                raise judged(self._heard[-1], Stage.STARTTLS) from None
            raise
        finally:
            self._theirs = False


def agreed(reply: Reply, stage: Stage) -> Reply:
    if reply.kind != 2:
        raise judged(reply, stage)
    return reply


def judged(reply: Reply, stage: Stage) -> ConnectFailed:
    """A refusal as the reply that it is; a 2xx or 3xx that cannot stand here as trouble."""
    if reply.kind >= 4:
        return ConnectFailed(reply, stage)
    return trouble(stage, Fault.PROTOCOL, f"reply out of place: {reply}"[:300])


def trouble(stage: Stage, fault: Fault, text: str) -> ConnectFailed:
    return ConnectFailed(Trouble(stage, fault, text), stage)


@contextmanager
def at(stage: Stage, watched: Watched) -> Iterator[None]:
    """What goes wrong inside, without being a reply, is trouble of this stage; else its time is noted."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        yield
        watched.steps.append((stage.value, loop.time() - began))
    except (SMTPException, OSError, ValueError) as error:
        if watched.violation is not None:
            raise trouble(stage, Fault.PROTOCOL, watched.violation) from None
        if stage is Stage.STARTTLS and watched.secured:
            raise trouble(stage, Fault.TLS, f"TLS handshake failed: {_tls_reason(error)}") from None
        if isinstance(error, TimeoutError):
            raise trouble(stage, Fault.TIMEOUT, "no reply in time") from None
        if isinstance(error, OSError):
            raise trouble(stage, Fault.LOST, "connection lost") from None
        raise trouble(stage, Fault.PROTOCOL, one_line(str(error), 200)) from None


def _tls_reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return one_line(error.verify_message, 200)
    if isinstance(error, ssl.SSLError) and error.reason:
        return one_line(error.reason, 200)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return "connection lost" if isinstance(error, ConnectionError) else type(error).__name__


def leave(watched: Watched, error: BaseException) -> None:
    """QUIT where the peer still listens: after a refusal, or when we found nothing to use."""
    if watched.transport is None:
        return
    what = error.what if isinstance(error, ConnectFailed) else None
    if isinstance(what, Reply) or (what is not None and what.fault in (Fault.TLS_MISSING, Fault.NO_AUTH)):
        watched.carrier.write(b"QUIT\r\n")
        watched.carrier.close()
    else:
        watched.abort()
