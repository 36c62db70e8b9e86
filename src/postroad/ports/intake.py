"""What a door hands a message to."""

from __future__ import annotations

from typing import Protocol

from postroad.mail.message import Submission
from postroad.mail.reply import Reply


class Intake(Protocol):
    """The inward port that doors call."""

    async def accept(self, submission: Submission) -> Reply:
        """250 with the queue id once durable, or why not. Never raises but for cancellation."""
        ...
