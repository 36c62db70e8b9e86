"""Names for new messages."""

from __future__ import annotations

from typing import Protocol

from postroad.mail.message import Instant


class NewId(Protocol):
    def __call__(self, now: Instant) -> str:
        """A queue id: unique, rising with time, 12 characters of [0-9A-Z]."""
        ...
