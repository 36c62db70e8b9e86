"""The submission doors: listeners, their TLS, and the way they close.

The adapter of aiosmtpd is the files `smtpd*.py`. This one listens. A session is
`smtpd_stream` (octets), `smtpd_session` (commands), `smtpd_entry` (who it is) and
`smtpd_transaction` (its mail), each built on the one before; `smtpd_auth` reads
logins, `smtpd_receive` takes DATA, `smtpd_bdat` adds BDAT, `smtpd_implicit` accepts for TLS, `smtpd_context`
is what all sessions share and `smtpd_replies` what they say.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Final

from postroad.adapters.smtpd_bdat import ChunkSession
from postroad.adapters.smtpd_context import Registry, Surroundings
from postroad.adapters.smtpd_implicit import ImplicitServer
from postroad.config.model import Listener, SubmissionConfig, TlsConfig
from postroad.ports import Accounts, Clock, Events, Intake, NewId, Spool

Server = asyncio.Server | ImplicitServer

DRAIN_SECONDS: Final = 4.0
BACKLOG: Final = 512


class BindError(OSError):
    """A listener cannot be had; the text names its address and the cause."""


class TlsError(ValueError):
    """Certificate or key cannot be used; the text names the file and the cause."""


class Doors:
    """All listeners. `start`, then `close` and `wait_closed`; not to be started again.

    `addresses`: what `start` bound, as "host:port", in the order of the listeners.
    `drain_seconds`: how long a session in DATA may go on after `close`.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        submission: SubmissionConfig,
        *,
        hostname: str,
        tls: Callable[[], ssl.SSLContext | None],
        intake: Intake,
        accounts: Accounts | None,
        events: Events,
        clock: Clock,
        spool: Spool,
        new_id: NewId,
        drain_seconds: float = DRAIN_SECONDS,
        login_delay: float = 1.0,
    ) -> None:
        self._listeners = tuple(listeners)
        self._surroundings = Surroundings(
            hostname, submission, tls, intake, accounts, events, clock, spool, new_id, login_delay
        )
        self._registry = Registry(submission)
        self._servers: list[Server] = []
        self.addresses: tuple[str, ...] = ()
        self._drain_seconds = drain_seconds

    async def start(self, passed: Sequence[socket.socket] = ()) -> None:
        """Bind every listener, or none and raise BindError.

        A listener whose address a `passed` socket (systemd) is bound to uses that one.
        """
        ready = {_bound(sock): sock for sock in passed}
        try:
            for listener in self._listeners:
                self._servers.extend(await self._listen(listener, ready.get(str(listener))))
        except BaseException:
            self.close()
            raise
        self.addresses = tuple(_bound(sock) for server in self._servers for sock in server.sockets)

    @property
    def sessions(self) -> int:
        """Live sessions now."""
        return len(self._registry)

    def close(self) -> None:
        """Accept nobody any more; idle sessions are told 421, those in DATA may finish."""
        for server in self._servers:
            server.close()
        self._registry.leave()

    async def wait_closed(self) -> None:
        """Until the last session is gone, after `close`."""
        await self._registry.wait_empty(self._drain_seconds)

    async def _listen(self, listener: Listener, passed: socket.socket | None) -> Sequence[Server]:
        loop = asyncio.get_running_loop()

        def session() -> ChunkSession:
            return ChunkSession(loop, listener, self._surroundings, self._registry)

        servers: list[Server] = []
        for sock in [passed] if passed is not None else await _bind(listener):
            if listener.tls == "implicit":
                implicit = ImplicitServer(sock, session, self._surroundings.tls, self._registry)
                implicit.start()
                servers.append(implicit)
            else:
                servers.append(await loop.create_server(session, sock=sock, backlog=BACKLOG))
        return servers


async def _bind(listener: Listener) -> list[socket.socket]:
    """Every address of the host, listening; BindError and none otherwise."""
    loop = asyncio.get_running_loop()
    bound: list[socket.socket] = []
    try:
        infos = await loop.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, address in infos:
            bound.append(socket.create_server(address[:2], family=family, backlog=BACKLOG))
    except OSError as error:
        for sock in bound:
            sock.close()
        raise BindError(error.errno, f"cannot listen on {listener}: {error.strerror or error}") from error
    return bound


def server_context(config: TlsConfig) -> ssl.SSLContext | None:
    """A server's TLS of version 1.2 or later; None without a certificate. Raises TlsError."""
    if config.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(config.certificate, config.key, password="")
    except (OSError, ValueError) as error:
        names = " and ".join(str(path) for path in (config.certificate, config.key) if path)
        raise TlsError(f"{names}: {error}") from error
    return context


def _bound(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
