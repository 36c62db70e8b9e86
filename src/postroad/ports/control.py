"""What operators see of the queue and do to it."""

from __future__ import annotations

from typing import Protocol

from postroad.mail.frozen import dataclass
from postroad.mail.message import Message, Recipient
from postroad.mail.routing import Hop
from postroad.mail.why import Live, Why
from postroad.ports.queue import QueueFilter


class ImpossibleOperation(Exception):
    """An operator asked for what cannot be done; the text is printable and says why."""


@dataclass(frozen=True, slots=True)
class Explained:
    """Why a recipient waits. `origin` is where the setting that decides stands, None: none does."""

    message: Message
    recipient: Recipient
    why: Why
    origin: str | None


class Control(Protocol):
    """The inward port of the operator's door."""

    async def status(self) -> dict[str, object]:
        """What runs and waits now, as JSON values with stable keys."""
        ...

    async def explain(self, filter: QueueFilter, limit: int) -> list[Explained]:
        """Why each open recipient that the filter names waits, at most so many."""
        ...

    def live(self, hop: Hop) -> Live:
        """How the way of a hop stands now."""
        ...

    def hops_of(self, site: str) -> list[str]:
        """The hops, as `QueueFilter.sites` names them, that lead to a site: an MX group or a host of it."""
        ...

    async def operate(
        self, verb: str, filter: QueueFilter, uid: int | None, reason: str = ""
    ) -> list[tuple[str, str]]:
        """Do `verb` (retry, hold, release, delete, bounce) to every open recipient the filter names.

        Answers the changed ones as (id, recipient address); recipients in an attempt
        are skipped. An empty filter means the whole queue: the door has asked for
        consent. `uid` is who asked, for the log; `reason` why it is to be held. Raises ImpossibleOperation.
        """
        ...
