"""Who is told what happens."""

from __future__ import annotations

from typing import Protocol

from postroad.mail.events import Event


class Events(Protocol):
    def emit(self, event: Event) -> None:
        """Synchronous, never fails, never blocks."""
        ...
