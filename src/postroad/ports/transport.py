"""Sessions with the hosts that take mail from us."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from postroad.mail.commands import Capabilities
from postroad.mail.message import Envelope, Step, TlsFacts
from postroad.mail.outcome import Stage, Trouble
from postroad.mail.reply import Reply
from postroad.mail.routing import Endpoint, Route
from postroad.mail.tls import Requirement
from postroad.mail.transaction import Transaction
from postroad.ports.queue import Witness
from postroad.ports.spool import Stored


class Session(Protocol):
    """An established SMTP session: greeted, EHLO done, TLS and AUTH as required."""

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def tls(self) -> TlsFacts | None: ...

    @property
    def steps(self) -> tuple[Step, ...]:
        """What setting it up took, stage by stage."""
        ...

    @property
    def usable(self) -> bool:
        """Whether another transaction may start: in step, not closed, no 421 seen."""
        ...

    async def send(
        self, envelope: Envelope, stored: Stored, size: int, dotted: bool, witness: Witness
    ) -> Transaction:
        """One transaction; never raises for what the peer does (see `Transaction.trouble`).

        `witness` is told before the end of the content leaves, and where the 2xx to it is read.
        Sends RSET by itself before the next transaction when the last one needs it.
        `envelope.recipients` at most what the peer takes.
        """
        ...

    async def wait_closed(self) -> None:
        """Returns when the peer closes or speaks out of turn while the session is idle."""
        ...


class ConnectFailed(Exception):
    """No session could be had of this endpoint; judged like any trouble or reply."""

    def __init__(self, what: Trouble | Reply, stage: Stage) -> None:
        super().__init__(str(what))
        self.what = what
        self.stage = stage


class Transport(Protocol):
    def connect(
        self,
        endpoint: Endpoint,
        tls: Requirement,
        route: Route | None,
        *,
        plaintext: bool = False,
        hurried: bool = False,
    ) -> AbstractAsyncContextManager[Session]:
        """Connect, greet, EHLO, STARTTLS and AUTH as asked; leaving the block says QUIT and closes.

        `plaintext`: skip an offered STARTTLS (opportunistic level only, after TLS
        failed before). `hurried`: another endpoint is left to try, so this one has less
        time to accept the connection. Raises ConnectFailed.
        """
        ...
