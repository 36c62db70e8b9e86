"""A submission that is made again is answered as the first time, and queued once.

The key is written in the transaction that accepts the message: there is no moment in
which one is durable without the other. Two submissions of one key at the same time
follow each other, and the second is answered by what became of the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

from postroad.mail.idempotency import OTHER_CONTENT, Kept, Key, Known, replayed
from postroad.mail.message import Seconds
from postroad.mail.reply import Reply
from postroad.ports.clock import Clock
from postroad.ports.queue import Queue

Told = Callable[[str], None]
# Accounts with keys that are remembered; beyond it every account counts as one.
MOST_REPEATERS = 10_000


class Replays:
    def __init__(self, queue: Queue, clock: Clock, window: Seconds) -> None:
        """`window`: how long a key is kept."""
        self._queue = queue
        self._clock = clock
        self.window = window
        self._repeaters: set[str] = set()
        self._busy: dict[tuple[str, str], asyncio.Future[None]] = {}

    def load(self, accounts: Iterable[str]) -> None:
        """Who has keys in the index."""
        self._repeaters.update(islice(accounts, MOST_REPEATERS))

    def __contains__(self, account: object) -> bool:
        """Whether an account gives its submissions keys, so that it may be sending again."""
        return account in self._repeaters or len(self._repeaters) >= MOST_REPEATERS

    async def once(self, key: Key, accept: Callable[[Kept], Awaitable[Reply]], told: Told) -> Reply:
        """What `accept` answers, or for a repeat the answer of the first time; `told` hears its id.

        Raises what `accept` and the look into the index raise.
        """
        if len(self._repeaters) < MOST_REPEATERS:
            self._repeaters.add(key.account)
        place = key.account, key.name
        while (busy := self._busy.get(place)) is not None:
            await asyncio.shield(busy)
        mine = self._busy[place] = asyncio.get_running_loop().create_future()
        try:
            now = self._clock.now()
            known = await self._queue.known(key.account, key.name, now)
            if known is None:
                return await accept(Kept(key, now, now + self.window))
            return _answer(key, known, told)
        finally:
            del self._busy[place]
            mine.set_result(None)


def _answer(key: Key, known: Known, told: Told) -> Reply:
    if known.digest != key.digest:
        return OTHER_CONTENT
    told(known.id)
    return replayed(known.id)
