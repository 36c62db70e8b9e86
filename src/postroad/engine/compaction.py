"""Gives back the space of segments that a few old messages keep: these are copied forward.

A copy is durable before the index names it, the index changes in one transaction that
looks whether the message still lies where it lay, and the old place is let go of some
seconds later, so that whoever was told of it just now can still read it. Messages in an
attempt, or with something to settle, stay where they are: those who work on them know
their place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from postroad.mail.events import StorageTrouble
from postroad.mail.message import Location, Message
from postroad.ports.events import Events
from postroad.ports.queue import MovingQueue
from postroad.ports.spool import DamagedRecord, SparseSpool
from postroad.ports.storage import StorageFull

# Between looks for a segment worth it, seconds.
INTERVAL = 2.0
# A place may still be read for so long after its message has moved.
GRACE = 5.0
# Octets a second, so that copying never stands before mail.
RATE = 8 * 1024 * 1024
# Messages moved in one transaction.
SLICE = 50


class Compaction:
    """A component: `run`, `close`. Off the hot path; ends with StorageBroken as everything does."""

    def __init__(
        self,
        spool: SparseSpool,
        queue: MovingQueue,
        events: Events,
        *,
        grace: float = GRACE,
        rate: float = RATE,
    ) -> None:
        self._spool = spool
        self._queue = queue
        self._events = events
        self._grace = grace
        self._rate = rate
        self._damaged: set[str] = set()
        self._closing = asyncio.Event()

    def close(self) -> None:
        self._closing.set()

    async def run(self) -> None:
        while not await self._closed_within(INTERVAL):
            try:
                await self.compact()
            except StorageFull as error:
                self._events.emit(StorageTrouble("compact", str(error)))

    async def compact(self) -> int:
        """All segments that are worth it now; how many messages moved."""
        moved, tried = 0, set[int]()
        while not self._closing.is_set() and (number := self._spool.sparse(tried)) is not None:
            tried.add(number)
            moved += await self._empty(number)
        return moved

    async def _empty(self, number: int) -> int:
        messages = await self._queue.movable(number)
        left: list[Location] = []
        for start in range(0, len(messages), SLICE):
            part = messages[start : start + SLICE]
            left += await self._move(part)
            if await self._closed_within(sum(each.location.length for each in part) / self._rate):
                return len(left)
        # Cut off here, the places are let go of by the next start.
        if left and not await self._closed_within(self._grace):
            for location in left:
                self._spool.let_go(location)
        return len(left)

    async def _move(self, messages: Sequence[Message]) -> list[Location]:
        """The old places of those that moved."""
        copies = await self._copies(messages)
        try:
            done = await self._queue.move([(message, location) for message, location in copies])
        except BaseException:
            for _, location in copies:
                self._spool.let_go(location)
            raise
        left = []
        for (message, location), finished in zip(copies, done, strict=True):
            if finished is None:
                self._spool.let_go(location)
            else:
                # What is known beside the old record must be known beside the new one.
                self._spool.done(finished.message, [r.n for r in finished.recipients if not r.state.is_open])
                if held := {r.n: r.held for r in finished.recipients if r.held is not None}:
                    self._spool.hold(finished.message, held)
                # Message and process may end within the grace: a new index must not find it here.
                self._spool.moved(message.location)
                left.append(message.location)
        return left

    async def _copies(self, messages: Sequence[Message]) -> list[tuple[Message, Location]]:
        """At once, so that they share a sync; a damaged record stays where it is, and is told of once."""
        sound = [message for message in messages if message.id not in self._damaged]
        answers = await asyncio.gather(
            *(self._spool.copy(message.location, message.id) for message in sound), return_exceptions=True
        )
        copies: list[tuple[Message, Location]] = []
        trouble: BaseException | None = None
        for message, answer in zip(sound, answers, strict=True):
            if isinstance(answer, Location):
                copies.append((message, answer))
            elif isinstance(answer, DamagedRecord):
                self._damaged.add(message.id)
                self._events.emit(StorageTrouble("compact", f"{message.id} stays: {answer}"))
            else:
                trouble = trouble or answer
        if trouble is not None:
            for _, location in copies:
                self._spool.let_go(location)
            raise trouble
        return copies

    async def _closed_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._closing.wait()
        except TimeoutError:
            return False
        return True
