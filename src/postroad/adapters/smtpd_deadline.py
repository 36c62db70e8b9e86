"""When a client's time is up: one point in time that every command moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadline:
    """One movable point in time. Moving it later, as every command does, costs no new timer."""

    __slots__ = ("_at", "_handle", "_loop", "_passed", "_when")

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        self._loop = loop
        self._passed = passed
        self._at: float | None = None
        self._handle: asyncio.TimerHandle | None = None
        # Of the timer, where there is one.
        self._when = 0.0

    def set(self, seconds: float) -> None:
        self._at = at = self._loop.time() + seconds
        if self._handle is not None:
            if self._when <= at:
                return
            self._handle.cancel()
        self._start(at)

    def _start(self, at: float) -> None:
        self._when = at
        self._handle = self._loop.call_at(at, self._look)

    def clear(self) -> None:
        """No limit until the next `set`."""
        self._at = None

    def close(self) -> None:
        self._at = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        self._handle = None
        if self._at is None:
            return
        if self._loop.time() < self._at:
            self._start(self._at)
            return
        self._at = None
        self._passed()
