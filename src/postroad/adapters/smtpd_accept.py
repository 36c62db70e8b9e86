"""Accepting: by the loop, or by hand where something comes first: TLS, a PROXY header, a uid.

For implicit TLS (RFC 8314 3.3) a client is counted before the handshake, which is
made with the newest certificate: the loop's own server would shake hands with
anybody, uncounted, and with the one context it was made with. A PROXY header is read
off the socket octet for octet, so that what follows it, a handshake too, finds the
stream as if there had been none. Who speaks over a Unix socket is asked of the kernel.

Where hardly a descriptor is left, nobody is accepted for a second: clients wait in the
backlog, and the log says why. The loop's own server would close them without a word.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from postroad.adapters import smtpd_replies as replies
from postroad.adapters.smtpd_context import among, client_address
from postroad.adapters.smtpd_listen import BACKLOG
from postroad.adapters.smtpd_registry import Registry
from postroad.adapters.smtpd_session import SHED_SECONDS, Session
from postroad.adapters.smtpd_stream import HANDSHAKE_SECONDS, LINGER_SECONDS
from postroad.adapters.unix_socket import peer_uid
from postroad.config.model import Listener
from postroad.mail.account import of_user
from postroad.mail.proxy import LONGEST, Header, ProxyError, read
from postroad.mail.reply import Reply

RETRY_SECONDS: Final = 1.0
"""How long nobody is accepted for want of descriptors or memory."""
MOST_IGNORED: Final = 1000
"""Pieces of what a client says that was told to go."""
FAREWELL_SECONDS: Final = 5.0
"""How long a client that is turned away may take for its handshake, to hear why."""
# The client was gone again before it was accepted, or its network was (accept(2)).
_ITS_OWN: Final = frozenset(
    getattr(errno, name)
    for name in (
        *("ECONNABORTED", "EPROTO", "EPERM", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN"),
        *("ENONET", "EHOSTUNREACH", "EOPNOTSUPP", "ENETUNREACH"),
    )
)


class PlainServer:
    """Listens on one socket and leaves accepting to the loop, which does it fastest; pauses when told to."""

    def __init__(
        self, sock: socket.socket, session: Callable[[Callable[[], None]], Session], registry: Registry
    ) -> None:
        """`session` is given what to call when descriptors are scarce."""
        # Ours stays open during a pause, so that clients wait and nobody takes the address.
        self.sockets = (sock,)
        self._session = session
        self._registry = registry
        self._server: asyncio.Server | None = None
        self._resuming: asyncio.Task[None] | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        (sock,) = self.sockets
        self._server = await loop.create_server(
            lambda: self._session(self._pause), sock=sock.dup(), backlog=BACKLOG
        )

    def close(self) -> None:
        if self._resuming is not None:
            self._resuming.cancel()
        if self._server is not None:
            self._server.close()
        for sock in self.sockets:
            sock.close()

    def _pause(self) -> None:
        if self._server is not None:
            self._registry.tell_scarce()
            self._server.close()
            self._server = None
            self._resuming = asyncio.get_running_loop().create_task(self._resume())

    async def _resume(self) -> None:
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self.start()
            except OSError:
                self._registry.tell_scarce()
            else:
                return


class AcceptingServer:
    """Listens on one socket. `start`, then `close`; the sessions live on without it."""

    def __init__(
        self,
        sock: socket.socket,
        listener: Listener,
        session: Callable[[], Session],
        tls: Callable[[], ssl.SSLContext | None],
        registry: Registry,
    ) -> None:
        sock.setblocking(False)
        self.sockets = (sock,)
        self._listener = listener
        self._session = session
        self._tls = tls
        self._registry = registry
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._spawn(self._accept())

    def close(self) -> None:
        """Accept no more, and break off headers and handshakes."""
        for task in self._tasks:
            task.cancel()
        for sock in self.sockets:
            sock.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        (listening,) = self.sockets
        while True:
            try:
                connection, peer = await loop.sock_accept(listening)
            except OSError as error:
                if error.errno not in _ITS_OWN:
                    self._registry.tell_scarce()
                    await asyncio.sleep(RETRY_SECONDS)
                continue
            self._receive(connection, peer)

    def _receive(self, connection: socket.socket, peer: object) -> None:
        session = self._session()
        if self._listener.proxy:
            self._balanced(connection, session, *client_address(peer))
        elif connection.family == socket.AF_UNIX:
            uid = peer_uid(connection)
            self._enter(connection, session, f"userid {uid}", 0, of_user(uid))
        else:
            self._enter(connection, session, *client_address(peer))

    # --- the PROXY header ---

    def _balanced(self, connection: socket.socket, session: Session, address: str, port: int) -> None:
        refusal = replies.NO_BALANCER
        if among(address, self._listener.proxy):
            # The balancer's address has no limit of its own: it stands for many clients.
            welcome = self._registry.admit(session, None)
            if welcome is None:
                header = self._spawn(self._after_header(connection, session, address, port))
                session.outside = header.cancel
                return
            refusal = welcome
        session.tell_refused(address, port, refusal)
        self._turn_away(connection, refusal)

    async def _after_header(
        self, connection: socket.socket, session: Session, address: str, port: int
    ) -> None:
        refusal: Reply | None = None
        header = None
        try:
            async with asyncio.timeout(self._listener.proxy_timeout):
                header = await _read_header(connection)
        except TimeoutError:
            refusal = replies.TIMED_OUT
        except (ProxyError, OSError) as error:
            refusal = replies.bad_header(str(error))
        finally:
            self._registry.gone(session)
            if header is None and refusal is None:
                connection.close()
        if refusal is not None:
            session.tell_refused(address, port, refusal)
            self._turn_away(connection, refusal)
        elif header is not None and header.address is not None:
            self._enter(connection, session, header.address, header.port)
        elif header is not None:
            self._enter(connection, session, address, port)

    # --- the session ---

    def _enter(
        self,
        connection: socket.socket,
        session: Session,
        address: str,
        port: int,
        account: str | None = None,
    ) -> None:
        context = self._tls() if self._listener.tls == "implicit" else None
        if self._listener.tls == "implicit" and context is None:
            connection.close()
            return
        refusal = session.admit(address, port, account)
        if refusal is None:
            session.outside = self._spawn(
                self._hand_over(connection, session, context, HANDSHAKE_SECONDS)
            ).cancel
        elif context is not None and self._registry.farewell():
            # Why can only be said after a handshake, which not everybody of a flood gets.
            session.refuse(refusal)
            self._spawn(self._hand_over(connection, session, context, FAREWELL_SECONDS))
        else:
            self._turn_away(connection, refusal)

    async def _hand_over(
        self,
        connection: socket.socket,
        session: Session,
        context: ssl.SSLContext | None,
        patience: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        waits = {"ssl_handshake_timeout": patience, "ssl_shutdown_timeout": LINGER_SECONDS}
        try:
            await loop.connect_accepted_socket(
                lambda: session, connection, ssl=context, **(waits if context is not None else {})
            )
        except BaseException as error:
            connection.close()
            self._registry.gone(session)
            session.farewell_over()
            if not isinstance(error, OSError):
                raise

    def _turn_away(self, connection: socket.socket, refusal: Reply) -> None:
        """Say why, where that can be read without a handshake, and close."""
        with suppress(OSError):
            if self._listener.tls != "implicit":
                connection.send(replies.encode(refusal))
                connection.shutdown(socket.SHUT_WR)
                if self._registry.farewell():
                    self._spawn(self._ignore(connection))
                    return
        connection.close()

    async def _ignore(self, connection: socket.socket) -> None:
        """Closed with something unread, the connection would be reset, and our words lost."""
        loop = asyncio.get_running_loop()
        try:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(SHED_SECONDS):
                    for _ in range(MOST_IGNORED):
                        if not await loop.sock_recv(connection, LONGEST):
                            break
        finally:
            connection.close()
            self._registry.farewells -= 1


async def _read_header(connection: socket.socket) -> Header | None:
    """Take the header off the socket and nothing behind it. Raises ProxyError, OSError.

    None: the balancer closed without a word, as one does that looks whether we live.
    """
    taken = b""
    while True:
        await _readable(connection)
        try:
            seen = connection.recv(LONGEST, socket.MSG_PEEK)
        except BlockingIOError:
            continue
        if not seen and not taken:
            return None
        if not seen:
            raise ProxyError("closed in the middle of it")
        header = read(taken + seen)
        if header is not None:
            connection.recv(header.length - len(taken))
            return header
        taken += connection.recv(len(seen))


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(connection, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
