"""The claimed deliveries of a site that wait for a connection, by lane.

Strict by lane, but every sixteenth take goes to the lowest lane that has
something, so that bulk mail is slow and never starved.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from postroad.mail.message import Delivery, Lane, Recipient

PATIENCE = 16


class Ready:
    """`count` deliveries wait; `takes` counts what was taken, ever."""

    def __init__(self, together: int = 100) -> None:
        """`together`: as many recipients as one transaction takes."""
        self._together = together
        self._lanes: tuple[deque[Delivery], ...] = tuple(deque() for _ in Lane)
        self.count = 0
        self.takes = 0

    def put(self, delivery: Delivery) -> None:
        """Last in its lane. What a claim cut in two is one delivery again, if one transaction takes it."""
        lane = self._lanes[delivery.message.lane]
        if lane and lane[-1].message.id == delivery.message.id and lane[-1].hop == delivery.hop:
            recipients = lane[-1].recipients + delivery.recipients
            if len(recipients) <= self._together:
                lane[-1] = replace(delivery, recipients=recipients)
                return
        lane.append(delivery)
        self.count += 1

    def put_first(self, delivery: Delivery) -> None:
        self._lanes[delivery.message.lane].appendleft(delivery)
        self.count += 1

    def peek(self) -> Delivery | None:
        """What `take` would most likely give."""
        for lane in self._lanes:
            if lane:
                return lane[0]
        return None

    def take(self) -> Delivery | None:
        if not self.count:
            return None
        self.takes += 1
        lowest_first = self.takes % PATIENCE == 0
        for lane in reversed(self._lanes) if lowest_first else self._lanes:
            if lane:
                self.count -= 1
                return lane.popleft()
        return None

    def clear(self) -> list[Delivery]:
        """Everything, taken out."""
        everything = [delivery for lane in self._lanes for delivery in lane]
        for lane in self._lanes:
            lane.clear()
        self.count = 0
        return everything

    def holds(self, recipient: Recipient) -> bool:
        return any(
            each.message.id == recipient.message and any(one.n == recipient.n for one in each.recipients)
            for lane in self._lanes
            for each in lane
        )

    def has(self, lane: Lane) -> bool:
        return bool(self._lanes[lane])
