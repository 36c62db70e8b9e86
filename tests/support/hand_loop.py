"""An event loop whose time is moved by hand.

    @by_hand
    async def test_something() -> None:
        ...
        await HandLoop.running().after(300.0)

Sockets are real and take what time they take, of which no timer knows: what is waited
for comes, and no time is up before the test says so.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


class HandLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands still until it is moved."""

    now = 0.0

    @classmethod
    def running(cls) -> HandLoop:
        return cast(HandLoop, asyncio.get_running_loop())

    def time(self) -> float:
        return self.now

    async def move(self, seconds: float) -> None:
        """Let the time pass and everything run that is due by then."""
        self.now += seconds
        for _ in range(5):
            await asyncio.sleep(0)

    async def after(self, seconds: float) -> None:
        """Let what is under way in this process go on first, and then the time pass."""
        await self.move(0.0)
        await self.move(seconds)

    async def until(self, end: asyncio.Task[T], step: float = 1.0) -> T:
        """Let time pass, a step at a time, until a task has ended; what it answers."""
        while not end.done():
            await self.move(step)
        return await end


def by_hand(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """An `async def` as a plain function that runs on a HandLoop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=HandLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def run_by_hand(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    with asyncio.Runner(loop_factory=HandLoop) as runner:
        runner.run(main())
