"""One client of one listener, from connection to close: who is let in, when it has to go, what is told of it.

A session ends by `SessionOver`, raised where it reads or by the verb that ends it;
nothing ever cancels its task, so that a message once received gets its decision.
What the client says is for the subclasses: commands in `smtpd_commands`, who the
client is in `smtpd_entry`, its mail in `smtpd_transaction`.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar, Final

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_context import Door, client_address
from postroad.adapters.smtpd_stream import SessionOver, SmtpStream
from postroad.mail.account import of_network
from postroad.mail.esmtp import MailArguments
from postroad.mail.events import InternalError, Refused, SessionEnded
from postroad.mail.message import Peer
from postroad.mail.reply import Reply

SHED_SECONDS: Final = 1.0
"""How long a client that has to make room may take to read why."""
# How long a client that did not end the session itself is listened to, so that it can read why we did.
_PATIENCE: Final = {"quit": 0.0, "lost": 0.0, "shed": SHED_SECONDS, "closed": 1.0}
_USUAL_PATIENCE: Final = 2.0

# The messages of a session, and all that is told of it, have one and the same peer.
_peer_of = lru_cache(maxsize=1024)(Peer)


class Session(SmtpStream):
    """Counted in the registry from greeting to close."""

    EXTENDED: ClassVar[str] = "ESMTP"

    def __init__(self, door: Door) -> None:
        super().__init__(door.loop, door.world.hostname)
        # Each by a name of its own: what every command asks for is one look away.
        self._scarce = door.scarce
        self._listener = door.listener
        self._world = door.world
        self._config = door.world.submission
        self._registry = door.registry
        self._address, self._port = "unknown", 0
        self._trusted: str | None = None
        self._helo = ""
        self._name = ""
        self._extended = False
        self._unextended = "SMTP"
        self._mail: MailArguments | None = None
        self._login: str | None = None
        self._method: str | None = None
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

    def _greet(self) -> None:
        if self._trusted is None and self._world.trusts(self._address):
            self._trusted = of_network(self._address)
        self.say(Reply(220, (f"{self.hostname} {self.EXTENDED} Postroad",)))

    def _end(self, how: str) -> None:
        """The last of its task: say what is left to say, close, and tell of it."""
        self._finished = True
        self._abandon()
        self.close(_PATIENCE.get(how, _USUAL_PATIENCE))
        self._world.events.emit(SessionEnded(self._peer(), how, self._accepted))
        if self.transport is None:
            self._registry.gone(self)

    def _reset(self) -> None:
        """Forget the transaction (RFC 5321 4.1.1.5)."""
        self._mail = None

    def _abandon(self) -> None:
        """The session ended: nothing is kept of a message that did not come whole."""

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
