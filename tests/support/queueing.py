"""What tests do to a queue, any of them, before the fact they are about."""

from __future__ import annotations

from postroad.mail.message import Lane, Recipient
from postroad.ports.queue import Queue
from tests.support.build import HOUR, NOW, hop, message, recipient

LATER = NOW + 10 * HOUR


async def add(queue: Queue, number: int = 1, *to: str, lane: int = 1, due: float = NOW) -> list[Recipient]:
    """A message with these waiting recipients."""
    owner = message(number, lane=Lane(lane))
    rows = [recipient(each, n, message=owner.id, due=due) for n, each in enumerate(to or ("b@example.org",))]
    await queue.add(owner, rows)
    return rows


async def claim_one(queue: Queue, name: str = "example.org") -> Recipient:
    (delivery,) = await queue.claim(hop(name), NOW, 1, LATER)
    (row,) = delivery.recipients
    return row
