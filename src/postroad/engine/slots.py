"""How many connections there may be to all sites together.

A slot is taken before the connect and given back when the socket is closed. A
connection that idles keeps its slot only as long as nobody else wants it: then the
one that has idled longest is told to go.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Any


class Slots:
    """`async with slots:` for the life of a connection; first come, first served."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._free = most
        self._wanted: deque[asyncio.Future[None]] = deque()
        self._idle: dict[asyncio.Future[Any], None] = {}

    @property
    def full(self) -> bool:
        """Whether a connection more has to wait for one to end."""
        return self._free <= 0

    def idles(self, waiter: asyncio.Future[Any]) -> None:
        """A connection waits for work; when its slot is wanted, `waiter` is cancelled."""
        self._idle[waiter] = None
        if self._wanted:
            self._send_one_away()

    def works(self, waiter: asyncio.Future[Any]) -> None:
        """It waits no more."""
        self._idle.pop(waiter, None)

    async def __aenter__(self) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted.append(turn)
        self._send_one_away()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back()
            else:
                self._wanted.remove(turn)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    def _give_back(self) -> None:
        while self._wanted:
            turn = self._wanted.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _send_one_away(self) -> None:
        while self._idle:
            waiter = next(iter(self._idle))
            del self._idle[waiter]
            if not waiter.done():
                waiter.cancel()
                return
