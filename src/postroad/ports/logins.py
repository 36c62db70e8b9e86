"""What a door asks of whoever knows the accounts, as Protocols."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from postroad.mail.dovecot_auth import Answer
from postroad.mail.scram import Verifier


class LoginsUnavailable(Exception):
    """Who knows the accounts cannot be asked now; the text is printable and says why."""


class Accounts(Protocol):
    async def verify(self, login: str, secret: bytes) -> str | None:
        """The account's name, or None; unknown and wrong take the same time."""
        ...

    def __contains__(self, login: str, /) -> bool:
        """Whether there is such an account."""
        ...

    @property
    def offers_scram(self) -> bool:
        """Whether an account can log in by SCRAM-SHA-256."""
        ...

    def scram(self, login: str) -> Verifier:
        """While `offers_scram`, of any name; of one that cannot log in so, it is never right."""
        ...


class Tokens(Protocol):
    """Bearer tokens (RFC 6750). `scope` and `configuration`: what a refused client is told, if not ""."""

    @property
    def scope(self) -> str: ...

    @property
    def configuration(self) -> str: ...

    async def check(self, token: str) -> str | None:
        """The account of a token that is good now, or None. Raises LoginsUnavailable."""
        ...


SaslStep = Callable[[str | None], Awaitable[Answer]]


class SaslServer(Protocol):
    """Somebody else who speaks SASL (Dovecot); `mechanisms` as last heard of."""

    async def greet(self) -> None:
        """Hear of the mechanisms; never fails, and waits a few seconds at most."""
        ...

    @property
    def mechanisms(self) -> tuple[str, ...]: ...

    def exchange(self, mechanism: str, address: str, port: int) -> AbstractAsyncContextManager[SaslStep]:
        """One exchange for the client of this address: each step passes its base64 on (None: nothing yet).

        Raises LoginsUnavailable, when entered and at each step.
        """
        ...
