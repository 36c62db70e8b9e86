"""The time, as the engine asks for it."""

from __future__ import annotations

from typing import Protocol

from postroad.mail.message import Instant


class Clock(Protocol):
    def now(self) -> Instant:
        """Seconds since 1970, UTC."""
        ...
