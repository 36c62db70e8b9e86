"""Accepting for implicit TLS (RFC 8314 3.3): counted before the handshake, with the newest certificate.

The loop's own server would shake hands with anybody, uncounted, and with the one
context it was made with.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Final

from postroad.adapters.smtpd_context import Registry, client_address
from postroad.adapters.smtpd_session import Session
from postroad.adapters.smtpd_stream import HANDSHAKE_SECONDS, LINGER_SECONDS

RETRY_SECONDS: Final = 1.0
"""How long to wait when accepting fails, for want of descriptors most likely."""


class ImplicitServer:
    """Listens on one socket. `start`, then `close`; the sessions live on without it."""

    def __init__(
        self,
        sock: socket.socket,
        session: Callable[[], Session],
        tls: Callable[[], ssl.SSLContext | None],
        registry: Registry,
    ) -> None:
        sock.setblocking(False)
        self.sockets = (sock,)
        self._session = session
        self._tls = tls
        self._registry = registry
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._spawn(self._accept())

    def close(self) -> None:
        """Accept no more, and break off handshakes."""
        for task in self._tasks:
            task.cancel()
        for sock in self.sockets:
            sock.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        (listening,) = self.sockets
        while True:
            try:
                connection, peer = await loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            session, context = self._session(), self._tls()
            if context is None or session.admit(*client_address(peer)) is not None:
                connection.close()
            else:
                self._spawn(self._shake_hands(connection, session, context))

    async def _shake_hands(
        self, connection: socket.socket, session: Session, context: ssl.SSLContext
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: session,
                connection,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=LINGER_SECONDS,
            )
        except BaseException as error:
            connection.close()
            self._registry.gone(session)
            if not isinstance(error, OSError):
                raise
