"""An established SMTP session: one transport, transactions one after another, replies in step.

The protocol turns bytes into replies and gives them to `mail.transaction.Exchange`,
which knows what they mean. A small message needs one await: its content is
written from where the 354 arrives. A large one is streamed under flow control.

Nothing may come from the peer but what was asked for: a reply too many, or one
before its command, ends the session, for whom would the next one answer?
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from math import inf

from postroad.adapters.smtp_dots import DotsInFlight
from postroad.mail.commands import Capabilities, Unsendable
from postroad.mail.framing import ChunkFramer, DotStuffer, bdat_command, framed
from postroad.mail.frozen import dataclass
from postroad.mail.message import Envelope, Step, TlsFacts
from postroad.mail.outcome import Fault, Stage
from postroad.mail.reply import Reply, ReplyParser
from postroad.mail.routing import Endpoint
from postroad.mail.transaction import Exchange, Transaction
from postroad.ports.queue import Witness
from postroad.ports.spool import DamagedRecord, Stored

# Up to this size content and final dot are one write; above, pieces of this size.
WHOLE = 128 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait, after RFC 5321 4.5.3.2.

    Each line of a reply starts its wait anew, but a whole reply may take no more than
    twice its time. `hurried` is `connect` where another endpoint is left. `block` is for
    the peer to take a piece of the content; `linger` for the connection to close after QUIT.
    """

    connect: float = 30.0
    hurried: float = 10.0
    greeting: float = 300.0
    ehlo: float = 300.0
    starttls: float = 120.0
    auth: float = 120.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    dot: float = 600.0
    reset: float = 20.0
    linger: float = 5.0


class SmtpSession(asyncio.Protocol):
    """Implements the port `Session` on a transport whose peer was greeted and has offered `capabilities`."""

    def __init__(
        self,
        transport: asyncio.Transport,
        endpoint: Endpoint,
        capabilities: Capabilities,
        tls: TlsFacts | None,
        timeouts: Timeouts,
        dots: DotsInFlight,
        steps: tuple[Step, ...] = (),
    ) -> None:
        self.endpoint = endpoint
        self.capabilities = capabilities
        self.tls = tls
        self.steps = steps
        self._transport = transport
        self._block = timeouts.block
        self._linger = timeouts.linger
        self._reset_wait = timeouts.reset
        self._waits = {
            Stage.MAIL: timeouts.mail,
            Stage.RCPT: timeouts.rcpt,
            Stage.DATA: timeouts.data,
            Stage.DOT: timeouts.dot,
        }
        self._loop = asyncio.get_running_loop()
        self._parser = ReplyParser()
        self._exchange: Exchange | None = None
        self._witness: Witness | None = None
        self._dot = dots.slot()
        self._small: tuple[bytes, bytes, bool] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._needs_reset = False
        self._ended = asyncio.Event()
        self._why_ended = "the session has ended"
        self._wait = 0.0
        self._deadline = inf
        self._latest = inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._lingering: asyncio.TimerHandle | None = None

    @property
    def usable(self) -> bool:
        return self._exchange is None and not self._ended.is_set()

    async def wait_closed(self) -> None:
        await self._ended.wait()

    def close(self) -> None:
        """Say QUIT and close, without waiting for 221; cut off when a transaction is in the middle."""
        if self._exchange is not None:
            self._transport.abort()
        elif not self._ended.is_set():
            self._transport.write(b"QUIT\r\n")
        self._end("closed by us")

    # --- one transaction ---------------------------------------------------------

    async def send(
        self, envelope: Envelope, stored: Stored, size: int, dotted: bool, witness: Witness
    ) -> Transaction:
        if self._exchange is not None:
            raise RuntimeError("a transaction is under way in this session")
        try:
            exchange = Exchange(envelope, self.capabilities, size, reset=self._needs_reset)
        except Unsendable as refused:
            return Transaction(None, (None,) * len(envelope.recipients), trouble=refused.trouble)
        if self._ended.is_set():
            exchange.fail(Fault.LOST, self._why_ended)
            return exchange.result
        self._exchange = exchange
        self._witness = witness
        body = stored.body
        self._small = None
        if body is not None and len(stored.head) + len(body) <= WHOLE:
            self._small = (stored.head, body, dotted)
        try:
            self._ask(exchange, exchange.begin())
            await self._woken()
            if exchange.content_due:
                await self._stream(
                    exchange, stored, ChunkFramer(size) if exchange.binary else DotStuffer(dotted)
                )
                if not exchange.done:
                    await self._woken()
        finally:
            self._finished(exchange)
        return exchange.result

    def _finished(self, exchange: Exchange) -> None:
        self._exchange = None
        self._dot.withdraw()
        self._deadline = inf
        self._needs_reset = exchange.needs_reset
        if not exchange.done:
            # Cancelled or broken in the middle: where the peer stands is unknown.
            self._transport.abort()
            self._end("a transaction was broken off")
        elif not exchange.in_step:
            self._end("the session is out of step or was ended by the peer")

    async def _stream(self, exchange: Exchange, stored: Stored, framer: DotStuffer | ChunkFramer) -> None:
        """Write the content as fast as the peer takes it; stops when the exchange ends early."""
        self._wait_at_most(self._block)
        if exchange.binary:
            # Of a known size: its last octet is its end.
            self._leaves()
        try:
            async for piece in _pieces(stored):
                self._transport.write(framer.feed(piece))
                self._wait_at_most(self._block)
                # Others run between pieces, and what the peer says meanwhile is heard.
                await asyncio.sleep(0)
                while (self._paused or self._transport.is_closing()) and not exchange.done:
                    await self._woken()
                if exchange.done:
                    return
        except (OSError, DamagedRecord) as error:
            # Without its end the message must not be ended: only a cut tells the peer.
            self._give_up(exchange, Fault.INTERNAL, f"cannot read the message: {type(error).__name__}")
            return
        if framer.left:
            self._give_up(exchange, Fault.INTERNAL, "the message has another size than its record says")
        elif not exchange.done:
            self._end_content(exchange, framer.finish())

    def _end_content(self, exchange: Exchange, octets: bytes) -> None:
        if self._transport.is_closing():
            # `connection_lost` is on its way, and the dot is not.
            return
        self._dot.leaves(partial(self._send_end, exchange, octets))

    def _send_end(self, exchange: Exchange, octets: bytes) -> None:
        if exchange.done or self._transport.is_closing():
            # While it waited for its turn.
            return
        self._leaves()
        self._transport.write(octets)
        exchange.dot_sent()
        self._wait_at_most(self._waits[Stage.DOT])

    def _leaves(self) -> None:
        if self._witness is not None:
            self._witness.leaves()

    def _ask(self, exchange: Exchange, command: bytes) -> None:
        self._transport.write(command)
        self._await_reply(exchange)

    # --- what the peer says --------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        replies = self._parser.feed(data)
        if exchange is None or exchange.done:
            self._out_of_turn(replies)
            return
        answer = self._take(exchange, replies)
        if exchange.done:
            # Before anything else: killed from here on, we do not send it again.
            if not exchange.needs_reset and self._witness is not None:
                self._witness.taken(exchange.refused)
            self._dot.answered()
            if self._parser.pending or self._parser.violation is not None:
                self._out_of_turn([])
            self._rouse()
        elif self._parser.violation is not None:
            self._give_up(exchange, Fault.PROTOCOL, self._parser.violation.text)
        elif (answer or exchange.content_due) and self._parser.pending:
            self._give_up(exchange, Fault.PROTOCOL, "the peer spoke before it was asked")
        elif answer:
            self._ask(exchange, answer)
        elif exchange.content_due:
            self._start_content(exchange)
        elif replies:
            self._await_reply(exchange)
        elif b"\n" in data:
            self._deadline = min(self._loop.time() + self._wait, self._latest)

    def _take(self, exchange: Exchange, replies: list[Reply]) -> bytes:
        answer = b""
        for reply in replies:
            if exchange.done:
                self._out_of_turn([reply])
                break
            if answer and reply.code != 421:
                self._give_up(exchange, Fault.PROTOCOL, f"reply before its command: {reply}"[:300])
                break
            answer = exchange.receive(reply)
        return answer

    def _start_content(self, exchange: Exchange) -> None:
        if self._small is None:
            self._rouse()
        else:
            head, body, dotted = self._small
            if exchange.binary:
                self._end_content(exchange, bdat_command(len(head) + len(body)) + head + body)
            else:
                self._end_content(exchange, framed(head, body, dotted))

    def _out_of_turn(self, replies: list[Reply]) -> None:
        said = f": {replies[0]}"[:300] if replies else ""
        self._end(f"the peer spoke out of turn{said}")

    def eof_received(self) -> None:
        self._lost("the peer closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._lingering is not None:
            self._lingering.cancel()
        self._lost("connection lost" if exc is None else f"connection lost: {type(exc).__name__}")

    def _lost(self, why: str) -> None:
        exchange = self._exchange
        if exchange is not None and not exchange.done:
            exchange.fail(Fault.LOST, why)
            self._rouse()
        self._end(why)

    # --- waiting ---------------------------------------------------------------------

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._rouse()

    def _woken(self) -> asyncio.Future[None]:
        """Done when the exchange is, or wants its content, or the transport takes more."""
        self._waiter = self._loop.create_future()
        return self._waiter

    def _rouse(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _await_reply(self, exchange: Exchange) -> None:
        self._wait_at_most(self._reset_wait if exchange.resetting else self._waits[exchange.stage])

    def _wait_at_most(self, seconds: float) -> None:
        """Set the deadline. One timer serves many: it is moved only when it would come too late."""
        now = self._loop.time()
        self._wait = seconds
        self._deadline = now + seconds
        self._latest = now + 2 * seconds
        if self._timer is None or self._timer_at > self._deadline:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        exchange = self._exchange
        if exchange is None or exchange.done:
            return
        if self._loop.time() < self._deadline:
            self._set_timer()
        else:
            self._give_up(exchange, Fault.TIMEOUT, f"nothing came within {self._wait:g} s")

    # --- the end ---------------------------------------------------------------------

    def _give_up(self, exchange: Exchange, fault: Fault, text: str) -> None:
        exchange.fail(fault, text)
        self._transport.abort()
        self._end(text)
        self._rouse()

    def _end(self, why: str) -> None:
        """The session is over; the transport closes, if need be by force after `linger` seconds."""
        if self._ended.is_set():
            return
        self._why_ended = why
        self._ended.set()
        self._transport.close()
        self._lingering = self._loop.call_later(self._linger, self._transport.abort)


async def _pieces(stored: Stored) -> AsyncIterator[bytes]:
    body = stored.body
    yield stored.head
    if body is None:
        async for chunk in stored.chunks():
            yield chunk
        return
    for start in range(0, len(body), WHOLE):
        yield body[start : start + WHOLE]
