"""The contents of messages just made durable, kept for their first attempt, which mostly follows at once.

What is sent from here is what was written, without a read, a checksum and two copies of it.
Bounded by octets: the oldest goes first, and what is not here is read from its segment.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator

from postroad.mail.frozen import dataclass
from postroad.mail.message import Location

LIMIT = 8 * 1024 * 1024
# What an entry takes besides its octets.
OVERHEAD = 400
CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class SmallStored:
    """`Stored` in memory."""

    head: bytes
    body: bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), CHUNK):
            yield self.body[start : start + CHUNK]


class Recent:
    """Used on the loop."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[int, int], SmallStored] = OrderedDict()
        self.octets = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, location: Location, head: bytes, body: bytes) -> None:
        self._kept[location.segment, location.offset] = SmallStored(head, body)
        self.octets += len(head) + len(body) + OVERHEAD
        while self.octets > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._gone(oldest)

    def get(self, location: Location) -> SmallStored | None:
        return self._kept.get((location.segment, location.offset))

    def forget(self, location: Location) -> None:
        """Its message is over, or lies elsewhere from now on."""
        stored = self._kept.pop((location.segment, location.offset), None)
        if stored is not None:
            self._gone(stored)

    def _gone(self, stored: SmallStored) -> None:
        self.octets -= len(stored.head) + len(stored.body) + OVERHEAD
