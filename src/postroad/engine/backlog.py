"""The due hops of one site, in a ring: each claims a slice in its turn, when the site has room.

Only hops are here; their messages lie in the queue until they are claimed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from postroad.engine.surroundings import Surroundings
from postroad.mail.backoff import BLOCK_EXPIRES, is_shut_out
from postroad.mail.events import HopDeferred, StorageTrouble
from postroad.mail.message import Delivery, Instant
from postroad.mail.outcome import Outcome
from postroad.mail.routing import Hop
from postroad.mail.throttle import NotBefore
from postroad.ports.storage import StorageFull

# What a claim says of the next try, in case the process dies in the middle.
PESSIMISTIC = 300.0
FULL_DISK_WAIT = 5.0
GIVE_UP_SLICE = 100


class Backlog:
    __slots__ = ("_around", "_claiming", "_hops", "_put", "_room")

    def __init__(
        self, around: Surroundings, room: Callable[[], int], put: Callable[[Delivery], None]
    ) -> None:
        """`room` says how many recipients may be claimed now, `put` takes what was."""
        self._around = around
        self._room = room
        self._put = put
        self._hops: OrderedDict[Hop, None] = OrderedDict()
        self._claiming = False

    def __len__(self) -> int:
        return len(self._hops)

    @property
    def is_idle(self) -> bool:
        return not self._hops and not self._claiming

    def add(self, hop: Hop) -> None:
        self._hops.setdefault(hop)

    def clear(self) -> None:
        self._hops.clear()

    def refill(self) -> None:
        """Claim for the hop whose turn it is, one claim at a time."""
        if self._claiming or not self._hops:
            return
        limit = self._room()
        if not limit:
            return
        self._claiming = True
        hop = next(iter(self._hops))
        self._hops.move_to_end(hop)
        self._around.spawn(self._claim(hop, limit))

    async def _claim(self, hop: Hop, limit: int) -> None:
        around = self._around
        now = around.clock.now()
        deliveries: list[Delivery] = []
        try:
            deliveries = await around.queue.claim(hop, now, limit, now + PESSIMISTIC)
            if sum(len(d.recipients) for d in deliveries) < limit:
                self._leave(hop, await around.queue.next_due(hop))
        except StorageFull as error:
            around.events.emit(StorageTrouble("claim", str(error)))
            self._leave(hop, now + FULL_DISK_WAIT)
        finally:
            self._claiming = False
        for delivery in deliveries:
            self._put(delivery)
        self.refill()

    def _leave(self, hop: Hop, due: Instant | None) -> None:
        self._hops.pop(hop, None)
        if due is not None:
            self._around.due(hop, due)

    def put_off(self, pause: NotBefore) -> None:
        """The site is paused: what is due waits in the queue until the pause ends, and says why."""
        hops = list(self._hops)
        self._hops.clear()
        for hop in hops:
            self._around.spawn(self._put_off(hop, pause))

    async def _put_off(self, hop: Hop, pause: NotBefore) -> None:
        around = self._around
        if pause.why is not None:
            now = around.clock.now()
            try:
                if is_shut_out(pause.why):
                    await self._give_up(hop, pause.why, now)
                count = await around.queue.defer_hop(hop, pause.why, pause.at, now)
            except StorageFull as error:
                around.events.emit(StorageTrouble("defer", str(error)))
            else:
                if count:
                    around.events.emit(HopDeferred(str(hop), count, pause.at, pause.why.text))
        around.due(hop, pause.at)

    async def _give_up(self, hop: Hop, why: Outcome, now: Instant) -> None:
        """What hosts that refuse us have kept waiting for too long fails, though it never had its turn."""
        ledger, late = self._around.ledger, True
        while late:
            claimed = await self._around.queue.claim(hop, now, GIVE_UP_SLICE, now + PESSIMISTIC)
            old = [delivery for delivery in claimed if delivery.message.begins_at + BLOCK_EXPIRES <= now]
            for delivery in old:
                ledger.ended(delivery, (why,) * len(delivery.recipients))
            ledger.put_back([delivery for delivery in claimed if delivery not in old], now)
            # The oldest come first.
            late = bool(claimed) and len(old) == len(claimed)
