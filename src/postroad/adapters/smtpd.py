"""The submission doors: listeners, their TLS, and the way they close.

The adapter of aiosmtpd is the files `smtpd*.py`. This one opens and closes the
listeners of `smtpd_listen`; `smtpd_accept` accepts where something comes before the
session. A session is `smtpd_stream` (octets), `smtpd_session` (its life), `smtpd_commands`,
`smtpd_entry` (who it is), `smtpd_xclient` (for whom it speaks), `smtpd_transaction`
(its mail), `smtpd_bdat` and `smtpd_lmtp`, each built on the one before; `smtpd_auth` reads logins,
`smtpd_receive` takes DATA, `smtpd_context` is what all sessions share and
`smtpd_replies` what they say.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from postroad.adapters.smtpd_accept import AcceptingServer, PlainServer
from postroad.adapters.smtpd_auth import Logins
from postroad.adapters.smtpd_bdat import ChunkSession
from postroad.adapters.smtpd_context import Door, Surroundings
from postroad.adapters.smtpd_guard import LoginGuard
from postroad.adapters.smtpd_listen import Passed, bind, bound_address
from postroad.adapters.smtpd_lmtp import LmtpSession
from postroad.adapters.smtpd_registry import Registry
from postroad.config.model import Listener, SubmissionConfig
from postroad.mail.descriptors import Share
from postroad.ports.clock import Clock
from postroad.ports.events import Events
from postroad.ports.intake import Intake
from postroad.ports.queue_id import NewId
from postroad.ports.rights import Rights
from postroad.ports.spool import Spool

Server = PlainServer | AcceptingServer

DRAIN_SECONDS: Final = 4.0


class Doors:
    """All listeners. `start`, then `close` and `wait_closed`; not to be started again.

    `addresses`: what `start` bound, as "host:port", in the order of the listeners.
    `short_names`: domains without a dot that are taken beside "localhost" and `hostname`.
    `crowd_gone` is called when most of many sessions are over.
    `descriptors`: what the process has of them; None: as many as anybody wants.
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
        logins: Logins,
        events: Events,
        clock: Clock,
        spool: Spool,
        new_id: NewId,
        rights: Rights,
        drain_seconds: float = DRAIN_SECONDS,
        login_delay: float = 1.0,
        short_names: Collection[str] = (),
        descriptors: Share | None = None,
        crowd_gone: Callable[[], None] = lambda: None,
    ) -> None:
        self._listeners = tuple(listeners)
        guard = LoginGuard(logins.limits, lambda address: self._surroundings.trusts(address))
        self._surroundings = Surroundings(
            hostname,
            submission,
            tls,
            intake,
            logins,
            guard,
            events,
            clock,
            spool,
            new_id,
            rights,
            login_delay,
            _reachable(hostname, short_names),
        )
        self._registry = Registry(submission, events, descriptors, crowd_gone=crowd_gone)
        self._servers: list[Server] = []
        self._names: list[Path] = []
        self.addresses: tuple[str, ...] = ()
        self._drain_seconds = drain_seconds

    async def start(self, passed: Sequence[tuple[str, socket.socket]] = ()) -> None:
        """Bind every listener, or none and raise BindError.

        `passed`: the sockets of systemd with their names; see `Passed` for who gets them.
        """
        ready = Passed(passed)
        try:
            if self._surroundings.logins.server is not None:
                await self._surroundings.logins.server.greet()
            for listener in self._listeners:
                await self._listen(listener, ready.take(listener))
            ready.refuse_rest()
        except BaseException:
            self.close()
            raise
        self.addresses = tuple(bound_address(sock) for server in self._servers for sock in server.sockets)

    def reload(
        self, submission: SubmissionConfig, short_names: Collection[str], descriptors: Share | None = None
    ) -> None:
        """Other limits, for sessions to come: those there are end by the ones they began with."""
        around = self._surroundings
        self._surroundings = replace(
            around, submission=submission, short_names=_reachable(around.hostname, short_names)
        )
        self._registry.reload(submission, descriptors)

    @property
    def sessions(self) -> int:
        """Live sessions now."""
        return len(self._registry)

    def close(self) -> None:
        """Accept nobody any more; idle sessions are told 421, those in DATA may finish."""
        for path in self._names:
            # While it listens still: nobody else can have taken the name.
            path.unlink(missing_ok=True)
        self._names.clear()
        for server in self._servers:
            server.close()
        self._registry.leave()

    async def wait_closed(self) -> None:
        """Until the last session is gone, after `close`."""
        await self._registry.wait_empty(self._drain_seconds)

    async def _listen(self, listener: Listener, passed: Sequence[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        kind = LmtpSession if listener.protocol == "lmtp" else ChunkSession

        def session(scarce: Callable[[], None] = lambda: None) -> ChunkSession:
            return kind(Door(loop, listener, self._surroundings, self._registry, scarce))

        for sock in passed or await bind(listener, self._listeners):
            if listener.path is not None and not passed:
                self._names.append(listener.path)
            if listener.tls == "implicit" or listener.proxy or sock.family == socket.AF_UNIX:
                gate = AcceptingServer(sock, listener, session, self._surroundings.tls, self._registry)
                gate.start()
                self._servers.append(gate)
            else:
                plain = PlainServer(sock, session, self._registry)
                self._servers.append(plain)
                await plain.start()


def _reachable(hostname: str, short_names: Collection[str]) -> frozenset[str]:
    return frozenset({"localhost", hostname.lower(), *short_names})
