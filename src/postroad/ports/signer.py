"""Who signs what we send (DKIM, RFC 6376)."""

from __future__ import annotations

from typing import Protocol

from postroad.mail.message import Content


class Signer(Protocol):
    def domain_for(self, from_domain: str) -> str | None:
        """The signing domain for a From domain: itself or the nearest parent that has a key; None: no key."""
        ...

    async def sign(self, domain: str, content: Content) -> bytes:
        """The DKIM-Signature field(s), CRLF-terminated, to be prepended; off the loop."""
        ...
