"""What a door may ask before a message comes."""

from __future__ import annotations

from typing import Protocol

from postroad.mail.address import Address
from postroad.mail.permit import Permit
from postroad.mail.reply import Reply


class Rights(Protocol):
    """Who may send what, for a door that wants to refuse early; intake asks in any case."""

    def permit(self, account: str) -> Permit:
        """What this account may do now; cheap, and not to be kept from one message to the next."""
        ...

    def mail(self, permit: Permit, sender: Address | None, size: int | None) -> Reply | None:
        """The answer to MAIL with this sender and announced size: None, or the refusal."""
        ...
