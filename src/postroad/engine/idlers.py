"""The connections of a site that wait for work."""

from __future__ import annotations

import asyncio

from postroad.engine.slots import Slots
from postroad.mail.message import Delivery


class Idlers:
    """Each is known by the future it waits for, and by its door, an `Outcome.host`."""

    __slots__ = ("_connections", "_doors")

    def __init__(self, connections: Slots) -> None:
        self._connections = connections
        # The longest idle first.
        self._doors: dict[asyncio.Future[Delivery], str] = {}

    def wait(self, door: str) -> asyncio.Future[Delivery]:
        """Resolved with a delivery when one comes, cancelled when the connection is to end."""
        waiter: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        self._doors[waiter] = door
        self._connections.idles(waiter)
        return waiter

    def stop_waiting(self, waiter: asyncio.Future[Delivery]) -> None:
        self._connections.works(waiter)
        self._doors.pop(waiter, None)

    def give(self, delivery: Delivery, door: str | None) -> bool:
        """To the one that idles least, of those at this door; whether there was one."""
        for waiter, at in reversed(self._doors.items()):
            if not waiter.done() and door in (None, at):
                del self._doors[waiter]
                waiter.set_result(delivery)
                return True
        return False

    def send_one_away(self) -> None:
        """The one that idles least makes room for a connection to another door, if one idles at all."""
        if self._doors:
            waiter, _ = self._doors.popitem()
            waiter.cancel()

    def send_all_away(self) -> None:
        for waiter in self._doors:
            waiter.cancel()
