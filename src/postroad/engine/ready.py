"""The claimed deliveries of a site that wait for a connection, by lane.

Strict by lane, but every sixteenth take goes to the lowest lane that has
something, so that bulk mail is slow and never starved. What a greylister has
seen at one door waits for a connection through that door.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from postroad.mail.message import Delivery, Lane, Recipient

PATIENCE = 16
Lanes = tuple[deque[Delivery], ...]


class Ready:
    """`count` deliveries wait; `takes` counts what was taken, ever. A door is an `Outcome.host`."""

    __slots__ = ("_bound", "_lanes", "_together", "count", "takes")

    def __init__(self, together: int = 100) -> None:
        """`together`: as many recipients as one transaction takes."""
        self._together = together
        # None until something waits: of sites there are many.
        self._lanes: Lanes = ()
        # By the door that they have to go through.
        self._bound: dict[str, Lanes] = {}
        self.count = 0
        self.takes = 0

    def put(self, delivery: Delivery, door: str | None = None) -> None:
        """Last in its lane. What a claim cut in two is one delivery again, if one transaction takes it."""
        lane = self._for(door)[delivery.message.lane]
        if lane and lane[-1].message.id == delivery.message.id and lane[-1].hop == delivery.hop:
            recipients = lane[-1].recipients + delivery.recipients
            if len(recipients) <= self._together:
                lane[-1] = replace(delivery, recipients=recipients)
                return
        lane.append(delivery)
        self.count += 1

    def put_first(self, delivery: Delivery, door: str | None = None) -> None:
        self._for(door)[delivery.message.lane].appendleft(delivery)
        self.count += 1

    def _for(self, door: str | None) -> Lanes:
        if door is not None:
            return self._bound.setdefault(door, _lanes())
        if not self._lanes:
            self._lanes = _lanes()
        return self._lanes

    def take(self, door: str = "") -> Delivery | None:
        """The next of those that may go through this door."""
        if not self.count:
            return None
        lowest_first = (self.takes + 1) % PATIENCE == 0
        bound = self._bound.get(door) if self._bound else None
        for n in _LOWEST_FIRST if lowest_first else _IN_ORDER:
            if bound is not None and bound[n]:
                return self._next_of(bound[n])
            if self._lanes and self._lanes[n]:
                return self._next_of(self._lanes[n])
        return None

    def _next_of(self, lane: deque[Delivery]) -> Delivery:
        self.takes += 1
        self.count -= 1
        return lane.popleft()

    @property
    def bound(self) -> str | None:
        """A door that something has to go through."""
        while self._bound:
            door = next(iter(self._bound))
            if any(self._bound[door]):
                return door
            del self._bound[door]
        return None

    def unbind(self, door: str) -> None:
        """It does not open: what had to go through it may go through any."""
        for lane, waiting in zip(self._for(None), self._bound.pop(door, ()), strict=False):
            lane.extend(waiting)

    def clear(self) -> list[Delivery]:
        """Everything, taken out."""
        everything = [delivery for lanes in self._all() for lane in lanes for delivery in lane]
        self._lanes = ()
        self._bound.clear()
        self.count = 0
        return everything

    def holds(self, recipient: Recipient) -> bool:
        return any(
            each.message.id == recipient.message and any(one.n == recipient.n for one in each.recipients)
            for lanes in self._all()
            for lane in lanes
            for each in lane
        )

    def has(self, lane: Lane) -> bool:
        return any(lanes[lane] for lanes in self._all())

    @property
    def lane(self) -> Lane:
        """The most urgent that has something; the lowest where nothing waits."""
        return next((lane for lane in Lane if self.has(lane)), Lane.BULK)

    def _all(self) -> list[Lanes]:
        return [self._lanes, *self._bound.values()] if self._lanes else list(self._bound.values())


def _lanes() -> Lanes:
    return tuple(deque() for _ in Lane)


_IN_ORDER = tuple(Lane)
_LOWEST_FIRST = tuple(reversed(Lane))
