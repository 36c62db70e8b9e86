"""The dots in flight: how many messages have been sent to their end and are not answered yet.

A message whose final dot has left and whose 250 was not read when the process is killed
is delivered twice. How long a receiver takes to answer is its own affair; but a quick one
has answered while the loop is busy with others, and its 250 lies unread in the socket. So
all quick receivers together have at most `LIMIT` dots at a time, whatever the number of
connections: the next leaves in the moment in which an answer is read.

A receiver is quick until it was seen not to be: `QUICK` seconds after its dot the sockets
were read, and it had said nothing. From then on its connection neither takes a place nor
waits for one, until it answers within that time again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

LIMIT = 3
# In seconds: far above a receiver on this machine or beside it that does not sync, far
# below what a wait for it would cost one that does.
QUICK = 0.005


class DotSlot:
    """The dot of one connection."""

    __slots__ = ("_dots", "_now", "_quick", "_send", "since")

    def __init__(self, dots: DotsInFlight) -> None:
        self._dots = dots
        self._now = asyncio.get_running_loop().time
        self._quick = True
        # What writes it, while it waits for its turn.
        self._send: Callable[[], None] | None = None
        self.since = 0.0

    def leaves(self, send: Callable[[], None]) -> None:
        """Have `send` write the dot: at once, or from where another's answer is read."""
        if self._quick and not self._dots.take(self):
            self._send = send
            return
        self.since = self._now()
        send()

    def answered(self) -> None:
        """What the peer said to the dot was read."""
        if not self._quick:
            self._quick = self._now() - self.since < QUICK
        else:
            self._dots.give_back(self)

    def withdraw(self) -> None:
        """The connection has no transaction any more, whatever became of its dot."""
        self._send = None
        if self._quick:
            self._dots.give_back(self)

    @property
    def waits(self) -> bool:
        return self._send is not None

    def turn(self) -> None:
        """Its place was taken for it."""
        send, self._send = self._send, None
        self.since = self._now()
        if send is not None:
            send()

    def is_slow(self) -> None:
        self._quick = False


class DotsInFlight:
    """Of one process. Used on the loop; a timer runs only while a dot waits for its turn."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        # Oldest first.
        self._held: dict[DotSlot, None] = {}
        self._waiting: deque[DotSlot] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def slot(self) -> DotSlot:
        """Of a new connection, on the running loop."""
        return DotSlot(self)

    def take(self, slot: DotSlot) -> bool:
        """A place for this dot; False: none is free, and it will have its turn."""
        if len(self._held) < self._limit:
            self._held[slot] = None
            return True
        self._waiting.append(slot)
        if self._timer is None:
            self._watch()
        return False

    def give_back(self, slot: DotSlot) -> None:
        if slot in self._held:
            del self._held[slot]
            self._next()

    def _next(self) -> None:
        while self._waiting and len(self._held) < self._limit:
            slot = self._waiting.popleft()
            # One that has withdrawn is still in the row, if need be twice.
            if slot.waits:
                self._held[slot] = None
                slot.turn()

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = next(iter(self._held))
        self._timer = loop.call_at(oldest.since + QUICK, self._late)

    def _late(self) -> None:
        # Timers are looked at before the sockets are: what has come by now is read first.
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self._look)

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for slot in [slot for slot in self._held if slot.since + QUICK <= now]:
            slot.is_slow()
            del self._held[slot]
        self._next()
        if self._waiting:
            self._watch()
