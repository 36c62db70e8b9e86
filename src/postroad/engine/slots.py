"""How many connections there may be to all sites together.

A slot is taken before the connect and given back when the socket is closed: urgent mail
first, and bulk mail never has the last fifth. A connection that idles keeps its slot only
as long as nobody else wants it: then the one that has idled longest is told to go.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from postroad.mail.message import Lane


class Slots:
    """`async with slots.one(lane):` for the life of a connection; within a lane first come, first served."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken = 0
        bulk = max(1, most * 4 // 5)
        self._most = tuple(bulk if lane is Lane.BULK else most for lane in Lane)
        self._wanted: tuple[deque[asyncio.Future[None]], ...] = tuple(deque() for _ in Lane)
        self._idle: dict[asyncio.Future[Any], None] = {}

    @property
    def full(self) -> bool:
        """Whether a connection more has to wait for one to end."""
        return self._taken >= self.most

    def idles(self, waiter: asyncio.Future[Any]) -> None:
        """A connection waits for work; when its slot is wanted, `waiter` is cancelled."""
        self._idle[waiter] = None
        if any(self._wanted):
            self._send_one_away()

    def works(self, waiter: asyncio.Future[Any]) -> None:
        """It waits no more."""
        self._idle.pop(waiter, None)

    @asynccontextmanager
    async def one(self, lane: Lane) -> AsyncIterator[None]:
        """For a connection whose most urgent mail is of this lane."""
        if self._taken < self._most[lane]:
            self._taken += 1
        else:
            await self._turn(self._wanted[lane])
        try:
            yield
        finally:
            self._give_back()

    async def _turn(self, wanted: deque[asyncio.Future[None]]) -> None:
        """The slot is taken for whoever has its turn."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wanted.append(turn)
        self._send_one_away()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back()
            else:
                wanted.remove(turn)
            raise

    def _give_back(self) -> None:
        self._taken -= 1
        for wanted, most in zip(self._wanted, self._most, strict=True):
            while wanted and self._taken < most:
                turn = wanted.popleft()
                if not turn.done():
                    self._taken += 1
                    turn.set_result(None)

    def _send_one_away(self) -> None:
        while self._idle:
            waiter = next(iter(self._idle))
            del self._idle[waiter]
            if not waiter.done():
                waiter.cancel()
                return
