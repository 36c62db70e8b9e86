"""One client of one listener, from connection to close: its commands, its errors, what is told of it.

What a client sends is dealt with where it arrives, in `data_received`, as far as
that needs no wait: a command more costs no task its turn. What has to wait for
something (a login, a handshake, a message that becomes durable) is `Work`, which
the session's task does; what comes meanwhile stays in the inbox.

Replies of a pipelined group leave together: `say` collects them until no complete
command is left. A session ends by `SessionOver`, raised where it reads or by the
verb that ends it; nothing ever cancels its task, so that a message once received
gets its decision.
The verbs come with the subclasses: who the client is in `smtpd_entry`, its mail in
`smtpd_transaction`.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, Final

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_context import Surroundings, client_address
from postroad.adapters.smtpd_registry import Registry
from postroad.adapters.smtpd_stream import BadLine, SessionOver, SmtpStream
from postroad.config.model import Listener
from postroad.mail.esmtp import MailArguments
from postroad.mail.events import InternalError, Refused, SessionEnded
from postroad.mail.message import Peer
from postroad.mail.reply import Reply
from postroad.mail.verbs import COMMAND_LONGEST, LINE_LIMITS, NOT_OFFERED, split_command

GROUP_LONGEST: Final = 100
"""Replies written together, at most."""
SHED_SECONDS: Final = 1.0
"""How long a client that has to make room may take to read why."""
# How long a client that did not end the session itself is listened to, so that it can read why we did.
_PATIENCE: Final = {"quit": 0.0, "lost": 0.0, "shed": SHED_SECONDS, "closed": 1.0}
_USUAL_PATIENCE: Final = 2.0

# Cross-protocol attacks (ALPACA) make a browser speak to us: its verbs end the session.
_HTTP: Final = frozenset(
    {"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PRI"}
)

Work = Awaitable[None]
"""What is left to do where it has to wait for something."""
Verb = Callable[[Any, str], Work | None]
"""Does what its command asks, or all of it that needs no wait."""

# The messages of a session, and all that is told of it, have one and the same peer.
_peer_of = lru_cache(maxsize=1024)(Peer)


class Session(SmtpStream):
    """Counted in the registry from greeting to close. `VERBS` are the subclass's."""

    VERBS: Mapping[str, Verb] = {}
    EXTENDED: ClassVar[str] = "ESMTP"
    HELLO_FIRST: ClassVar[Reply] = replies.HELLO_FIRST

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listener: Listener,
        surroundings: Surroundings,
        registry: Registry,
        scarce: Callable[[], None] = lambda: None,
    ) -> None:
        """`scarce` is told when its connection got one of the last descriptors."""
        super().__init__(loop, surroundings.hostname)
        self._scarce = scarce
        self._listener = listener
        self._world = surroundings
        self._config = surroundings.submission
        self._registry = registry
        self._address, self._port = "unknown", 0
        self._trusted: str | None = None
        self._helo = ""
        self._name = ""
        self._extended = False
        self._unextended = "SMTP"
        self._mail: MailArguments | None = None
        self._login: str | None = None
        self._method: str | None = None
        self._errors = 0
        self._idle_commands = 0
        self._accepted = 0
        self._transactions = 0
        self._admitted = False
        # Of a client that is turned away and told why.
        self._refusal: Reply | None = None
        self._farewell = False
        # What ends it before it is a session: it has sent no PROXY header or made no handshake yet.
        self.outside: Callable[[], object] | None = None
        self._busy = False
        # Why it ends as soon as its client can be told.
        self._leaving: SessionOver | None = None
        self._lifetime: asyncio.TimerHandle | None = None
        self._finished = False
        # Who takes octets that are no commands (a message), in place of `_obey_all`.
        self._taker: Callable[[bytes], Work | None] | None = None
        self._work: Work | None = None
        self._failure: Exception | None = None

    # --- from connection to close ---

    def admit(self, address: str, port: int, account: str | None = None) -> Reply | None:
        """Be counted in; or the reply that turns the client away, and the event that says so.

        `account`: whose mail it is by the connection alone, which a Unix socket knows.
        """
        self._address, self._port, self._trusted = address, port, account
        refusal = self._registry.admit(self, address)
        self._admitted = refusal is None
        if refusal is not None:
            self._tell_refused(refusal)
        return refusal

    @property
    def stranger(self) -> bool:
        return self._login is None and not self._transactions

    @property
    def busy(self) -> bool:
        return self._busy

    def refuse(self, refusal: Reply) -> None:
        """Say this and close, once there is a connection; the caller had a `Registry.farewell` for it."""
        self._refusal, self._farewell = refusal, True

    def tell_refused(self, address: str, port: int, refusal: Reply) -> None:
        """The event of a client that was turned away before the session could admit it."""
        self._address, self._port = address, port
        self._tell_refused(refusal)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.outside = None
        refusal = self._refusal
        if refusal is None and not self._admitted:
            refusal = self.admit(*client_address(transport.get_extra_info("peername")))
            if transport.get_extra_info("socket").fileno() >= self._registry.last_descriptor:
                self._scarce()
            self._farewell = refusal is not None and self._registry.farewell()
        if refusal is not None:
            self._turn_away(transport, refusal)
        else:
            super().connection_made(transport)
            self._lifetime = self.loop.call_later(self._config.max_session_time, self._grown_old)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self._lifetime is not None:
            self._lifetime.cancel()
            self._lifetime = None
        if self._finished:
            self._registry.gone(self)
        self.farewell_over()

    def farewell_over(self) -> None:
        """Harmless when repeated."""
        if self._farewell:
            self._farewell = False
            self._registry.farewells -= 1

    def shed(self) -> None:
        """Make room for others, soon."""
        if self.outside is not None:
            self.outside()
            return
        self.interrupt(SessionOver("shed", replies.SHED))
        self._cut_off_later(SHED_SECONDS)
        if self._shaking:
            self._cut_off()

    def leave(self) -> None:
        self._leave(SessionOver("closed", replies.SHUTTING_DOWN))

    def _grown_old(self) -> None:
        self._leave(SessionOver("limit", replies.SESSION_TOO_LONG))

    def _leave(self, why: SessionOver) -> None:
        self._leaving = why
        if not self._busy:
            self.interrupt(why)

    def leave_now(self) -> None:
        self.interrupt(SessionOver("closed", replies.SHUTTING_DOWN))
        self._cut_off_later()

    def _turn_away(self, transport: asyncio.BaseTransport, refusal: Reply) -> None:
        self._finished = True
        asyncio.StreamReaderProtocol.connection_made(self, transport)
        self.transport = transport
        self.say(refusal)
        self.close(SHED_SECONDS if self._farewell else 0.0)

    async def _handle_client(self) -> None:
        how = "error"
        try:
            self._greet()
            while True:
                work = await self._next_work()
                while work is not None:
                    await self._do(work)
                    work = self._consume(b"")
        except SessionOver as over:
            how = over.how
            if over.farewell is not None:
                self.say(over.farewell)
        except Exception as error:
            self._report(error)
            self.say(replies.OUT_OF_STEP)
        finally:
            self._finished = True
            self._abandon()
            self.close(_PATIENCE.get(how, _USUAL_PATIENCE))
            self._world.events.emit(SessionEnded(self._peer(), how, self._accepted))
            if self.transport is None:
                self._registry.gone(self)

    def _greet(self) -> None:
        if self._trusted is None and self._world.trusts(self._address):
            self._trusted = f"net:{self._address}"
        self.say(Reply(220, (f"{self.hostname} {self.EXTENDED} Postroad",)))

    async def _next_work(self) -> Work | None:
        """Wait for the client; what it wants that could not be done at once, None to look again."""
        if self._unsent:
            await self.flush()
        self.deadline.set(self._patience())
        chunk = self._inbox.take()
        if chunk is None:
            self._listening = True
            await self._inbox.more()
            self._listening = False
            if self._failure is not None:
                raise self._failure
            work, self._work = self._work, None
            return work
        if not chunk:
            raise SessionOver("lost")
        return self._consume(chunk)

    def _hear(self, chunk: bytes) -> None:
        """Deal with what came, then and there; wake the task for what is left to do."""
        try:
            self._work = self._consume(chunk)
            if self._work is None:
                if self._unsent:
                    self._write()
                elif self._taker is None:
                    # A command in drips does not move the limit.
                    return
                if not self._paused:  # type: ignore[attr-defined]
                    self.deadline.set(self._patience())
                    return
        except Exception as error:
            self._failure = error
        self._inbox.wake()

    def _consume(self, chunk: bytes) -> Work | None:
        """Deal with these octets and all before them, up to the first thing that has to wait."""
        if self._taker is not None:
            return self._taker(chunk)
        if chunk:
            self.put(chunk)
        return self._obey_all()

    def _obey_all(self) -> Work | None:
        while True:
            if self._leaving is not None:
                raise self._leaving
            if len(self._unsent) > GROUP_LONGEST:
                return self.flush()
            try:
                line = self.pending_line()
                if line is None:
                    return None
                work = self._obey(line)
            except BadLine as bad:
                self._error(bad.reply)
                continue
            except SessionOver:
                raise
            except Exception as error:
                self._report(error)
                self._error(replies.INTERNAL)
                continue
            if work is not None:
                return work
            if self._taker is not None:
                return self._taker(self.take_pending())

    async def _do(self, work: Work) -> None:
        # A pipelined command was not waited for, and has its time all the same.
        self.deadline.set(self._config.idle_timeout)
        try:
            await work
        except SessionOver:
            raise
        except Exception as error:
            self._report(error)
            self._error(replies.INTERNAL)

    def _patience(self) -> float:
        """Seconds that the client may take for what it sends next."""
        return self._config.idle_timeout

    def _abandon(self) -> None:
        """The session ended: nothing is kept of a message that did not come whole."""

    def _obey(self, line: bytes) -> Work | None:
        verb, argument = split_command(line)
        method = self.VERBS.get(verb)
        if method is None or argument is None:
            self._unknown(verb, argument)
        elif len(line) + 2 > LINE_LIMITS.get(verb, COMMAND_LONGEST):
            self._error(replies.LINE_TOO_LONG)
        else:
            return method(self, argument)
        return None

    def _unknown(self, verb: str, argument: str | None) -> None:
        if argument is None:
            self._error(replies.NOT_UTF8)
        elif verb in _HTTP:
            raise SessionOver("error", replies.NOT_SMTP)
        else:
            self._error(replies.NOT_OFFERED if verb in NOT_OFFERED else replies.UNKNOWN)

    def _error(self, reply: Reply) -> None:
        self.say(reply)
        self._count_error()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors >= self._config.max_errors:
            raise SessionOver("limit", replies.TOO_MANY_ERRORS)

    def _idle_command(self, reply: Reply) -> None:
        self._idle_commands += 1
        if self._idle_commands > self._config.max_idle_commands:
            self._error(reply)
        else:
            self.say(reply)

    def _reset(self) -> None:
        """Forget the transaction (RFC 5321 4.1.1.5)."""
        self._mail = None

    # --- verbs that change nothing ---

    def smtp_NOOP(self, argument: str) -> None:
        self._idle_command(replies.OK)

    def smtp_VRFY(self, argument: str) -> None:
        self._idle_command(replies.NOT_VERIFIED if argument else replies.VRFY_SYNTAX)

    async def smtp_EXPN(self, argument: str) -> None:
        self._error(replies.NOT_OFFERED)

    def smtp_QUIT(self, argument: str) -> None:
        if argument:
            self._error(replies.NO_ARGUMENT)
            return
        raise SessionOver("quit", replies.BYE)

    # --- telling ---

    def _refused(self, stage: str, reply: Reply, *, sender: str = "", recipient: str = "") -> None:
        if not sender and self._mail is not None and self._mail.sender is not None:
            sender = str(self._mail.sender)
        self._world.events.emit(Refused(self._peer(), stage, sender, recipient, str(reply)))

    def _tell_refused(self, reply: Reply) -> None:
        if self._registry.tells(self._address, reply):
            self._refused("connect", reply)

    def _report(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        self._world.events.emit(
            InternalError("submission session", text, "".join(traceback.format_exception(error)))
        )

    def _peer(self) -> Peer:
        return _peer_of(
            self._address,
            self._port,
            self._helo,
            self._protocol(),
            self.tls,
            self._login,
            self._method,
            self._name,
        )

    def _protocol(self) -> str:
        """The word for "with" in Received: RFC 3848, RFC 6531 3.7.3."""
        if not self._extended:
            return self._unextended
        word = self.EXTENDED
        if self._mail is not None and self._mail.smtputf8:
            word = f"UTF8{word.removeprefix('E')}"
        return word + ("S" if self.tls is not None else "") + ("A" if self._login is not None else "")
