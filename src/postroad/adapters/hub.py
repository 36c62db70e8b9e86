"""Events fan out: to sinks that see all, and to followers who see one message.

A sink is another `Events` (the journal). A follower has a bounded queue: who reads
too slowly loses the oldest (`lost` counts them), and nobody ever waits for a follower.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from postroad.mail.events import Event, HopDeferred, HopFailed, Tried
from postroad.ports.events import Events

BACKLOG = 1000


class Follower:
    """A bounded view of the events; `lost` counts those that found no room.

    It sees every event until `narrow` names the message, because a message has no
    id before it is accepted, and may be tried before its submitter hears of it.
    """

    def __init__(self, limit: int) -> None:
        self._events: deque[Event] = deque(maxlen=limit)
        self._wake = asyncio.Event()
        self._id: str | None = None
        self._hops: frozenset[str] = frozenset()
        self.lost = 0

    def narrow(self, id: str, hops: Collection[str]) -> None:
        """From now on, and among those that wait: only what concerns this message or these hops."""
        self._id = id
        self._hops = frozenset(hops)
        kept = [event for event in self._events if self._concerns(event)]
        self._events.clear()
        self._events.extend(kept)

    async def next(self) -> Event:
        while not self._events:
            self._wake.clear()
            await self._wake.wait()
        return self._events.popleft()

    def offer(self, event: Event) -> None:
        if self._id is not None and not self._concerns(event):
            return
        if len(self._events) == self._events.maxlen:
            self.lost += 1
        self._events.append(event)
        self._wake.set()

    def _concerns(self, event: Event) -> bool:
        if isinstance(event, Tried):
            return event.attempt.delivery.message.id == self._id
        if isinstance(event, HopDeferred | HopFailed):
            return event.hop in self._hops
        return getattr(event, "id", None) == self._id


class EventHub:
    """The `Events` that the engine is given."""

    def __init__(self, *sinks: Events) -> None:
        self._sinks = sinks
        self._followers: set[Follower] = set()

    def emit(self, event: Event) -> None:
        for sink in self._sinks:
            sink.emit(event)
        if self._followers:
            for follower in self._followers:
                follower.offer(event)

    @contextmanager
    def follow(self, limit: int = BACKLOG) -> Iterator[Follower]:
        """A follower for as long as the block lasts."""
        follower = Follower(limit)
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)
